"""`augment.deterministic` on pixels whose right answer is known."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from forge_pipeline.errors import DataError, Reject
from forge_pipeline.step import Child, Context, Partial
from forge_steps.augment._render import DIHEDRAL, Tone, Warp, lay, render, sine_cosine, valid_size
from forge_steps.augment.deterministic import Deterministic, DeterministicParams, replay
from forge_steps.augment.dpa import PRESETS, parameters

Image = npt.NDArray[Any]

CONTENT = Context(draw_key=b"seed, salt and one picture")


def _image(height: int, width: int, channels: int, dtype: str = "uint8", seed: int = 0) -> Image:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, channels))
    image = {"uint8": levels, "uint16": levels * 257, "float32": levels / 255}[dtype].astype(dtype)
    image.flags.writeable = False
    return image


def _variants(image: Image, context: Context = CONTENT, **given: Any) -> list[Child]:
    made = list(Deterministic(DeterministicParams(**given)).apply(image, context))
    assert all(isinstance(child, Child) for child in made)
    return made  # type: ignore[return-value]


def _same(one: list[Child], other: list[Child]) -> bool:
    return [(a.suffix, dict(a.fields), a.value.tobytes()) for a in one] == [
        (b.suffix, dict(b.fields), b.value.tobytes()) for b in other
    ]


# --- geometry without loss ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_nothing_asked_leaves_identical_pixels(dtype: str, channels: int) -> None:
    image = _image(7, 5, channels, dtype)
    (child,) = _variants(image, geometry="none")
    assert child.value is image
    assert (child.suffix, child.fields) == ("v0", {"variant": 0, "geometry": "identity"})


def test_each_dihedral_element_puts_the_corners_where_its_name_says() -> None:
    image = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[..., None]
    laid = {name: lay(image, name)[..., 0].tolist() for name in DIHEDRAL}
    assert laid == {
        "identity": [[1, 2, 3], [4, 5, 6]],
        "rot90": [[3, 6], [2, 5], [1, 4]],
        "rot180": [[6, 5, 4], [3, 2, 1]],
        "rot270": [[4, 1], [5, 2], [6, 3]],
        "flip": [[3, 2, 1], [6, 5, 4]],
        "rot90_flip": [[6, 3], [5, 2], [4, 1]],
        "rot180_flip": [[4, 5, 6], [1, 2, 3]],
        "rot270_flip": [[1, 4], [2, 5], [3, 6]],
    }


def test_eight_dihedral_variants_are_all_different() -> None:
    made = _variants(_image(6, 6, 3), variants=8)
    assert sorted(child.fields["geometry"] for child in made) == sorted(DIHEDRAL)
    assert len({child.value.tobytes() for child in made}) == 8


def test_dihedral_values_are_contiguous_and_of_the_input_dtype() -> None:
    for child in _variants(_image(6, 4, 3, "uint16"), variants=8):
        assert child.value.flags.c_contiguous and child.value.dtype == np.uint16


def test_variant_0_is_the_sample_itself_with_keep_original() -> None:
    image = _image(6, 6, 3)
    made = _variants(image, variants=8, keep_original=True)
    assert made[0].value is image
    assert sorted(child.fields["geometry"] for child in made[1:]) == sorted(DIHEDRAL[1:])


def test_elements_are_drawn_evenly() -> None:
    image = _image(2, 2, 1)
    contexts = [Context(draw_key=f"picture {n}".encode()) for n in range(1600)]
    for variant in (0, 5):
        drawn = [_variants(image, context, variants=6)[variant].fields["geometry"] for context in contexts]
        counts = [drawn.count(name) for name in DIHEDRAL]
        # Chi-square with 7 degrees of freedom: above 24.3 once in a thousand; the draws are fixed, so is the verdict.
        assert sum((count - 200) ** 2 / 200 for count in counts) < 24.3


# --- draws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"geometry": "dihedral"},
        {"geometry": "dihedral", "preset": "mild"},
        {"geometry": "free", "preset": "aggressive"},
        {"geometry": "none", "preset": "moderate", "seeding": "dpa"},
    ],
)
def test_adding_variants_shifts_no_other(given: dict[str, Any]) -> None:
    image = _image(40, 40, 3)
    context = Context({"sample.index": 11}, CONTENT.draw_key)
    assert _same(_variants(image, context, variants=3, **given), _variants(image, context, variants=7, **given)[:3])


def test_equal_content_gives_equal_variants_and_other_content_others() -> None:
    image = _image(30, 30, 3)
    again = _variants(image, variants=2, preset="mild")
    assert _same(_variants(image, variants=2, preset="mild"), again)
    assert not _same(_variants(image, Context(draw_key=b"another picture"), variants=2, preset="mild"), again)


def test_seeding_by_key_adds_the_sample_key() -> None:
    image = _image(30, 30, 3)
    operator = Deterministic(DeterministicParams(seeding="key"))
    assert operator.fields_read() == {"sample.key"}
    made = [
        _variants(image, Context({"sample.key": key}, CONTENT.draw_key), seeding="key", preset="mild")
        for key in ("photos/a.png", "photos/a.png", "photos/b.png")
    ]
    assert _same(made[0], made[1]) and not _same(made[0], made[2])


def test_values_lie_in_the_ranges_of_the_preset() -> None:
    image = _image(16, 16, 1)
    for child in _variants(image, variants=300, geometry="free", preset="mild"):
        ranges = PRESETS["mild"]._asdict()
        for field, name in {"rotation_deg": "rotation"}.items() | {(n, n) for n in ranges if n != "rotation"}:
            low, high = ranges[name]
            assert low <= child.fields[field] < high


# --- DPA ------------------------------------------------------------------------------------------


def test_dpa_values_are_the_librarys_to_the_bit() -> None:
    context = Context({"sample.index": 42}, CONTENT.draw_key)
    (child,) = _variants(_image(64, 64, 3), context, geometry="free", preset="moderate", seeding="dpa")
    fields = child.fields
    assert fields["rotation_deg"] == -14.343283834559362
    assert fields["brightness"] == 1.1234332800525797
    assert fields["noise"] == 0.0055291633490987535
    assert fields["scale"] == 0.8296182195643418
    assert fields["contrast"] == 0.9726009373537083
    assert (fields["dpa_id"], fields["dpa_hash"][:8]) == (42, "3c8f5890")


def test_a_dpa_variant_takes_the_parameters_of_its_own_id() -> None:
    context = Context({"sample.index": 5}, CONTENT.draw_key)
    made = _variants(_image(64, 64, 3), context, variants=3, geometry="none", preset="mild", seeding="dpa")
    for variant, child in enumerate(made):
        expected = parameters("mild", 10, 5 + variant * 2**32)
        assert (child.fields["brightness"], child.fields["dpa_hash"]) == (expected["brightness"], expected["hash"])


def test_dpa_hangs_on_the_id_alone() -> None:
    image = _image(24, 24, 3)
    given = {"variants": 2, "preset": "mild", "seeding": "dpa"}
    one = _variants(image, Context({"sample.index": 5}, b"one seed"), **given)
    assert _same(one, _variants(image, Context({"sample.index": 5}, b"other seed"), **given))
    assert not _same(one, _variants(image, Context({"sample.index": 6}, b"one seed"), **given))


def test_dpa_rank_mode_reaches_the_chain() -> None:
    context = Context({"number": 42}, CONTENT.draw_key)
    (child,) = _variants(
        _image(9, 9, 1), context, geometry="none", preset="mild", seeding="dpa", id_from="number", rank=1
    )
    assert child.fields["dpa_hash"] == "95b21c992eb23cc0a2bfff154e7b1e85b1c2e2e970bdf611311d4225f0767f91"


def test_the_id_field_is_declared_as_read() -> None:
    assert Deterministic(DeterministicParams(seeding="dpa")).fields_read() == {"sample.index"}
    assert Deterministic(DeterministicParams(seeding="dpa", id_from="frame.index")).fields_read() == {"frame.index"}
    assert Deterministic(DeterministicParams()).fields_read() == frozenset()


@pytest.mark.parametrize(
    ("found", "variants", "message"),
    [
        (None, 1, "field 'n' is missing, expected an integer as DPA id\n  hint: set `id_from: index`"),
        ("7", 1, "field 'n' is '7', expected an integer as DPA id\n  hint: set `id_from: index`"),
        (True, 1, "field 'n' is True, expected an integer as DPA id\n  hint: set `id_from: index`"),
        (-1, 1, "field 'n' is -1, expected 0 or more as DPA id\n  hint: set `id_from: index`"),
        (
            2**32,
            2,
            "field 'n' is 4294967296, expected below 2**32 where there are variants as DPA id\n"
            "  hint: set `id_from: index`",
        ),
    ],
)
def test_a_field_that_is_no_id_is_a_data_error(found: object, variants: int, message: str) -> None:
    with pytest.raises(DataError) as caught:
        _variants(_image(4, 4, 1), Context({"n": found}, b"x"), variants=variants, seeding="dpa", id_from="n")
    assert (str(caught.value), caught.value.reason) == (message, "no_integer_id")


# --- pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "peak"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_brightness_then_contrast_follow_their_formulas(dtype: str, peak: int) -> None:
    image = _image(20, 70, 3, dtype)
    made = render(image, None, Tone(1.25, 0.8, 0.0, 0))
    exact = np.clip((image.astype(np.float64) / peak * 1.25 - 0.5) * 0.8 + 0.5, 0, 1) * peak
    expected = exact.astype(np.float32) if dtype == "float32" else np.floor(exact + 0.5).astype(dtype)
    assert made.dtype == image.dtype
    assert np.array_equal(made, expected)


def test_a_constant_of_127_6_levels_is_rounded_to_128_and_one_above_white_is_clipped() -> None:
    image = np.full((2, 2, 1), 116, np.uint8)
    assert (render(image, None, Tone(1.1, 1.0, 0.0, 0)) == 128).all()  # 116 * 1.1 = 127.6
    assert (render(np.full((2, 2, 1), 250, np.uint8), None, Tone(1.3, 1.0, 0.0, 0)) == 255).all()
    assert (render(np.full((2, 2, 1), 5, np.uint8), None, Tone(1.0, 1.4, 0.0, 0)) == 0).all()


def test_tones_of_one_leave_identical_pixels() -> None:
    for dtype in ("uint8", "uint16"):
        image = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 16, 1)
        assert np.array_equal(render(image, None, Tone(1.0, 1.0, 0.0, 0)), image)


def test_alpha_keeps_its_tones() -> None:
    for channels in (2, 4):
        image = _image(9, 9, channels)
        made = render(image, None, Tone(1.2, 1.3, 0.1, 5))
        assert np.array_equal(made[..., -1], image[..., -1])
        assert not np.array_equal(made[..., 0], image[..., 0])


def test_noise_has_the_stated_mean_and_sigma_and_differs_between_colours() -> None:
    image = np.full((300, 300, 3), 0.5, np.float32)
    noise = render(image, None, Tone(1.0, 1.0, 0.05, 1234)).astype(np.float64) - 0.5
    assert abs(noise.mean()) < 4 * 0.05 / math.sqrt(noise.size)
    assert abs(noise.std() / 0.05 - 1) < 0.01
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(noise[:, 1:, 0].ravel(), noise[:, :-1, 0].ravel())[0, 1]) < 0.02


def test_noise_is_the_centred_sum_of_twelve_16_bit_uniforms() -> None:
    image = np.full((1, 2, 1), 0.5, np.float32)
    raw = np.random.Philox(key=99).random_raw(6)
    words = [[(int(bits) >> shift) & 0xFFFF for bits in raw[at : at + 3] for shift in (0, 16, 32, 48)] for at in (0, 3)]
    expected = [np.float32(0.5 + 0.1 * ((sum(parts) - 12 * 65535 / 2) / 65536)) for parts in words]
    assert render(image, None, Tone(1.0, 1.0, 0.1, 99)).ravel().tolist() == expected


def test_blocks_of_rows_leave_no_seam() -> None:
    tall = render(_image(200, 5, 1), None, Tone(1.0, 1.0, 0.1, 3))
    short = render(np.ascontiguousarray(_image(200, 5, 1)[:130]), None, Tone(1.0, 1.0, 0.1, 3))
    assert np.array_equal(tall[:130], short)


# --- rotation and scale ---------------------------------------------------------------------------


def test_sine_and_cosine_agree_with_the_c_library() -> None:
    for degrees in range(-90, 91):
        exact = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        assert sine_cosine(degrees) == pytest.approx(exact, abs=1e-15)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_quarter_turn_through_the_kernel_is_exact(channels: int) -> None:
    image = _image(40, 40, channels)
    size = valid_size(40, 40, 90.0, 1.0, 1)
    assert size == (38, 38)
    assert np.array_equal(render(image, Warp(90.0, 1.0, *size), None), np.rot90(image)[1:-1, 1:-1])


def test_a_positive_angle_turns_counter_clockwise() -> None:
    image = np.zeros((81, 81, 1), np.uint8)
    image[38:43, 60:65] = 255  # a spot right of the centre
    made = render(image, Warp(45.0, 1.0, *valid_size(81, 81, 45.0, 1.0, 1)), None)
    rows, columns = np.nonzero(made[..., 0] > 128)
    assert rows.mean() < (made.shape[0] - 1) / 2 and columns.mean() > (made.shape[1] - 1) / 2


def test_a_plane_is_resampled_to_the_plane() -> None:
    down, right = np.mgrid[0:90, 0:100]
    plane = (0.2 + 0.003 * right + 0.004 * down)[..., None].astype(np.float32)
    turn, zoom = 20.0, 0.8
    width, height = valid_size(100, 90, turn, zoom, 1)
    made = render(plane, Warp(turn, zoom, width, height), None)[..., 0]
    sine, cosine = math.sin(math.radians(turn)), math.cos(math.radians(turn))
    to_right = np.arange(width) - (width - 1) / 2
    to_down = (np.arange(height) - (height - 1) / 2)[:, None]
    x = (to_right * cosine - to_down * sine) / zoom + 99 / 2
    y = (to_right * sine + to_down * cosine) / zoom + 89 / 2
    # Stretched and normalised, the kernel keeps a plane within its ripple.
    assert np.abs(made - (0.2 + 0.003 * x + 0.004 * y)).max() < 2e-4


def test_magnifying_keeps_the_size_and_a_mere_turn_loses_the_border() -> None:
    assert valid_size(64, 48, 0.0, 1.2, 1) == (64, 48)
    assert valid_size(64, 48, 0.0, 1.0, 1) == (61, 46)


@pytest.mark.parametrize("rotation", [-45.0, -13.7, 0.0, 0.4, 30.0, 45.0])
@pytest.mark.parametrize("zoom", [0.7, 0.93, 1.0, 1.3])
@pytest.mark.parametrize(("width", "height"), [(64, 64), (97, 40), (30, 200)])
def test_the_crop_needs_no_pixel_from_outside_and_is_the_largest(
    rotation: float, zoom: float, width: int, height: int
) -> None:
    made = valid_size(width, height, rotation, zoom, 1)
    radius = 2 * max(1, 1 / zoom)

    def fits(crop_width: float, crop_height: float) -> bool:
        sine, cosine = abs(math.sin(math.radians(rotation))), abs(math.cos(math.radians(rotation)))
        half_x, half_y = (crop_width - 1) / 2, (crop_height - 1) / 2
        reach_x, reach_y = (width + 1) / 2 - radius + 1e-5, (height + 1) / 2 - radius + 1e-5
        return (
            cosine * half_x + sine * half_y <= zoom * reach_x
            and sine * half_x + cosine * half_y <= zoom * reach_y
            and crop_width <= width
            and crop_height <= height
        )

    assert fits(*made)
    share = min((made[0] + 1) / width, (made[1] + 1) / height)
    assert not fits(share * width * 1.001, share * height * 1.001)


def test_the_crop_is_rounded_down_to_the_alignment() -> None:
    assert valid_size(64, 64, 10.0, 1.0, 1) == (53, 53)
    assert valid_size(64, 64, 10.0, 1.0, 4) == (52, 52)
    for child in _variants(_image(64, 64, 3), variants=4, geometry="free", preset="aggressive", align_px=4):
        assert child.value.shape[0] % 4 == 0 and child.value.shape[1] % 4 == 0
        assert [child.value.shape[1], child.value.shape[0]] == child.fields["cropped_px"]


def test_a_constant_stays_constant_at_any_turn_and_scale() -> None:
    image = np.full((50, 50, 3), 173, np.uint8)
    for zoom in (0.7, 1.0, 1.3):
        assert (render(image, Warp(17.0, zoom, *valid_size(50, 50, 17.0, zoom, 1)), None) == 173).all()


def test_hidden_colours_do_not_bleed_from_under_transparent_pixels() -> None:
    image = np.zeros((40, 40, 4), np.uint8)
    image[..., 0] = 255  # red, hidden
    image[10:30, 10:30] = (0, 200, 0, 255)
    made = render(image, Warp(23.0, 0.9, *valid_size(40, 40, 23.0, 0.9, 1)), None)
    visible = made[..., 3] > 1
    assert made[visible][:, 0].max() == 0
    assert (made[made[..., 3] == 255][:, 1] == 200).all()


def test_a_sample_too_small_for_any_variant_is_rejected_with_its_size() -> None:
    with pytest.raises(Reject) as caught:
        _variants(_image(5, 4, 3), variants=2, geometry="free", preset="aggressive", align_px=8)
    assert caught.value.reason == "small"
    assert caught.value.values == {"width": 4, "height": 5, "variants": [0, 1]}


def test_a_variant_that_does_not_fit_is_told_and_the_others_stay() -> None:
    operator = Deterministic(DeterministicParams(variants=40, geometry="free", preset="aggressive", align_px=4))
    *children, last = operator.apply(_image(8, 8, 3), CONTENT)
    assert isinstance(last, Partial) and last.reason == "small"
    missing = [f"v{variant}" for variant in last.values["variants"]]
    assert 0 < len(missing) < 40
    assert sorted([child.suffix for child in children if isinstance(child, Child)] + missing) == sorted(
        f"v{variant}" for variant in range(40)
    )


# --- contract -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_row_alone_renders_the_same_bytes_again(dtype: str, channels: int) -> None:
    image = _image(40, 50, channels, dtype)
    for given in ({"geometry": "free", "preset": "moderate"}, {"preset": "mild"}, {"geometry": "dihedral"}):
        for child in _variants(image, variants=2, **given):
            again = replay(image, child.fields)
            assert (again.dtype, again.shape) == (child.value.dtype, child.value.shape)
            assert again.tobytes() == child.value.tobytes()


def test_the_input_is_not_changed() -> None:
    image = _image(40, 40, 4)
    before = image.tobytes()
    _variants(image, variants=3, geometry="free", preset="aggressive")
    _variants(image, variants=3, preset="aggressive")
    assert image.tobytes() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"geometry": "free"},
            "geometry 'free' takes its ranges from a preset: preset is 'none', expected mild or stronger",
        ),
        (
            {"variants": 9},
            "variants is 9, but geometry 'dihedral' with preset 'none' gives only 8 different images",
        ),
        (
            {"variants": 2, "geometry": "none"},
            "variants is 2, but geometry 'none' with preset 'none' gives only 1 different images",
        ),
        ({"rank": 1}, "rank is 1, but seeding is 'content', expected 'dpa'"),
        ({"seeding": "key", "depth": 3}, "depth is 3, but seeding is 'key', expected 'dpa'"),
        ({"seeding": "dpa", "base_seed": 3}, "base_seed is 3, but rank is not set, expected a rank"),
    ],
)
def test_parameters_that_disagree_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DeterministicParams(**given)
    assert caught.value.errors()[0]["msg"] == f"Value error, {message}"


def test_parameters_survive_being_dumped_and_read_again() -> None:
    params = DeterministicParams(variants=3, preset="mild", keep_original=True)
    assert DeterministicParams.model_validate(params.model_dump(mode="json", by_alias=True)) == params
