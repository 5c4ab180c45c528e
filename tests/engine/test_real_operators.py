"""The same two properties on the real operators: small photographs, every family, random parameters and edits."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from skimage import data

from forge_steps._png import encode_png
from tests.engine.worlds import World

PHOTO = data.chelsea()
# A run takes seconds: to shrink an example that fails would take longer than the time that a test has.
QUICK = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

STEPS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "tiles": st.one_of(
        st.fixed_dictionaries(
            {
                "use": st.just("tile.best"),
                "size_px": st.sampled_from([24, 32]),
                "max_tiles": st.integers(1, 3),
                "min_complexity": st.sampled_from([0.0, 0.01, 0.05]),
            }
        ),
        st.fixed_dictionaries({"use": st.just("tile.grid"), "size_px": st.sampled_from([24, 32])}),
    ),
    "clean": st.fixed_dictionaries(
        {
            "use": st.just("filter.iqa"),
            "keep": st.sampled_from(
                ["laplacian > 0.001", "laplacian > 0.02 and entropy > 2", "noise_sigma < 20 or width > 30"]
            ),
        }
    ),
    "unique": st.one_of(
        st.just({"use": "dedup.exact"}),
        st.fixed_dictionaries(
            {
                "use": st.just("dedup.perceptual"),
                "max_distance_bits": st.sampled_from([0, 8, 20]),
                "keep": st.sampled_from(["sharpest", "largest", "first"]),
            }
        ),
    ),
    "hr": st.builds(
        lambda shape, seeding: {"use": "augment.deterministic", "preset": "none", "seeding": seeding, **shape},
        # More variants than there are different images are refused.
        st.sampled_from(
            [
                {"variants": 1, "geometry": "none"},
                {"variants": 1, "geometry": "dihedral"},
                {"variants": 2, "geometry": "dihedral"},
            ]
        ),
        st.sampled_from(["content", "key"]),
    ),
    "lr": st.fixed_dictionaries(
        {
            "use": st.sampled_from(["resize.dpid", "resize.area", "resize.bicubic", "resize.lanczos"]),
            "scale": st.just(2),
        }
    ),
}
FILES = st.dictionaries(
    st.sampled_from(["a.png", "b.png", "c.png", "d/e.png"]),
    st.tuples(st.integers(0, 4), st.sampled_from([40, 48, 72]), st.booleans()),
    min_size=1,
)


def write(world: World, chosen: dict[str, dict[str, Any]]) -> None:
    before = "photos"
    lines = ["photos: {use: read.images, with: {path: photos}}"]
    for step in STEPS:
        values = chosen[step]
        params = {name: value for name, value in values.items() if name != "use"}
        lines.append(f"{step}: {json.dumps({'use': values['use'], 'from': before, 'with': params})}")
        before = step
    lines.append("out: {use: export.pairs, from: {hr: hr, lr: lr}, with: {path: out, scale: 2}}")
    lines.append("all: {use: export.images, from: unique, with: {path: all}}")
    world.recipe("\n".join(lines), defaults={"max_errors": "100%"}, **{"import": []})


def draw_photos(world: World, files: dict[str, tuple[int, int, bool]]) -> None:
    """Cut photographs of the cat; a broken one ends half-way."""
    for name, (place, size, whole) in files.items():
        top = 20 + 40 * place
        cut = np.ascontiguousarray(PHOTO[top : top + size, 100 : 100 + size])
        encoded = encode_png(cut)
        path = world.root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded if whole else encoded[: len(encoded) // 2])


@pytest.mark.slow
@QUICK
@given(
    st.fixed_dictionaries(STEPS),
    FILES,
    st.lists(st.one_of(FILES, st.fixed_dictionaries({}, optional=STEPS)), min_size=1, max_size=3),
)
def test_incremental_equals_clean_on_real_operators(
    chosen: dict[str, Any], files: dict[str, tuple[int, int, bool]], edits: list[dict[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "world")
        draw_photos(world, files)
        write(world, chosen)
        world.run()
        for edit in edits:
            note(edit)
            if any(name.endswith(".png") for name in edit):
                draw_photos(world, edit)
            else:
                chosen = {**chosen, **edit}
                write(world, chosen)
            world.settle()
            ran = world.run()
            ran.assert_same_as(world.run_clean())
            assert ran.result.status == "done"
            world.run().assert_nothing_done()
