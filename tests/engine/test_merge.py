"""Caches of shards become one, and a run on that comes to what a run comes to that was never sharded."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge_pipeline import api
from forge_pipeline.cache.merge import Merged, Taken
from forge_pipeline.cache.place import open_cache
from forge_pipeline.compiled import ENGINE_FORMAT
from forge_pipeline.disk import held
from forge_pipeline.errors import CommandError, EnvironmentFault
from forge_pipeline.events import Event, Note
from tests.engine.calls import SWITCHES
from tests.engine.random_recipes import FILES, Plan, plans, write_files
from tests.engine.worlds import Ran, World

STEPS = """
    photos: {use: toy.read, with: {path: photos}, max_errors: 100%}
    parts: {use: toy.frames, from: photos, with: {size: 2}}
    add: {use: toy.add, from: parts, with: {fail_over: 240}, max_errors: 100%}
    keep: {use: toy.keep, from: add, with: {least: 3}, max_errors: 100%}
    unique: {use: toy.unique, from: keep}
    bright: {use: toy.add, from: unique, with: {amount: 7}}
    out: {use: toy.pair, from: {a: unique, b: bright}, with: {path: out}}
"""
BEFORE_THE_FIRST_DECIDE = ("photos", "parts", "add")
SHARDS = st.integers(1, 5)
# What became of a shard. A run that was killed leaves a cache with less in it.
FATES = st.sampled_from(["done", "done", "done", "twice", "killed", "missing"])


@pytest.fixture
def photos(world: World) -> World:
    """Seven photos: one broken, one without a mean, two of equal pixels."""
    world.files(d="3 broken", e="254 1", f="1 2 3 # the same", g="50 60 70 80 90")
    world.recipe(STEPS)
    return world


def merge(world: World, *names: str, into: str = "merged") -> Merged:
    return api.cache_merge(world.root / into, [world.root / name for name in names])


def rows(world: World, cache: str, table: str) -> int:
    with closing(sqlite3.connect(world.root / cache / "index.sqlite")) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def plain(world: World) -> Ran:
    """Run it as if it had never been sharded; it must end well, or equal results would say little."""
    ran = world.run_clean()
    assert ran.result.status == "done", ran.result.error
    return ran


# --- the promise ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shards_merged_leave_the_run_nothing_but_to_decide(photos: World, count: int) -> None:
    for number in range(1, count + 1):
        photos.run(cache=f"shard{number}", shard=(number, count))
    merged = merge(photos, *(f"shard{number}" for number in range(1, count + 1)))
    assert merged.conflicts == ()
    ran = photos.run(cache="merged")
    for step in BEFORE_THE_FIRST_DECIDE:
        counts = ran.result.steps[step]
        assert (counts.ran, counts.measured, counts.rebuilt) == (0, 0, 0), step
    assert ran.result.steps["keep"].measured == 0
    assert ran.result.steps["keep"].ran == 1
    assert {name: ran.calls[name] for name in ("load", "split", "mean", "width")} == dict.fromkeys(
        ("load", "split", "mean", "width"), 0
    )
    ran.assert_same_as(plain(photos))


def test_nothing_depends_on_where_a_shard_was_done(photos: World, tmp_path: Path) -> None:
    for number in (1, 2):
        machine = World(tmp_path / f"machine{number}")
        shutil.copytree(photos.root / "photos", machine.root / "photos")
        machine.recipe(STEPS)
        machine.run(shard=(number, 2))
        assert rows(machine, "cache", "files") > 0
        (machine.root / "cache").rename(photos.root / f"from{number}")
        shutil.rmtree(machine.root)
    merge(photos, "from1", "from2")
    for table in ("files", "runs", "datasets", "samples", "rejects", "plans"):
        assert rows(photos, "merged", table) == 0, table
    ran = photos.run(cache="merged")
    assert ran.calls["load"] == ran.calls["split"] == ran.calls["mean"] == 0
    ran.assert_same_as(plain(photos))


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(plans(), FILES, SHARDS, st.data())
def test_merged_shards_come_to_what_a_plain_run_comes_to(
    plan: Plan, files: dict[tuple[str, str], str], count: int, data: st.DataObject
) -> None:
    check_fates(plan, files, count, data)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(plans(), FILES, SHARDS, st.data())
def test_merged_shards_come_to_what_a_plain_run_comes_to_at_length(
    plan: Plan, files: dict[tuple[str, str], str], count: int, data: st.DataObject
) -> None:
    check_fates(plan, files, count, data)


def check_fates(plan: Plan, files: dict[tuple[str, str], str], count: int, data: st.DataObject) -> None:
    """Do some shards, some twice, some only in part; merge them in any order; compare with a plain run."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "world")
        write_files(world, files)
        plan.write(world)
        fates = {number: data.draw(FATES, label=f"shard {number}") for number in range(1, count + 1)}
        names = []
        for number, fate in fates.items():
            for turn in range({"missing": 0, "twice": 2}.get(fate, 1)):
                names.append(f"shard{number}-{turn}")
                world.run(cache=names[-1], shard=(number, count))
            if fate == "killed":
                forget_some(world, names[-1], data.draw(st.integers(2, 4), label="one of so many is left"))
        merged = merge(world, *data.draw(st.permutations(names), label="order"))
        assert merged.conflicts == ()
        ran = world.run(cache="merged")
        if set(fates.values()) <= {"done", "twice"} and not plan.uncached:
            assert ran.calls["load"] == 0
            assert ran.total("rebuilt") == 0
        clean = world.run_clean()
        assert ran.result.status == clean.result.status
        if clean.result.status == "done":
            ran.assert_same_as(clean)


