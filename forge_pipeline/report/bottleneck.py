"""What held a run up, in one sentence with its figure, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from forge_pipeline.report.numbers import bytes_text, count_text, each_text, seconds_text
from forge_pipeline.report.story import BEFORE, Story

# From here on workers count as busy: what is missing is the end of a run, where the last task works alone.
_BUSY = 0.75
# A part of the time that is worth a sentence of its own.
_MUCH = 0.2
# Cores that are used while every worker is busy: below this share the workers wait for something that is no core.
_CORES_USED = 0.6
_SHORT_TASK_S = 0.02
# From here on a machine has no core left.
_FULL = 0.9


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What took the largest part of a run.

    Attributes:
        kind: `nothing_ran`, `step`, `waiting` (workers had a task and used no core), `other_work`, `gpu`, `memory`,
            `deciding`, `one_task`, `scheduler`, `exports`, `sources`, `before`, `verification`, `lock` or `closing`.
        share: of the run's time, or of what the sentence says, from 0 to 1.
        sentence: what it is, with the figure.
        advice: what to do; empty where nothing can be done.
    """

    kind: str
    share: float
    sentence: str
    advice: str = ""


def name_bottleneck(story: Story) -> Bottleneck:
    """Name what held a run up."""
    phase = max(story.phases, key=lambda name: story.phases[name], default=BEFORE)
    seconds = story.phases.get(phase, 0.0)
    share = seconds / story.seconds if story.seconds else 0.0
    if not any(step.images for step in story.steps.values()) and not story.tasks:
        where = _PHASES[phase][0]
        what = "nothing had to run" if story.status == "done" else "nothing was done yet"
        return Bottleneck("nothing_ran", share, f"{what}; {where} took {_part(seconds, share)}")
    if phase in ("samples", "exports"):
        return _of_the_work(story, phase, share)
    where, advice = _PHASES[phase]
    return Bottleneck(phase, share, f"{where} took {_part(seconds, share)}", advice)


_PHASES = {
    BEFORE: ("reading the recipe and opening the cache", "a recipe that did not change is not compiled again"),
    "sources": ("looking at the sources", "name a folder that holds fewer other files, or use a faster disk"),
    "samples": ("the work on samples", ""),
    "exports": ("comparing and writing exports", "put the export on the disk of the cache, or on a faster one"),
    "verification": ("running known actions again", "leave --verify out, or give it a smaller number"),
    "lock": ("writing the lock", ""),
    "closing": ("closing the index, and ending the workers", "--executor threads has no processes to end"),
}


def _of_the_work(story: Story, phase: str, share: float) -> Bottleneck:
    seconds = story.phases[phase]
    waited = story.waited_for_memory_s / seconds
    if waited >= _MUCH:
        return Bottleneck(
            "memory",
            waited,
            f"tasks waited for memory in {_part(story.waited_for_memory_s, waited)} of the work: the working sets in "
            f"flight filled their {bytes_text(story.budget_bytes)}",
            "free memory or take a machine with more; more workers would not help",
        )
    busy = story.busy(phase)
    if busy is not None and busy >= _BUSY:
        return _of_busy_workers(story, phase, busy)
    return _of_idle_workers(story, phase, share, busy or 0.0)


def _of_busy_workers(story: Story, phase: str, busy: float) -> Bottleneck:
    worked = {n: step for n, step in story.steps.items() if step.seconds and step.export == (phase == "exports")}
    name = max(worked, key=lambda one: worked[one].seconds, default="")
    if not name:
        return _of_idle_workers(story, phase, 1.0, busy)
    step = worked[name]
    share = step.seconds / sum(one.seconds for one in worked.values())
    each = f", {each_text(step.seconds_per_image)} an image" if step.images else ""
    took = f"step '{name}' ({step.use}) took {_percent(share)} of the work{each}; workers were busy {_percent(busy)}"
    if story.gpu_busy is not None and story.gpu_busy >= _BUSY:
        return Bottleneck("gpu", share, f"{took}, and the GPU {_percent(story.gpu_busy)}", "a faster GPU, or a second")
    used, usable = story.cores_busy, min(story.workers, story.cores or story.workers)
    if used is not None and used < _CORES_USED * usable and story.executor != "ray":  # whose workers may be elsewhere
        what = f"{took}, but used {used:.1f} of {_cores(usable)}"
        if story.machine_busy is not None and story.machine_busy >= _FULL:
            taken = f"{what}: other processes kept the machine {_percent(story.machine_busy)} busy"
            return Bottleneck("other_work", share, taken, "top  (and end what need not run now)")
        return Bottleneck("waiting", share, what, _advice_for_waiting(story))
    if story.cores > story.workers and story.executor != "ray":
        advice = f"--workers {story.cores}: the machine has {_cores(story.cores)}"
    else:
        advice = f"a cheaper setting of '{name}', or more cores: all {story.workers} that it may use are at work"
    return Bottleneck("step", share, took, advice)


def _advice_for_waiting(story: Story) -> str:
    if story.executor == "threads":
        return (
            "--executor processes, if the operator holds Python's lock; else the disk is slow: forge doctor measures it"
        )
    return "the disk is slow, or the workers are not on this machine: forge doctor measures the disk"


def _of_idle_workers(story: Story, phase: str, share: float, busy: float) -> Bottleneck:
    seconds = story.phases[phase]
    if phase == "exports":
        wrote = sum(story.publishing_seconds.values())
        if wrote >= _MUCH * seconds or not busy:
            where, advice = _PHASES[phase]
            return Bottleneck("exports", share, f"{where} took {_part(seconds, share)}", advice)
    elif sum(story.deciding_seconds.values()) >= _MUCH * seconds:
        name = max(story.deciding_seconds, key=lambda one: story.deciding_seconds[one])
        took = story.deciding_seconds[name]
        told = (
            f"step '{name}' decided over its dataset for {_part(took, took / seconds)} of the work, and workers waited"
        )
        return Bottleneck("deciding", took / seconds, told, "let an earlier step drop more samples")
    idle = f"workers were busy {_percent(busy)} of the time"
    if story.tasks <= story.workers or story.task_longest_s >= _BUSY * seconds:
        told = (
            f"{idle}: one task took {seconds_text(story.task_longest_s)} of {seconds_text(seconds)}, and others waited"
        )
        return Bottleneck("one_task", 1 - busy, told, "cut the longest source (a video, a large image) into parts")
    mean_s = sum(story.task_seconds.values()) / max(1, story.tasks)
    why = "looking up what is known, and recording what was done"
    told = f"{idle}: the scheduler was {why}, for {count_text(story.tasks, 'task')} of {each_text(mean_s)} each"
    advice = (
        "fewer workers do the same" if mean_s < _SHORT_TASK_S and story.workers > 1 else "a faster disk for the cache"
    )
    return Bottleneck("scheduler", 1 - busy, told, advice)


def _part(seconds: float, share: float) -> str:
    return f"{seconds_text(seconds)}, {_percent(share)}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _cores(count: int) -> str:
    return count_text(count, "core")
