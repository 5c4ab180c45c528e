"""The index: a table of everything that is known, action key to result, in one SQLite file with one writer."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_pipeline.cache.store import Payload
from forge_pipeline.digest import canonical_json
from forge_pipeline.errors import EnvironmentFault, NondeterministicOperator
from forge_pipeline.sample import Link, Location, Sample

INDEX_FORMAT = 1
MERGED_RUN = 0
"""Stands for the run of an action that came from another cache; runs here count from 1."""
_COMMIT_ROWS = 1000
_PAGE_ROWS = 1000
_COMMIT_EVERY_S = 0.5
# Rows written by one statement: SQLite lets go of Python's interpreter lock at every step, and to get it back from a
# busy worker costs more than the row. No statement has more values than the 999 of an old SQLite.
_STATEMENT_VALUES = 999
# Keys are random: with the 2 MB and the checkpoint every 4 MB of SQLite, each row wrote more than a page, twice.
_PRAGMAS = ("cache_size = -8192", "wal_autocheckpoint = 8192")
_SLOTS = 1 << 22

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE configs (digest TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE actions (
    key TEXT PRIMARY KEY, config TEXT NOT NULL, inputs TEXT NOT NULL, result TEXT NOT NULL,
    run INTEGER NOT NULL, seconds REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE payloads (
    digest TEXT PRIMARY KEY, bytes_digest TEXT NOT NULL, size INTEGER NOT NULL, suffix TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    path TEXT, member TEXT, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER,
    seen_ns INTEGER, digest TEXT NOT NULL, PRIMARY KEY (path, member)) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, recipe TEXT NOT NULL, started REAL NOT NULL, status TEXT NOT NULL, steps TEXT NOT NULL);
CREATE TABLE datasets (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, step TEXT NOT NULL, config TEXT NOT NULL, inputs TEXT NOT NULL,
    complete INTEGER NOT NULL, rows_digest TEXT NOT NULL, counts TEXT NOT NULL);
CREATE INDEX datasets_by_content ON datasets (config, inputs, step, complete);
CREATE TABLE samples (
    dataset INTEGER, key TEXT, kind TEXT NOT NULL, digest TEXT NOT NULL, header TEXT NOT NULL, trail TEXT NOT NULL,
    path TEXT, member TEXT, origin_step TEXT, origin_key TEXT, PRIMARY KEY (dataset, key)) WITHOUT ROWID;
CREATE TABLE measures (
    dataset INTEGER, port TEXT, key TEXT, label TEXT, value TEXT NOT NULL,
    PRIMARY KEY (dataset, port, key, label)) WITHOUT ROWID;
CREATE TABLE rejects (
    dataset INTEGER, key TEXT, kind TEXT NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL,
    facts TEXT NOT NULL, trail TEXT NOT NULL, PRIMARY KEY (dataset, key, kind, reason)) WITHOUT ROWID;
CREATE TABLE plans (key TEXT PRIMARY KEY, json TEXT NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class KnownAction:
    """A recorded action."""

    key: str
    config: str
    inputs: str
    result: str
    run: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A recorded dataset: one step's output under one configuration and input."""

    id: int
    run: int
    step: str
    config: str
    inputs: str
    rows_digest: str
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RejectRow:
    """A sample that did not go on: `kind` is `rejected`, `failed` or `partial`."""

    step: str
    key: str
    kind: str
    reason: str
    message: str
    values: Mapping[str, Any]
    trail: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class FileRow:
    """What a file was when its bytes were read: its identity then, and their digest."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    seen_ns: int
    digest: str


class Index:
    """Reads from any thread; writes go to one thread of its own, which commits every 1,000 rows or 0.5 s."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._uncommitted: dict[str, str] = {}
        self._uncommitted_payloads: dict[str, Payload] = {}
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._due = threading.Event()
        self._fault: BaseException | None = None
        # Of an index that begins empty: a slot is 1 when an action whose key falls there was recorded. A first run asks
        # a dozen times a sample for what nobody knows, and a question to SQLite takes as long as a small operator.
        self._slots = bytearray(_SLOTS) if self._create() else None
        self._writer = threading.Thread(target=self._write, name="forge-index", daemon=True)
        self._writer.start()

    # --- actions ------------------------------------------------------------------------------

    def known(self, key: str) -> str | None:
        """Return the result recorded under an action key, as JSON text."""
        pending = self._uncommitted.get(key)
        if pending is not None:
            return pending
        if self._slots is not None and not self._slots[hash(key) % _SLOTS]:
            return None
        row = self._reader().execute("SELECT result FROM actions WHERE key = ?", (key,)).fetchone()
        return row[0] if row else self._uncommitted.get(key)

    def action(self, key: str) -> KnownAction | None:
        """Return everything recorded of an action."""
        row = self._reader().execute("SELECT * FROM actions WHERE key = ?", (key,)).fetchone()
        return KnownAction(*row) if row else None

    def record_action(
        self, key: str, config: str, inputs: str, result: str, run: int, seconds: float, operator: str
    ) -> bool:
        """Record a result; return whether it is new.

        Raises:
            NondeterministicOperator: the key is known with another result.
        """
        known = self.known(key)
        if known is not None:
            if known != result:
                raise nondeterministic(operator, key, known, result)
            return False
        if self._slots is not None:
            self._slots[hash(key) % _SLOTS] = 1
        self._uncommitted[key] = result
        self._put(
            ("INSERT OR IGNORE INTO actions VALUES (?,?,?,?,?,?)", (key, config, inputs, result, run, seconds), key)
        )
        return True

    def actions(self) -> Iterator[KnownAction]:
        """List all actions by key."""
        after = ""
        while rows := self._page("SELECT * FROM actions WHERE key > ? ORDER BY key", after):
            yield from (KnownAction(*row) for row in rows)
            after = rows[-1][0]

    def record_config(self, digest: str, json_text: str) -> None:
        """Intern a configuration."""
        self._put(("INSERT OR IGNORE INTO configs VALUES (?,?)", (digest, json_text), None))

    def config(self, digest: str) -> dict[str, Any] | None:
        """Return an interned configuration."""
        row = self._reader().execute("SELECT json FROM configs WHERE digest = ?", (digest,)).fetchone()
        return json.loads(row[0]) if row else None

    def configs(self) -> Iterator[tuple[str, str]]:
        """List all configurations: digest and JSON text."""
        after = ""
        while rows := self._page("SELECT digest, json FROM configs WHERE digest > ? ORDER BY digest", after):
            yield from rows
            after = rows[-1][0]

    def seconds_per_action(self, config: str) -> float | None:
        """Return the mean worker time of the actions under a configuration, where any ran."""
        row = self._reader().execute("SELECT avg(seconds) FROM actions WHERE config = ?", (config,)).fetchone()
        return row[0] if row else None

    # --- payloads -----------------------------------------------------------------------------

    def payload(self, digest: str) -> Payload | None:
        """Return what is known of kept bytes, present or not."""
        pending = self._uncommitted_payloads.get(digest)
        if pending is not None:
            return pending
        row = self._reader().execute("SELECT * FROM payloads WHERE digest = ?", (digest,)).fetchone()
        return Payload(*row) if row else self._uncommitted_payloads.get(digest)

    def record_payload(self, payload: Payload) -> None:
        """Record bytes that are in their place."""
        self._uncommitted_payloads[payload.digest] = payload
        self._put(
            (
                "INSERT OR REPLACE INTO payloads VALUES (?,?,?,?)",
                (payload.digest, payload.bytes_digest, payload.size, payload.suffix),
                payload.digest,
            )
        )

    def payloads(self) -> Iterator[Payload]:
        """List all payloads known."""
        after = ""
        while rows := self._page("SELECT * FROM payloads WHERE digest > ? ORDER BY digest", after):
            yield from (Payload(*row) for row in rows)
            after = rows[-1][0]

    def settle_codecs(self, versions: Mapping[str, int]) -> None:
        """Forget all kept bytes where they were encoded by another version of a codec than today's.

        The pixels would be the same, the bytes of an export would not: they are made again when they are needed.
        """
        now = json.dumps(dict(versions), sort_keys=True)
        if self.codecs() == dict(versions):
            return
        self.flush()
        with self._direct() as connection:
            connection.execute("DELETE FROM payloads")
            # Published folders hold the old bytes: no export stands as it should be.
            connection.execute("UPDATE datasets SET inputs = 'another codec' WHERE counts LIKE '%\"publication\"%'")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('codecs', ?)", (now,))

    def codecs(self) -> dict[str, int] | None:
        """Return the versions of the codecs that encoded what is kept; None in an index that no run has used."""
        row = self._reader().execute("SELECT value FROM meta WHERE name = 'codecs'").fetchone()
        return json.loads(row[0]) if row else None

    def forget_payload(self, digest: str) -> None:
        """Forget bytes that were removed."""
        self._put(("DELETE FROM payloads WHERE digest = ?", (digest,), None))

    # --- files --------------------------------------------------------------------------------

    def file(self, location: Location) -> FileRow | None:
        """Return what a source file was when it was last read."""
        row = (
            self._reader()
            .execute(
                "SELECT size, mtime_ns, ctime_ns, inode, seen_ns, digest FROM files WHERE path = ? AND member = ?",
                (_storable(location.path), _storable(location.member or "")),
            )
            .fetchone()
        )
        return FileRow(*row) if row else None

    def members(self, path: str) -> dict[str, FileRow]:
        """Return what the members of an archive were when they were last read, by their names."""
        query = "SELECT member, size, mtime_ns, ctime_ns, inode, seen_ns, digest FROM files WHERE path = ?"
        cursor = self._reader().execute(query, (_storable(path),))
        return {_text(member): FileRow(*row) for member, *row in cursor}

    def record_file(self, location: Location, row: FileRow) -> None:
        """Remember a file that was read."""
        self._put(
            (
                "INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?)",
                (
                    _storable(location.path),
                    _storable(location.member or ""),
                    row.size,
                    row.mtime_ns,
                    row.ctime_ns,
                    row.inode,
                    row.seen_ns,
                    row.digest,
                ),
                None,
            )
        )

    # --- runs and datasets ----------------------------------------------------------------------

    def begin_run(self, recipe: str) -> int:
        """Open a run; what an earlier, killed run left unfinished is cleared."""
        self.flush()
        with self._direct() as connection:
            unfinished = "SELECT id FROM datasets WHERE complete = 0"
            for table in ("samples", "measures", "rejects"):  # by name: no value comes from outside
                connection.execute(f"DELETE FROM {table} WHERE dataset IN ({unfinished})")
            connection.execute("DELETE FROM datasets WHERE complete = 0")
            cursor = connection.execute(
                "INSERT INTO runs (recipe, started, status, steps) VALUES (?,?,?,?)",
                (recipe, time.time(), "running", "{}"),
            )
            return int(cursor.lastrowid or 0)

    def end_run(self, run: int, status: str, steps: Mapping[str, int]) -> None:
        """Close a run with the datasets that its steps ended at."""
        self._put(("UPDATE runs SET status = ?, steps = ? WHERE id = ?", (status, json.dumps(steps), run), None))
        self.flush()

    def last_run(self, recipe: str) -> tuple[int, dict[str, int]] | None:
        """Return the newest finished run of a recipe: its id, and step to dataset id."""
        row = (
            self._reader()
            .execute("SELECT id, steps FROM runs WHERE recipe = ? AND status = 'done' ORDER BY id DESC", (recipe,))
            .fetchone()
        )
        return (row[0], json.loads(row[1])) if row else None

    def run_before(self, recipe: str, run: int) -> dict[str, int] | None:
        """Return the datasets of the finished run before one."""
        row = (
            self._reader()
            .execute(
                "SELECT steps FROM runs WHERE recipe = ? AND status = 'done' AND id < ? ORDER BY id DESC", (recipe, run)
            )
            .fetchone()
        )
        return json.loads(row[0]) if row else None

    def run_started(self, run: int) -> float | None:
        """Return when a run began, in seconds since 1970."""
        row = self._reader().execute("SELECT started FROM runs WHERE id = ?", (run,)).fetchone()
        return row[0] if row else None

    def begin_dataset(self, run: int, step: str, config: str) -> int:
        """Open a dataset that a step will fill."""
        with self._direct() as connection:
            cursor = connection.execute(
                "INSERT INTO datasets (run, step, config, inputs, complete, rows_digest, counts) "
                "VALUES (?,?,?,'',0,'','{}')",
                (run, step, config),
            )
            return int(cursor.lastrowid or 0)

    def complete_dataset(self, dataset: int, inputs: str, rows_digest: str, counts: Mapping[str, Any]) -> None:
        """Close a dataset: from now on its configuration and inputs stand for it."""
        self._put(
            (
                "UPDATE datasets SET complete = 1, inputs = ?, rows_digest = ?, counts = ? WHERE id = ?",
                (inputs, rows_digest, json.dumps(counts), dataset),
                None,
            )
        )

    def find_dataset(self, step: str, config: str, inputs: str) -> DatasetRow | None:
        """Return the newest complete dataset of that step, configuration and inputs."""
        row = (
            self._reader()
            .execute(
                "SELECT id, run, step, config, inputs, rows_digest, counts FROM datasets "
                "WHERE config = ? AND inputs = ? AND step = ? AND complete = 1 ORDER BY id DESC",
                (config, inputs, step),
            )
            .fetchone()
        )
        return _dataset(row) if row else None

    def dataset(self, dataset: int) -> DatasetRow | None:
        """Return a dataset by its id."""
        row = (
            self._reader()
            .execute("SELECT id, run, step, config, inputs, rows_digest, counts FROM datasets WHERE id = ?", (dataset,))
            .fetchone()
        )
        return _dataset(row) if row else None

    # --- care -----------------------------------------------------------------------------------

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        return int(self._reader().execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def last_runs(self, count: int) -> list[dict[str, int]]:
        """Return the newest so many finished runs of every recipe, as step to dataset id."""
        found: dict[str, list[dict[str, int]]] = {}
        cursor = self._reader().execute("SELECT recipe, steps FROM runs WHERE status = 'done' ORDER BY id DESC")
        for recipe, steps in cursor:
            runs = found.setdefault(recipe, [])
            if len(runs) < count:
                runs.append(json.loads(steps))
        return [run for runs in found.values() for run in runs]

    def drop_datasets_but(self, kept: Iterable[int]) -> int:
        """Delete all datasets but some, with their rows; return how many rows went."""
        self.flush()
        with self._direct() as connection:
            connection.execute("CREATE TEMP TABLE kept (id INTEGER PRIMARY KEY)")
            connection.executemany("INSERT OR IGNORE INTO kept VALUES (?)", [(number,) for number in kept])
            rows = 0
            for table in ("samples", "measures", "rejects"):
                rows += connection.execute(f"DELETE FROM {table} WHERE dataset NOT IN (SELECT id FROM kept)").rowcount
            connection.execute("DELETE FROM datasets WHERE id NOT IN (SELECT id FROM kept)")
            connection.execute("DROP TABLE kept")
        return rows

    def digests_in(self, datasets: Iterable[int]) -> set[str]:
        """Return the content digests that some datasets name."""
        found: set[str] = set()
        for number in datasets:
            cursor = self._reader().execute("SELECT digest FROM samples WHERE dataset = ?", (number,))
            found.update(row[0] for row in cursor)
        return found

    def shrink(self) -> None:
        """Give back the room of what was deleted."""
        self._reader().execute("VACUUM")

    # --- rows of datasets -----------------------------------------------------------------------

    def add_sample(self, dataset: int, sample: Sample) -> None:
        """Add a row to an open dataset; a second one of the same key is left out (`row_count` tells)."""
        statement = "INSERT OR IGNORE INTO samples VALUES (?,?,?,?,?,?,?,?,?,?)"
        self._put((statement, (dataset, *_spread(sample)), None))

    def sample_texts(self, dataset: int) -> Iterator[tuple[str, str, str, str]]:
        """Read key, kind, digest and, as canonical JSON, the trail of every row of a dataset, in key order."""
        query = "SELECT key, kind, digest, trail FROM samples WHERE dataset = ? AND key > ? ORDER BY key"
        after = ""
        while rows := self._page(query, dataset, after):
            yield from rows
            after = rows[-1][0]

    def row_count(self, dataset: int) -> int:
        """Count the rows of a dataset."""
        return int(self._reader().execute("SELECT count(*) FROM samples WHERE dataset = ?", (dataset,)).fetchone()[0])

    def shared_key(self, one: int, other: int) -> str:
        """Return the first key that two datasets share, or an empty string."""
        query = "SELECT a.key FROM samples a JOIN samples b USING (key) WHERE a.dataset = ? AND b.dataset = ?"
        row = self._reader().execute(f"{query} ORDER BY a.key LIMIT 1", (one, other)).fetchone()
        return row[0] if row else ""

    def samples(self, dataset: int) -> Iterator[Sample]:
        """Read a dataset in key order."""
        after = ""
        while rows := self._page("SELECT * FROM samples WHERE dataset = ? AND key > ? ORDER BY key", dataset, after):
            for row in rows:
                yield _sample(row[1:])
            after = rows[-1][1]

    def sample(self, dataset: int, key: str) -> Sample | None:
        """Read one row."""
        row = self._reader().execute("SELECT * FROM samples WHERE dataset = ? AND key = ?", (dataset, key)).fetchone()
        return _sample(row[1:]) if row else None

    def add_measures(self, dataset: int, port: str, key: str, values: Mapping[str, str]) -> None:
        """Add what was measured on one sample for an open dataset; values as JSON text."""
        for label, value in values.items():
            self._put(("INSERT OR REPLACE INTO measures VALUES (?,?,?,?,?)", (dataset, port, key, label, value), None))

    def measures(self, dataset: int, port: str, label: str) -> dict[str, Any]:
        """Read one column of measures, by sample key."""
        cursor = self._reader().execute(
            "SELECT key, value FROM measures WHERE dataset = ? AND port = ? AND label = ?", (dataset, port, label)
        )
        return {key: json.loads(value) for key, value in cursor}

    def drop_measures(self, dataset: int) -> None:
        """Forget the columns of a decide that is done; the actions keep every measure."""
        self._put(("DELETE FROM measures WHERE dataset = ?", (dataset,), None))

    def add_reject(self, dataset: int, row: RejectRow) -> None:
        """Add a sample that did not go on."""
        self._put(
            (
                "INSERT OR REPLACE INTO rejects VALUES (?,?,?,?,?,?,?)",
                (
                    dataset,
                    row.key,
                    row.kind,
                    row.reason,
                    row.message,
                    json.dumps(dict(row.values)),
                    _trail_text(row.trail),
                ),
                None,
            )
        )

    def rejects(self, dataset: int, step: str) -> Iterator[RejectRow]:
        """Read who did not go on from a step, in key order."""
        after = ("", "", "")
        while rows := self._page(
            "SELECT key, kind, reason, message, facts, trail FROM rejects "
            "WHERE dataset = ? AND (key, kind, reason) > (?, ?, ?) ORDER BY key, kind, reason",
            dataset,
            *after,
        ):
            for key, kind, reason, message, facts, trail in rows:
                yield RejectRow(step, key, kind, reason, message, json.loads(facts), _trail(trail))
            after = rows[-1][:3]

    def _page(self, query: str, *values: Any) -> list[Any]:
        """Read the next rows at once.

        A statement left open half-way would hold its connection at the state of that moment: whatever this thread
        looks up then, actions and payloads too, would miss all that was recorded since.
        """
        return self._reader().execute(f"{query} LIMIT {_PAGE_ROWS}", values).fetchall()

    # --- compiled plans -------------------------------------------------------------------------

    def plan(self, key: str) -> str | None:
        """Return a compiled plan."""
        row = self._reader().execute("SELECT json FROM plans WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def record_plan(self, key: str, json_text: str) -> None:
        """Keep a compiled plan, and let the 100 least used ones go."""
        self._put(("INSERT OR REPLACE INTO plans VALUES (?,?,?)", (key, json_text, time.time()), None))
        self._put(
            (
                "DELETE FROM plans WHERE key NOT IN (SELECT key FROM plans ORDER BY used DESC LIMIT 100)",
                (),
                None,
            )
        )

    # --- writing --------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait until everything recorded so far is committed.

        Raises:
            EnvironmentFault: it could not be (the disk is full).
        """
        done = threading.Event()
        self._put(done)
        done.wait()
        self._raise_fault()

    def raise_fault(self) -> None:
        """Raise what went wrong in the writer, if anything did."""
        self._raise_fault()

    def close(self) -> None:
        """Commit and close. Never raises: what could not be committed is made again by the next run."""
        self._put(None)
        self._writer.join()
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _put(self, item: Any) -> None:
        """Hand something to the writer: a row; an event to set when all before it is committed; None to end."""
        self._queue.put(item)
        if not isinstance(item, tuple) or self._queue.qsize() >= _COMMIT_ROWS:
            self._due.set()

    def _write(self) -> None:
        connection = self._connect()
        stopped = False
        while not stopped:
            batch = [self._queue.get()]
            # Not row by row: to wake a thread for each costs more than the row, in whoever made it too.
            self._due.wait(_COMMIT_EVERY_S)
            self._due.clear()
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._queue.get_nowait())
            self._commit(connection, [item for item in batch if isinstance(item, tuple)])
            for item in batch:
                if isinstance(item, threading.Event):
                    item.set()
                stopped |= item is None
        connection.close()

    def _commit(self, connection: sqlite3.Connection, rows: Sequence[tuple[str, tuple[Any, ...], str | None]]) -> None:
        if not rows or self._fault is not None:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement, values in _grouped(rows):
                connection.execute(statement, values)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is (a number too large): who waits must hear of it
            self._fault = error
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return
        for _, _, name in rows:
            if name is not None:
                self._uncommitted.pop(name, None)
                self._uncommitted_payloads.pop(name, None)

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise index_fault(self.path, self._fault) from self._fault

    def _direct(self) -> _Transaction:
        """A transaction in the caller's thread, for the few rows whose id is needed at once."""
        self._raise_fault()
        return _Transaction(self._reader(), self.path)

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._connections.append(connection)
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
        # NORMAL in WAL mode: a power cut may lose the last commits, never the file; what is lost is made again.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA temp_store = MEMORY")
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _create(self) -> bool:
        """Make the file where there is none. Returns whether no action is recorded in it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as connection:
                self._refuse_other(connection)
                connection.execute("PRAGMA journal_mode = WAL")
                if not _format(connection):
                    connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {INDEX_FORMAT}; COMMIT;")
                return connection.execute("SELECT 1 FROM actions LIMIT 1").fetchone() is None
        except sqlite3.Error as error:
            raise index_fault(self.path, error) from error

    def _refuse_other(self, connection: sqlite3.Connection) -> None:
        """Refuse, before anything in it is changed, an index of another format or a database that is none."""
        found = _format(connection)
        if found not in (0, INDEX_FORMAT):
            raise EnvironmentFault(
                f"cache: {self.path} has index format {found}, this version of forge reads {INDEX_FORMAT}",
                f"move {self.path.parent} away, or choose another place with --cache DIR",
            )
        if not found and connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise EnvironmentFault(
                f"cache: {self.path} is a database that forge did not make", "choose another place with --cache DIR"
            )


class _Transaction:
    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            try:
                self._connection.execute("COMMIT")
                return
            except sqlite3.Error as failed:
                error = failed
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise index_fault(self._path, error) from error


def index_fault(path: Path, error: BaseException) -> EnvironmentFault:
    """Say for a user why an index cannot be used: no space, no permission, or damage."""
    if not isinstance(error, sqlite3.Error):
        return EnvironmentFault(f"cache: cannot write the index {path}: {error}")
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        hint = "free some space, or choose another place with --cache DIR; the next run goes on from here"
        return EnvironmentFault(f"cache: cannot write the index {path}: {error}", hint)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return EnvironmentFault(f"cache: cannot write the index {path}: {error}", f"ls -ld {path.parent} {path}*")
    return EnvironmentFault(
        f"cache: {path} cannot be used as an index: {error}",
        f"move {path.parent} away: everything in it can be made again",
    )


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def index_format(path: Path) -> int:
    """Return the format of an index, without changing a byte of it."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return _format(connection)
    except sqlite3.Error as error:
        raise index_fault(path, error) from error


def nondeterministic(operator: str, key: str, known: str, found: str) -> NondeterministicOperator:
    """Say that one action key gave two results."""
    return NondeterministicOperator(
        f"operator '{operator}' is not deterministic: the same input and parameters (action {key[:12]}) "
        f"gave {_shorten(known)} before and {_shorten(found)} now",
        "set `cache: off` on its steps until it is mended, and report it to the operator's author",
    )


def _shorten(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


def _dataset(row: Sequence[Any]) -> DatasetRow:
    number, run, step, config, inputs, rows_digest, counts = row
    return DatasetRow(number, run, step, config, inputs, rows_digest, json.loads(counts))


def _grouped(rows: Iterable[tuple[str, tuple[Any, ...], str | None]]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Join rows into statements of many rows, as far as that cannot change what they do.

    Rows of one statement keep their order. Additions to different tables do not see each other, so they may be
    reordered; anything else (an update, a delete) comes after all before it, and before all after it.
    """
    waiting: dict[str, list[tuple[Any, ...]]] = {}
    for statement, values, _ in rows:
        if statement.endswith(_ONE_ROW):
            waiting.setdefault(statement, []).append(values)
            continue
        yield from _joined(waiting)
        waiting = {}
        yield statement, values
    yield from _joined(waiting)


_ONE_ROW = ",?)"


def _joined(waiting: Mapping[str, Sequence[tuple[Any, ...]]]) -> Iterator[tuple[str, Sequence[Any]]]:
    for statement, rows in waiting.items():
        head, row = statement.rsplit(" ", 1)
        most = _STATEMENT_VALUES // len(rows[0])
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            # A power of two of rows, so that few different statements are parsed and all stay in Python's cache.
            while part:
                size = 1 << (len(part).bit_length() - 1) if len(part) < most else most
                yield f"{head} {','.join([row] * size)}", [value for values in part[:size] for value in values]
                part = part[size:]


def _trail_text(trail: Iterable[Link]) -> str:
    return canonical_json([[link.step, dict(link.fields)] for link in trail])


def _trail(text: str) -> tuple[Link, ...]:
    return tuple(Link(step, fields) for step, fields in json.loads(text))


def _storable(path: str) -> str | bytes:
    """Return a path as SQLite can hold it: one whose bytes are no UTF-8 as bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path)
    return path


def _text(stored: str | bytes) -> str:
    """Undo `_storable`."""
    return os.fsdecode(stored)


def _spread(sample: Sample) -> tuple[Any, ...]:
    location = sample.location
    return (
        sample.key,
        sample.kind,
        sample.digest,
        canonical_json(dict(sample.header)),
        _trail_text(sample.trail),
        _storable(location.path) if location else None,
        _storable(location.member) if location and location.member is not None else None,
        sample.origin[0] if sample.origin else None,
        sample.origin[1] if sample.origin else None,
    )


def _sample(row: Sequence[Any]) -> Sample:
    key, kind, digest, header, trail, path, member, origin_step, origin_key = row
    return Sample(
        key=key,
        kind=kind,
        digest=digest,
        header=json.loads(header),
        trail=_trail(trail),
        location=Location(os.fsdecode(path), None if member is None else os.fsdecode(member)) if path else None,
        origin=(origin_step, origin_key) if origin_step is not None else None,
    )
