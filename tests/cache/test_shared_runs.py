"""Whole runs over a shared store: machines with caches of their own, and what each has not to do again."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline import api
from forge_pipeline.cache.far import Far
from forge_pipeline.cache.sweep import Collected
from forge_pipeline.errors import EnvironmentFault
from forge_pipeline.events import Event, StepFinished, TaskFinished
from tests.cache.faulty import FaultySystem
from tests.engine.worlds import World

STEPS = """
    photos: {use: toy.read, with: {path: photos}}
    hr: {use: toy.add, from: photos, with: {amount: 1}}
    lr: {use: toy.add, from: hr, with: {amount: 2}}
    out: {use: toy.pair, from: {a: hr, b: lr}, with: {path: out}}
"""


def _world(root: Path) -> World:
    made = World(root)
    made.files(a="1 2 3", b="4 5 6", c="7 8 9")
    made.recipe(STEPS)
    return made


@pytest.fixture
def mine(tmp_path: Path) -> World:
    return _world(tmp_path / "mine")


@pytest.fixture
def theirs(tmp_path: Path) -> World:
    return _world(tmp_path / "theirs")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are written behind the URL, as they are."""
    found: list[str] = []
    write = Far.write

    def watched(far: Far, path: str, data: bytes) -> None:
        found.append(path)
        write(far, path, data)

    monkeypatch.setattr(Far, "write", watched)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_a_store_changes_no_byte_and_nothing_is_sent_twice(
    mine: World, theirs: World, url: str, sent: list[str], executor: str
) -> None:
    alone = mine.run_clean()
    first = mine.run(store=url, executor=executor)
    first.assert_same_as(alone)
    assert mine.payloads() == []
    assert len(sent) == len(set(sent)) == 6
    mine.run(store=url).assert_nothing_done()
    second = theirs.run(store=url, executor=executor)  # an index of its own: it makes them, and finds them there
    assert second.trees["out"].keys() == first.trees["out"].keys()
    assert second.digests == first.digests
    assert len(sent) == 6


