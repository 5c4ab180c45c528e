"""A small world for one test: toy files, a recipe text, a cache, exports; and what a run made of them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_pipeline import api
from forge_pipeline.events import Event, Note, RunResult, StepFinished
from forge_pipeline.plan import PlanRow
from tests.engine.calls import CALLS

TOYS = Path(__file__).with_name("toy_steps.py")
PHOTOS = {"a": "1 2 3", "b": "4 5 6", "c": "7 8 9"}
CONSTANTS = '"""What toy_steps imports from beside it."""\n\nBIAS = {bias}\n'
# Longer than a tick of the file system's clock (20 ms, run/sources.py): a file older than that is trusted by its stat.
SETTLED_S = 0.025


@dataclass(frozen=True)
class Ran:
    """What a run did and left."""

    result: RunResult
    events: tuple[Event, ...]
    calls: Mapping[str, int]
    """How often each toy operator was really called."""
    trees: Mapping[str, Mapping[str, bytes]]
    """By export folder: every file of it by relative path, but for the engine's own notes."""

    def total(self, name: str) -> int:
        """Add up one count over all steps."""
        return int(sum(getattr(counts, name) for counts in self.result.steps.values()))

    def counts(self, name: str) -> dict[str, int]:
        """Return one count of every step where it is not zero."""
        found = {step: getattr(counts, name) for step, counts in self.result.steps.items()}
        return {step: count for step, count in found.items() if count}

    @property
    def digests(self) -> dict[str, str]:
        """By step: the digest of its dataset."""
        return {step: counts.digest for step, counts in self.result.steps.items()}

    @property
    def funnel(self) -> dict[str, tuple[int, int, Mapping[str, int], int]]:
        """By step: in, out, dropped by reason, failed."""
        return {s: (c.entered, c.out, dict(c.dropped), c.failed) for s, c in self.result.steps.items()}

    @property
    def whole(self) -> set[str]:
        """The steps that were reused whole."""
        return {event.step for event in self.events if isinstance(event, StepFinished) and event.reused_whole}

    @property
    def notes(self) -> list[str]:
        """The lines a user is told."""
        return [event.text for event in self.events if isinstance(event, Note)]

    def rows(self, name: str = "manifest", export: str = "out") -> list[dict[str, Any]]:
        """Read the manifest or the rejects of an export."""
        return [json.loads(line) for line in self.trees[export][f"{name}.jsonl"].splitlines()]

    def assert_same_as(self, other: Ran) -> None:
        """Assert that two runs came to the same: exports to the byte, digests, funnels."""
        assert self.result.status == other.result.status
        assert self.result.error == other.result.error
        assert self.digests == other.digests
        assert self.funnel == other.funnel
        assert {name: sorted(tree) for name, tree in self.trees.items()} == {
            name: sorted(tree) for name, tree in other.trees.items()
        }
        assert self.trees == other.trees

    def assert_nothing_done(self) -> None:
        """Assert that everything was known."""
        for count in ("ran", "measured", "rebuilt"):
            assert self.counts(count) == {}, count
        assert dict(self.calls) == {}
        assert [export.written for export in self.result.exports] == [0] * len(self.result.exports)


class World:
    """A folder with toy files, toy operators and a recipe."""

    def __init__(self, root: Path, steps: str = "", **top: Any) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOYS, root / "toy_steps.py")
        self.bias(0)
        self.recipe_path = root / "toy.yaml"
        if steps:
            self.recipe(steps, **top)

    # --- edits ----------------------------------------------------------------------------------

    def recipe(self, steps: str, **top: Any) -> None:
        """Write the recipe: `steps` one `id: {use: ...}` a line."""
        head = {"forge": 1, "name": "toy", "seed": 1, "import": ["./toy_steps.py"], **top}
        lines = [f"{key}: {json.dumps(value)}" for key, value in head.items()]
        body = [f"  {line.strip()}" for line in steps.strip().splitlines() if line.strip()]
        self.recipe_path.write_text("\n".join([*lines, "steps:", *body, ""]))

    def file(self, name: str, text: str) -> Path:
        """Write a source file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def files(self, folder: str = "photos", **texts: str) -> None:
        """Write source files: `a="1 2 3"` becomes photos/a.txt."""
        for name, text in texts.items():
            self.file(f"{folder}/{name}.txt", text)

    def settle(self) -> None:
        """Wait until all files are older than a tick."""
        time.sleep(SETTLED_S)

    def bias(self, bias: int) -> None:
        """Edit the code that the operators import from beside them."""
        (self.root / "toy_constants.py").write_text(CONSTANTS.format(bias=bias))

    def edit_code(self, old: str, new: str) -> None:
        """Edit the operators' own file."""
        path = self.root / "toy_steps.py"
        text = path.read_text()
        assert old in text, old
        path.write_text(text.replace(old, new))

    def forget_exports(self) -> None:
        """Delete what was published."""
        for name in self.exports():
            shutil.rmtree(self.root / name)

    def payloads(self, cache: str = "cache") -> list[Path]:
        """List the payload files of a cache."""
        return sorted(p for p in (self.root / cache / "payloads").rglob("*") if p.is_file())

    # --- runs -----------------------------------------------------------------------------------

    def options(self, cache: str = "cache", **options: Any) -> api.Options:
        """Return options that stay inside this world."""
        return api.Options(
            **{"directory": self.root, "cache": self.root / cache, "executor": "inline", **options},
        )

    def run(self, cache: str = "cache", **options: Any) -> Ran:
        """Run the recipe."""
        events: list[Event] = []
        CALLS.clear()
        result = api.run(self.recipe_path, self.options(cache, **options), events.append)
        calls = Counter(call.partition(" ")[0] for call in CALLS)
        return Ran(result, tuple(events), calls, {name: self.tree(name) for name in self.exports()})

    def run_clean(self) -> Ran:
        """Run on an empty cache with nothing published, and put everything back as it was."""
        published = {name: self.root / name for name in self.exports()}
        aside = self.root / "aside"
        for name, path in published.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside / name)
        lock = self.root / "toy.lock"
        kept_lock = lock.read_bytes() if lock.exists() else None
        ran = self.run(cache="clean")
        shutil.rmtree(self.root / "clean")
        self.forget_exports()
        for name, path in published.items():
            (aside / name).rename(path)
        if kept_lock is not None:
            lock.write_bytes(kept_lock)
        return ran

    def plan(self, cache: str = "cache", **options: Any) -> dict[str, PlanRow]:
        """Plan the recipe: by step."""
        return {row.step: row for row in api.plan(self.recipe_path, self.options(cache, **options)).rows}

    def explain(self, sample: str) -> str:
        """Explain a sample."""
        return api.explain(self.recipe_path, self.options(), sample)

    # --- what is there --------------------------------------------------------------------------

    def exports(self) -> list[str]:
        """Name the folders that were published (those with our notes in them)."""
        return sorted(
            path.parent.relative_to(self.root).as_posix()
            for path in self.root.glob("*/.forge")
            if path.parent.name != "aside"
        )

    def tree(self, name: str) -> dict[str, bytes]:
        """Read every file of an export."""
        folder = self.root / name
        found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in sorted(found.items()) if not name.startswith(".forge/")}


def restore_times(path: Path, before: os.stat_result) -> None:
    """Give a file its old modification time back, as an editor or a copy tool can."""
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
