"""Which part of a recipe's work a partial run does: of its sources' entries, and of its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from forge_pipeline.compiled import Graph, Node
from forge_pipeline.errors import CommandError
from forge_pipeline.run.listing import Entries
from forge_pipeline.task import waits_for_all

_SUGGESTED_AMONG = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """Which entries of every source a run takes: where nothing is set, all.

    Attributes:
        first: the first so many of each source.
        shard: (number, count): one of `count` parts of each source, counted from 1.
        only: what this sample key stands on.
    """

    first: int | None = None
    shard: tuple[int, int] | None = None
    only: str = ""

    def take(self, step: str, entries: Entries) -> Entries:
        """Return this part of a source's entries."""
        taken = entries.part(slice(self.first))
        if self.shard is not None:
            taken = taken.part(share(len(taken), *self.shard))
        if self.only:
            taken = taken.only(lambda name: stands_on(self.only, f"{step}/{name}"))
        return taken


def share(size: int, number: int, count: int) -> slice:
    """Cut out one of `count` contiguous parts of `size` items: the first `size % count` parts have one item more.

    Args:
        number: from 1 to `count`.

    >>> ["abcdefgh"[share(8, number, 3)] for number in (1, 2, 3)]
    ['abc', 'def', 'gh']
    """
    base, longer = divmod(size, count)
    start = (number - 1) * base + min(number - 1, longer)
    return slice(start, start + base + (number <= longer))


def stands_on(key: str, entry_key: str) -> bool:
    """Tell whether a sample of this key was made from that entry of a source."""
    return key == entry_key or key.startswith(f"{entry_key}/")


def no_such_entry(key: str, entries: Mapping[str, Entries]) -> CommandError:
    """Say that no source has what a sample key stands on.

    Args:
        entries: of every source, all that it lists.
    """
    from forge_pipeline.recipe.suggest import suggest

    names = [f"{step}/{name}" for step, listed in entries.items() for name in listed.names()]
    near = suggest(key, names) if len(names) <= _SUGGESTED_AMONG else ""
    steps = ", ".join(f"'{step}/...'" for step in entries)
    return CommandError(
        f"--only: no source has the entry that sample '{key}' stands on, expected a key such as {steps}",
        f"did you mean '{near}'?" if near else "keys are listed in manifest.jsonl and rejects.jsonl of an export",
    )


def part_lines(
    part: Part, graph: Graph, taken: Mapping[str, int], entries: Mapping[str, int], merge: str, command: str
) -> Iterator[str]:
    """Say at the end of a run which part it took, and what a shard leaves to do.

    Args:
        taken: of every source, how many entries the run took.
        entries: of every source, how many it has.
        merge: what is typed to merge the caches of all shards.
        command: what is typed to run the whole recipe.
    """
    if part.only:
        count = sum(taken.values())
        yield f"--only {part.only}: stands on {count} {'entry' if count == 1 else 'entries'} of {sum(entries.values())}"
    if part.shard is not None:
        number, shards = part.shard
        of_each = ", ".join(f"{taken[step]} of {entries[step]} entries of '{step}'" for step in taken)
        empty = "" if any(taken.values()) else " (there are more shards than entries)"
        ends = ", ".join(f"'{node.id}'" for node in graph.nodes if is_barrier(node))
        yield f"shard {number}/{shards}: {of_each}{empty}; done up to {ends}, nothing is exported"
        yield f"when all {shards} are done: {merge} with the cache of each, then {command}"


def before_barriers(graph: Graph) -> Graph:
    """Return the part of a graph that can be done sample by sample, without a decision over a whole dataset.

    It ends at barriers: selects, transforms that need the rank of a sample, and exports. They are still in it, since
    what enters them is kept and measured, with those inputs that stand behind no other barrier.
    """
    free: set[str] = set()
    nodes = []
    for node in graph.nodes:
        inputs = {port: tuple(ref for ref in refs if ref.step in free) for port, refs in node.inputs.items()}
        if node.shape != "source" and not any(inputs.values()):
            continue
        nodes.append(replace(node, inputs=inputs))
        if not is_barrier(node):
            free.add(node.id)
    return replace(graph, nodes=tuple(nodes))


def is_barrier(node: Node) -> bool:
    """Tell whether a step waits for a whole dataset."""
    return node.shape in ("select", "export") or (node.shape == "transform" and waits_for_all(node))