def forget_some(world: World, cache: str, one_of: int) -> None:
    """Leave one of so many actions and payloads: a kill leaves those that were committed before it."""
    with closing(sqlite3.connect(world.root / cache / "index.sqlite")) as connection:
        for table, name in (("actions", "key"), ("payloads", "digest")):
            names = [row[0] for row in connection.execute(f"SELECT {name} FROM {table} ORDER BY {name}")]
            gone = [(key,) for number, key in enumerate(names) if number % one_of]
            connection.executemany(f"DELETE FROM {table} WHERE {name} = ?", gone)
        connection.commit()
    for path in world.payloads(cache)[::one_of]:
        path.unlink()


# --- what travels ---------------------------------------------------------------------------------


def test_a_merge_counts_what_came_and_a_second_one_changes_nothing(photos: World) -> None:
    photos.run(cache="one", shard=(1, 2))
    photos.run(cache="two", shard=(2, 2))
    one, two = photos.root / "one", photos.root / "two"
    first, again = merge(photos, "one", "two"), merge(photos, "one", "two")
    actions = [rows(photos, name, "actions") for name in ("one", "two", "merged")]
    sizes = {name: sum(p.stat().st_size for p in photos.payloads(name)) for name in ("one", "two", "merged")}
    payloads = [len(photos.payloads(name)) for name in ("one", "two", "merged")]
    shared = [sum(actions[:2]) - actions[2], sum(payloads[:2]) - payloads[2]]
    assert shared == [7, 4]  # what was done with pixels that are in both halves
    assert first.taken == (
        Taken(one, actions[0], 0, payloads[0], sizes["one"]),
        Taken(
            two, actions[1] - shared[0], shared[0], payloads[1] - shared[1], sizes["merged"] - sizes["one"], shared[1]
        ),
    )
    assert again.taken == (
        Taken(one, 0, actions[0], 0, 0, payloads[0]),
        Taken(two, 0, actions[1], 0, 0, payloads[1]),
    )


def test_payloads_are_copied_and_never_linked(photos: World) -> None:
    photos.run(cache="one", shard=(1, 1))
    merge(photos, "one")
    theirs, ours = photos.payloads("one"), photos.payloads("merged")
    assert [path.name for path in ours] == [path.name for path in theirs]
    assert [path.read_bytes() for path in ours] == [path.read_bytes() for path in theirs]
    assert {path.stat().st_nlink for path in (*ours, *theirs)} == {1}


