"""Which files are images, by their names."""

from __future__ import annotations

from forge_steps.read._find import PathFinder

_BY_KIND = (
    (".png", ".apng"),
    (".jpg", ".jpeg", ".jpe", ".jfif"),
    (".tif", ".tiff"),
    (".webp", ".avif", ".gif", ".bmp", ".dib", ".tga", ".qoi"),
    (".ppm", ".pgm", ".pbm", ".pnm"),
    (".jp2", ".j2k", ".jpx"),
)


class ImageFinder(PathFinder):
    """Finds image files by their suffix in folders, globs and archives; a file named by itself is always taken."""

    operator = "read.images"
    what = "image"
    suffixes = frozenset(suffix for kind in _BY_KIND for suffix in kind)
