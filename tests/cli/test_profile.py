"""The profile of a machine: where it is looked for, what it may say, and that nothing of it reaches a result."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from forge_pipeline import api
from forge_pipeline.errors import CommandError, ProfileError
from forge_pipeline.machine import MemorySize, read_memory_size
from forge_pipeline.profile import Profile, find_profile, load_profile
from forge_pipeline.profile_model import ProfileModel, RayModel
from tests.engine.conftest import fresh_toys, quick_disk
from tests.engine.worlds import World

__all__ = ["fresh_toys", "quick_disk"]

WHOLE = """\
# what is so on this machine
executor: threads
workers: 2
store: s3://bucket/prefix
store_cache: 500 MB
ray: {address: head:6379}
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return tmp_path / "machine.yaml"


def test_everything_that_it_may_say(profile: Path, tmp_path: Path) -> None:
    profile.write_text(WHOLE)
    assert load_profile(profile, tmp_path) == Profile(
        executor="threads",
        workers=2,
        store="s3://bucket/prefix",
        store_cache_bytes=500_000_000,
        ray_address="head:6379",
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "ray: {}\n"])
def test_what_it_does_not_say_is_left_open(profile: Path, tmp_path: Path, text: str) -> None:
    profile.write_text(text)
    found = load_profile(profile, tmp_path)
    assert found == Profile(ray_address="auto" if "ray" in text else "")
    assert load_profile(None, tmp_path) == Profile()


@pytest.mark.parametrize(
    ("size", "found"),
    [
        ("1024", 1024),
        ("1 KiB", 1024),
        ("1.5GB", 1_500_000_000),
        ("2 TiB", 2 << 40),
        ("7 B", 7),
        ("12 gib", 12 << 30),
        ("8 kB", 8000),
        ("3G", 3_000_000_000),
    ],
)
def test_sizes_are_bytes_or_have_a_unit(profile: Path, tmp_path: Path, size: str, found: int) -> None:
    profile.write_text(f"store_cache: {size}\nmemory: {size}\n")
    told = load_profile(profile, tmp_path)
    assert told.store_cache_bytes == found
    assert read_memory_size(told.memory) == MemorySize(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "worker: 3\n",
            "{file}:1:1: unknown key 'worker' in the profile\n    worker: 3\n    ^\n  hint: did you mean 'workers'?",
        ),
        (
            "ray: {adress: auto}\n",
            "{file}:1:7: unknown key 'adress' in 'ray'\n    ray: {adress: auto}\n          ^\n"
            "  hint: did you mean 'address'?",
        ),
        ("workers: 0\n", "{file}:1:10: workers is 0, expected at least 1\n    workers: 0\n             ^"),
        ("workers: many\n", '{file}:1:10: workers is "many", expected an integer\n    workers: many\n             ^'),
        (
            "executor: thread\n",
            '{file}:1:11: executor is "thread", expected "auto", "inline", "threads", "processes" or "ray"\n'
            "    executor: thread\n              ^\n  hint: did you mean 'threads'?",
        ),
        (
            "store_cache: 12 parsecs\n",
            '{file}:1:14: store_cache is "12 parsecs", expected a size such as 8 GiB or 500 MB\n'
            "    store_cache: 12 parsecs\n                 ^",
        ),
        (
            "store_cache: 40%\n",
            '{file}:1:14: store_cache is "40%", expected a size such as 8 GiB or 500 MB\n'
            "    store_cache: 40%\n                 ^",
        ),
        (
            "memory: yes\n",
            '{file}:1:9: memory is "yes", expected a size such as 8 GiB or 500 MB, or a share such as 40%\n'
            "    memory: yes\n            ^",
        ),
        (
            "ray: auto\n",
            '{file}:1:6: ray is "auto", expected a mapping\n    ray: auto\n         ^',
        ),
        (
            "workers: 1\nworkers: 2\n",
            "{file}:2:1: key 'workers' is written twice; the first stands at {file}:1:1\n    workers: 2\n    ^\n"
            "  hint: remove or rename one of the two",
        ),
        (
            "store: ${env:STORE}\n",
            "{file}:1:8: a reference cannot stand here, expected a value that is written out\n"
            "    store: ${env:STORE}\n           ^",
        ),
        ("- a\n", "{file}:1:1: the file holds no keys, expected a mapping such as 'workers: 8'\n    - a\n    ^"),
        (
            "store: /shared\nseed: 3\n",
            "{file}:1:8: store: '/shared' has no scheme, expected a URL such as s3://bucket/prefix\n"
            "  hint: for a folder that other machines see too: file:///shared\n"
            "{file}:2:1: unknown key 'seed' in the profile\n    seed: 3\n    ^\n"
            "  hint: known: executor, workers, memory, store, store_cache, ray",
        ),
        (
            "store: s3://AKID:SECRET@bucket\n",
            "{file}:1:8: store: s3://bucket...: a URL may hold no credentials, since it is shown and kept; leave what "
            "stands before the '@' out\n  hint: export AWS_PROFILE=NAME, with the key in ~/.aws/credentials",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_place(profile: Path, tmp_path: Path, text: str, told: str) -> None:
    profile.write_text(text)
    with pytest.raises(ProfileError) as caught:
        load_profile(profile, tmp_path)
    assert str(caught.value) == told.replace("{file}", str(profile))


def test_it_is_read_again_when_it_changes_and_not_before(profile: Path, tmp_path: Path) -> None:
    profile.write_text("workers: 2\n")
    assert load_profile(profile, tmp_path).workers == 2
    code = (
        "import sys; from pathlib import Path; from forge_pipeline.profile import load_profile\n"
        "found = load_profile(Path(sys.argv[1]), Path(sys.argv[2])).workers\n"
        "print(found, sorted({'pydantic', 'yaml'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, str(profile), str(tmp_path)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "2 []\n"
    profile.write_text("workers: 3\n")
    assert load_profile(profile, tmp_path).workers == 3
    for damaged in (b"", b"{", b"[]", b'{"key": 1}'):
        (tmp_path / "profile.json").write_bytes(damaged)
        assert load_profile(profile, tmp_path).workers == 3


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "settings" / "forge-pipeline" / "machine.yaml"
    home = tmp_path / "home" / ".config" / "forge-pipeline" / "machine.yaml"
    given, named = tmp_path / "given.yaml", tmp_path / "named.yaml"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "settings"), "FORGE_PROFILE": str(named)}
    xdg = {"XDG_CONFIG_HOME": environ["XDG_CONFIG_HOME"]}
    assert find_profile(None, xdg) is None
    for path in (settings, home, given, named):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find_profile(str(given), environ) == given
    assert find_profile(None, environ) == named
    assert find_profile(None, xdg) == settings
    assert find_profile(None, {"XDG_CONFIG_HOME": "relative"}) == home
    assert find_profile(None, {"FORGE_PROFILE": ""}) == home
    assert find_profile("/dev/null", environ) == Path("/dev/null")


