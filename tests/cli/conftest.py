"""A fake engine behind the command line: it records what it is asked and answers what a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline import api

VERBS = ("run", "check", "plan", "explain", "operators", "metrics", "schema", "graph_text")
CACHE_VERBS = ("cache_size", "cache_verify", "cache_collect", "cache_merge")


@dataclass
class FakeEngine:
    """Answers by function name; an answer that is an exception is raised, one that can be called is called."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def function(self, name: str) -> Callable[..., Any]:
        def answer(*arguments: Any) -> Any:
            self.asked.append((name, arguments))
            said = self.answers[name]
            if isinstance(said, BaseException):
                raise said
            return said(*arguments) if callable(said) else said

        return answer


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    """Stand in for the verbs of the api, in a folder with one recipe and no cache named by the environment."""
    fake = FakeEngine()
    for name in (*VERBS, *CACHE_VERBS):
        monkeypatch.setattr(api, name, fake.function(name))
    monkeypatch.delenv("FORGE_CACHE", raising=False)
    monkeypatch.delenv("FORGE_PROFILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-settings"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("forge: 1\n")
    return fake
