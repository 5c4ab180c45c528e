"""Which frames of a video are kept: the selectors, the gaps between kept frames, and the even spread of a cap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol, TypeVar

from forge_pipeline.sample import Fields
from forge_steps.video._luma import Thumbnail

_Item = TypeVar("_Item")

# Matroska and FLV store whole milliseconds: at 30 fps frame 1 stands at 0.033 s, and must not miss the slot of 1/30 s.
_TOLERANCE_S = Fraction(1, 1000)


@dataclass(frozen=True, slots=True)
class Look:
    """What a choice is made from: a frame's place, its time, and its small luma picture."""

    index: int
    time_s: Fraction
    thumbnail: Thumbnail


class Rule(Protocol):
    """A selector: sees every frame, in order."""

    def wants(self, look: Look) -> Fields | None:
        """Return the fields to record where it wants the frame, else None."""

    def kept(self, look: Look) -> None:
        """Learn that the frame is kept, whoever wanted it."""


class EveryN:
    """Every n-th frame, counted from the first one considered."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._first: int | None = None

    def wants(self, look: Look) -> Fields | None:
        """Want frames first, first + n, first + 2 n ..."""
        if self._first is None:
            self._first = look.index
        return {} if (look.index - self._first) % self._n == 0 else None

    def kept(self, look: Look) -> None:
        """Do nothing."""


class Fps:
    """The first frame in each slot of 1/fps seconds, counted from the first one considered; never one twice."""

    def __init__(self, fps: float) -> None:
        self._fps = Fraction(str(fps))
        self._start_s: Fraction | None = None
        self._filled = -1

    def wants(self, look: Look) -> Fields | None:
        """Want a frame whose slot is not filled."""
        if self._start_s is None:
            self._start_s = look.time_s
        return {} if self._slot(look) > self._filled else None

    def kept(self, look: Look) -> None:
        """Fill its slot."""
        self._filled = self._slot(look)

    def _slot(self, look: Look) -> int:
        assert self._start_s is not None
        return int((look.time_s - self._start_s + _TOLERANCE_S) * self._fps)


class Diff:
    """Frames that differ enough from the last one kept, so that a slow pan is kept now and then."""

    def __init__(self, minimum: float) -> None:
        self._minimum = minimum
        self._last: Thumbnail | None = None

    def wants(self, look: Look) -> Fields | None:
        """Want the first frame, then by the mean absolute luma difference, 0 to 1."""
        if self._last is None:
            return {}
        difference = look.thumbnail.difference(self._last)
        return {"difference": difference} if difference >= self._minimum else None

    def kept(self, look: Look) -> None:
        """Compare with this one from now on."""
        self._last = look.thumbnail


class Scene:
    """The first frame of each shot that is allowed (not black, not too close).

    A cut is a jump between two frames that the pair before did not have: score = min(d, |d - d_before|), d being the
    mean absolute luma difference to the frame before. Source: the scene score of FFmpeg's `select` filter.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._before: Thumbnail | None = None
        self._difference = 0.0
        self._waiting: Fields | None = {}

    def wants(self, look: Look) -> Fields | None:
        """Want frames from a cut on, until one is kept."""
        if self._before is not None:
            difference = look.thumbnail.difference(self._before)
            score = min(difference, abs(difference - self._difference))
            self._difference = difference
            if score >= self._threshold:
                self._waiting = {"scene_score": score}
        self._before = look.thumbnail
        return self._waiting

    def kept(self, look: Look) -> None:
        """Wait for the next cut."""
        self._waiting = None


class All:
    """Every frame that was decoded: the key frames."""

    def wants(self, look: Look) -> Fields | None:
        """Want it."""
        return {}

    def kept(self, look: Look) -> None:
        """Do nothing."""


@dataclass(slots=True)
class Chooser:
    """Keeps what its rule wants, as far as black frames and gaps let it.

    Attributes:
        rule: the selector.
        black: tells a frame that is dropped; None keeps black frames.
        min_gap_s: the least time between two kept frames.
        max_gap_s: after this time the next frame is kept whether the rule wants it or not.
    """

    rule: Rule
    black: Callable[[Thumbnail], bool] | None = None
    min_gap_s: Fraction | None = None
    max_gap_s: Fraction | None = None
    black_dropped: int = 0
    _last_s: Fraction | None = field(default=None, init=False)

    def judge(self, look: Look) -> Fields | None:
        """Return the fields to record where the frame is kept, else None."""
        wanted = self.rule.wants(look)
        if self.black is not None and self.black(look.thumbnail):
            self.black_dropped += wanted is not None
            return None
        if self._last_s is not None:
            gap_s = look.time_s - self._last_s + _TOLERANCE_S
            if self.min_gap_s is not None and gap_s < self.min_gap_s:
                return None
            if wanted is None and self.max_gap_s is not None and gap_s >= self.max_gap_s:
                wanted = {}
        if wanted is not None:
            self.rule.kept(look)
            self._last_s = look.time_s
        return wanted


def rule_of(select: str, parameters: Mapping[str, float]) -> Rule:
    """Make the rule of a selector from the one parameter that it has."""
    match select:
        case "every_n":
            return EveryN(int(parameters["every_n"]))
        case "fps":
            return Fps(parameters["fps"])
        case "diff":
            return Diff(parameters["min_difference"])
        case "scene":
            return Scene(parameters["scene_threshold"])
        case _:
            return All()


def even_spread(items: Sequence[_Item], most: int) -> list[_Item]:
    """Take at most so many items, evenly by rank: the first, the last, and between them rank k (n - 1) / (most - 1)."""
    count = len(items)
    if count <= most:
        return list(items)
    if most == 1:
        return [items[0]]
    return [items[k * (count - 1) // (most - 1)] for k in range(most)]
