"""The file under the index: one SQLite database, read from any thread, written by one thread of its own."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_pipeline.errors import EnvironmentFault

INDEX_FORMAT = 2
_COMMIT_ROWS = 4000
# What waits to be written takes memory: whoever makes rows faster than the disk takes them waits, too.
_WAITING_ROWS = 2 * _COMMIT_ROWS
_COMMIT_EVERY_S = 0.5
# Rows written by one statement: SQLite lets go of Python's interpreter lock at every step, and to get it back from a
# busy worker costs more than the row. No statement has more values than the 999 of an old SQLite.
_STATEMENT_VALUES = 999
# Keys are random: with the 2 MB and the checkpoint every 4 MB of SQLite, each row wrote more than a page, twice. Who
# reads has its 2 MB: a scan fills any cache and gains nothing by it.
_CHECKPOINT_PAGES = 8192
_WRITER_CACHE_KB = 8192

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE configs (digest TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE actions (
    key TEXT PRIMARY KEY, config TEXT NOT NULL, inputs TEXT NOT NULL, result TEXT NOT NULL,
    run INTEGER NOT NULL, seconds REAL NOT NULL);
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


class _Batch:
    """Changes that are committed together.

    Rows of one statement keep their order. Additions to different tables do not see each other, so they may be
    reordered, and many rows become one statement; anything else (an update, a delete) comes after all before it, and
    before all after it: it is a part of its own.
    """

    __slots__ = ("awaited", "count", "named", "parts")

    def __init__(self) -> None:
        self.parts: list[dict[str, list[tuple[Any, ...]]]] = [{}]
        """Of each statement, the values."""
        self.count = 0
        self.named: dict[str, Any] = {}
        self.awaited: list[threading.Event] = []
        """Set when all of it is committed, or cannot be."""

    def begin(self, statement: str, values: tuple[Any, ...]) -> None:
        """Take the first change by a statement."""
        if statement.endswith(_ONE_ROW):
            self.parts[-1][statement] = [values]
        else:
            self.parts += ({statement: [values]}, {})


class IndexFile:
    """Reads from any thread; changes go to one thread, which commits every 4,000 of them or every 0.5 s."""

    page_rows = 1000
    """How many rows `read_page` returns at most."""

    def __init__(self, path: Path) -> None:
        """Open the database, made anew where there is none."""
        self.path = path
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._handing_over = threading.Lock()
        self._open, self._writing = _Batch(), _Batch()
        """What is handed over now, and what the writer has taken."""
        self._closing = False
        self._due = threading.Event()
        self._fault: BaseException | None = None
        self.began_empty = self._create()
        """No action was recorded in it when it was opened."""
        self._writer = threading.Thread(target=self._write, name="forge-index", daemon=True)
        self._writer.start()

    # --- reading --------------------------------------------------------------------------------

    def read(self, query: str, *values: Any) -> sqlite3.Cursor:
        """Ask with this thread's connection."""
        return self._connection().execute(query, values)

    def read_one(self, query: str, *values: Any) -> Any:
        """Return the first row of an answer, or None."""
        return self._connection().execute(query, values).fetchone()

    def read_page(self, query: str, *values: Any) -> list[Any]:
        """Read the next rows at once.

        A statement left open half-way would hold its connection at the state of that moment: whatever this thread
        looks up then, actions and payloads too, would miss all that was recorded since.
        """
        return self._connection().execute(f"{query} LIMIT {self.page_rows}", values).fetchall()

    # --- writing --------------------------------------------------------------------------------

    def put(self, statement: str, values: tuple[Any, ...] = (), name: str = "", value: Any = None) -> None:
        """Hand a change to the writer.

        Args:
            name: under which `uncommitted` returns `value` until the change is committed.
        """
        with self._handing_over:
            batch = self._open
            rows = batch.parts[-1].get(statement)
            if rows is not None:
                rows.append(values)
            else:
                batch.begin(statement, values)
            if name:
                batch.named[name] = value
            batch.count += 1
        if batch.count >= _WAITING_ROWS:
            self._wait_for_writer()
        elif batch.count >= _COMMIT_ROWS and not self._due.is_set():
            self._due.set()

    def uncommitted(self, name: str) -> Any:
        """Return the value of a change that is handed over and cannot be read yet, or None; from any thread."""
        # In this order: what was handed over last is newest, and what the writer takes meanwhile is looked at next.
        value = self._open.named.get(name)
        return value if value is not None else self._writing.named.get(name)

    def flush(self) -> None:
        """Wait until everything handed over so far is committed.

        Raises:
            EnvironmentFault: it could not be (the disk is full).
        """
        self._wait_for_writer()
        self.raise_fault()

    def raise_fault(self) -> None:
        """Raise what went wrong in the writer, if anything did."""
        if self._fault is not None:
            raise index_fault(self.path, self._fault) from self._fault

    def transaction(self) -> Transaction:
        """A transaction in the caller's thread, for the few rows whose id is needed at once."""
        self.raise_fault()
        return Transaction(self._connection(), self.path)

    def close(self) -> None:
        """Commit and close. Never raises: what could not be committed is made again by the next run."""
        self._closing = True
        self._due.set()
        self._writer.join()
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def _wait_for_writer(self) -> None:
        done = threading.Event()
        with self._handing_over:
            self._open.awaited.append(done)
        self._due.set()
        done.wait()

    def _write(self) -> None:
        connection = self._connect()
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KB}")
        closing = False
        while not closing:
            # Not row by row: to wake a thread for each costs more than the row, in whoever made it too.
            self._due.wait(_COMMIT_EVERY_S)
            self._due.clear()
            closing = self._closing
            with self._handing_over:
                awaited, self._open.awaited = self._open.awaited, []
                if self._fault is None:  # else what cannot be written stays known until the run has ended
                    self._writing, self._open = self._open, _Batch()
            if self._fault is None and self._writing.count:
                self._commit(connection, self._writing)
            for event in awaited:
                event.set()
        connection.close()

    def _commit(self, connection: sqlite3.Connection, batch: _Batch) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement, values in _joined(batch.parts):
                connection.execute(statement, values)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is (a number too large): who waits must hear of it
            self._fault = error
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return
        # Now it can be read. New ones, since a reader may be looking into the old.
        batch.named, batch.parts = {}, []

    # --- the database ---------------------------------------------------------------------------

    def _connection(self) -> sqlite3.Connection:
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
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
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


class Transaction:
    """Commits where its block ends well, and takes everything back where it does not."""

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


_ONE_ROW = ",?)"


def _joined(parts: Iterable[Mapping[str, Sequence[tuple[Any, ...]]]]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Join rows into statements of many rows."""
    for statement, rows in itertools.chain.from_iterable(part.items() for part in parts):
        if not statement.endswith(_ONE_ROW):
            for values in rows:
                yield statement, values
            continue
        head, row = statement.rsplit(" ", 1)
        most = _STATEMENT_VALUES // len(rows[0])
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            # A power of two of rows, so that few different statements are parsed and all stay in Python's cache.
            while part:
                size = 1 << (len(part).bit_length() - 1) if len(part) < most else most
                yield f"{head} {','.join([row] * size)}", list(itertools.chain.from_iterable(part[:size]))
                part = part[size:]
