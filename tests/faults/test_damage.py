"""What a user or a disk does to outputs, sources and cache behind the engine's back: the next run is right."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forge_pipeline import api, files
from forge_pipeline.cache.folder import FolderStore
from forge_pipeline.cache.store import Payload
from forge_pipeline.digest import digest_bytes
from forge_pipeline.errors import EnvironmentFault
from forge_pipeline.events import Event, RunResult, StepFinished
from forge_pipeline.run import sources
from forge_pipeline.task import Result
from tests.faults.conftest import MakeWorld, Undisturbed
from tests.faults.worlds import PHOTOS, RECIPE, World, draw_photo, every_file, save_photo

EXECUTORS = pytest.mark.parametrize("executor", ["inline", "threads"])


def _keep_times(path: Path, change: Callable[[Path], None]) -> None:
    """Change a file and put its modification time back, as a tool that copies times does."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with open(path, "rb+") as stream:  # in place: the inode stays
        stream.write(data)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _replace_by_garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 40)


def _delete(path: Path) -> None:
    path.unlink()


def _worked(result: RunResult) -> dict[str, int]:
    """Count what each step executed, where it did anything."""
    counted = {step: counts.ran + counts.measured for step, counts in result.steps.items()}
    return {step: count for step, count in counted.items() if count}


def _rebuilt(result: RunResult) -> int:
    return sum(counts.rebuilt for counts in result.steps.values())


# --- outputs --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("what", ["images", "manifest.jsonl", "rejects.jsonl"])
@pytest.mark.parametrize("harm", [_delete, _truncate, _flip, _replace_by_garbage])
def test_a_harmed_output_is_put_back(
    world: World, undisturbed: Undisturbed, harm: Callable[[Path], None], what: str
) -> None:
    world.run()
    victim = every_file(world.export / what)[0] if what == "images" else world.export / what
    if what == "rejects.jsonl" and harm is not _delete:
        victim.write_bytes(b"not empty any more, and not ours\n")
    if harm is _delete:
        harm(victim)
    else:
        _keep_times(victim, harm)
    result = world.run()
    assert _worked(result) == {"out": 1}
    assert result.exports[0].written == 1
    assert world.operator_calls == 0
    assert world.outcome() == undisturbed.outcome


def test_a_deleted_export_is_published_again(world: World, undisturbed: Undisturbed) -> None:
    world.run()
    shutil.rmtree(world.export)
    result = world.run()
    assert _worked(result) == {"out": 1}
    assert world.operator_calls == 0
    assert world.outcome() == undisturbed.outcome


def test_a_deleted_export_is_published_again_though_the_cache_is_gone_too(
    world: World, undisturbed: Undisturbed
) -> None:
    world.run()
    shutil.rmtree(world.export)
    shutil.rmtree(world.cache)
    world.run()
    assert world.outcome() == undisturbed.outcome


# --- sources --------------------------------------------------------------------------------------


def test_a_touched_source_runs_nothing(world: World, undisturbed: Undisturbed) -> None:
    world.run()
    for photo in every_file(world.photos):
        photo.touch()
    result = world.run()
    assert _worked(result) == {}
    assert world.operator_calls == 0
    assert world.outcome() == undisturbed.outcome


@EXECUTORS
def test_a_source_changed_behind_its_size_and_time_is_seen(make_world: MakeWorld, executor: str) -> None:
    world, fresh = make_world("edited"), make_world("fresh")
    for each in (world, fresh):
        _bmp(each, draw_photo(3))
    world.run(executor=executor)
    victim = world.photos / "photo3.bmp"
    size = victim.stat().st_size
    _keep_times(victim, lambda path: _bmp(world, draw_photo(33)))
    assert victim.stat().st_size == size
    result = world.run(executor=executor)
    _bmp(fresh, draw_photo(33))
    fresh.run()
    assert world.outcome() == fresh.outcome()
    assert result.steps["photos"].ran == 1


def _bmp(world: World, pixels: object) -> None:
    """Save the third photograph uncompressed: its size does not depend on its pixels."""
    (world.photos / "photo3.png").unlink(missing_ok=True)
    save_photo(pixels, world.photos / "photo3.bmp")  # type: ignore[arg-type]


def test_a_source_that_changes_after_it_was_read_is_taken_as_it_was_and_seen_by_the_next_run(
    make_world: MakeWorld, undisturbed: Undisturbed
) -> None:
    world, fresh = make_world("edited"), make_world("fresh")
    for each in (world, fresh):
        assert (each.photos / "photo4.png").stat().st_size <= files._KEPT_FILE_BYTES
    with pytest.MonkeyPatch.context() as patch:
        _before_task_of(patch, "photos/photo4.png", lambda: _change(world.photos / "photo4.png"))
        world.run()
    assert world.outcome() == undisturbed.outcome
    _change(fresh.photos / "photo4.png")
    assert world.run().status == fresh.run().status == "done"
    assert world.outcome() == fresh.outcome()