@pytest.mark.slow
def test_what_workers_put_after_the_store_was_listed_is_known_to_be_there(mine: World, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    mine.files(**{f"f{number:02}": f"{number} 1" for number in range(60)})
    mine.recipe(
        """
        photos: {use: toy.read, with: {path: photos}}
        some: {use: toy.keep, from: photos, with: {least: 0}}
        more: {use: toy.add, from: some, with: {amount: 1}}
        same: {use: toy.keep, from: more, with: {least: 0}}
        most: {use: toy.add, from: same, with: {amount: 3}}
        out: {use: toy.write, from: most, with: {path: out}}
        """
    )
    alone = mine.run_clean()
    ran = mine.run(store=f"file://{tmp_path / 'shared'}", executor="processes", workers=1)
    ran.assert_same_as(alone)
    assert ran.counts("rebuilt") == {}


@pytest.mark.slow
def test_exports_are_written_from_the_store_where_nothing_is_kept_here(mine: World, url: str) -> None:
    before = mine.run(store=url)
    mine.forget_exports()
    shutil.rmtree(mine.root / "cache/read")
    again = mine.run(store=url)
    assert dict(again.calls) == {}
    again.assert_same_as(before)


def test_what_is_missing_or_damaged_behind_the_url_is_made_again(mine: World, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    url = f"file://{shared}"
    before = mine.run(store=url)
    payloads = sorted(path for path in shared.glob("payloads/*/*"))
    payloads[0].unlink()
    payloads[1].write_bytes(b"X" * payloads[1].stat().st_size)
    payloads[2].write_bytes(b"")
    mine.forget_exports()
    shutil.rmtree(mine.root / "cache/read")
    again = mine.run(store=url)
    again.assert_same_as(before)
    assert again.counts("ran") == {"out": 1}
    assert 3 <= sum(again.counts("rebuilt").values()) < 9
    assert sorted(path for path in shared.glob("payloads/*/*")) == payloads
    assert [path.name for path in shared.glob("quarantine/*")] == [payloads[1].name]


class Deleter:
    """Another machine that deletes all payloads behind a URL while a run goes on, and what this one kept of them."""

    def __init__(self, mine: World, shared: Path, when: Callable[[Event], bool]) -> None:
        self._mine = mine
        self._shared = shared
        self._when = when
        self.deletions = 0

    def __call__(self, event: Event) -> None:
        if self._when(event):
            paths = list(self._shared.glob("payloads/*/*"))
            for path in paths:
                path.unlink(missing_ok=True)
            shutil.rmtree(self._mine.root / "cache/read", ignore_errors=True)
            self.deletions += len(paths) > 0

    def run(self, **options: Any) -> dict[str, dict[str, bytes]]:
        """Run the recipe; return what it published."""
        mine = self._mine
        options = mine.options(store=f"file://{self._shared}", **options)
        assert api.run(mine.recipe_path, options, self).status == "done"
        return {name: mine.tree(name) for name in mine.exports()}


def _selected(mine: World, amount: int) -> None:
    mine.files(**{f"f{number:02}": f"{number} 5 6" for number in range(24)})
    mine.recipe(
        f"""
        photos: {{use: toy.read, with: {{path: photos}}}}
        clean: {{use: toy.keep, from: photos, with: {{least: 2}}}}
        hr: {{use: toy.add, from: clean, with: {{amount: {amount}}}}}
        lr: {{use: toy.add, from: hr, with: {{amount: 5}}}}
        out: {{use: toy.pair, from: {{a: hr, b: lr}}, with: {{path: out}}}}
        """
    )


@pytest.mark.slow
@pytest.mark.parametrize("finished", [1, 4, 12])
def test_payloads_deleted_while_workers_go_by_older_listings_are_made_again(
    mine: World, tmp_path: Path, finished: int
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    _selected(mine, 10)
    mine.run(store=f"file://{shared}")
    _selected(mine, 11)
    alone = mine.run_clean()
    left = itertools.count(1)
    deleter = Deleter(mine, shared, lambda event: isinstance(event, TaskFinished) and next(left) == finished)
    assert deleter.run(executor="processes", workers=2) == alone.trees
    assert deleter.deletions == 1


@pytest.mark.parametrize("step", ["photos", "hr", "lr"])
def test_payloads_deleted_at_the_end_of_a_step_are_made_again(mine: World, tmp_path: Path, step: str) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    _selected(mine, 10)
    alone = mine.run_clean()
    deleter = Deleter(mine, shared, lambda event: isinstance(event, StepFinished) and event.step == step)
    assert deleter.run() == alone.trees
    assert deleter.deletions == 1


def test_payloads_deleted_again_and_again_are_blamed_on_no_operator(mine: World, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    _selected(mine, 10)
    alone = mine.run_clean()
    left = itertools.count(1)
    deleter = Deleter(mine, shared, lambda event: isinstance(event, TaskFinished) and next(left) < 60)
    assert deleter.run() == alone.trees
    assert deleter.deletions > 20


def test_one_image_that_many_miss_at_once_is_blamed_on_no_operator(mine: World, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    url = f"file://{shared}"
    mine.files(**{f"f{number:02}": f"{number} 200 201" for number in range(24)})
    steps = """
        videos: {use: toy.read, with: {path: photos}}
        frames: {use: toy.frames, from: videos, with: {size: 1}}
        clean: {use: toy.keep, from: frames, with: {least: AMOUNT}}
        more: {use: toy.add, from: clean, with: {amount: AMOUNT}}
        out: {use: toy.write, from: more, with: {path: out}}
    """
    mine.recipe(steps.replace("AMOUNT", "1"))
    mine.run(store=url)
    mine.recipe(steps.replace("AMOUNT", "2"))
    alone = mine.run_clean()
    deleter = Deleter(mine, shared, lambda event: isinstance(event, StepFinished) and event.step == "clean")
    assert deleter.run(executor="threads", workers=1) == alone.trees


def test_payloads_deleted_without_end_end_the_run_and_say_so(mine: World, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    _selected(mine, 10)
    with pytest.raises(EnvironmentFault) as caught:
        Deleter(mine, shared, lambda event: isinstance(event, TaskFinished)).run()
    assert str(caught.value) == (
        "sample 'photos/a.txt': its bytes were made again 100 times, and are missing again\n"
        "  hint: end what deletes payloads, then run again"
    )


def test_a_cache_without_store_makes_again_what_lies_only_there(mine: World, url: str) -> None:
    before = mine.run(store=url)
    mine.forget_exports()
    mine.run().assert_same_as(before)
    assert len(mine.payloads()) == 6


def test_verify_reads_what_lies_behind_the_url(mine: World, theirs: World, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    sharing = api.Sharing(f"file://{shared}")
    mine.run(store=sharing.store)
    theirs.files(d="10 11 12")
    theirs.run(store=sharing.store)
    cache = mine.root / "cache"
    assert api.cache_verify(cache, sharing) == []
    assert len(list(shared.glob("payloads/*/*"))) == 8  # theirs stay, though we do not know them
    victim = next(shared.glob("payloads/*/*"))
    victim.write_bytes(b"X")
    found = api.cache_verify(theirs.root / "cache", sharing)
    assert [damage.where for damage in found] == [f"file://{victim}"]
    size = api.cache_size(cache, sharing)
    assert (size.payloads, size.shared_in) == (7, sharing.store)
    assert 0 < size.kept_bytes < size.payload_bytes


def test_collect_leaves_a_shared_store_alone_unless_told(mine: World, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    sharing = api.Sharing(f"file://{shared}")
    mine.run(store=sharing.store)
    (mine.root / "photos/c.txt").unlink()
    mine.run(store=sharing.store)
    cache = mine.root / "cache"
    left = api.cache_collect(cache, 1, sharing)
    assert (left.payloads, left.bytes, left.left_in) == (0, 0, sharing.store)
    assert len(list(shared.glob("payloads/*/*"))) == 6
    gone = api.cache_collect(cache, 1, sharing, True)
    assert gone == Collected(2, gone.bytes, 0)
    assert len(list(shared.glob("payloads/*/*"))) == 4
    mine.run(store=sharing.store).assert_nothing_done()


def test_a_network_that_is_busy_for_a_moment_changes_nothing(mine: World, faulty: FaultySystem) -> None:
    alone = mine.run_clean()
    faulty.fail_every = 3
    ran = mine.run(store=faulty.url)
    ran.assert_same_as(alone)
    assert faulty.failures > 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2, 5, 9, 14, 20])
def test_a_network_that_goes_away_ends_the_run_and_nothing_of_it_is_remembered(
    mine: World, faulty: FaultySystem, number: int
) -> None:
    alone = mine.run_clean()
    faulty.gone_after = number
    with pytest.raises(EnvironmentFault) as caught:
        mine.run(store=faulty.url)
    assert str(caught.value) == (
        f"store {faulty.url}: cannot be reached, 4 attempts failed ([Errno 113] the network is away)"
    )
    assert mine.exports() == []
    faulty.gone_after = None
    again = mine.run(store=faulty.url)
    again.assert_same_as(alone)
    assert again.rows("rejects") == []


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_an_upload_that_is_cut_off_leaves_no_torn_payload(mine: World, faulty: FaultySystem, number: int) -> None:
    alone = mine.run_clean()
    faulty.cut_upload = number
    ran = mine.run(store=faulty.url)
    ran.assert_same_as(alone)
    names = [path.name for path in faulty.folder.glob("payloads/*/*")]
    assert len(names) == 6
    assert list(faulty.folder.glob("incoming/*")) == []


@pytest.mark.slow
def test_an_unchanged_run_asks_no_network_and_parses_no_profile(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    profile = tmp_path / "machine.yaml"
    profile.write_text(f"executor: threads\nworkers: 2\nstore: file://{shared}\nmemory: 2 GiB\n")
    mine = _world(tmp_path / "mine")
    mine.settle()
    code = (
        "import sys; from forge_pipeline.cli.main import forge_run; code = forge_run(sys.argv[1:]);"
        # The toy source has no finder: its operator lists files, and brings pydantic, a profile or not.
        "heavy = {'forge_pipeline.profile_model', 'forge_pipeline.recipe.model', 'yaml', 'fsspec', 's3fs', 'networkx'};"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    words = ["toy.yaml", "--directory", str(mine.root), "--profile", str(profile), "--quiet"]
    told = [
        subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert told == [
        "0 ['forge_pipeline.profile_model', 'forge_pipeline.recipe.model', 'fsspec', 'networkx', 'yaml']\n",
        "0 []\n",
    ]
    assert len(list(shared.glob("payloads/*/*"))) == 6
