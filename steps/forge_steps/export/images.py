"""`export.images`: publish one dataset of single images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from forge_pipeline.step import LOCATOR, Export, ExportFile, Joined, Params, Port, operator

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")


class ImagesParams(Params):
    """Parameters of `export.images`."""

    path: Annotated[str, LOCATOR] = Field(min_length=1, description="Folder to publish to.")
    encoding: Literal["png", "source"] = Field(
        default="png",
        description="`png`: every image as PNG (TIFF for float pixels). `source`: the source file's own bytes where no "
        "step changed its pixels, PNG elsewhere.",
    )


@operator("export.images", version=1)
class Images(Export):
    """Publish images flat under `images/`, named after their sample keys.

    With `encoding: source` a file keeps its source's suffix as long as it keeps its bytes.
    """

    Params: ClassVar[type[Params]] = ImagesParams
    params: ImagesParams
    takes: ClassVar[Mapping[str, Port]] = {"in": Port("image", description="the images to publish")}
    work = "io"

    def folder(self) -> str:
        """Return the folder to publish to."""
        return self.params.path

    def files(self, rows: Sequence[Joined]) -> Iterator[ExportFile]:
        """Name one file a row: its source's where that is asked for and the key still names a file, else a PNG's."""
        for row in rows:
            suffix = _SUFFIX.search(row.key) if self.params.encoding == "source" else None
            if suffix:
                yield ExportFile(f"images/{row.stem}{suffix[0].lower()}", row.key, "in", "source")
            else:
                yield ExportFile(f"images/{row.stem}{_payload_suffix(row)}", row.key, "in")


def _payload_suffix(row: Joined) -> str:
    # PNG holds no floats: such images are kept, hence published, as uncompressed TIFF.
    return ".tif" if row.headers["in"]["dtype"] == "float32" else ".png"
