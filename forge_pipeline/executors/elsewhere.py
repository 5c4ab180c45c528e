"""What a worker on any machine is told of a run, and what it finds out: whether code, store and files are the same."""

from __future__ import annotations

import os
import platform
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from forge_pipeline.cache.store import Payload, PayloadMissing, Store, StoreSpec
from forge_pipeline.cache.stores import open_store
from forge_pipeline.compiled import Doing, Node
from forge_pipeline.digest import digest_bytes, digest_file, digest_json
from forge_pipeline.errors import EnvironmentFault, ForgeError
from forge_pipeline.fingerprint import code_digest, import_closure, packages_digest
from forge_pipeline.task import Branch, InspectionTask, Task

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


# --- told by the run ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Badge:
    """What a worker must have as the run has it, or its results would stand under keys that are not theirs.

    Attributes:
        engine: digest of this package's source.
        operators: digest of the source of all installed packages of operators.
        libraries: versions of those that the recipe's operators declare, by distribution.
    """

    engine: str
    operators: str
    python: str
    libraries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Imported:
    """A file that a recipe imports, and what that imports from beside it.

    Attributes:
        path: where it lies on the machine of the run.
        code: digest of all of it.
        files: their bytes, by path relative to the file's folder.
    """

    path: str
    code: str
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all chunks of a run. Plain values.

    Attributes:
        run: tells one run from another.
        machine: names the machine of the run.
        folder: where relative paths start.
        store: how the run's store is opened, where it can be seen.
        probe: what the run has put there, to be read and compared.
        index: path of the index and which file that is (device, inode); it is read on the same machine only. None
            where workers must not.
    """

    run: str
    badge: Badge
    machine: str
    folder: str
    store: StoreSpec
    probe: tuple[Payload, bytes]
    index: tuple[str, tuple[int, int]] | None
    imported: tuple[Imported, ...] = ()


def describe_run(nodes: Iterable[Node], store: Store, index: str | None) -> Setting:
    """Gather what workers are told; puts a probe into the store."""
    doings = [doing for node in nodes for doing in node.doings]
    libraries = {name for doing in doings for name in doing.config.get("libraries", {})}
    files = sorted({(doing.operator.module, doing.operator.file) for doing in doings if doing.operator.file})
    return Setting(
        run=uuid.uuid4().hex,
        badge=own_badge(libraries),
        machine=machine_identity(),
        folder=str(Path.cwd()),
        store=store.spec,
        probe=put_probe(store),
        index=(index, file_identity(index)) if index is not None else None,
        imported=tuple(_imported(module, path) for module, path in files),
    )


def put_probe(store: Store) -> tuple[Payload, bytes]:
    """Put something into the store that nobody could know who does not see it."""
    data = f"forge-pipeline probe {uuid.uuid4().hex}".encode()
    return store.put(digest_bytes(data), data, ".probe"), data


def own_badge(libraries: Iterable[str]) -> Badge:
    """Say what this process has."""
    return Badge(
        _engine_digest(), packages_digest(), platform.python_version(), {name: _version(name) for name in libraries}
    )


def machine_identity() -> str:
    """Name this machine, from one start of its kernel to the next."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"{platform.node()}-{uuid.getnode()}"


def file_identity(path: str) -> tuple[int, int]:
    """Tell files of one machine apart; zeros where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def file_stamp(path: str) -> tuple[int, int]:
    """Return size and time of a source file, by which a worker knows that it sees the same; zeros where there is none.

    What it then reads is verified by digest all the same.
    """
    try:
        found = Path(path).stat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)


# --- found out by a worker ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a worker found.

    Attributes:
        refusal: why it must not work for this run; None where it may.
        sees_store: whether it reads and writes the run's store itself.
        why: why it does not see the store.
        store: how it opens it.
        index: the index, where it can be read from here.
        imported: where a recipe's files lie here, by their path on the machine of the run.
        sent: what has to be unpacked before those are there: bytes by path.
    """

    refusal: EnvironmentFault | None
    sees_store: bool = False
    why: str = ""
    store: StoreSpec | None = None
    index: str | None = None
    imported: Mapping[str, str] = field(default_factory=dict)
    sent: Mapping[Path, bytes] = field(default_factory=dict)


