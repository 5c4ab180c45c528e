"""`read.videos`: finds videos and tells what their headers say; frames are taken by `video.frames`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from forge_pipeline.sample import Fields
from forge_pipeline.step import LOCATOR, Child, Context, File, Params, Partial, Source, operator
from forge_steps.read._find_videos import VideoFinder


class VideosParams(Params):
    """Parameters of `read.videos`."""

    path: Annotated[str | list[str], LOCATOR] = Field(
        description="Folder (read recursively), file, glob, .zip, .tar, .tar.gz or .tgz archive, or "
        "`package:NAME/FILE` in an installed Python package; or a list of these."
    )
    include: Annotated[list[str], LOCATOR] = Field(
        default=[], description="Globs on relative names; only files that match one are read. Empty means all."
    )
    exclude: Annotated[list[str], LOCATOR] = Field(
        default=[], description="Globs on relative names; files that match one are left out."
    )


@operator("read.videos", version=1)
class Videos(Source):
    """Find videos, by their suffix in folders and archives, by name alone where a file is named.

    Of the fields, rotation is in degrees clockwise, fps_text is exact, missing_bytes are those of a file that was cut
    off. What the header does not say is left out.

    DataError: `not_a_video` (cannot be opened, or holds no video stream), `unsupported_codec`.
    """

    Params = VideosParams
    params: VideosParams
    makes = "video"
    tells = (
        *("container", "codec", "width", "height", "rotation", "fps", "fps_text", "time_base", "duration_s", "frames"),
        *("pix_fmt", "matrix", "range", "primaries", "transfer", "interlaced", "bytes", "missing_bytes"),
    )
    libraries = ("av", "numpy")
    work = "io"
    finder = VideoFinder

    def facts(self, file: File) -> Fields:
        """Read the header, and decode one frame: rotation and field order stand nowhere else for some codecs."""
        # Late, so that a run in which no video has to be opened does not import PyAV.
        from forge_steps.read._video_header import video_facts

        with file.on_disk() as path:
            return video_facts(path)

    def load(self, file: File, context: Context) -> Iterator[Child | Partial]:
        """Yield the file itself, once it is known to hold a video stream."""
        from forge_steps.video._open import open_video

        with file.on_disk() as path, open_video(path):
            pass
        yield Child(file)
