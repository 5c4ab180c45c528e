"""Frames of videos whose every frame is known: which are kept, what they look like, what is recorded."""

from __future__ import annotations

import gc
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from pydantic import ValidationError

from forge_pipeline.errors import DataError, Reject
from forge_pipeline.files import SourceFile
from forge_pipeline.sample import Location
from forge_pipeline.step import Child, Context, Partial
from forge_steps.video.frames import Frames, FramesParams
from tests.steps.video.clips import (
    LOSSLESS,
    flat,
    kept,
    numbered,
    read_number,
    source_file,
    take,
    write_planes,
    write_video,
)


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 distinct frames at 10 fps, H.264 without loss, a key frame every 12, with B frames."""
    path = tmp_path_factory.mktemp("clips") / "hundred.mp4"
    return write_video(path, map(numbered, range(120)), "libx264", "yuv420p", options={"qp": "0", "bf": "2"})


def values(result: list[Child | Partial]) -> list[Any]:
    return [child.value for child in result if isinstance(child, Child)]


# --- selectors ------------------------------------------------------------------------------------


def test_every_frame_of_n_distinct_ones_is_kept_frame_0_included_and_names_sort_as_time(hundred: Path) -> None:
    result = take(hundred, select="every_n", every_n=1)
    assert [read_number(value) for value in values(result)] == list(range(120))
    suffixes = [child.suffix for child in result if isinstance(child, Child)]
    assert suffixes == sorted(suffixes)
    assert suffixes[0] == "00000000"
    assert suffixes[-1] == "00000119"


def test_every_n_counts_from_the_first_frame_considered(hundred: Path) -> None:
    assert kept(hundred, select="every_n", every_n=50) == [0, 50, 100]
    assert kept(hundred, select="every_n", every_n=50, start_s=1.0) == [10, 60, 110]


def test_fps_takes_the_first_frame_of_each_slot(hundred: Path) -> None:
    assert kept(hundred, select="fps", fps=0.5) == [0, 20, 40, 60, 80, 100]
    assert kept(hundred, select="fps", fps=4, end_s=1.0) == [0, 3, 5, 8]
    assert kept(hundred, select="fps", fps=1000) == list(range(120))


def test_fps_keeps_every_frame_where_the_container_rounds_to_milliseconds(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", map(numbered, range(40)), rate=30)
    assert kept(path, select="fps", fps=30) == list(range(40))


def test_diff_compares_with_the_last_kept_frame_so_that_a_slow_change_is_seen(tmp_path: Path) -> None:
    path = write_video(tmp_path / "ramp.mkv", [flat(0.2 + index * 5 / 255) for index in range(21)])
    assert kept(path, select="diff", min_difference=0.09) == [0, 5, 10, 15, 20]
    result = take(path, select="diff", min_difference=0.09)
    assert result[0].fields.get("difference") is None  # type: ignore[union-attr]
    assert result[1].fields["difference"] == 25 / 255  # type: ignore[union-attr]


def test_diff_keeps_a_again_after_b(tmp_path: Path) -> None:
    pictures = [flat(level) for level in (0.3, 0.3, 0.7, 0.7, 0.3, 0.3)]
    assert kept(write_video(tmp_path / "aba.mkv", pictures), select="diff", min_difference=0.1) == [0, 2, 4]


def test_scene_takes_the_first_frame_of_each_shot(tmp_path: Path) -> None:
    pictures = [flat(level) for level in (0.3, 0.32, 0.34, 0.7, 0.72, 0.74, 0.2, 0.22)]
    result = take(write_video(tmp_path / "cuts.mkv", pictures), select="scene", scene_threshold=0.2)
    assert [child.fields["frame"] for child in result if isinstance(child, Child)] == [0, 3, 6]
    assert result[1].fields["scene_score"] == pytest.approx(0.36 - 0.02, abs=0.01)  # type: ignore[union-attr]


def test_scene_takes_no_frame_of_a_steady_fast_change(tmp_path: Path) -> None:
    pictures = [flat(0.1 + 0.1 * index) for index in range(9)]
    assert kept(write_video(tmp_path / "fade.mkv", pictures), select="scene", scene_threshold=0.12) == [0]


def test_scene_waits_for_the_first_frame_that_is_not_black(tmp_path: Path) -> None:
    pictures = [flat(level) for level in (0.5, 0.5, 0.0, 0.0, 0.6, 0.6)]
    path = write_video(tmp_path / "dip.mkv", pictures)
    assert kept(path, select="scene") == [0, 4]
    assert kept(path, select="scene", black="keep") == [0, 2, 4]


def test_iframes_are_the_key_frames_with_the_places_that_full_decoding_gives(hundred: Path) -> None:
    result = take(hundred, select="iframes")
    places = [child.fields["frame"] for child in result if isinstance(child, Child)]
    assert places == list(range(0, 120, 12))
    assert [read_number(value) for value in values(result)] == places


def test_iframes_of_a_codec_that_cannot_skip_are_its_key_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", map(numbered, range(30)), key_every=10)
    assert kept(path, select="iframes") == [0, 10, 20]


def test_iframes_count_where_a_container_has_no_pts(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", map(numbered, range(30)), "mpeg4", "yuv420p", key_every=10)
    assert kept(path, select="iframes") == [0, 10, 20]


# --- gaps, caps, ranges, black --------------------------------------------------------------------


def test_gaps_hold_between_kept_frames(tmp_path: Path) -> None:
    changing = write_video(tmp_path / "a.mkv", [flat(0.3 + 0.4 * (index % 2)) for index in range(40)])
    assert kept(changing, select="diff", min_gap_s=1.0) == [0, 11, 22, 33]
    still = write_video(tmp_path / "b.mkv", [flat(0.5)] * 40)
    assert kept(still, select="diff") == [0]
    assert kept(still, select="diff", max_gap_s=1.5) == [0, 15, 30]


def test_a_cap_spreads_evenly_over_the_chosen_frames_first_and_last_included(hundred: Path) -> None:
    assert kept(hundred, select="every_n", every_n=10, max_frames=3) == [0, 50, 110]
    assert kept(hundred, select="every_n", every_n=10, max_frames=1) == [0]
    assert kept(hundred, select="every_n", every_n=10, max_frames=99) == list(range(0, 120, 10))
    capped = values(take(hundred, select="every_n", every_n=10, max_frames=3))
    assert [read_number(value) for value in capped] == [0, 50, 110]


def test_seconds_bound_what_is_considered(hundred: Path) -> None:
    assert kept(hundred, select="every_n", every_n=1, start_s=0.5, end_s=0.8) == [5, 6, 7]


def test_black_frames_are_dropped_or_kept(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", [flat(level) for level in (0.0, 0.05, 0.5, 0.08, 0.9)])
    assert kept(path, select="every_n", every_n=1) == [2, 4]
    assert kept(path, select="every_n", every_n=1, black_luma=0.06) == [2, 3, 4]
    assert kept(path, select="every_n", every_n=1, black="keep") == [0, 1, 2, 3, 4]
    assert kept(path, select="diff", min_difference=0.3) == [2, 4]


def test_black_is_a_share_of_the_frame(tmp_path: Path) -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:10] = 200
    path = write_video(tmp_path / "v.mkv", [picture])
    assert kept(path, black_share=0.95) == [0]
    with pytest.raises(Reject) as caught:
        kept(path, black_share=0.9)
    assert (caught.value.reason, caught.value.values) == ("nothing_selected", {"frames": 1})


# --- what a frame looks like ----------------------------------------------------------------------


def test_times_are_those_of_the_file_where_the_rate_varies(tmp_path: Path) -> None:
    path = write_video(tmp_path / "vfr.mkv", map(numbered, range(5)), pts=[0, 1, 5, 6, 20])
    result = take(path, select="every_n", every_n=1)
    assert [child.fields["time_s"] for child in result] == [0.0, 0.1, 0.5, 0.6, 2.0]  # type: ignore[union-attr]
    assert [child.fields["pts"] for child in result] == [0, 100, 500, 600, 2000]  # type: ignore[union-attr]
    assert kept(path, select="fps", fps=2) == [0, 2, 4]


def test_times_start_at_the_first_frame_of_a_transport_stream(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.ts", map(numbered, range(20)), "libx264", "yuv420p", options=LOSSLESS)
    result = take(path, select="every_n", every_n=10)
    assert [child.fields["time_s"] for child in result] == [0.0, 1.0]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("degrees", "mirrored", "quarter_turns"), [(90, False, 1), (180, False, 2), (270, False, 3), (0, True, 0)]
)
def test_the_display_matrix_is_applied(tmp_path: Path, degrees: int, mirrored: bool, quarter_turns: int) -> None:
    picture = numbered(0b10110)
    video = {"codec": "libx264", "pix_fmt": "yuv420p", "options": LOSSLESS}
    plain = values(take(write_video(tmp_path / "plain.mp4", [picture], **video)))[0]
    turned = write_video(tmp_path / "turned.mp4", [picture], **video, degrees=degrees, mirrored=mirrored)
    result = take(turned)
    expected = plain[:, ::-1] if mirrored else np.rot90(plain, quarter_turns)
    assert np.array_equal(values(result)[0], expected)
    assert result[0].fields["rotation"] == -degrees % 360  # type: ignore[union-attr]
    assert result[0].fields.get("mirrored", False) is mirrored  # type: ignore[union-attr]


def test_a_rotation_that_is_no_quarter_turn_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [numbered(1)], "libx264", "yuv420p", options=LOSSLESS, degrees=30)
    with pytest.raises(DataError) as caught:
        take(path)
    assert caught.value.reason == "unsupported_rotation"
    assert caught.value.message == "found a rotation by -30 degrees, expected 0, 90, 180 or 270"


_MATRICES = {"bt709": (1, 0.2126, 0.0722), "smpte170m": (6, 0.299, 0.114), "bt2020nc": (9, 0.2627, 0.0593)}


@pytest.mark.parametrize("colour_range", ["limited", "full"])
@pytest.mark.parametrize("matrix", list(_MATRICES))
def test_the_matrix_and_range_of_the_file_are_used_and_recorded(tmp_path: Path, matrix: str, colour_range: str) -> None:
    code, red, blue = _MATRICES[matrix]
    luma, cb, cr = 120, 90, 160
    planes = [np.full((48, 64), luma, np.uint8), np.full((24, 32), cb, np.uint8), np.full((24, 32), cr, np.uint8)]
    path = write_planes(
        tmp_path / "v.mkv", planes, "yuv420p", matrix=code, colour_range=2 if colour_range == "full" else 1
    )
    child = take(path)[0]
    assert isinstance(child, Child)
    y = luma / 255 if colour_range == "full" else (luma - 16) / 219
    b, r = ((value - 128) / (255 if colour_range == "full" else 224) for value in (cb, cr))
    expected = [
        y + 2 * (1 - red) * r,
        y - (2 * blue * (1 - blue) * b + 2 * red * (1 - red) * r) / (1 - red - blue),
        y + 2 * (1 - blue) * b,
    ]
    assert np.array_equal(child.value[20, 30], [round(255 * min(max(value, 0), 1)) for value in expected])
    assert (child.fields["matrix"], child.fields["range"]) == (matrix, colour_range)
    assert "assumed" not in child.fields


@pytest.mark.parametrize(("height", "matrix"), [(576, "smpte170m"), (578, "bt709")])
def test_an_unstated_matrix_follows_the_size_and_is_recorded_as_assumed(
    tmp_path: Path, height: int, matrix: str
) -> None:
    planes = [np.full((height, 64), 99, np.uint8), *[np.full((height // 2, 32), 128, np.uint8)] * 2]
    child = take(write_planes(tmp_path / "v.mkv", planes, "yuv420p"))[0]
    assert isinstance(child, Child)
    assert (child.fields["matrix"], child.fields["range"]) == (matrix, "limited")
    assert child.fields["assumed"] == ["matrix", "range"]


@pytest.mark.parametrize(("code", "name"), [(16, "smpte2084 (PQ"), (18, "arib-std-b67 (HLG")])
def test_high_dynamic_range_is_refused_by_name(tmp_path: Path, code: int, name: str) -> None:
    planes = [np.full((48, 64), 99, np.uint8), *[np.full((24, 32), 128, np.uint8)] * 2]
    path = write_planes(tmp_path / "v.mkv", planes, "yuv420p", matrix=9, colour_range=1, transfer=code)
    with pytest.raises(DataError) as caught:
        take(path)
    assert caught.value.reason == "hdr_transfer"
    assert caught.value.message == (f"transfer {name}, high dynamic range) is not supported, expected a video in SDR")


def test_alpha_is_refused_by_name(tmp_path: Path) -> None:
    planes = [np.full((48, 64), 99, np.uint8), *[np.full((48, 64), 128, np.uint8)] * 3]
    with pytest.raises(DataError) as caught:
        take(write_planes(tmp_path / "v.mkv", planes, "yuva444p"))
    assert caught.value.reason == "unsupported_mode"
    assert caught.value.message == (
        "pixel format yuva444p is not supported, expected planar YUV (4:4:4, 4:4:0, 4:2:2, 4:2:0, 4:1:1), gray or RGB "
        "without alpha"
    )


def test_ten_bits_become_16_or_8_with_one_rounding(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(64, 64 + 877, dtype=np.uint16), (16, 1))[:, :876]
    planes = [ramp, *[np.full((16, 876), 512, np.uint16)] * 2]
    path = write_planes(tmp_path / "v.mkv", planes, "yuv444p10le", matrix=1, colour_range=1)
    exact = (ramp[0].astype(np.float64) - 64) / 876
    deep, rounded = values(take(path))[0], values(take(path, depth="to8"))[0]
    assert (deep.dtype, rounded.dtype) == (np.uint16, np.uint8)
    assert np.abs(deep[3, :, 1] - exact * 65535).max() < 0.51
    assert np.abs(rounded[3, :, 1] - exact * 255).max() < 0.501


def test_gray_is_repeated_or_kept_and_planar_rgb_is_copied(tmp_path: Path) -> None:
    gray = np.arange(64 * 48, dtype=np.uint32).reshape(48, 64).astype(np.uint8)
    path = write_planes(tmp_path / "g.mkv", [gray], "gray")
    assert np.array_equal(values(take(path, gray="keep"))[0], gray[:, :, None])
    assert np.array_equal(values(take(path))[0], np.repeat(gray[:, :, None], 3, axis=2))
    planes = [np.full((48, 64), level, np.uint16) for level in (512, 0, 1023)]  # G, B, R
    image = values(take(write_planes(tmp_path / "p.mkv", planes, "gbrp10le")))[0]
    assert image[5, 5].tolist() == [65535, round(512 / 1023 * 65535), 0]


def test_interlaced_frames_are_recorded(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme"}
    path = tmp_path / "v.mpg"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg2video", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(flat(0.5, (128, 64)), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    child = take(path)[0]
    assert isinstance(child, Child)
    assert child.fields["interlaced"] is True


# --- files that are not whole ---------------------------------------------------------------------


def cut(path: Path, share: float, name: str) -> Path:
    data = path.read_bytes()
    target = path.with_name(name)
    target.write_bytes(data[: int(len(data) * share)])
    return target


def damaged(path: Path, frame: int) -> Path:
    """Fill the inside of one packet with zeros."""
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size]
    start, end = positions[frame], positions[frame + 1]
    assert start is not None
    assert end is not None
    data = bytearray(path.read_bytes())
    data[start + 12 : end - 2] = bytes(end - start - 14)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", ["mkv", "avi", "mp4"])
def test_a_truncated_video_gives_the_frames_that_decode_and_then_says_so(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    index_first = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = write_video(
        tmp_path / f"v.{suffix}", map(numbered, range(60)), codec, "yuv420p", container_options=index_first
    )
    whole = values(take(path, select="every_n", every_n=1))
    result = take(cut(path, 0.8, f"cut.{suffix}"), select="every_n", every_n=1)
    frames = values(result)
    numbers = [read_number(frame) for frame in frames]
    assert 10 < len(frames) < 60
    assert numbers == sorted(set(numbers))
    assert numbers[:10] == list(range(10))
    assert all(np.array_equal(frame, whole[number]) for frame, number in zip(frames, numbers, strict=True))
    last = result[-1]
    assert isinstance(last, Partial)
    assert last.reason == "truncated"
    assert last.values["frames"] == len(frames)
    assert last.values["missing_bytes"] > 0


def test_a_cap_on_a_truncated_video_still_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", map(numbered, range(60)))
    result = take(cut(path, 0.5, "cut.mkv"), select="every_n", every_n=1, max_frames=2)
    assert [type(item) for item in result] == [Child, Child, Partial]


def test_damage_inside_is_skipped_up_to_the_next_key_frame(tmp_path: Path) -> None:
    path = damaged(write_video(tmp_path / "v.avi", map(numbered, range(60)), "mpeg4", "yuv420p", key_every=10), 23)
    result = take(path, select="every_n", every_n=1)
    numbers = [read_number(value) for value in values(result)]
    assert set(range(23)) | set(range(30, 60)) <= set(numbers)
    assert not {24, 25, 26, 27, 28, 29} & set(numbers)
    assert isinstance(result[-1], Partial)
    assert (result[-1].reason, result[-1].values["gaps"]) == ("damaged", 1)


def test_a_video_of_which_nothing_decodes_is_an_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", map(numbered, range(20)))
    with av.open(str(path)) as container:
        first = next(packet.pos for packet in container.demux(video=0))
    assert first is not None
    data = path.read_bytes()
    path.write_bytes(data[: first + 3])
    with pytest.raises(DataError) as caught:
        take(path)
    assert caught.value.reason == "nothing_decodes"
    lacking = len(data) - first - 3
    assert caught.value.message == f"found no frame that decodes, the file lacks {lacking} bytes"


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
@pytest.mark.parametrize("share", [1.0, 0.85, 0.75])
def test_decoder_threads_change_nothing(tmp_path: Path, share: float, suffix: str) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    path = write_video(tmp_path / f"v.{suffix}", map(numbered, range(60)), codec, "yuv420p")
    path = cut(path, share, f"cut.{suffix}")
    one, four = (take(path, select="every_n", every_n=1, threads=threads) for threads in (1, 4))
    assert [(type(a), getattr(a, "fields", a)) for a in one] == [(type(b), getattr(b, "fields", b)) for b in four]
    assert all(np.array_equal(a, b) for a, b in zip(values(one), values(four), strict=True))


def test_damage_met_by_many_threads_is_decoded_again_by_one(tmp_path: Path) -> None:
    path = damaged(write_video(tmp_path / "v.avi", map(numbered, range(60)), "mpeg4", "yuv420p", key_every=10), 23)
    one, four = (take(path, select="every_n", every_n=1, threads=threads) for threads in (1, 4))
    assert one[-1] == four[-1]
    assert [a.fields for a in one[:-1]] == [b.fields for b in four[:-1]]  # type: ignore[union-attr]
    assert all(np.array_equal(a, b) for a, b in zip(values(one), values(four), strict=True))


# --- files and parameters -------------------------------------------------------------------------


def test_a_member_of_a_zip_is_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", map(numbered, range(3)))
    with zipfile.ZipFile(tmp_path / "videos.zip", "w") as archive:
        archive.write(path, "inside/v.mkv")
    file = SourceFile("inside/v.mkv", "0" * 40, Location(str(tmp_path / "videos.zip"), "inside/v.mkv"))
    result = list(Frames(FramesParams(select="every_n", every_n=1)).apply(file, Context()))
    assert [read_number(value) for value in values(result)] == [0, 1, 2]


def test_a_playlist_named_as_a_video_opens_no_other_file(tmp_path: Path) -> None:
    write_video(tmp_path / "real.ts", [numbered(1)] * 3, "libx264", "yuv420p", options=LOSSLESS)
    playlist = tmp_path / "list.ts"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nreal.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(DataError) as caught:
        take(playlist)
    assert caught.value.reason == "not_a_video"


def test_the_frame_is_an_operator_that_stops_where_its_reader_stops(hundred: Path) -> None:
    children = Frames(FramesParams(select="every_n", every_n=1)).apply(source_file(hundred), Context())
    first = next(children)
    assert isinstance(first, Child)
    assert read_number(first.value) == 0
    children.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("parameters", "name", "message"),
    [
        ({"select": "diff", "every_n": 5}, "every_n", "belongs to select: every_n, found select: diff"),
        ({"select": "fps"}, "fps", "is required with select: fps"),
        ({"select": "every_n"}, "every_n", "is required with select: every_n"),
        ({"select": "scene", "min_difference": 0.1}, "min_difference", "belongs to select: diff, found select: scene"),
        (
            {"select": "iframes", "max_gap_s": 1},
            "max_gap_s",
            "belongs to select: diff | scene, found select: iframes",
        ),
        ({"black": "keep", "black_luma": 0.2}, "black_luma", "belongs to black: drop, found black: keep"),
        ({"min_gap_s": 5, "max_gap_s": 2}, "max_gap_s", "found 2, expected at least min_gap_s, 5"),
        ({"start_s": 5, "end_s": 5}, "end_s", "found 5, expected more than start_s, 5"),
    ],
)
def test_a_parameter_that_would_do_nothing_is_an_error(parameters: dict[str, Any], name: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FramesParams(**parameters)
    (problem,) = caught.value.errors()
    assert problem["loc"] == (name,)
    assert problem["msg"] == f"Value error, {message}"


def test_parameters_survive_their_own_json_and_fill_in_what_the_selector_needs() -> None:
    params = FramesParams()
    assert (params.min_difference, params.scene_threshold, params.black_luma) == (0.04, None, 0.1)
    assert FramesParams.model_validate(params.model_dump(mode="json")) == params
    assert FramesParams(select="scene", black="keep").scene_threshold == 0.1


# --- memory ---------------------------------------------------------------------------------------


def test_no_decoded_frame_outlives_its_turn(hundred: Path) -> None:
    operator = Frames(FramesParams(select="every_n", every_n=1))
    gc.collect()
    gc.disable()  # what only it would free stays
    try:
        made = sum(isinstance(item, Child) for item in operator.apply(source_file(hundred), Context()))
        left = [item for item in gc.get_objects() if isinstance(item, av.VideoFrame)]
    finally:
        gc.enable()
    assert (made, left) == (120, [])
