"""Where samples enter the workers, and which of these places a step hears from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from forge_pipeline.compiled import Graph, Node
from forge_pipeline.sample import Sample
from forge_pipeline.task import (
    Branch,
    Chain,
    cuts,
    grow_branch,
    source_branch,
    stores,
    waits_for_all,
)


@dataclass
class Start:
    """A place where samples enter the workers, and how many of them are not through yet."""

    branch: Branch
    feed: deque[Sample] | Iterator[Sample]
    open: bool = False
    """More may come than the feed has now."""
    outstanding: int = 0
    drained: bool = False

    def next_sample(self) -> Sample | None:
        """Return the next sample, or None where there is none now."""
        if isinstance(self.feed, deque):
            return self.feed.popleft() if self.feed else None
        sample = next(self.feed, None)
        self.drained = sample is None
        return sample

    def push(self, sample: Sample) -> None:
        """Let a sample enter that a task of another start has made."""
        assert isinstance(self.feed, deque)
        self.feed.append(sample)

    @property
    def complete(self) -> bool:
        """Whether every sample is through and none will come."""
        empty = not self.feed if isinstance(self.feed, deque) else self.drained
        return empty and not self.open and not self.outstanding


def in_priority(node: Node, samples: Iterator[Sample], note: Callable[[str], None]) -> Iterator[Sample]:
    """Put first what a step's `prioritise` puts first; samples without the field last, equal ones by their keys.

    Args:
        note: told where the field orders nothing. What an operator adds to samples is not known before it has.
    """
    if not node.prioritise:
        return samples
    name, falling = node.prioritise["by"], node.prioritise["order"] == "descending"

    def rank(sample: Sample) -> tuple[bool, float, str]:
        value = sample.fields.get(name)
        if not _is_number(value):
            return True, 0.0, sample.key
        return False, -value if falling else value, sample.key

    ordered = sorted(samples, key=rank)
    if ordered and not _is_number(ordered[0].fields.get(name)):
        from forge_pipeline.recipe.suggest import did_you_mean

        numbers = [field for field, value in ordered[0].fields.items() if _is_number(value)]
        hint = did_you_mean(name, numbers)
        what = f"step '{node.id}': no sample has a number in the field '{name}' that `prioritise` goes by"
        note(f"{what}; {hint}" if hint else what)
    return iter(ordered)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def files_start(step: str) -> str:
    """Name the start where a source's files enter."""
    return f"{step}#files"


def ranked_start(step: str, taker: str) -> str:
    """Name the start where a step's rows enter a transform that waits for all of them."""
    return f"{step}>{taker}"


def root_branch(graph: Graph, step: str, walked: frozenset[str]) -> Branch:
    """Return what is done with the rows of a step that are kept already.

    Their own bytes are fetched when something below asks for them, never made for their own sake.
    """
    return replace(grow_branch(graph, step, walked), store=False)


def waiting_branch(graph: Graph, taker: Node, step: str, variant: str, walked: frozenset[str]) -> Branch:
    """Return the branch of a transform that waits for all rows of a step."""
    below = Branch(taker.id, store=stores(graph, taker.id))
    if not cuts(graph, taker):
        below = grow_branch(graph, taker.id, walked)
    return Branch(step, (Chain(taker, variant, below),))


def feeders(graph: Graph, node: Node, walked: frozenset[str]) -> set[str]:
    """Name the starts whose branches reach a step."""
    found = set()
    for refs in node.inputs.values():
        for ref in refs:
            producer = graph[ref.step]
            if node.shape == "transform" and waits_for_all(node):
                found.add(ranked_start(ref.step, node.id))
            elif producer.id not in walked or producer.shape == "select" or cuts(graph, producer):
                found.add(ref.step)
            elif producer.shape == "source":
                found.add(files_start(ref.step))
            else:
                found |= feeders(graph, producer, walked)
    return found


def task_branches(graph: Graph) -> list[tuple[str, Branch]]:
    """Name every start of a run that walks all steps: files, and rows of selects and cuts; with its branch."""
    every = frozenset(node.id for node in graph.nodes)
    found = []
    for node in graph.nodes:
        if node.shape == "source" and node.makes == "image":
            found.append((files_start(node.id), source_branch(graph, node, every)))
        if node.shape == "select" or (node.shape != "export" and cuts(graph, node)):
            found.append((node.id, root_branch(graph, node.id, every)))
    return [(start, branch) for start, branch in found if not branch.idle]
