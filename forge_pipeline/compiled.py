"""A checked graph as plain values: what the scheduler, the workers and the plan kept between runs all read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from forge_pipeline.sample import Json

# What the engine itself does to pixels and draws: decoding hand-over, seeding, the layout of keys. A change of any
# of these makes every action new.
ENGINE_FORMAT = 1

Shape = Literal["source", "transform", "select", "export"]


@dataclass(frozen=True, slots=True)
class ClassRef:
    """Where a class is found, by any process: a module, or the file of a recipe's `import`."""

    module: str
    qualname: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class Doing:
    """Code under a configuration: everything that an action key says beside its input."""

    name: str
    operator: ClassRef
    params: Mapping[str, Json]
    config: Mapping[str, Json]
    """The pre-image of the digest, interned in the index: two of them are diffed to explain a miss."""
    digest: str
    reads: str
    fields_read: tuple[str, ...] = ()
    draws: bool = False
    side_files: tuple[str, ...] = ()
    """Where the files lie that the operator reads beside its input; their digests are in the config."""


@dataclass(frozen=True, slots=True)
class InputRef:
    """A step whose samples come in; `variant` is appended to their keys where a bare matrix reference was spread."""

    step: str
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """One step, checked."""

    id: str
    use: str
    shape: Shape
    doing: Doing
    """Source: its load. Transform: its apply. Select: its decide. Export: its inspection."""
    inputs: Mapping[str, tuple[InputRef, ...]]
    makes: str = "image"
    many: bool = False
    facts: Doing | None = None
    """Of a source: reading headers."""
    finder: ClassRef | None = None
    """Of a source: what finds its files, where that is not the operator."""
    metrics: Mapping[str, Mapping[str, Doing]] = field(default_factory=dict)
    """Of a select: port -> label -> metric."""
    inspects: bool = False
    folder: str = ""
    """Of an export: where it publishes to, as the recipe says it. Here, so that an unchanged run makes no operator."""
    kept: bool = False
    """Its outputs are stored and the chain is cut after it."""
    cached: bool = True
    on_error: str = "quarantine"
    max_errors_count: int | None = None
    max_errors_share: float | None = None
    work: str = "cpu"
    """The most demanding of the operator and its metrics: `io`, `cpu`, `cpu_gil` or `gpu`."""
    memory_expansion: float = 2.0
    """Of a select: the largest of its metrics."""
    child_share: float = 1.0
    """Pixels of a child, as a share of its input's."""
    child_px_max: int | None = None
    """The most pixels that a child can have, where its parameters say so."""
    resources: Mapping[str, Json] = field(default_factory=dict)
    """What a task of this step asks of the machine; names no action."""
    prioritise: Mapping[str, str] = field(default_factory=dict)
    """The field `by` which its samples go on, and in which `order`; empty where in that of their keys."""

    @property
    def doings(self) -> tuple[Doing, ...]:
        """Everything that is done in it: its own, of a source its facts, of a select its metrics."""
        facts = () if self.facts is None else (self.facts,)
        return (self.doing, *facts, *(metric for port in self.metrics.values() for metric in port.values()))

    @property
    def timeout_s(self) -> float | None:
        """How long the step may take for one sample."""
        return self.resources.get("timeout_s")

    @property
    def retries(self) -> int:
        """How often a sample is tried again that broke for a reason which may pass."""
        return int(self.resources.get("retries", 0))

    @property
    def cpu_fallback(self) -> bool:
        """Whether the processor may do what a GPU has no memory for."""
        return bool(self.resources.get("cpu_fallback", False))


@dataclass(frozen=True)
class Graph:
    """A recipe, checked against the operators: nodes in topological order."""

    name: str
    seed: int
    digest: str
    """Names the recipe by what changes bytes: the same for its three spellings."""
    nodes: tuple[Node, ...]
    executor: str = ""
    """What the recipe asks of the machine, where it does; names no action."""
    workers: int | None = None

    def __getitem__(self, step: str) -> Node:
        return self._by_id[step]

    def __contains__(self, step: object) -> bool:
        return step in self._by_id

    @cached_property
    def _by_id(self) -> dict[str, Node]:
        return {node.id: node for node in self.nodes}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[tuple[Node, str, str], ...]]:
        """By step: who takes its samples, through which port, with which variant appended to their keys."""
        found: dict[str, list[tuple[Node, str, str]]] = {node.id: [] for node in self.nodes}
        for node in self.nodes:
            for port, refs in node.inputs.items():
                for ref in refs:
                    found[ref.step].append((node, port, ref.variant))
        return {step: tuple(takers) for step, takers in found.items()}

    def ancestors(self, step: str) -> frozenset[str]:
        """Name all steps that a step stands on, itself included."""
        found = {step}
        for node in reversed(self.nodes):
            if node.id in found:
                found.update(ref.step for refs in node.inputs.values() for ref in refs)
        return frozenset(found)

    def until(self, step: str) -> Graph:
        """Return the part of the graph that ends at a step."""
        wanted = self.ancestors(step)
        return replace(self, nodes=tuple(node for node in self.nodes if node.id in wanted))


def graph_text(graph: Graph) -> str:
    """Spell a graph as JSON, to be kept."""
    return json.dumps(asdict(graph), separators=(",", ":"), ensure_ascii=False)


def read_graph(text: str) -> Graph:
    """Read a graph back."""
    raw = json.loads(text)
    return Graph(**{**raw, "nodes": tuple(_node(node) for node in raw["nodes"])})


def _node(raw: dict[str, Any]) -> Node:
    return Node(
        **{
            **raw,
            "doing": _doing(raw["doing"]),
            "facts": _doing(raw["facts"]) if raw["facts"] else None,
            "finder": ClassRef(**raw["finder"]) if raw["finder"] else None,
            "inputs": {port: tuple(InputRef(**ref) for ref in refs) for port, refs in raw["inputs"].items()},
            "metrics": {
                port: {label: _doing(metric) for label, metric in metrics.items()}
                for port, metrics in raw["metrics"].items()
            },
        }
    )


def _doing(raw: dict[str, Any]) -> Doing:
    lists = {name: tuple(raw[name]) for name in ("fields_read", "side_files")}
    return Doing(**{**raw, "operator": ClassRef(**raw["operator"]), **lists})
