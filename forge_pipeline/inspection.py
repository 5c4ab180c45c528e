"""An export's look at the images of one joined row: as soon as they are at hand, or when the export asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from forge_pipeline.batches import Batching, batching
from forge_pipeline.bench import Bench
from forge_pipeline.cache.store import Payload
from forge_pipeline.compiled import Node
from forge_pipeline.digest import canonical_json
from forge_pipeline.guard import guarded, json_of
from forge_pipeline.sample import Sample
from forge_pipeline.shapes import Export, Inspection
from forge_pipeline.task import Done, Result, action_key


def inspect(
    node: Node, samples: Mapping[str, Sample], values: Callable[[], Mapping[str, Any]], bench: Bench
) -> tuple[Done, tuple[Payload, ...]]:
    """Let an export look at the images of one joined row.

    Args:
        samples: by port.
        values: gives their images, by port.

    Returns:
        The action, and the images that it gave instead of those it saw, which are put into the store.

    Raises:
        PayloadMissing, EnvironmentFault, BrokenPromise, MemoryError.
    """
    operator = bench.operator(node.doing)
    assert isinstance(operator, Export)
    put: list[Payload] = []

    def look() -> Result:
        found: Inspection = operator.inspect(values())
        replaced = {}
        for port, given in sorted(found.replaced.items()):
            codec = bench.codecs[samples[port].kind]
            content = codec.freeze(given)
            digest = codec.digest(content)
            if bench.stored(digest) is None:
                put.append(bench.store.put(digest, codec.encode(content), codec.suffix(content)))
            replaced[port] = [digest, dict(codec.header(content))]
        return Result("value", value={"facts": json_of(operator, dict(found.facts)), "replaced": replaced})

    started = time.perf_counter()
    # Not those of an operator in whose midst it may be: what fell back there did not fall back here.
    with batching(Batching(node.id)):
        result = guarded(look)
    seconds = time.perf_counter() - started
    inputs = inspection_inputs(samples)
    return Done(action_key(node.doing, inputs), node.doing, inputs, result, "ran", seconds), tuple(put)


def inspection_inputs(samples: Mapping[str, Sample]) -> str:
    """Spell what an inspection sees, as JSON: the content at each port."""
    return canonical_json({port: sample.digest for port, sample in samples.items()})
