"""Did you mean ...?: the nearest of the names that would have been right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_NEAR_ENOUGH = 0.6
_LISTED_AT_MOST = 12

# What other tools of the field call our keys; a user who comes from one types these.
_ALSO_KNOWN_AS = {
    "with": ("params", "parms", "parameters", "args", "arguments", "options", "config"),
    "use": ("op", "operator", "type", "uses", "_target_"),
    "from": ("input", "inputs", "needs", "depends", "after"),
    "steps": ("step", "process", "stages", "pipeline", "operators"),
    "vars": ("variables", "variable", "var", "parameters"),
    "include": ("includes", "extends"),
    "import": ("imports", "plugins"),
    "note": ("comment", "description"),
    "max_errors": ("max_failures", "error_budget"),
}


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return the choice that is spelled most like the word, or an empty string when none is near."""
    names = list(dict.fromkeys(choices))
    lowered = word.lower()
    for name in names:
        if lowered in _ALSO_KNOWN_AS.get(name, ()):
            return name
    best, best_ratio = "", 0.0
    for name in names:
        ratio = SequenceMatcher(None, lowered, name.lower(), autojunk=False).ratio()
        if ratio > best_ratio:
            best, best_ratio = name, ratio
    return best if best_ratio >= _NEAR_ENOUGH else ""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a hint: `did you mean 'x'?`, else the choices where they are few, else an empty string."""
    names = list(dict.fromkeys(choices))
    if near := suggest(word, names):
        return f"did you mean '{near}'?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= _LISTED_AT_MOST else ""
