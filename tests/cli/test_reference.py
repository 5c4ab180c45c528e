"""The reference pages are what the parsers and the classes say."""

from pathlib import Path

import pytest

from forge_pipeline.cli import reference
from forge_pipeline.cli.main import COMMANDS
from forge_pipeline.cli.reference import WRITE_COMMAND, command_line_page, main

ROOT = Path(__file__).parents[2]


def test_the_pages_in_the_repository_are_fresh() -> None:
    stale = [str(path) for path in reference.stale_pages(ROOT)]
    assert stale == [], f"stale; mend with: {WRITE_COMMAND}"


def test_every_command_has_its_section() -> None:
    page = command_line_page()
    sections = [line.removeprefix("## forge ") for line in page.splitlines() if line.startswith("## ")]
    assert sections == list(COMMANDS)
    assert "| `--set KEY=VALUE` | override one value" in page


@pytest.fixture
def one_page(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr(reference, "pages", lambda: {Path("docs/a.md"): "right\n"})
    monkeypatch.chdir(tmp_path)
    return tmp_path / "docs/a.md"


def test_a_stale_page_is_named_with_the_command_that_mends_it(one_page, capsys) -> None:
    one_page.parent.mkdir()
    one_page.write_text("wrong\n")
    assert main([]) == 1
    assert capsys.readouterr().out == f"docs/a.md: stale, mend it with {WRITE_COMMAND}\n"
    assert one_page.read_text() == "wrong\n"


def test_writing_mends_it_once(one_page, capsys) -> None:
    assert [main(["--write"]), main(["--write"]), main([])] == [0, 0, 0]
    assert one_page.read_text() == "right\n"
    assert capsys.readouterr().out == "docs/a.md: written\n"
