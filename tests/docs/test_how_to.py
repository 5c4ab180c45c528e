"""The how-to pages that show commands are typed as they stand, in a folder with photographs and a video."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, is_session, play

PAGES = sorted(page for page in (DOCS / "how-to").glob("*.md") if is_session(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_prints_what_it_says(page: Path, media_folder: Path, env: dict[str, str]) -> None:
    told = play(page, media_folder, env)
    assert not told, "\n".join(told)


def test_pages_with_sessions_are_found() -> None:
    assert {page.stem for page in PAGES} >= {"add-an-operator", "resume-and-repair"}