def test_payloads_that_are_gone_or_damaged_are_made_again_by_the_run(photos: World) -> None:
    photos.run(cache="one", shard=(1, 1))
    gone, damaged, *_ = photos.payloads("one")
    gone.unlink()
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    [taken] = merge(photos, "one").taken
    assert taken.payloads_missing == 2
    ran = photos.run(cache="merged")
    assert ran.total("rebuilt") > 0
    ran.assert_same_as(plain(photos))


def test_a_merge_that_was_cut_off_is_done_again(photos: World, monkeypatch: pytest.MonkeyPatch) -> None:
    photos.run(cache="one", shard=(1, 1))
    put, left = FolderStorePut(), 3
    with pytest.raises(KeyboardInterrupt):
        put.fail_after(left, monkeypatch, lambda: merge(photos, "one"))
    assert len(photos.payloads("merged")) == left
    [taken] = merge(photos, "one").taken
    assert (taken.payloads, taken.payloads_known) == (len(photos.payloads("one")) - left, left)
    ran = photos.run(cache="merged")
    assert ran.calls["load"] == 0
    ran.assert_same_as(plain(photos))


class FolderStorePut:
    """A store whose user loses patience after so many images."""

    def fail_after(self, count: int, monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]) -> None:
        from forge_pipeline.cache.folder import FolderStore

        real, done = FolderStore.put, []

        def put(store: FolderStore, digest: str, data: bytes, suffix: str) -> object:
            if len(done) == count:
                raise KeyboardInterrupt
            done.append(digest)
            return real(store, digest, data, suffix)

        with monkeypatch.context() as patch:
            patch.setattr(FolderStore, "put", put)
            call()


def test_a_cache_that_is_in_use_keeps_what_it_knew(photos: World) -> None:
    photos.run(cache="merged")
    photos.files(h="91 92 93")
    photos.run(cache="one", shard=(3, 3))
    merge(photos, "one")
    ran = photos.run(cache="merged")
    assert ran.calls["load"] == 0
    ran.assert_same_as(plain(photos))


def test_an_explanation_says_that_an_action_came_from_elsewhere(photos: World) -> None:
    photos.run(cache="one", shard=(1, 1))
    merge(photos, "one", into="cache")
    photos.run()
    assert '  add: toy.add {"added": 1}, reused from the run of another machine\n' in photos.explain("photos/a.txt/p0")


# --- what does not go together --------------------------------------------------------------------


@pytest.fixture
def two_answers(photos: World) -> World:
    """Two caches with different results of the same actions."""
    photos.recipe(STEPS.replace("toy.add, from: parts, with: {fail_over: 240}", "toy.random, from: parts"))
    photos.run(cache="one", shard=(1, 1))
    SWITCHES["random"] = 1
    photos.run(cache="two", shard=(1, 1))
    return photos


def test_two_results_of_one_action_are_all_told_and_ours_is_kept(two_answers: World) -> None:
    merged = merge(two_answers, "one", "two")
    assert len(merged.conflicts) == 10
    assert {conflict.cache for conflict in merged.conflicts} == {two_answers.root / "two"}
    first = merged.conflicts[0]
    assert first.message.startswith(
        f"operator 'toy.random' is not deterministic: the same input and parameters (action {first.name[:12]}) gave "
    )
    SWITCHES["random"] = 0
    two_answers.run(cache="merged").assert_same_as(plain(two_answers))


def test_an_image_that_was_encoded_in_two_ways_is_told(photos: World) -> None:
    for name in ("one", "two"):
        photos.run(cache=name, shard=(1, 1))
    with closing(sqlite3.connect(photos.root / "two" / "index.sqlite")) as connection:
        [digest] = connection.execute("SELECT min(digest) FROM payloads").fetchone()
        connection.execute("UPDATE payloads SET bytes_digest = 'other' WHERE digest = ?", (digest,))
        connection.commit()
    [conflict] = merge(photos, "one", "two").conflicts
    assert conflict.name == digest
    assert conflict.message.startswith(f"image {digest[:12]} has other bytes there: it was encoded as ")
    assert conflict.message.endswith(f" and as other in {photos.root / 'two'}, by a codec that is not deterministic")