def _change(path: Path) -> None:
    save_photo(draw_photo(44), path)


def test_a_large_source_that_changes_during_the_run_ends_it_with_a_clear_error(make_world: MakeWorld) -> None:
    world, fresh = make_world("edited"), make_world("fresh")
    last = world.photos / "photo4.png"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_KEPT_FILE_BYTES", 0)
        _before_task_of(patch, "photos/photo4.png", lambda: _change(last))
        with pytest.raises(EnvironmentFault) as caught:
            world.run()
    assert str(caught.value) == (
        f"{last}: changed while the run was reading it\n  hint: run again when it is no longer written"
    )
    _change(fresh.photos / "photo4.png")
    assert world.run().status == fresh.run().status == "done"
    assert world.outcome() == fresh.outcome()


@pytest.mark.parametrize("harm", [_delete, _flip])
def test_a_source_whose_own_bytes_are_to_be_published_is_verified_then(
    make_world: MakeWorld, harm: Callable[[Path], None]
) -> None:
    plain = RECIPE.replace(
        "from: clean, with: {path: output/faulty}", "from: photos, with: {path: P, encoding: source}"
    )
    world = make_world("edited", plain.replace("P,", "output/faulty,"))
    victim = world.photos / "photo4.png"

    def harm_before_publication(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == "clean":
            harm(victim)

    with pytest.raises(EnvironmentFault) as caught:
        world.run(harm_before_publication)
    assert str(caught.value) == (
        f"{victim}: cannot be read (no such file or directory)"
        if harm is _delete
        else f"{victim}: changed while the run was reading it\n  hint: run again when it is no longer written"
    )
    assert not world.export.exists()
    assert world.left_behind() == []


def _before_task_of(patch: pytest.MonkeyPatch, key: str, first: Callable[[], None]) -> None:
    from forge_pipeline import worker

    real = worker.run_task

    def then_task(task: Any, bench: Any, beacon: Any) -> Any:
        if task.sample.key == key:
            first()
        return real(task, bench, beacon)

    patch.setattr(worker, "run_task", then_task)


# --- the cache ------------------------------------------------------------------------------------


@pytest.mark.slow
@EXECUTORS
@pytest.mark.parametrize("harm", [_delete, _truncate, _flip, _replace_by_garbage])
@pytest.mark.parametrize("share", ["one", "all"])
def test_harmed_payloads_are_made_again_when_they_are_needed(
    world: World, undisturbed: Undisturbed, harm: Callable[[Path], None], share: str, executor: str
) -> None:
    world.run(executor=executor)
    victims = world.payloads() if share == "all" else world.payloads()[:1]
    for victim in victims:
        harm(victim)
    # Nobody needs them now ...
    result = world.run(executor=executor)
    assert (_worked(result), _rebuilt(result)) == ({}, 0)
    # ... but an export that is gone does.
    shutil.rmtree(world.export)
    result = world.run(executor=executor)
    assert _worked(result) == {"out": 1}
    assert 1 <= _rebuilt(result) <= 2 * len(victims)
    assert world.outcome() == undisturbed.outcome
    assert api.cache_verify(world.cache) == []


@pytest.mark.slow
@EXECUTORS
@pytest.mark.parametrize("harm", [_delete, _flip])
def test_harmed_payloads_are_made_again_for_a_new_measure(
    make_world: MakeWorld, harm: Callable[[Path], None], executor: str
) -> None:
    world, fresh = make_world("edited"), make_world("fresh")
    world.run(executor=executor)
    for victim in world.payloads()[::2]:
        harm(victim)
    for each in (world, fresh):
        each.recipe.write_text(RECIPE.replace("blockiness < 60", "entropy > 1"))
        each.run(executor=executor)
    assert world.outcome() == fresh.outcome()
    assert fresh.operator_calls > world.operator_calls > 0


def test_verify_names_every_damaged_payload_at_once(world: World) -> None:
    world.run()
    assert api.cache_verify(world.cache) == []
    flipped, cut, gone = world.payloads()[:3]
    _flip(flipped)
    _truncate(cut)
    gone.unlink()
    found = {Path(damage.where): damage.problem for damage in api.cache_verify(world.cache)}
    assert set(found) == {flipped, cut}
    assert all("moved to quarantine" in problem for problem in found.values())
    assert api.cache_verify(world.cache) == []


@pytest.mark.slow
@EXECUTORS
@pytest.mark.parametrize("part", ["payloads", "index.sqlite", "."])
def test_a_deleted_part_of_the_cache_is_made_again(
    world: World, undisturbed: Undisturbed, part: str, executor: str
) -> None:
    world.run(executor=executor)
    target = world.cache / part
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    result = world.run(executor=executor)
    assert world.outcome() == undisturbed.outcome
    assert world.actions() == undisturbed.actions
    assert result.exports[0].written == 0
    assert bool(world.operator_calls) == (part != "payloads")


@pytest.mark.slow
@EXECUTORS
@pytest.mark.parametrize("step", ["photos", "tiles", "clean"])
@pytest.mark.parametrize("harm", [_delete, _flip])
def test_payloads_harmed_between_the_barriers_of_a_run_are_made_again(
    world: World, undisturbed: Undisturbed, harm: Callable[[Path], None], step: str, executor: str
) -> None:
    def interfere(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step == step:
            for path in world.payloads():
                harm(path)

    result = world.run(interfere, executor=executor, workers=2)
    assert result.status == "done"
    assert _rebuilt(result) > 0
    assert world.outcome() == undisturbed.outcome


@EXECUTORS
def test_payloads_deleted_all_the_time_do_not_disturb_a_run(
    world: World, undisturbed: Undisturbed, executor: str
) -> None:
    def delete_all() -> None:
        shutil.rmtree(world.cache / "payloads", ignore_errors=True)

    def interfere(event: Event) -> None:
        if isinstance(event, StepFinished):
            delete_all()

    with pytest.MonkeyPatch.context() as patch:
        _after_every_task(patch, delete_all, limit=20)
        assert world.run(interfere, executor=executor, workers=2).status == "done"
    assert world.outcome() == undisturbed.outcome


def _after_every_task(patch: pytest.MonkeyPatch, then: Callable[[], None], limit: int) -> None:
    from forge_pipeline import worker

    real = worker.run_task
    turns = iter(range(limit))

    def task_then(*arguments: object) -> object:
        outcome = real(*arguments)  # type: ignore[arg-type]
        if next(turns, None) is not None:
            then()
        return outcome

    patch.setattr(worker, "run_task", task_then)


def test_a_damaged_payload_is_told_and_kept_for_a_look(world: World) -> None:
    world.run()
    victim = world.payloads()[0]
    before = victim.read_bytes()
    _flip(victim)
    whole, harmed = digest_bytes(before), digest_bytes(victim.read_bytes())
    shutil.rmtree(world.export)
    world.run()
    assert world.notes == [
        f"cache: payload {victim.stem[:12]} is damaged (its bytes have digest {harmed[:12]}, not {whole[:12]}); "
        "moved to quarantine, it will be made again"
    ]
    assert digest_bytes((world.cache / "quarantine" / victim.name).read_bytes()) == harmed


@pytest.mark.slow
@EXECUTORS
@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_payload_that_vanishes_just_after_it_was_seen_is_made_again(
    make_world: MakeWorld, executor: str, every: int
) -> None:
    world, fresh = make_world("edited"), make_world("fresh")
    world.run(executor=executor)
    for each in (world, fresh):
        save_photo(draw_photo(40), each.photos / "photo40.png")
        each.recipe.write_text(RECIPE.replace("blockiness < 60", "entropy > 1"))
    fresh.run()
    real = FolderStore.has
    looks = itertools.count()

    def seen_then_gone(store: FolderStore, payload: Payload) -> bool:
        found = real(store, payload)
        look = next(looks)
        if found and look < 60 and look % every == 0:
            store.path(payload).unlink(missing_ok=True)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderStore, "has", seen_then_gone)
        assert world.run(executor=executor, workers=2).status == "done"
    assert next(looks) > 20
    assert world.outcome() == fresh.outcome()


def test_facts_of_a_file_that_was_changed_meanwhile_are_not_kept_for_the_old_one(
    world: World, undisturbed: Undisturbed
) -> None:
    victim = world.photos / "photo4.png"
    before = victim.read_bytes()
    real = sources.guarded
    calls = itertools.count()

    def change_then_read(run: Callable[[], Result]) -> Result:
        if next(calls) == PHOTOS - 1:  # files come in the order of their names
            save_photo(draw_photo(44, 128, 200), victim)
        return real(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "guarded", change_then_read)
        with pytest.raises(EnvironmentFault) as caught:
            world.run()
    assert str(caught.value) == (
        f"{victim}: changed while the run was reading it\n  hint: run again when it is no longer written"
    )
    victim.write_bytes(before)
    assert world.run().status == "done"
    assert world.outcome() == undisturbed.outcome