def look_around(setting: Setting, scratch: Path) -> Outlook:
    """Find out what can be seen from here.

    Args:
        scratch: where a folder of this process may be, for what was sent along; nothing is written there yet.
    """
    refusal = refuse_other_code(setting.badge, own_badge(setting.badge.libraries))
    if refusal is not None:
        return Outlook(refusal)
    here = machine_identity() == setting.machine
    spec = setting.store if here or not setting.store.url else _own_folder(setting.store)
    why = _unseen(spec, setting)
    path, identity = setting.index or (None, (0, 0))
    seen = path is not None and here and not why and file_identity(path) == identity
    imported: dict[str, str] = {}
    sent: dict[Path, bytes] = {}
    for number, one in enumerate(setting.imported):
        # At its own place on the run's machine, else unpacked from what was sent.
        if here and Path(one.path).is_file() and code_digest("", one.path) == one.code:
            imported[one.path] = one.path
            continue
        folder = scratch / str(number)
        imported[one.path] = str(folder / Path(one.path).name)
        sent |= {folder / name: data for name, data in one.files.items()}
    return Outlook(None, not why, why, None if why else spec, path if seen else None, imported, sent)


def refuse_other_code(run: Badge, here: Badge) -> EnvironmentFault | None:
    """Compare what the run has with what this process has."""
    found = [
        f"{name} {theirs[:12]} there, {ours[:12]} in the run"
        for name, theirs, ours in (
            ("the engine's code is", here.engine, run.engine),
            ("the operators' code is", here.operators, run.operators),
            ("Python is", here.python, run.python),
            *((f"{name} is", here.libraries.get(name, ""), run.libraries[name]) for name in sorted(run.libraries)),
        )
        if theirs != ours
    ]
    if not found:
        return None
    return EnvironmentFault(
        f"ray: a worker on {platform.node()} would give other results: {'; '.join(found)}",
        "install the same versions on every node (pip install -c constraints.txt ...), then `ray stop` and `ray start`",
    )


def unseen_side_file(task: Task | InspectionTask, checked: set[str]) -> EnvironmentFault | None:
    """Look for the files that operators read beside their input: they are not sent along.

    Args:
        checked: digests of the configurations that were found right before; gains those of this task.
    """
    for doing in _doings(task):
        if doing.digest in checked:
            continue
        for path, digest in zip(doing.side_files, doing.config.get("files", {}).values(), strict=True):
            if not Path(path).is_file() or digest_file(path) != digest:
                state = "is another file" if Path(path).is_file() else "is not there"
                return EnvironmentFault(
                    f"ray: operator '{doing.name}' reads {path}, which {state} on {platform.node()}",
                    "put it at the same path on every node, or on a shared mount",
                )
        checked.add(doing.digest)
    return None


def _own_folder(spec: StoreSpec) -> StoreSpec:
    """Keep what is read from a URL in a folder of this machine: the run's cache lies on another."""
    if Path(spec.folder).is_dir():
        return spec
    name = f"forge-pipeline-{os.getuid()}-{digest_bytes(spec.url.encode())[:8]}"
    return spec._replace(folder=str(Path(tempfile.gettempdir()) / name))


def _unseen(spec: StoreSpec, setting: Setting) -> str:
    """Say why the run's store cannot be seen from here; empty where it can."""
    payload, data = setting.probe
    try:
        return "" if open_store(spec).read(payload) == data else "another store is there"
    except PayloadMissing:
        return "what the run has put there is not found"
    except ForgeError as error:
        return error.message


# --- parts ----------------------------------------------------------------------------------------


def _imported(module: str, path: str) -> Imported:
    folder = Path(path).parent
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in import_closure(module, path).files.values()}
    return Imported(path, code_digest(module, path), files)


def _doings(task: Task | InspectionTask) -> Iterator[Doing]:
    if isinstance(task, InspectionTask):
        yield task.node.doing
    else:
        yield from _doings_of_branch(task.branch)


def _doings_of_branch(branch: Branch) -> Iterator[Doing]:
    yield from (measure.doing for measure in branch.measures)
    for chain in branch.chains:
        yield chain.node.doing
        yield from _doings_of_branch(chain.branch)


@cache
def _engine_digest() -> str:
    root = Path(__file__).resolve().parents[1]
    return digest_json({path.relative_to(root).as_posix(): digest_file(path) for path in sorted(root.rglob("*.py"))})


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
