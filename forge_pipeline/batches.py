"""What a model does with many values at once, where the memory of its device may not hold them all."""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from forge_pipeline.errors import TooLarge

_Value = TypeVar("_Value")
_Result = TypeVar("_Result")

# What libraries raise when a device has no memory left, by the names of class and module: to know one, nothing need
# be imported. torch's is a RuntimeError, older versions raise a bare one with these words.
_OUT_OF_MEMORY = frozenset((("torch", "OutOfMemoryError"), ("torch.cuda", "OutOfMemoryError")))
_WORDS = ("CUDA out of memory", "CUDA error: out of memory")


# After so many full batches that fitted, twice as many values are tried; after twice as many batches each time that
# this fails, up to the second figure. So of values that are all alike at most one batch in 32 is tried in vain, soon
# one in 1,024, and after a large value among small ones three halvings are made good within 96 batches.
_GROW_AFTER, _GROW_AFTER_MAX = 32, 1024


class Fitting(NamedTuple):
    """How many values at once fit a step's device, as far as was seen.

    Attributes:
        size: of the batches that are tried.
        good: so many full ones of that size fitted in a row.
        grow_after: so many make it worth while to try twice the size.
        trial: no full batch of that size has fitted since it was doubled.
    """

    size: int
    good: int = 0
    grow_after: int = _GROW_AFTER
    trial: bool = False

    def fitted(self, count: int, most: int) -> Fitting:
        """Learn from a batch of `count` values that fitted; no more than `most` are ever tried."""
        if count < self.size:
            return self
        # A size that holds is no trial any more: the next one is met without prejudice.
        grow_after = _GROW_AFTER if self.trial else self.grow_after
        good = self.good + 1
        if good >= grow_after and self.size < most:
            return Fitting(min(2 * self.size, most), 0, grow_after, trial=True)
        return Fitting(self.size, good, grow_after)

    def halved(self, count: int) -> Fitting:
        """Learn from a batch of `count` values, two at least, that did not fit."""
        grow_after = min(2 * self.grow_after, _GROW_AFTER_MAX) if self.trial else self.grow_after
        return Fitting(count // 2, 0, grow_after)


class Halved(NamedTuple):
    """A batch did not fit; `size_now` values are tried at once from here on."""

    step: str
    size_before: int
    size_now: int
    reason: str


@dataclass
class Batching:
    """What a worker lets an operator know of batches, and what it hears back.

    Attributes:
        step: whose operator runs.
        cpu_fallback: the recipe allows that the processor does what the device has no memory for.
        sizes: by step: what fitted last, kept for as long as the worker lives.
        halved: every batch that did not fit.
        fell_back: the processor did some of it.
    """

    step: str = ""
    cpu_fallback: bool = False
    sizes: MutableMapping[str, Fitting] = field(default_factory=dict)
    halved: list[Halved] = field(default_factory=list)
    fell_back: bool = False


_BATCHING: ContextVar[Batching | None] = ContextVar("forge_batching", default=None)


class batching:  # noqa: N801 - read as a function; a generator takes three times as long, four times a sample
    """Let the operator that runs within the block know of batches, and hear what became of them."""

    __slots__ = ("_token", "_told")

    def __init__(self, told: Batching) -> None:
        self._told = told

    def __enter__(self) -> None:
        self._token = _BATCHING.set(self._told)

    def __exit__(self, *error: object) -> None:
        _BATCHING.reset(self._token)


def in_batches(
    values: Sequence[_Value],
    run: Callable[[Sequence[_Value]], Sequence[_Result]],
    size: int,
    on_cpu: Callable[[Sequence[_Value]], Sequence[_Result]] | None = None,
) -> list[_Result]:
    """Run a model over values, so many at once as its device has memory for.

    A batch that does not fit is halved and its values are tried again at once; what fitted is remembered for the
    step. Halving is told of in the run's journal. After 32 full batches that fitted the size is doubled again, up to
    `size`: one large image among small ones would else leave all that follow it at small batches. It goes by what
    fitted and not by pixels, since only the model knows what its values cost. Which value is done by what, and so
    every result, depends on none of this: a value goes to the processor only where it does not fit alone.

    Args:
        values: what the model takes, in order.
        run: does one batch on the device; returns a result for each of its values.
        size: the largest batch that is worth while, at least 1.
        on_cpu: does one value on the processor. Called where one alone does not fit the device and the recipe says
            `resources: {cpu_fallback: true}`; what came of it is marked in the manifest and never recorded as known.

    Returns:
        One result a value, in their order.

    Raises:
        TooLarge: one value alone does not fit.
    """
    told = _BATCHING.get() or Batching()
    results: list[_Result] = []
    fitting = told.sizes.get(told.step, Fitting(size))
    fitting = fitting._replace(size=max(1, min(size, fitting.size)))
    while len(results) < len(values):
        batch = values[len(results) : len(results) + fitting.size]
        try:
            done = list(run(batch))
        except Exception as error:
            if not is_out_of_device_memory(error):
                raise
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
        else:
            results += _complete(done, batch, told.step)
            told.sizes[told.step] = fitting = fitting.fitted(len(batch), size)
            continue
        # Outside of the handler: as long as the error lives, its traceback keeps the batch's tensors.
        _give_back()
        if len(batch) > 1:
            fitting = fitting.halved(len(batch))
            told.halved.append(Halved(told.step, len(batch), fitting.size, why))
        elif on_cpu is not None and told.cpu_fallback:
            results += _complete(list(on_cpu(batch)), batch, told.step)
            told.fell_back = True
        else:
            raise _too_large(told.step, why, on_cpu is not None)
    return results


def is_out_of_device_memory(error: BaseException) -> bool:
    """Tell whether an error says that a device has no memory left."""
    names = {(cls.__module__, cls.__name__) for cls in type(error).__mro__}
    return bool(names & _OUT_OF_MEMORY) or (isinstance(error, RuntimeError) and any(w in str(error) for w in _WORDS))


def _complete(done: list[_Result], batch: Sequence[Any], step: str) -> list[_Result]:
    if len(done) != len(batch):
        raise ValueError(f"the model of step '{step}' gave {len(done)} results for a batch of {len(batch)}")
    return done


def _give_back() -> None:
    """Let torch return what it keeps of the device's memory: only now, since it costs every later batch."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _too_large(step: str, why: str, has_cpu: bool) -> TooLarge:
    hint = "run it on a device with more memory"
    if has_cpu:
        hint = f"set `resources: {{cpu_fallback: true}}` on '{step}', or {hint}"
    return TooLarge(f"a batch of one does not fit the device's memory ({why})", hint)