def refused(world: World, *names: str, kind: type[Exception], into: str = "merged") -> str:
    with pytest.raises(kind) as error:
        merge(world, *names, into=into)
    return str(error.value)


def test_folders_that_are_no_caches_are_refused(photos: World) -> None:
    photos.run(cache="work/.forge/cache", shard=(1, 1))
    root = photos.root
    assert refused(photos, "nothing", kind=CommandError) == f"forge cache merge: {root / 'nothing'}: there is no cache"
    assert refused(photos, "work", kind=CommandError) == (
        f"forge cache merge: {root / 'work'}: there is no cache\n  hint: did you mean '{root}/work/.forge/cache'?"
    )
    assert refused(photos, "work/.forge/cache", kind=CommandError, into="work/.forge/cache") == (
        f"forge cache merge: {root}/work/.forge/cache is the cache that is merged into\n"
        "  hint: leave it out, or name another one with --cache DIR"
    )
    assert not (root / "merged").exists()


def test_caches_of_other_versions_are_refused_before_anything_is_merged(photos: World) -> None:
    from importlib.metadata import version

    hint = f"  hint: have forge {version('forge-pipeline')} on every machine, and run that shard again"
    for name in ("good", "format", "engine", "codec"):
        photos.run(cache=name, shard=(1, 1))
    change(photos, "format", "PRAGMA user_version = 99")
    change(photos, "engine", f"UPDATE configs SET json = replace(json, '\"engine\":{ENGINE_FORMAT}', '\"engine\":99')")
    change(photos, "codec", "UPDATE meta SET value = '{\"image\": 99}' WHERE name = 'codecs'")
    root = photos.root
    assert refused(photos, "good", "format", kind=EnvironmentFault) == (
        f"cache: {root}/format/index.sqlite has index format 99, this version of forge has 2\n{hint}"
    )
    assert refused(photos, "good", "engine", kind=EnvironmentFault) == (
        f"cache: all that {root}/engine knows has engine format 99, this version of forge has {ENGINE_FORMAT}: "
        f"nothing of it would be used\n{hint}"
    )
    with open_cache(root / "good") as cache:
        ours = ", ".join(f"'{kind}' version {number}" for kind, number in sorted((cache.index.codecs() or {}).items()))
    assert refused(photos, "good", "codec", kind=EnvironmentFault) == (
        f"cache: the images in {root}/codec were encoded by 'image' version 99, those in {root}/merged by {ours}\n"
        f"{hint}"
    )
    assert rows(photos, "merged", "actions") == rows(photos, "merged", "payloads") == 0


def change(world: World, cache: str, statement: str) -> None:
    with closing(sqlite3.connect(world.root / cache / "index.sqlite")) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_merge_waits_for_a_run_on_any_of_its_caches(photos: World) -> None:
    photos.run(cache="one", shard=(1, 1))
    photos.run(cache="two", shard=(1, 1))
    pid = os.fork()
    if not pid:  # another process: a lock is never in its own way
        with held(photos.root / "two" / "lock"):
            (photos.root / "holds").touch()
            while not (photos.root / "heard").exists():
                pass
        os._exit(0)
    while not (photos.root / "holds").exists():
        pass
    notes = []

    def announce(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)
            (photos.root / "heard").touch()

    api.cache_merge(photos.root / "merged", [photos.root / "one", photos.root / "two"], announce=announce)
    os.waitpid(pid, 0)
    assert notes == [f"cache {photos.root / 'two'}: another run is using it; waiting until it is done"]


def test_a_cache_on_a_network_is_to_be_copied_first(photos: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from forge_pipeline.cache import place

    photos.run(cache="far", shard=(1, 1))
    mounts = photos.file("mounts", f"disk / ext4 rw 0 0\nserver:/x {photos.root / 'far'} nfs4 rw 0 0\n")
    monkeypatch.setattr(place, "MOUNTS", str(mounts))
    assert refused(photos, "far", kind=EnvironmentFault) == (
        f"cache: {photos.root / 'far'} lies on a network file system (nfs4), where an index can be damaged\n"
        f"  hint: rsync -a {photos.root / 'far'}/ FOLDER/ to a folder on a local disk, and merge that"
    )
