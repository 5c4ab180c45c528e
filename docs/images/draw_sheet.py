"""Draw the README's picture: some pairs of an exported dataset, each LR as large as it is beside its HR.

python docs/images/draw_sheet.py output/sr_x4 docs/images/sr_x4.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = 8
GAP_PX = 6
HR_PX = 192


def draw_sheet(dataset: Path, columns: int = COLUMNS) -> Image.Image:
    """Return one row of HR tiles above their LR twins: evenly spread over the sources of a dataset."""
    rows = [json.loads(line) for line in (dataset / "manifest.jsonl").read_text().splitlines()]
    by_source: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        by_source.setdefault(row["source"]["path"], []).append(row)
    chosen = [group[0] for group in by_source.values()][:columns]
    rest = [row for group in by_source.values() for row in group[2:]]
    chosen += rest[:: max(1, len(rest) // max(1, columns - len(chosen)))][: columns - len(chosen)]
    lr_px = HR_PX // 4
    sheet = Image.new("RGB", (columns * (HR_PX + GAP_PX) - GAP_PX, HR_PX + GAP_PX + lr_px), "white")
    for column, row in enumerate(chosen):
        x = column * (HR_PX + GAP_PX)
        for port, side, y in (("hr", HR_PX, 0), ("lr", lr_px, HR_PX + GAP_PX)):
            with Image.open(dataset / row["files"][port]["path"]) as tile:
                sheet.paste(tile.resize((side, side), Image.Resampling.LANCZOS), (x, y))
    return sheet


if __name__ == "__main__":
    picture = draw_sheet(Path(sys.argv[1]))
    picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(sys.argv[2], optimize=True)
    print(sys.argv[2], np.asarray(picture).shape)
