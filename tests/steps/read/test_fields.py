"""What readers tell of a file is what they say they tell: a recipe that names another field is refused by that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forge_pipeline.files import SourceFile
from forge_pipeline.sample import Location
from forge_steps.read.images import ReadImages
from forge_steps.read.videos import Videos, VideosParams
from tests.steps.read.image_files import encoded, facts

CLIP = Path(__file__).parents[3] / "recipes/media/panned.mp4"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
def test_images_tell_what_they_say_they_tell(tmp_path: Path, kind: str) -> None:
    told = facts(tmp_path, encoded(np.full((8, 9, 3), 90, np.uint8), kind), f"a.{kind.lower()}")
    assert set(told) == {f"source.{name}" for name in ReadImages.tells}


def test_videos_tell_no_more_than_they_say(tmp_path: Path) -> None:
    declared = {f"source.{name}" for name in Videos.tells}
    videos = Videos(VideosParams(path=str(CLIP)))
    told = set(videos.facts(SourceFile(CLIP.name, "", Location(str(CLIP)))))
    assert {"source.codec", "source.fps", "source.frames"} < told <= declared
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(CLIP.read_bytes()[:1000])
    assert set(videos.facts(SourceFile(cut.name, "", Location(str(cut))))) <= declared
