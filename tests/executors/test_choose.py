"""What `auto` chooses, and the reason that it gives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from forge_pipeline.compiled import ClassRef, Doing, Node
from forge_pipeline.errors import CommandError
from forge_pipeline.executors.choose import Choice, choose
from forge_pipeline.machine import Machine
from tests.engine.worlds import World
from tests.executors.conftest import breaking

GIB = 1 << 30
MACHINE = Machine(cores=8, memory_bytes=32 * GIB, memory_available_bytes=16 * GIB)
DOING = Doing("a.b", ClassRef("m", "C"), {}, {}, "d", "pixels")
PLAIN = Node("tiles", "tile.best", "transform", DOING, {})
HOLDING = replace(PLAIN, id="words", work="cpu_gil")
MODEL = replace(PLAIN, id="score", work="gpu")


@pytest.mark.parametrize(
    ("nodes", "machine", "asked", "workers", "expected"),
    [
        (
            [PLAIN],
            MACHINE,
            None,
            None,
            Choice(
                "threads",
                8,
                "every step releases Python's global lock, and threads share images; 8 workers for 8 cores",
            ),
        ),
        (
            [PLAIN, HOLDING],
            MACHINE,
            "auto",
            None,
            Choice(
                "processes",
                8,
                "step 'words' holds Python's global lock, so that threads would take turns; 8 workers for 8 cores",
            ),
        ),
        (
            [HOLDING],
            MACHINE._replace(memory_available_bytes=GIB),
            None,
            None,
            Choice(
                "processes",
                4,
                "step 'words' holds Python's global lock, so that threads would take turns; "
                "1024 MiB of free memory hold 4 workers of 256 MiB",
            ),
        ),
        (
            [HOLDING],
            MACHINE._replace(cores=1),
            None,
            None,
            Choice(
                "threads",
                1,
                "one core: a process of its own would gain step 'words' nothing; 1 worker for 1 core",
            ),
        ),
        (
            [HOLDING, MODEL],
            MACHINE,
            None,
            3,
            Choice("threads", 3, "step 'score' holds a model, which threads share; 3 workers asked for"),
        ),
        ([PLAIN], MACHINE, "inline", 5, Choice("inline", 1, "asked for")),
        ([PLAIN], MACHINE, "processes", 2, Choice("processes", 2, "asked for; 2 workers asked for")),
    ],
)
def test_auto_chooses_by_work_cores_and_memory(
    nodes: list[Node], machine: Machine, asked: str | None, workers: int | None, expected: Choice
) -> None:
    assert choose(nodes, machine, asked, workers) == expected


@pytest.mark.parametrize(("asked", "hint"), [("thread", "--executor threads"), ("dask", "--executor auto")])
def test_an_executor_that_does_not_exist_is_refused(world: World, asked: str, hint: str) -> None:
    breaking(world)
    for verb in (world.run, world.plan):
        with pytest.raises(CommandError) as refused:
            verb(executor=asked)
        assert str(refused.value) == (
            f"executor: found '{asked}', expected auto, inline, threads, processes or ray\n  hint: {hint}"
        )
