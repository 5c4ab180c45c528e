"""How much memory a task is going to need at its peak, estimated from headers before a pixel is decoded."""

from __future__ import annotations

import math
from typing import NamedTuple

from forge_pipeline.compiled import Graph, Node
from forge_pipeline.sample import Json, Sample
from forge_pipeline.task import FILE_KIND, Branch, InspectionTask

# Measured on a photograph of 48 megapixels: kept bytes are decoded beside what they are read from (2.1 times the
# image), and encoded in pieces that are joined at the end (1.6 times; of noise, 3 times).
_DECODED_FROM_STORE = 2.2
_ENCODED = 2.2
# Where a file's header tells no size: as compressed as a photograph usually is.
_PIXEL_BYTES_PER_FILE_BYTE = 10
_BYTES = {"uint8": 1, "uint16": 2, "float32": 4}


class Size(NamedTuple):
    """An image before it exists: how many pixels, and how many bytes each has when it is decoded."""

    pixels: float
    pixel_bytes: float

    @property
    def whole(self) -> float:
        """Return the bytes of all pixels."""
        return self.pixels * self.pixel_bytes


def working_set_bytes(graph: Graph, sample: Sample, branch: Branch) -> int:
    """Estimate the most memory that a task holds at once: its sample, what its steps need, and what they make.

    What a step declares (`memory_expansion`) or a recipe says (`resources.memory_bytes`) counts with the step's input.
    A child goes all the way down while the step that made it still holds its own.
    """
    size = _size(sample)
    if sample.kind == FILE_KIND:
        file_bytes = _number(sample.fields.get("source.bytes"))
        peaks = [_loading(graph, chain.node, chain.branch, size, file_bytes) for chain in branch.chains]
        return int(max(peaks, default=0))
    peak = _peak(graph, branch, size)
    return int(peak if sample.kind == "video" else max(peak, size.whole * _DECODED_FROM_STORE))


def inspected_bytes(task: InspectionTask) -> int:
    """Estimate the most memory that an export's look at one row holds: all its images, then what the look needs."""
    whole = sum(_size(sample).whole for sample in task.samples.values())
    return int(max(whole * _DECODED_FROM_STORE, _own(task.node, whole)))


def _loading(graph: Graph, node: Node, below: Branch, size: Size, file_bytes: float) -> float:
    if node.makes != "image":  # a video lies where it lies
        return _number(node.resources.get("memory_bytes"))
    return file_bytes + max(_own(node, size.whole), _peak(graph, below, size))


def _peak(graph: Graph, branch: Branch, size: Size) -> float:
    whole = size.whole
    peak = whole * _ENCODED if branch.store else whole
    for measure in branch.measures:
        if measure.doing.reads != "header":
            peak = max(peak, _own(graph[measure.select], whole))
    for chain in branch.chains:
        child = _child(chain.node, size)
        # What a step declares counts the child that it has just made, and so does what is done with the child.
        below = max(0.0, _peak(graph, chain.branch, child) - child.whole)
        peak = max(peak, _own(chain.node, whole) + below)
    return peak


def _own(node: Node, whole: float) -> float:
    said = node.resources.get("memory_bytes")
    return _number(said) if said is not None else whole * node.memory_expansion


def _child(node: Node, size: Size) -> Size:
    pixels = size.pixels * node.child_share
    return Size(pixels if node.child_px_max is None else min(pixels, node.child_px_max), size.pixel_bytes)


def _size(sample: Sample) -> Size:
    header = sample.header
    if header:
        pixel_bytes = _number(header.get("channels"), 3) * _BYTES.get(str(header.get("dtype")), 1)
        return Size(_number(header.get("width")) * _number(header.get("height")), pixel_bytes)
    facts = sample.fields
    pixels = _number(facts.get("source.width")) * _number(facts.get("source.height"))
    if not pixels:
        return Size(_number(facts.get("source.bytes")) * _PIXEL_BYTES_PER_FILE_BYTE, 1)
    sample_bytes = math.ceil(_number(facts.get("source.bit_depth"), 8) / 8)
    return Size(pixels, _number(facts.get("source.channels"), 3) * sample_bytes)


def _number(value: Json, default: float = 0) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
