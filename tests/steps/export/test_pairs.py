"""`export.pairs`: what it refuses, what it mends, and what it writes beside the images."""

import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from pydantic import ValidationError

from forge_pipeline.errors import DataError
from forge_pipeline.step import Context, ExportFile, Joined
from forge_steps.augment.deterministic import Deterministic, DeterministicParams
from forge_steps.export.pairs import Pairs, PairsParams
from forge_steps.read.images import ImagesParams as ReadImagesParams
from tests.steps.export.loaders import load_all_pairs
from tests.steps.export.photographs import DOWNSCALES, FILES, photograph

Image = npt.NDArray[Any]


def _pairs(**given: Any) -> Pairs:
    return Pairs(PairsParams(**{"path": "output/sr_x4", "scale": 4, **given}))


def _tile(name: str = "coffee.png", y: int = 0, x: int = 0, height: int = 256, width: int = 256) -> Image:
    tile = np.ascontiguousarray(photograph(name)[y : y + height, x : x + width])
    tile.flags.writeable = False
    return tile


def _row(stem: str, width: int = 64, height: int = 64, scale: int = 4) -> Joined:
    headers = {
        "hr": {"width": width * scale, "height": height * scale, "channels": 3, "dtype": "uint8"},
        "lr": {"width": width, "height": height, "channels": 3, "dtype": "uint8"},
    }
    return Joined(f"photos/{stem}", stem, headers, {})


def _refused(pairs: Pairs, hr: Image, lr: Image) -> DataError:
    with pytest.raises(DataError) as caught:
        pairs.inspect({"hr": hr, "lr": lr})
    return caught.value


# --- what it inspects -----------------------------------------------------------------------------


def test_a_pair_passes_with_its_correlation_as_a_fact() -> None:
    hr = _tile()
    found = _pairs().inspect({"hr": hr, "lr": DOWNSCALES["bicubic"](hr, 4)})
    assert found.facts["pair_check"] == "detail"
    assert 0.9 < found.facts["pair_correlation"] <= 1.0
    assert found.replaced == {}


def test_a_flat_pair_passes_unjudged() -> None:
    flat = np.full((256, 256, 3), 7, np.uint8)
    found = _pairs().inspect({"hr": flat, "lr": flat[:64, :64]})
    assert found.facts == {"pair_check": "flat", "pair_correlation": None}


@pytest.mark.parametrize(
    ("image", "message", "policy"),
    [
        (np.zeros((64, 64, 1), np.uint8), "hr is gray 8-bit, expected RGB 8-bit", "gray: rgb"),
        (np.zeros((64, 64, 2), np.uint8), "hr is gray+alpha 8-bit, expected RGB 8-bit", "alpha: white"),
        (np.zeros((64, 64, 4), np.uint8), "hr is RGBA 8-bit, expected RGB 8-bit", "alpha: white"),
        (np.zeros((64, 64, 3), np.uint16), "hr is RGB 16-bit, expected RGB 8-bit", "depth: to8"),
        (np.zeros((64, 64, 3), np.float32), "hr is RGB float, expected RGB 8-bit", "depth: to8"),
    ],
)
def test_a_mode_that_trainers_cannot_read_alike_is_refused_by_name(image: Image, message: str, policy: str) -> None:
    error = _refused(_pairs(), image, np.zeros((16, 16, 3), np.uint8))
    assert error.reason == "unsupported_mode"
    assert str(error) == f"{message}\n  hint: set `{policy}` in read.images"


def test_the_policies_that_hints_name_exist() -> None:
    read = ReadImagesParams.model_validate({"path": "photos", "gray": "rgb", "alpha": "white", "depth": "to8"})
    assert (read.gray, read.alpha, read.depth) == ("rgb", "white", "to8")


def test_the_lr_mode_is_checked_too() -> None:
    error = _refused(_pairs(), np.zeros((64, 64, 3), np.uint8), np.zeros((16, 16, 4), np.uint8))
    assert error.message == "lr is RGBA 8-bit, expected RGB 8-bit"


def test_a_size_that_is_no_multiple_is_refused_with_both_sizes() -> None:
    error = _refused(_pairs(), np.zeros((512, 511, 3), np.uint8), np.zeros((128, 127, 3), np.uint8))
    assert error.reason == "size_mismatch"
    assert str(error) == (
        "hr is 511 x 512, not 4 times lr at 127 x 128\n"
        "  hint: cut tiles of a size that 4 divides, or set `on_mismatch: crop`"
    )


