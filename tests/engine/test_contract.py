"""The contract that every registered operator and metric keeps, and every error."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import forge_pipeline
import forge_steps
from forge_pipeline.digest import canonical_json, digest_file
from forge_pipeline.errors import (
    BrokenPromise,
    DataError,
    ForgeError,
    Problem,
    RecipeError,
    Reject,
    Where,
)
from forge_pipeline.files import SourceFile
from forge_pipeline.fingerprint import import_closure
from forge_pipeline.graph import library_version
from forge_pipeline.registry import Codecs, Registry
from forge_pipeline.sample import Location
from forge_pipeline.step import Child, Context, Export, Metric, Operator, Partial, Select, Source, Transform

REGISTRY = Registry.installed()
OPERATORS = REGISTRY.operators()
METRICS = REGISTRY.metrics()
EVERY = {**OPERATORS, **METRICS}
CODEC = Codecs()["image"]
CLIP = Path(__file__).parents[2] / "recipes" / "media" / "panned.mp4"

# What a recipe would write under `with`, for operators that need something.
PARAMS: dict[str, dict[str, Any]] = {
    "export.images": {"path": "out"},
    "export.pairs": {"path": "out", "scale": 4},
    "filter.iqa": {"keep": "laplacian > 0.004 and source.jpeg_quality > 50 and blockiness < 30"},
    "read.images": {"path": "photos"},
    "read.videos": {"path": "videos"},
    "resize.area": {"scale": 4},
    "resize.bicubic": {"scale": 4},
    "resize.dpid": {"scale": 4},
    "resize.lanczos": {"scale": 4},
    "tile.best": {"size_px": 16, "max_tiles": 2},
    "tile.grid": {"size_px": 16},
    "video.frames": {"select": "every_n", "every_n": 40},
}
# What an `import` is called on PyPI.
DISTRIBUTIONS = {"cv2": "opencv-python", "PIL": "pillow", "skimage": "scikit-image", "av": "av"}
HEAVY = {"cv2", "PIL", "av", "numpy", "numba", "skimage", "torch", "torchvision", "scipy"}


def made(name: str) -> Operator:
    cls = EVERY[name]
    return cls(cls.Params.model_validate(PARAMS.get(name, {})))


def of_shape(shape: type[Operator]) -> list[str]:
    return sorted(name for name, cls in EVERY.items() if issubclass(cls, shape))


def picture(channels: int, dtype: str, height: int = 132, width: int = 164) -> npt.NDArray[Any]:
    """Detail of every frequency, so that no operator refuses it for being flat."""
    generator = np.random.Generator(np.random.PCG64(7))
    noise = generator.random((height, width, channels))
    ramp = np.linspace(0, 1, width)[None, :, None]
    values = 0.5 * noise + 0.5 * ramp
    if channels in (2, 4):
        values[..., -1] = 1.0
    if dtype == "float32":
        return CODEC.freeze(values.astype(np.float32))  # type: ignore[no-any-return]
    return CODEC.freeze((values * np.iinfo(dtype).max).astype(dtype))  # type: ignore[no-any-return]


MODES = [(channels, dtype) for channels in (1, 2, 3, 4) for dtype in ("uint8", "uint16", "float32")]


class Untouched:
    """Asserts that a block changes neither a value nor a generator that belongs to all."""

    def __init__(self, value: Any = None) -> None:
        self._value = value

    def __enter__(self) -> None:
        self._digest = CODEC.digest(self._value) if self._value is not None else ""
        random.seed(5)
        np.random.seed(5)
        self._random, self._numpy = random.getstate(), np.random.get_state()  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        if self._value is not None:
            assert CODEC.digest(self._value) == self._digest, "it changed its input"
        assert random.getstate() == self._random, "it drew from Python's own generator"
        assert np.array_equal(np.random.get_state()[1], self._numpy[1]), "it drew from numpy's own generator"  # type: ignore[index]


def outcome(run: Any) -> list[Any]:
    """Return what an operator gave, or how it refused: DataError and Reject are the only ways."""
    try:
        return list(run())
    except DataError as error:
        assert_slug(error.reason)
        assert error.message
        return [("failure", error.reason, error.message)]
    except Reject as reject:
        assert_slug(reject.reason)
        canonical_json(reject.values)
        return [("reject", reject.reason, canonical_json(reject.values))]


def assert_slug(reason: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", reason), reason


def spelled(items: list[Any]) -> list[Any]:
    """Spell what was given so that two times can be compared."""
    return [
        (item.suffix, CODEC.digest(CODEC.freeze(item.value)), canonical_json(dict(item.fields)))
        if isinstance(item, Child)
        else item
        for item in items
    ]


# --- what an operator says of itself --------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_parameter_is_described(name: str) -> None:
    missing = [field for field, info in EVERY[name].Params.model_fields.items() if not info.description]
    assert missing == []


@pytest.mark.parametrize("name", sorted(EVERY))
def test_it_has_a_version_a_sentence_and_a_known_class_of_work(name: str) -> None:
    cls = EVERY[name]
    assert cls.version >= 1
    assert cls.__doc__
    assert re.search(r"\.(\s|$)", cls.__doc__), "its docstring has no sentence"
    assert cls.work in ("io", "cpu", "cpu_gil", "gpu")
    assert cls.memory_expansion >= 0


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_its_file_is_where_its_name_says(name: str) -> None:
    assert OPERATORS[name].__module__ == f"forge_steps.{name}"


@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_metric_states_direction_range_and_source(name: str) -> None:
    cls = METRICS[name]
    assert cls.direction in ("higher is better", "lower is better", "neither")
    low, high = cls.range
    assert low is None or high is None or low < high
    assert cls.source, "where does it come from?"


@pytest.mark.parametrize("name", sorted(EVERY))
def test_it_declares_every_library_that_its_code_imports(name: str) -> None:
    cls = EVERY[name]
    used = {DISTRIBUTIONS.get(top, top) for top in import_closure(cls.__module__).outside & HEAVY}
    assert used <= set(cls.libraries)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_the_libraries_that_it_declares_are_distributions(name: str) -> None:
    assert all(library_version(library) for library in EVERY[name].libraries)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_it_pickles_with_its_parameters(name: str) -> None:
    operator = made(name)
    copy = pickle.loads(pickle.dumps(operator))
    assert type(copy) is type(operator)
    assert copy.params == operator.params


@pytest.mark.parametrize("name", sorted(EVERY))
def test_its_parameters_cannot_be_changed_and_know_no_other(name: str) -> None:
    model = EVERY[name].Params
    assert model.model_config.get("frozen") is True
    assert model.model_config.get("extra") == "forbid"


@pytest.mark.parametrize("name", sorted(EVERY))
def test_its_parameters_survive_json(name: str) -> None:
    params = made(name).params
    again = EVERY[name].Params.model_validate(params.model_dump(mode="json", by_alias=True))
    assert again == params


# --- what it does ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("name", [name for name in of_shape(Transform) if name != "video.frames"])
def test_a_transform_of_any_mode_is_pure_and_repeats_itself(name: str, mode: tuple[int, str]) -> None:
    operator = made(name)
    assert isinstance(operator, Transform)
    image = picture(*mode)
    fields = {field: {"sample.key": "photos/a.png", "sample.index": 3}.get(field) for field in operator.fields_read()}
    context = Context(fields, b"any key" if operator.draws else b"")
    with Untouched(image):
        first = spelled(outcome(lambda: operator.apply(image, context)))
        second = spelled(outcome(lambda: made(name).apply(image, context)))  # type: ignore[attr-defined]
    assert first == second
    suffixes = [item[0] for item in first if item[0] not in ("failure", "reject")]
    if operator.many:
        assert len(set(suffixes)) == len(suffixes)
        assert all(suffix and "/" not in suffix for suffix in suffixes)
    else:
        assert suffixes in ([], [""])
    refused = [item for item in first if item[0] == "failure"]
    assert all(item[1] == "unsupported_mode" for item in refused), refused


@pytest.mark.parametrize("name", [name for name in of_shape(Transform) if name != "video.frames"])
@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (15, 17), (16, 16)], ids=str)
def test_a_transform_of_any_size_gives_an_image_or_says_why_not(name: str, size: tuple[int, int]) -> None:
    operator = made(name)
    assert isinstance(operator, Transform)
    image = picture(3, "uint8", *size)
    fields = {field: {"sample.key": "photos/a.png", "sample.index": 3}.get(field) for field in operator.fields_read()}
    context = Context(fields, b"any key" if operator.draws else b"")
    with Untouched(image):
        given = outcome(lambda: operator.apply(image, context))
    assert given
    for item in given:
        if isinstance(item, Child):
            CODEC.freeze(item.value)
            canonical_json(dict(item.fields))


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_metric_of_any_mode_is_pure_and_within_its_range(name: str, mode: tuple[int, str]) -> None:
    metric = made(name)
    assert isinstance(metric, Metric)
    image = picture(*mode)
    seen = CODEC.header(image) if metric.reads == "header" else image
    with Untouched(image):
        first = outcome(lambda: [metric.measure(seen)])
        second = outcome(lambda: [made(name).measure(seen)])  # type: ignore[attr-defined]
    assert first == second
    canonical_json(first)
    low, high = metric.range
    if isinstance(first[0], int | float):
        assert low is None or first[0] >= low
        assert high is None or first[0] <= high
    elif isinstance(first[0], tuple):
        assert first[0][:2] == ("failure", "unsupported_mode")


@pytest.mark.parametrize("name", sorted(METRICS))
@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (15, 17)], ids=str)
@pytest.mark.parametrize("flat", [False, True])
def test_a_metric_of_any_size_and_of_flat_images_is_json(name: str, size: tuple[int, int], flat: bool) -> None:
    metric = made(name)
    assert isinstance(metric, Metric)
    image = CODEC.freeze(np.full((*size, 3), 77, np.uint8)) if flat else picture(3, "uint8", *size)
    seen = CODEC.header(image) if metric.reads == "header" else image
    with Untouched(image):
        canonical_json(outcome(lambda: [metric.measure(seen)]))


class EmptyTable:
    keys: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()

    def column(self, name: str) -> tuple[Any, ...]:
        return ()


@pytest.mark.parametrize("name", of_shape(Select))
def test_a_select_names_its_metrics_and_decides_over_nothing(name: str) -> None:
    select = made(name)
    assert isinstance(select, Select)
    canonical_json(select.decide_params())
    for port in select.takes:
        for label, metric in select.metrics(port).items():
            assert isinstance(label, str)
            assert type(metric).name in METRICS
    with Untouched():
        assert list(select.decide({"in": EmptyTable()})) == []


@pytest.mark.parametrize("name", of_shape(Export))
def test_an_export_of_nothing_names_no_image(name: str) -> None:
    export = made(name)
    assert isinstance(export, Export)
    assert export.folder() == "out"
    assert list(export.files([])) == []
    assert all(isinstance(data, bytes) for data in export.side_files([]).values())


def source_file(path: Path) -> SourceFile:
    return SourceFile(path.name, digest_file(path), Location(str(path)))


def test_reading_an_image_touches_no_file_and_no_generator(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(CODEC.encode(picture(3, "uint8")))
    source = made("read.images")
    assert isinstance(source, Source)
    before = path.stat()
    with Untouched():
        facts = source.facts(source_file(path))
        items = list(source.load(source_file(path), Context()))
    assert [(type(item), item.suffix) for item in items if isinstance(item, Child)] == [(Child, "")]
    assert all(fact.startswith("source.") for fact in facts)
    assert (path.stat().st_mtime_ns, path.stat().st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_a_source_says_why_a_file_is_none_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for data in (b"", b"no picture", b"\x89PNG\r\n\x1a\n", CLIP.read_bytes()[:5000]):
        path.write_bytes(data)
        for name in of_shape(Source):
            source = made(name)
            assert isinstance(source, Source)
            assert all(fact.startswith("source.") for fact in source.facts(source_file(path)))
            given = outcome(lambda source=source: source.load(source_file(path), Context()))
            assert given


def test_frames_of_a_video_touch_no_generator() -> None:
    frames = made("video.frames")
    assert isinstance(frames, Transform)
    with Untouched():
        items = [item for item in frames.apply(source_file(CLIP), Context()) if not isinstance(item, Partial)]
    assert len(items) > 1
    assert len({item.suffix for item in items}) == len(items)


# --- errors ---------------------------------------------------------------------------------------

BUILT: dict[str, tuple[Any, ...]] = {
    "RecipeError": ([Problem(Where("r.yaml", 3, 4, "  a: 1"), "wrong", "try this")],),
    "ProfileError": ([Problem(Where("machine.yaml", 3, 4, "  a: 1"), "wrong", "try this")],),
    "DataError": ("truncated", "this file is truncated", "get another"),
    "Reject": ("small", {"width": 3}),
    "PayloadDamaged": ("hr/a.png", "ab" * 20, "cd" * 20),
    "PayloadMissing": ("ab" * 20,),
}


def errors() -> Iterator[type[ForgeError]]:
    """Every error class of the engine and of the operators, wherever it is defined."""
    for package in (forge_pipeline, forge_steps):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    pending = [ForgeError]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if cls.__module__.startswith(("forge_pipeline.", "forge_steps.")):  # not a test's own
            yield cls


@pytest.mark.parametrize("cls", sorted(set(errors()), key=lambda cls: cls.__qualname__), ids=lambda cls: cls.__name__)
def test_every_error_survives_pickling(cls: type[ForgeError]) -> None:
    error = cls(*BUILT.get(cls.__name__, ("what is wrong", "what to type")))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert {**vars(copy)} == {**vars(error)}
    assert copy.exit_code in (1, 2, 3)


def test_a_broken_promise_says_that_it_is_ours() -> None:
    assert str(BrokenPromise("this cannot be")) == "this cannot be\n  [this is a bug]"


def test_problems_of_a_recipe_come_sorted_by_place() -> None:
    places = [Where("b.yaml", 1), Where("a.yaml", 9, 2), Where("a.yaml", 2)]
    error = RecipeError([Problem(where, "wrong") for where in places])
    assert [str(problem.where) for problem in error.problems] == ["a.yaml:2:0", "a.yaml:9:2", "b.yaml:1:0"]
