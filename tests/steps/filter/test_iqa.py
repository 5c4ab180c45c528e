"""`filter.iqa` keeps clean images and drops blocked ones, ranks with stated ties, and measures only what is named."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from pydantic import ValidationError

from forge_pipeline.step import Drop, Keep
from forge_steps.filter.iqa import Iqa, IqaParams


class Columns:
    """A table from columns, as the engine hands it to a decide."""

    def __init__(self, keys: Sequence[str], digests: Sequence[str] | None = None, **columns: Sequence[Any]) -> None:
        self.keys = keys
        self.digests = digests or [f"d{key}" for key in keys]
        self.columns = {name.replace("__", "."): values for name, values in columns.items()}

    def column(self, name: str) -> Sequence[Any]:
        return self.columns[name]


def step(**params: Any) -> Iqa:
    return Iqa(IqaParams(**params))


def kept_keys(table: Columns, **params: Any) -> list[str]:
    verdicts = step(**params).decide({"in": table})
    return [key for key, verdict in zip(table.keys, verdicts, strict=True) if isinstance(verdict, Keep)]


def test_clean_and_q95_stay_and_q50_goes():
    photo = skimage.data.astronaut()
    copies = {"clean": photo}
    for quality in (95, 50):
        data = cv2.imencode(".jpg", photo[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        copies[f"q{quality}"] = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])
    bhi = step(keep="blockiness < 30")
    (measure,) = bhi.metrics("in").values()
    scores = [measure.measure(image) for image in copies.values()]
    verdicts = bhi.decide({"in": Columns(list(copies), blockiness=scores)})
    assert verdicts == [
        Keep({"blockiness": scores[0]}),
        Keep({"blockiness": scores[1]}),
        Drop("blockiness", {"blockiness": scores[2]}),
    ]


def test_only_what_is_named_is_measured_and_read():
    iqa = step(keep="blockiness < 30 and source.codec == 'png' and blockiness > width", top_count=3, by="laplacian")
    assert list(iqa.metrics("in")) == ["blockiness", "width", "laplacian"]
    assert [metric.reads for metric in iqa.metrics("in").values()] == ["pixels", "header", "pixels"]
    assert iqa.fields_read() == {"source.codec"}
    assert step(top_count=1, by="laplacian", per="source").fields_read() == {"source.path"}


def test_a_threshold_is_a_parameter_of_the_decision_and_of_no_measure():
    low, high = step(keep="blockiness < 30"), step(keep="blockiness < 40")
    assert low.decide_params() != high.decide_params()
    assert low.metrics("in")["blockiness"].params == high.metrics("in")["blockiness"].params


def test_a_dropped_sample_names_the_metric_and_all_values():
    table = Columns(["a", "b"], blockiness=[3.0, 3.0], laplacian=[0.1, 0.001], source__codec=["png", None])
    verdicts = step(keep="blockiness < 30 and laplacian > 0.004 or source.codec is not null").decide({"in": table})
    assert verdicts == [
        Keep({"blockiness": 3.0, "laplacian": 0.1}),
        Drop("laplacian", {"blockiness": 3.0, "laplacian": 0.001, "source.codec": None}),
    ]


def test_the_best_stay_in_the_metrics_own_direction():
    table = Columns("abcd", laplacian=[0.1, 0.4, 0.2, 0.3], blockiness=[9, 1, 5, 7])
    assert kept_keys(table, top_count=2, by="laplacian") == ["b", "d"]
    assert kept_keys(table, top_count=2, by="blockiness") == ["b", "c"]
    assert kept_keys(table, top_count=2, by="blockiness", order="highest") == ["a", "d"]
    assert kept_keys(table, top_count=9, by="blockiness") == ["a", "b", "c", "d"]


def test_ties_go_to_the_smaller_digest_then_the_smaller_key():
    table = Columns("abcd", ["9", "1", "5", "1"], laplacian=[0.3, 0.3, 0.3, 0.3])
    assert kept_keys(table, top_count=1, by="laplacian") == ["b"]
    assert kept_keys(table, top_count=3, by="laplacian") == ["b", "c", "d"]


def test_a_fraction_is_rounded_down_but_keeps_one_of_every_group():
    hundred = Columns([f"{i:03}" for i in range(100)], laplacian=list(range(100)))
    assert len(kept_keys(hundred, top_fraction=0.29, by="laplacian")) == 29
    assert len(kept_keys(hundred, top_fraction=0.005, by="laplacian")) == 1
    assert len(kept_keys(hundred, top_fraction=1.0, by="laplacian")) == 100
    groups = Columns("abcde", laplacian=[1, 2, 3, 4, 5], source__path=["x", "x", "x", "y", "z"])
    assert kept_keys(groups, top_fraction=0.5, by="laplacian", per="source") == ["c", "d", "e"]


def test_ranking_looks_only_at_what_keep_leaves():
    table = Columns("abcd", laplacian=[0.1, 0.4, 0.2, 0.3], blockiness=[1, 99, 1, 1])
    verdicts = step(keep="blockiness < 30", top_count=1, by="laplacian").decide({"in": table})
    assert verdicts == [
        Drop("top_count", {"blockiness": 1, "laplacian": 0.1, "rank": 3, "of": 3}),
        Drop("blockiness", {"blockiness": 99, "laplacian": 0.4}),
        Drop("top_count", {"blockiness": 1, "laplacian": 0.2, "rank": 2, "of": 3}),
        Keep({"blockiness": 1, "laplacian": 0.3}),
    ]


def test_an_empty_dataset_has_no_verdicts():
    assert list(step(top_fraction=0.5, by="laplacian").decide({"in": Columns([], laplacian=[])})) == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"keep": "blocky < 30"}, "column 1: unknown metric 'blocky'; did you mean 'blockiness'?"),
        ({}, "found nothing to decide by, expected keep, top_fraction or top_count"),
        ({"top_count": 3}, "top_count needs a metric to rank by, such as 'by: laplacian'"),
        (
            {"top_count": 3, "top_fraction": 0.1, "by": "width"},
            "found both top_fraction and top_count, expected one of them",
        ),
        ({"keep": "width > 3", "by": "width"}, "found by without top_fraction or top_count"),
        ({"keep": "width > 3", "order": "highest"}, "found order without top_fraction or top_count"),
        ({"keep": "width > 3", "per": "source"}, "found per: source without top_fraction or top_count"),
        ({"top_count": 3, "by": "aspect"}, "metric 'aspect' has no better end, expected order: highest or lowest"),
        ({"top_count": 3, "by": "laplacain"}, "column 1: unknown metric 'laplacain'; did you mean 'laplacian'?"),
        (
            {"top_count": 3, "by": "width + height"},
            "found 'width + height', expected the name of one metric: aspect, blockiness, clipping, edge_density, "
            "entropy, height, laplacian, megapixels, native_scale, noise_sigma, width",
        ),
    ],
)
def test_wrong_parameters_are_refused_when_the_recipe_is_read(params: dict, message: str):
    with pytest.raises(ValidationError) as caught:
        IqaParams(**params)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {message}"]


def test_a_fraction_of_zero_is_refused():
    with pytest.raises(ValidationError) as caught:
        IqaParams(top_fraction=0.0, by="laplacian")
    assert [error["msg"] for error in caught.value.errors()] == ["Input should be greater than 0"]