def test_another_scale_is_named() -> None:
    error = _refused(_pairs(), np.zeros((128, 256, 3), np.uint8), np.zeros((64, 128, 3), np.uint8))
    assert str(error) == "hr is 256 x 128, not 4 times lr at 128 x 64\n  hint: set `scale: 2`"
    error = _refused(_pairs(), np.zeros((259, 510, 3), np.uint8), np.zeros((129, 255, 3), np.uint8))
    assert str(error) == "hr is 510 x 259, not 4 times lr at 255 x 129\n  hint: set `scale: 2`"


def test_crop_cuts_the_hr_at_its_right_and_bottom() -> None:
    hr = _tile(height=259, width=257)
    lr = DOWNSCALES["area"](hr[:256, :256], 4)
    found = _pairs(on_mismatch="crop").inspect({"hr": hr, "lr": lr})
    assert np.array_equal(found.replaced["hr"], hr[:256, :256])
    assert found.replaced["hr"].flags.c_contiguous
    assert found.facts["pair_correlation"] > 0.99


@pytest.mark.parametrize(("height", "width"), [(260, 256), (256, 260), (255, 256), (256, 252)])
def test_crop_mends_less_than_one_lr_pixel_only(height: int, width: int) -> None:
    error = _refused(
        _pairs(on_mismatch="crop"), np.zeros((height, width, 3), np.uint8), np.zeros((64, 64, 3), np.uint8)
    )
    assert str(error) == (
        f"hr is {width} x {height}, not 4 times lr at 64 x 64\n  hint: give both ports the same tiles"
    )


def test_tiles_chosen_independently_are_caught() -> None:
    # Two tools of today pick the best tile of HR and of LR, each by its own scores: the pairs do not correspond.
    whole = photograph("astronaut.png")
    error = _refused(_pairs(), _tile("astronaut.png", 100, 40), DOWNSCALES["area"](whole[100:356, 48:304], 4))
    assert error.reason == "not_a_pair"
    assert error.message.startswith("lr fits hr best when moved by (2, 0) pixels: correlation 1.000 there, 0.")
    error = _refused(_pairs(), _tile("astronaut.png", 0, 0), DOWNSCALES["area"](whole[200:456, 240:496], 4))
    assert error.message.startswith(("lr is not hr's downscale", "lr fits hr best when moved"))


def test_augmentation_of_each_side_on_its_own_is_caught() -> None:
    for name in FILES:
        hr = _tile(name)
        lr = DOWNSCALES["bicubic"](hr, 4)
        for element, broken in (("flip", lr[:, ::-1]), ("rot90", np.rot90(lr)), ("rot180", lr[::-1, ::-1])):
            assert _refused(_pairs(), hr, np.ascontiguousarray(broken)).reason == "not_a_pair", element


def test_augmentation_before_the_downscale_keeps_pairs() -> None:
    operator = Deterministic(DeterministicParams(variants=4, geometry="free", preset="mild", align_px=4))
    for child in operator.apply(_tile(), Context(draw_key=b"any")):
        hr = child.value  # type: ignore[union-attr]
        found = _pairs().inspect({"hr": hr, "lr": DOWNSCALES["DPID, lambda 0.5"](hr, 4)})
        assert found.facts["pair_correlation"] > 0.9


def test_the_bound_is_a_parameter() -> None:
    hr = _tile("rocket.jpg")
    lr = DOWNSCALES["lanczos"](hr, 4)
    assert _pairs(min_correlation=0.9).inspect({"hr": hr, "lr": lr}).facts["pair_check"] == "detail"
    error = _refused(_pairs(min_correlation=1.0), hr, lr)
    assert error.message.startswith("lr is not hr's downscale: their detail correlates 0.9")
    assert error.message.endswith(", expected at least 1.0")


def test_the_images_are_not_changed() -> None:
    hr = _tile(height=257).copy()
    lr = DOWNSCALES["area"](hr[:256], 4)
    before = hr.tobytes(), lr.tobytes()
    _pairs(on_mismatch="crop").inspect({"hr": hr, "lr": lr})
    assert (hr.tobytes(), lr.tobytes()) == before


# --- what it names --------------------------------------------------------------------------------


def test_a_row_gives_two_files_of_one_name() -> None:
    assert list(_pairs().files([_row("cat_1a2b3c4d")])) == [
        ExportFile("hr/cat_1a2b3c4d.png", "photos/cat_1a2b3c4d", "hr"),
        ExportFile("lr/cat_1a2b3c4d.png", "photos/cat_1a2b3c4d", "lr"),
    ]


def test_the_list_of_pairs_has_height_width_and_channels() -> None:
    files = _pairs().side_files([_row("cat_1a2b3c4d", width=64, height=48), _row("dog_00000000", 100, 80)])
    assert files["meta_info.txt"] == b"cat_1a2b3c4d.png (192,256,3)\ndog_00000000.png (320,400,3)\n"


