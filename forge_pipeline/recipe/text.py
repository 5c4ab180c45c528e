"""The text of a recipe file, and places in it that an error can point to."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from forge_pipeline.errors import Problem, RecipeError, Where

# Beyond this column a source line is shown no more: a caret under minified JSON helps nobody.
_SHOWN_COLUMNS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A file's name and content. `inline` marks a value from the command line, which has no lines to show."""

    name: str
    content: str
    inline: bool = False
    _line_starts: Sequence[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        starts = [0]
        position = self.content.find("\n")
        while position >= 0:
            starts.append(position + 1)
            position = self.content.find("\n", position + 1)
        object.__setattr__(self, "_line_starts", tuple(starts))

    def where(self, offset: int) -> Where:
        """Turn an offset in code points into a file, line and column with the source line."""
        if self.inline:
            return Where(self.name)
        offset = min(max(offset, 0), len(self.content))
        line = bisect_right(self._line_starts, offset)
        start = self._line_starts[line - 1]
        end = self._line_starts[line] - 1 if line < len(self._line_starts) else len(self.content)
        column = offset - start + 1
        shown = _printable(self.content[start:end].rstrip("\r")[:_SHOWN_COLUMNS])
        return Where(self.name, line, column, shown if column <= _SHOWN_COLUMNS else "")

    def span(self, start: int, end: int | None = None) -> Span:
        """Mark the code points from `start` up to `end`."""
        return Span(self, start, start if end is None else end)


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A stretch of a text: `start` up to, not including, `end`, in code points."""

    text: Text
    start: int
    end: int

    @property
    def where(self) -> Where:
        """The place where it starts."""
        return self.text.where(self.start)

    @property
    def spelling(self) -> str:
        """What stands there, as it was written."""
        return self.text.content[self.start : self.end]

    def problem(self, message: str, hint: str = "") -> Problem:
        """Make a problem of this place."""
        return Problem(self.where, message, hint)

    def error(self, message: str, hint: str = "") -> RecipeError:
        """Make an error of this one problem: reading the text cannot go on."""
        return RecipeError([self.problem(message, hint)])


def _printable(line: str) -> str:
    """Keep control characters off the terminal, one code point for one."""
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line)