@pytest.mark.parametrize(
    ("given", "environ", "where"),
    [("nowhere", {}, "--profile"), (None, {"FORGE_PROFILE": "nowhere"}, "$FORGE_PROFILE")],
)
def test_a_file_that_somebody_named_must_be_there(given: str | None, environ: dict[str, str], where: str) -> None:
    with pytest.raises(CommandError) as caught:
        find_profile(given, environ)
    assert str(caught.value) == f"{where}: there is no file 'nowhere'\n  hint: /dev/null stands for no profile"


def test_a_profile_changes_no_key_and_no_byte(tmp_path: Path, profile: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    world = World(tmp_path / "world")
    world.files(a="1 2 3", b="4 5 6")
    world.recipe(
        """
        photos: {use: toy.read, with: {path: photos}}
        hr: {use: toy.add, from: photos, with: {amount: 1}}
        out: {use: toy.write, from: hr, with: {path: out}}
        """
    )
    profile.write_text(f"executor: inline\nworkers: 1\nstore: file://{shared}\nmemory: 2 GiB\n")
    before = world.run(executor=None)
    lock = (world.root / "toy.lock").read_bytes()
    world.run(executor=None, profile=profile).assert_nothing_done()
    with_it = world.run(executor=None, profile=profile, cache="other")
    assert with_it.digests == before.digests
    assert with_it.trees == before.trees
    assert (world.root / "toy.lock").read_bytes() == lock
    assert len(list(shared.glob("payloads/*/*"))) == 2


def test_the_command_goes_before_the_recipe_and_the_recipe_before_the_profile(tmp_path: Path, profile: Path) -> None:
    profile.write_text("executor: inline\nworkers: 3\n")
    world = World(tmp_path / "world")
    world.files(a="1 2 3")
    steps = "photos: {use: toy.read, with: {path: photos}}\n"

    def chosen(**options: object) -> str:
        report = api.plan(world.recipe_path, world.options(**{"executor": None, "profile": profile, **options}))
        return report.choice.name

    world.recipe(steps)
    assert chosen() == "inline"
    world.recipe(steps, executor="threads")
    assert chosen() == "threads"
    assert chosen(executor="processes") == "processes"


def test_the_reference_names_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/profile.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE)
    nested = {"ray": [f"ray.{name}" for name in RayModel.model_fields]}
    assert told == [key for name in ProfileModel.model_fields for key in nested.get(name, [name])]