def test_the_list_tells_the_size_after_cropping() -> None:
    row = _row("cat_1a2b3c4d")
    row = Joined(row.key, row.stem, {**row.headers, "hr": {**row.headers["hr"], "width": 259}}, {})
    assert _pairs(on_mismatch="crop").side_files([row])["meta_info.txt"] == b"cat_1a2b3c4d.png (256,256,3)\n"


def test_the_yaml_snippet_has_a_document_for_basicsr_and_one_for_redux() -> None:
    text = _pairs().side_files([_row("cat_1a2b3c4d")])["train_snippet.yaml"]
    documents = [document for document in yaml.safe_load_all(text) if document]
    assert documents == [
        {
            "scale": 4,
            "datasets": {
                "train": {
                    "name": "pairs",
                    "type": "PairedImageDataset",
                    "dataroot_gt": "hr",
                    "dataroot_lq": "lr",
                    "meta_info_file": "meta_info.txt",
                    "filename_tmpl": "{}",
                    "io_backend": {"type": "disk"},
                    "gt_size": 256,
                    "use_hflip": True,
                    "use_rot": True,
                }
            },
        },
        {
            "scale": 4,
            "datasets": {
                "train": {
                    "name": "pairs",
                    "type": "pairedimagedataset",
                    "dataroot_gt": ["hr"],
                    "dataroot_lq": ["lr"],
                    "lq_size": 64,
                    "use_hflip": True,
                    "use_rot": True,
                    "num_worker_per_gpu": 8,
                    "batch_size_per_gpu": 8,
                    "accum_iter": 1,
                }
            },
        },
    ]


def test_the_toml_snippet_is_neosrs() -> None:
    text = _pairs().side_files([_row("cat_1a2b3c4d")])["train_snippet.toml"].decode()
    assert tomllib.loads(text) == {
        "scale": 4,
        "datasets": {
            "train": {
                "type": "paired",
                "dataroot_gt": "hr",
                "dataroot_lq": "lr",
                "patch_size": 64,
                "batch_size": 8,
                "augmentation": ["none"],
                "aug_prob": [1.0],
            }
        },
    }


def test_training_crops_never_exceed_the_smallest_lr() -> None:
    text = _pairs().side_files([_row("a_00000000"), _row("b_00000000", width=200, height=40)])
    assert b"lq_size: 40\n" in text["train_snippet.yaml"]
    assert b"gt_size: 160\n" in text["train_snippet.yaml"]
    assert b"patch_size = 40\n" in text["train_snippet.toml"]


def test_snippets_are_written_for_the_named_trainers_only() -> None:
    assert set(_pairs(trainers=["neosr"]).side_files([])) == {"meta_info.txt", "train_snippet.toml"}
    assert set(_pairs(trainers=[]).side_files([])) == {"meta_info.txt"}
    assert b"BasicSR" not in _pairs(trainers=["redux"]).side_files([])["train_snippet.yaml"]


def test_no_side_file_knows_where_it_lies() -> None:
    for data in _pairs(path="/home/someone/sets/x4").side_files([_row("cat_1a2b3c4d")]).values():
        assert b"/" not in data and b"someone" not in data


def test_what_it_names_loads_by_the_rules_of_all_trainers(tmp_path: Path) -> None:
    pairs = _pairs()
    values: dict[tuple[str, str], Image] = {}
    rows = []
    for number, name in enumerate(FILES):
        hr = _tile(name)
        lr = DOWNSCALES["DPID, lambda 0.5"](hr, 4)
        pairs.inspect({"hr": hr, "lr": lr})
        row = _row(f"{name.split('.')[0]}_0000000{number}")
        rows.append(row)
        values |= {(row.key, "hr"): hr, (row.key, "lr"): lr}
    for file in pairs.files(rows):
        path = tmp_path / file.path
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), values[file.key, file.port][..., ::-1])
    for relative, data in pairs.side_files(rows).items():
        (tmp_path / relative).write_bytes(data)
    loaded = load_all_pairs(tmp_path, 4)
    assert [pair.stem for pair in loaded] == sorted(row.stem for row in rows)
    for pair in loaded:
        assert np.array_equal(pair.hr, values[f"photos/{pair.stem}", "hr"])


@pytest.mark.parametrize("given", [{"scale": 0}, {"path": ""}, {"min_correlation": 1.5}, {"trainers": ["mine"]}])
def test_parameters_out_of_range_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        _pairs(**given)
    assert caught.value.errors()[0]["loc"][0] == next(iter(given))
