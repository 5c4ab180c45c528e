"""A sample's whole line: from its source to its file, or to the reason why it went no further."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from forge_pipeline.cache.index import MERGED_RUN, Index
from forge_pipeline.cache.index_rows import RejectRow
from forge_pipeline.compiled import Graph, Node
from forge_pipeline.digest import digest_file
from forge_pipeline.errors import CommandError
from forge_pipeline.manifest import file_stem
from forge_pipeline.recipe.suggest import suggest
from forge_pipeline.report.numbers import count_text
from forge_pipeline.reuse import config_differences
from forge_pipeline.sample import Link, Sample
from forge_pipeline.task import action_inputs, action_key

_NAMED_AT_MOST = 10


def explain_sample(index: Index, graph: Graph, recipe: str, name: str, directory: Path = Path()) -> str:
    """Tell a sample's line in the last whole run.

    Args:
        recipe: which recipe's runs to look at, as `RunSettings.recipe`.
        name: a sample key, the stem or path of an exported file, or the path of a source file: relative to the
            source's folder, or as it is typed in `directory`.

    Raises:
        CommandError: the recipe has not run, or knows no such sample.
    """
    last = index.last_run(recipe)
    if last is None:
        raise CommandError(f"recipe '{graph.name}' has no finished run to explain", "forge-run RECIPE")
    run, datasets = last
    line = _Line(index, graph, recipe, run, datasets)
    keys = line.keys_of(name) or line.keys_of_file(directory / name)
    if not keys:
        near = suggest(name, line.all_keys())
        hint = f"forge explain RECIPE '{near}'" if near else "take a key from manifest.jsonl or rejects.jsonl"
        raise CommandError(f"no sample '{name}' in the last run of '{graph.name}'", hint)
    told = [line.tell(key) for key in keys[:_NAMED_AT_MOST]]
    if len(keys) > _NAMED_AT_MOST:
        told.append(f"... and {len(keys) - _NAMED_AT_MOST} more under that name\n")
    return "\n".join(told)


class _Line:
    def __init__(self, index: Index, graph: Graph, recipe: str, run: int, datasets: dict[str, int]) -> None:
        self._index = index
        self._graph = graph
        self._recipe = recipe
        self._run = run
        self._datasets = {step: number for step, number in datasets.items() if step in graph}

    def all_keys(self) -> list[str]:
        """List every sample key of the run."""
        return sorted({key for key, _ in self._ends()})

    def keys_of(self, name: str) -> list[str]:
        """Find the samples that a user means."""
        stem = name.rpartition("/")[2].partition(".")[0]
        exact, stems, sources = set(), set(), set()
        for key, trail in self._ends():
            if key == name:
                exact.add(key)
            elif file_stem(key) == stem:
                stems.add(key)
            elif trail and trail[0].fields.get("source.path") == name:
                sources.add(key)
        return sorted(exact or stems or _outermost(sources))

    def keys_of_file(self, path: Path) -> list[str]:
        """Find the samples of a source file by its bytes: its own path and that of its source are not kept."""
        if not path.is_file():
            return []
        digest, end = digest_file(path), f"/{path.as_posix()}"
        found = set()
        for key, trail in self._ends():
            source = trail[0].fields if trail else {}
            if source.get("source.digest") == digest and end.endswith(f"/{source.get('source.path')}"):
                found.add(key)
        return sorted(_outermost(found))

    def _ends(self) -> Iterator[tuple[str, tuple[Link, ...]]]:
        for step, number in self._datasets.items():
            for sample in self._index.samples(number):
                yield sample.key, sample.trail
            for reject in self._index.rejects(number, step):
                yield reject.key, reject.trail

    def tell(self, key: str) -> str:
        """Tell the whole line of one sample."""
        samples = [(n, s) for n in self._graph.nodes if (s := self._sample(n.id, key)) is not None]
        rejects = [
            r for step, number in self._datasets.items() for r in self._index.rejects(number, step) if r.key == key
        ]
        trail = samples[-1][1].trail if samples else (rejects[0].trail if rejects else ())
        lines = [key]
        if trail:
            source = trail[0].fields
            digest = str(source.get("source.digest", "not read"))[:12]
            lines.append(f"  source {source.get('source.path')} ({digest})")
        ended = {reject.step for reject in rejects if reject.kind != "partial"}
        lines += [f"  {self._tell_link(link, key)}" for link in trail if link.step not in ended]
        for node, sample in samples:
            if not trail or node.id not in [link.step for link in trail]:
                added = dict(sample.trail[-1].fields)
                lines.append(f"  {node.id}: {node.use}{_spell(added)}, {self._origin(node, key)}")
        lines += [f"  {_tell_reject(reject)}" for reject in rejects]
        if not ended:
            lines += [f"  {line}" for line in self._exports(key)]
            lines += [f"  {line}" for line in self._made_of(key)]
        return "\n".join(lines) + "\n"

    def _made_of(self, key: str) -> Iterator[str]:
        made = _outermost({one for one in self.all_keys() if one.startswith(f"{key}/")})
        if made:
            yield f"made of it: {count_text(len(made), 'sample')}, such as '{min(made)}'"

    def _sample(self, step: str, key: str) -> Sample | None:
        number = self._datasets.get(step)
        return self._index.sample(number, key) if number else None

    def _tell_link(self, link: Link, key: str) -> str:
        node = next((n for n in self._graph.nodes if n.id == link.step), None)
        use = node.use if node else "?"
        shown = {n: v for n, v in link.fields.items() if not n.startswith("source.")}
        origin = f", {self._origin(node, key)}" if node else ""
        return f"{link.step}: {use}{_spell(shown)}{origin}"

    def _origin(self, node: Node, key: str) -> str:
        """Say when the action ran that gave this step's part of the line, and why."""
        if node.shape == "select":
            number = self._datasets.get(node.id)
            dataset = self._index.dataset(number) if number else None
            if dataset is None:
                return "not known"
            return "decided in this run" if dataset.run == self._run else f"decision of {self._when(dataset.run)}"
        parent = self._parent(node, key)
        if parent is None:
            return "kept"
        action = self._index.action(action_key(node.doing, action_inputs(node.doing, parent)))
        if action is None:
            return "not recorded"
        if action.run != self._run:
            return f"reused from the run of {self._when(action.run)}"
        return f"ran in this run{self._reason(node)}"

    def _parent(self, node: Node, key: str) -> Sample | None:
        if node.shape == "source":
            row = self._first(node.id, key)
            if row is None or row.location is None:
                return None
            return Sample(row.key, "file", str(row.fields["source.digest"]))
        for refs in node.inputs.values():
            for ref in refs:
                found = self._first(ref.step, key)
                if found is not None:
                    return found
        return None

    def _first(self, step: str, key: str) -> Sample | None:
        """Return the row of that key, or of the sample it was made from, in a step's dataset."""
        while key:
            row = self._sample(step, key)
            if row is not None:
                return row
            key = key.rpartition("/")[0]
        return None

    def _reason(self, node: Node) -> str:
        before = self._index.run_before(self._recipe, self._run)
        number = before.get(node.id) if before else None
        dataset = self._index.dataset(number) if number else None
        old = self._index.config(dataset.config) if dataset else None
        if old is None:
            return ": first run"
        changed = config_differences(old, node.doing.config)
        return f": {', '.join(changed)}" if changed else ": new input"

    def _when(self, run: int) -> str:
        if run == MERGED_RUN:
            return "another machine"
        started = self._index.run_started(run)
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started)) if started else f"run {run}"

    def _exports(self, key: str) -> Iterator[str]:
        for node in self._graph.nodes:
            if node.shape != "export":
                continue
            if any(self._sample(ref.step, key) for refs in node.inputs.values() for ref in refs):
                yield f"{node.id}: {node.use}, files named {file_stem(key)}"


def _outermost(keys: set[str]) -> set[str]:
    """Of samples made from one file, keep those from which nothing else in the set was made."""
    return {key for key in keys if not any(other.startswith(key + "/") for other in keys)}


def _tell_reject(reject: RejectRow) -> str:
    why = reject.message or reject.reason
    kind = "used in part" if reject.kind == "partial" else reject.kind
    values = dict(reject.values)
    if reject.kind == "failed":  # what names the bytes is for scripts; where an operator broke is for its author
        values.pop("digest", None)
    traceback = values.pop("traceback", "")
    return f"{reject.step}: {kind}: {why}{_spell(values)}" + (f"\n{traceback}" if traceback else "")


def _spell(fields: object) -> str:
    return f" {json.dumps(fields, ensure_ascii=False)}" if fields else ""
