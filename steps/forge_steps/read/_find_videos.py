"""Which files are videos, by their names."""

from __future__ import annotations

from forge_steps.read._find import PathFinder

_KNOWN = """
    .264 .265 .3g2 .3gp .asf .avi .flv .h264 .hevc .ivf .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogm
    .ogv .ts .vob .webm .wmv .y4m
"""


class VideoFinder(PathFinder):
    """Finds videos by their suffix in folders, globs and archives; a file named by itself is always taken."""

    operator = "read.videos"
    what = "video"
    suffixes = frozenset(_KNOWN.split())
