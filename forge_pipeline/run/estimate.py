"""How much memory a task is going to need at its peak, estimated from headers before a pixel is decoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from forge_pipeline.compiled import Graph, Node
from forge_pipeline.sample import Fields, Json, Sample
from forge_pipeline.task import FILE_KIND, Branch, InspectionTask

# Measured on photographs of 12 and 48 megapixels: kept bytes (half the image's, of noise as many) are inflated beside
# it (2.0 times the image and those bytes); an image is encoded in pieces that are joined at the end (2.0 times; more
# than 8 bits are turned round first: 3.0 times).
_DECODED_FROM_STORE = 2.6
_ENCODED, _ENCODED_DEEP = 2.2, 3.2
# Where a file's header tells no size: as compressed as a photograph usually is.
_PIXEL_BYTES_PER_FILE_BYTE = 10
# Photographs come in many sizes, tiles in few.
_LATELY_MAX = 1000
_BYTES = {"uint8": 1, "uint16": 2, "float32": 4}


LoadExpansion = Callable[[Node, Fields], float]
"""What a source's operator says of one file (`Source.load_expansion`), by the facts of its header."""


class Need(NamedTuple):
    """How much memory a task holds at most, and the step that is to thank for it."""

    size_bytes: float
    step: str


class Size(NamedTuple):
    """An image before it exists: how many pixels and channels, and the bytes of each value."""

    pixels: float
    channels: float = 3
    value_bytes: float = 1

    @property
    def whole(self) -> float:
        """Return the bytes of all pixels."""
        return self.pixels * self.channels * self.value_bytes

    def worked_on(self, expansion: float) -> float:
        """Return the bytes of it with what a step holds beside it; most have a map or a plane, of gray as of RGB."""
        return self.whole + max(0.0, expansion - 1) * self.pixels * max(3, self.channels) * self.value_bytes


class Estimates:
    """Working sets of tasks. Samples of one size that go down one branch need the same: it is worked out once."""

    def __init__(self, graph: Graph, load_expansion: LoadExpansion) -> None:
        self._graph = graph
        self._load_expansion = load_expansion
        self._lately: dict[tuple[int, Size], tuple[Branch, Need]] = {}
        self._loads: dict[tuple[str, Size, float], Need] = {}

    def working_set(self, sample: Sample, branch: Branch) -> Need:
        """Estimate the most memory that a task holds at once: its sample, what its steps need, and what they make.

        What a step declares (`memory_expansion`) or a recipe says (`resources.memory_bytes`) counts with the step's
        input. A child goes all the way down while the step that made it still holds its own.
        """
        if sample.kind == FILE_KIND:
            facts = sample.fields
            needs = [self._loading(chain.node, chain.branch, facts) for chain in branch.chains]
            return max(needs, default=Need(0, branch.step))
        size = _size(sample)
        need = self._below(branch, size)
        return need if sample.kind == "video" else max(need, Need(size.whole * _DECODED_FROM_STORE, branch.step))

    def _loading(self, node: Node, below: Branch, facts: Fields) -> Need:
        if node.makes != "image":  # a video lies where it lies
            return Need(_said(node, 0), node.id)
        size, expansion = _size_told(facts), self._load_expansion(node, facts)
        load = self._loads.get((node.id, size, expansion))
        if load is None:
            if len(self._loads) >= _LATELY_MAX:
                self._loads.clear()
            load = self._loads[node.id, size, expansion] = Need(_said(node, size.worked_on(expansion)), node.id)
        more = max(load, self._below(below, size))
        return Need(more.size_bytes + _number(facts.get("source.bytes")), more.step)

    def _below(self, branch: Branch, size: Size) -> Need:
        lately = self._lately.get((id(branch), size))
        if lately is not None and lately[0] is branch:
            return lately[1]
        if len(self._lately) >= _LATELY_MAX:
            self._lately.clear()
        need = _need(self._graph, branch, size)
        self._lately[id(branch), size] = branch, need
        return need


def inspected(task: InspectionTask) -> Need:
    """Estimate the most memory that an export's look at one row holds: all its images, then what the look needs."""
    sizes = [_size(sample) for sample in task.samples.values()]
    looked_at = _said(task.node, sum(size.worked_on(task.node.memory_expansion) for size in sizes))
    return Need(max(sum(size.whole for size in sizes) * _DECODED_FROM_STORE, looked_at), task.node.id)


def _need(graph: Graph, branch: Branch, size: Size) -> Need:
    encoded = _ENCODED if size.value_bytes == 1 else _ENCODED_DEEP
    need = Need(size.whole * encoded if branch.store else size.whole, branch.step)
    for measure in branch.measures:
        if measure.doing.reads != "header":
            need = max(need, Need(_own(graph[measure.select], size), measure.select))
    for one in branch.inspections:
        sizes = {branch.step: size, **dict(_sizes_below(branch, size))}
        seen = sum(sizes[step].worked_on(one.node.memory_expansion) for step in one.ports.values())
        need = max(need, Need(_said(one.node, seen), one.node.id))
    for chain in branch.chains:
        below = _need(graph, chain.branch, _child(chain.node, size))
        own = _own(chain.node, size)
        need = max(need, Need(own + below.size_bytes, chain.node.id if own > below.size_bytes else below.step))
    return need


def _sizes_below(branch: Branch, size: Size) -> Iterator[tuple[str, Size]]:
    for chain in branch.chains:
        child = _child(chain.node, size)
        yield chain.node.id, child
        yield from _sizes_below(chain.branch, child)


def _own(node: Node, size: Size) -> float:
    return _said(node, size.worked_on(node.memory_expansion))


def _said(node: Node, estimate: float) -> float:
    said = node.resources.get("memory_bytes")
    return estimate if said is None else _number(said)


def _child(node: Node, size: Size) -> Size:
    pixels = size.pixels * node.child_share
    return size._replace(pixels=pixels if node.child_px_max is None else min(pixels, node.child_px_max))


def _size(sample: Sample) -> Size:
    header = sample.header
    if not header:
        return _size_told(sample.fields)
    pixels = _number(header.get("width")) * _number(header.get("height"))
    return Size(pixels, _number(header.get("channels"), 3), _BYTES.get(str(header.get("dtype")), 1))


def _size_told(facts: Fields) -> Size:
    """Say how large the image of a file is, by what its header told of it."""
    pixels = _number(facts.get("source.width")) * _number(facts.get("source.height"))
    if not pixels:
        return Size(_number(facts.get("source.bytes")) * _PIXEL_BYTES_PER_FILE_BYTE / 3)
    value_bytes = math.ceil(_number(facts.get("source.bit_depth"), 8) / 8)
    return Size(pixels, _number(facts.get("source.channels"), 3), value_bytes)


def _number(value: Json, default: float = 0) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default
