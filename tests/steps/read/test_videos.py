"""Videos found by their names, described by their headers, refused by name where they are none."""

from __future__ import annotations

import wave
import zipfile
from pathlib import Path

import pytest

from forge_pipeline.errors import CommandError, DataError
from forge_pipeline.files import SourceFile
from forge_pipeline.sample import Location
from forge_pipeline.step import Child, Context
from forge_steps.read.videos import Videos, VideosParams
from tests.steps.video.clips import LOSSLESS, numbered, source_file, write_video


def videos(path: str | list[str] = "x", **parameters: list[str]) -> Videos:
    return Videos(VideosParams(path=path, **parameters))


def silence(path: Path) -> Path:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    return path


def test_a_folder_is_searched_for_video_suffixes_in_any_case(tmp_path: Path) -> None:
    for name in ("b.MP4", "a.mkv", "sub/c.webm", "note.txt", "photo.jpg", ".hidden.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert sorted(entry.name for entry in videos(".").entries(tmp_path)) == ["a.mkv", "b.MP4", "sub/c.webm"]
    chosen = videos(".", include=["*.mkv", "*.webm"], exclude=["sub/**"])
    assert [entry.name for entry in chosen.entries(tmp_path)] == ["a.mkv"]


def test_a_path_that_is_not_there_is_the_commands_fault(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        list(videos("clips").entries(tmp_path))
    assert caught.value.message == (
        "read.videos: path 'clips' is not there, expected a file, a folder, a glob or an archive"
    )


def test_the_header_is_told_in_facts(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", map(numbered, range(20)), "libx264", "yuv420p", options=LOSSLESS, degrees=90)
    assert videos().facts(source_file(path)) == {
        "source.bytes": path.stat().st_size,
        "source.container": "mov,mp4,m4a,3gp,3g2,mj2",
        "source.codec": "h264",
        "source.width": 128,
        "source.height": 32,
        "source.fps": 10.0,
        "source.fps_text": "10",
        "source.time_base": "1/10240",
        "source.duration_s": 2.0,
        "source.frames": 20,
        "source.pix_fmt": "yuv420p",
        "source.interlaced": False,
        "source.rotation": 270,
    }


def test_a_cut_file_says_how_much_it_lacks(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", map(numbered, range(20)))
    path.write_bytes(path.read_bytes()[:-500])
    facts = videos().facts(source_file(path))
    assert facts["source.missing_bytes"] == 500
    assert facts["source.codec"] == "ffv1"


def test_an_unreadable_header_gives_fewer_facts_and_no_error(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(b"no video at all")
    assert videos().facts(source_file(path)) == {"source.bytes": 15}


def test_a_video_is_passed_on_as_the_file_it_is(tmp_path: Path) -> None:
    file = source_file(write_video(tmp_path / "v.mkv", map(numbered, range(3))))
    assert list(videos().load(file, Context())) == [Child(file)]


def test_a_member_of_a_zip_is_found_described_and_passed_on(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", map(numbered, range(3)))
    with zipfile.ZipFile(tmp_path / "videos.zip", "w") as archive:
        archive.write(path, "inside/v.mkv")
    (entry,) = videos("videos.zip").entries(tmp_path)
    assert entry.name == "inside/v.mkv"
    file = SourceFile(entry.name, "0" * 40, entry.location)
    assert videos().facts(file)["source.codec"] == "ffv1"
    assert list(videos().load(file, Context())) == [Child(file)]


def test_a_file_with_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mkv"
    with av.open(str(silence(tmp_path / "s.wav"))) as sound, av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        for frame in sound.decode(audio=0):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(DataError) as caught:
        list(videos().load(source_file(path), Context()))
    assert caught.value.reason == "not_a_video"
    assert caught.value.message == "found no video stream, only audio"


@pytest.mark.parametrize("data", [b"", b"just text, named as a video"])
def test_a_file_that_cannot_be_opened_is_no_video(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(videos().load(source_file(path), Context()))
    assert caught.value.reason == "not_a_video"
    assert caught.value.message == "cannot be opened as a video: invalid data found when processing input"


def test_a_cut_mp4_without_its_index_says_what_it_lacks(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", map(numbered, range(60)), "libx264", "yuv420p", options={"qp": "5"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 100])
    with pytest.raises(DataError) as caught:
        list(videos().load(source_file(path), Context()))
    assert caught.value.reason == "not_a_video"
    assert caught.value.message.startswith(
        "cannot be opened as a video: invalid data found when processing input (the file lacks "
    )


def test_a_file_that_is_gone_is_the_machines_fault_not_the_datas(tmp_path: Path) -> None:
    file = SourceFile("gone.mp4", "0" * 40, Location(str(tmp_path / "gone.mp4")))
    with pytest.raises(OSError, match="No such file"):
        list(videos().load(file, Context()))
