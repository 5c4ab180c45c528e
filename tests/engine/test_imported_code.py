"""Operators that a recipe imports from files: their code and all they import beside them is what keys say it is."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forge_pipeline.compiled import ClassRef
from forge_pipeline.errors import CommandError
from forge_pipeline.fingerprint import code_digest, import_closure
from forge_pipeline.registry import load_class, load_file
from tests.engine.worlds import World

STEPS = """
    photos: {use: toy.read, with: {path: photos}}
    add: {use: toy.add, from: photos}
    out: {use: toy.write, from: add, with: {path: out}}
"""


def module(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_an_edit_of_what_an_operator_imports_from_beside_it_runs_it_again(world: World) -> None:
    world.recipe(STEPS)
    before = world.run()
    world.bias(1)
    after = world.run()
    assert after.calls["add"] == 3
    assert after.trees != before.trees
    after.assert_same_as(world.run_clean())


def test_a_second_edit_of_the_same_length_within_a_second_is_seen_too(world: World) -> None:
    world.recipe(STEPS)
    for bias in (1, 2, 3):
        world.bias(bias)
        world.run().assert_same_as(world.run_clean())


def test_the_digest_of_imported_code_holds_no_path(tmp_path: Path) -> None:
    here = module(tmp_path / "here", "mine.py", "import helper\n")
    module(tmp_path / "here", "helper.py", "VALUE = 1\n")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = tmp_path / "there" / "mine.py"
    assert code_digest("any.name", str(here)) == code_digest("other.name", str(there))


def test_the_closure_follows_packages_and_their_data_beside_the_file(tmp_path: Path) -> None:
    path = module(tmp_path, "mine.py", "from parts.inner import table\nimport numpy\n")
    module(tmp_path, "parts/__init__.py", "")
    module(tmp_path, "parts/inner.py", "from . import table\n")
    module(tmp_path, "parts/table.py", "import cv2\n")
    module(tmp_path, "parts/table.json", "{}")
    module(tmp_path, "notes.txt", "lies beside the file, and is nobody's")
    closure = import_closure("", str(path))
    assert sorted(closure.files) == ["mine", "parts", "parts.inner", "parts.table", "parts:table.json"]
    assert closure.outside == {"numpy", "cv2"}


@pytest.mark.parametrize("edited", ["parts/inner.py", "parts/__init__.py", "parts/table.json"])
def test_an_edit_inside_a_package_beside_the_file_changes_the_digest(tmp_path: Path, edited: str) -> None:
    path = module(tmp_path, "mine.py", "import parts.inner\n")
    for name in ("parts/__init__.py", "parts/inner.py", "parts/table.json"):
        module(tmp_path, name, "1\n")
    before = code_digest("mine", str(path))
    module(tmp_path, edited, "2\n")
    assert code_digest("mine", str(path)) != before


def test_two_files_may_each_have_a_helper_of_one_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        module(tmp_path / name, "mine.py", "import helper_of_both\n\nVALUE = helper_of_both.VALUE\n")
        module(tmp_path / name, "helper_of_both.py", f"VALUE = '{name}'\n")
    assert [load_file(tmp_path / name / "mine.py").VALUE for name in ("one", "two", "one")] == ["one", "two", "one"]


def test_a_file_is_imported_once_while_it_stays_as_it_is(tmp_path: Path) -> None:
    path = module(tmp_path, "mine.py", "VALUE = object()\n")
    assert load_file(path) is load_file(path)


def test_importing_leaves_nothing_in_the_users_folder(tmp_path: Path) -> None:
    path = module(tmp_path, "mine.py", "import quiet_helper\n")
    module(tmp_path, "quiet_helper.py", "")
    load_file(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.py", "quiet_helper.py"]


def test_a_file_that_breaks_is_named_with_its_error(tmp_path: Path) -> None:
    path = module(tmp_path, "mine.py", "1 / 0\n")
    with pytest.raises(CommandError) as raised:
        load_file(path)
    assert str(raised.value) == f"import: {path} breaks on import: ZeroDivisionError: division by zero"


def test_threads_that_need_a_file_at_once_wait_until_all_of_it_is_there(tmp_path: Path) -> None:
    path = module(
        tmp_path,
        "slow_steps.py",
        """
        import time

        time.sleep(0.2)

        class Last:
            pass
        """.replace("\n        ", "\n"),
    )
    ref = ClassRef("unused", "Last", str(path))
    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(load_class, [ref] * 4))
    assert len(found) == 1
