"""The index: a table of everything that is known, action key to result, in one SQLite file with one writer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from forge_pipeline.cache.index_file import IndexFile
from forge_pipeline.cache.index_rows import (
    DatasetRow,
    FileRow,
    KnownAction,
    RejectRow,
    read_dataset,
    read_path,
    read_sample,
    read_trail,
    spell_path,
    spell_sample,
    spell_trail,
)
from forge_pipeline.cache.store import Payload
from forge_pipeline.errors import NondeterministicOperator
from forge_pipeline.sample import Location, Sample

MERGED_RUN = 0
"""Stands for the run of an action that came from another cache; runs here count from 1."""
_SLOTS = 1 << 25


class Index:
    """The tables by what they mean. What was handed over to be written is known at once, before it is committed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = IndexFile(path)
        # Of an index that begins empty: a bit is 1 when an action whose key falls there was recorded. A first run asks
        # a dozen times a sample for what nobody knows, and a question to SQLite takes as long as a small operator.
        self._slots = bytearray(_SLOTS // 8) if self._file.began_empty else None

    # --- actions ------------------------------------------------------------------------------

    def known(self, key: str) -> str | None:
        """Return the result recorded under an action key, as JSON text."""
        if self._slots is not None:
            slot = hash(key) % _SLOTS
            if not self._slots[slot >> 3] & (1 << (slot & 7)):
                return None
        return self._recorded(key)

    def _recorded(self, key: str) -> str | None:
        pending: str | None = self._file.uncommitted(key)
        if pending is not None:
            return pending
        row = self._file.read_one("SELECT result FROM actions WHERE key = ?", key)
        # Not there and handed over: by another thread, since the look before.
        result: str | None = row[0] if row else self._file.uncommitted(key)
        return result

    def action(self, key: str) -> KnownAction | None:
        """Return everything recorded of an action."""
        row = self._file.read_one("SELECT * FROM actions WHERE key = ?", key)
        return KnownAction(*row) if row else None

    def record_action(
        self, key: str, config: str, inputs: str, result: str, run: int, seconds: float, operator: str
    ) -> bool:
        """Record a result; return whether it is new.

        Raises:
            NondeterministicOperator: the key is known with another result.
        """
        may_be_known = True
        if self._slots is not None:
            slot = hash(key) % _SLOTS
            at, bit = slot >> 3, 1 << (slot & 7)
            may_be_known = bool(self._slots[at] & bit)
            self._slots[at] |= bit
        known = self._recorded(key) if may_be_known else None
        if known is not None:
            if known != result:
                raise nondeterministic(operator, key, known, result)
            return False
        statement = "INSERT OR IGNORE INTO actions VALUES (?,?,?,?,?,?)"
        self._file.put(statement, (key, config, inputs, result, run, seconds), key, result)
        return True

    def actions(self) -> Iterator[KnownAction]:
        """List all actions by key."""
        after = ""
        while rows := self._file.read_page("SELECT * FROM actions WHERE key > ? ORDER BY key", after):
            yield from (KnownAction(*row) for row in rows)
            after = rows[-1][0]

    def record_config(self, digest: str, json_text: str) -> None:
        """Intern a configuration."""
        self._file.put("INSERT OR IGNORE INTO configs VALUES (?,?)", (digest, json_text))

    def config(self, digest: str) -> dict[str, Any] | None:
        """Return an interned configuration."""
        row = self._file.read_one("SELECT json FROM configs WHERE digest = ?", digest)
        return json.loads(row[0]) if row else None

    def configs(self) -> Iterator[tuple[str, str]]:
        """List all configurations: digest and JSON text."""
        after = ""
        while rows := self._file.read_page("SELECT digest, json FROM configs WHERE digest > ? ORDER BY digest", after):
            yield from rows
            after = rows[-1][0]

    def seconds_per_action(self, config: str) -> float | None:
        """Return the mean worker time of the actions under a configuration, where any ran."""
        row = self._file.read_one("SELECT avg(seconds) FROM actions WHERE config = ?", config)
        return row[0] if row else None

    # --- payloads -----------------------------------------------------------------------------

    def payload(self, digest: str) -> Payload | None:
        """Return what is known of kept bytes, present or not."""
        name = _payload_name(digest)
        pending: Payload | None = self._file.uncommitted(name)
        if pending is not None:
            return pending
        row = self._file.read_one("SELECT * FROM payloads WHERE digest = ?", digest)
        return Payload(*row) if row else self._file.uncommitted(name)

    def record_payload(self, payload: Payload) -> None:
        """Record bytes that are in their place."""
        self._file.put(
            "INSERT OR REPLACE INTO payloads VALUES (?,?,?,?)",
            (payload.digest, payload.bytes_digest, payload.size, payload.suffix),
            _payload_name(payload.digest),
            payload,
        )

    def payloads(self) -> Iterator[Payload]:
        """List all payloads known."""
        after = ""
        while rows := self._file.read_page("SELECT * FROM payloads WHERE digest > ? ORDER BY digest", after):
            yield from (Payload(*row) for row in rows)
            after = rows[-1][0]

    def settle_codecs(self, versions: Mapping[str, int]) -> None:
        """Forget all kept bytes where they were encoded by another version of a codec than today's.

        The pixels would be the same, the bytes of an export would not: they are made again when they are needed.
        """
        now = json.dumps(dict(versions), sort_keys=True)
        if self.codecs() == dict(versions):
            return
        self._file.flush()
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM payloads")
            # Published folders hold the old bytes: no export stands as it should be.
            connection.execute("UPDATE datasets SET inputs = 'another codec' WHERE counts LIKE '%\"publication\"%'")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('codecs', ?)", (now,))

    def codecs(self) -> dict[str, int] | None:
        """Return the versions of the codecs that encoded what is kept; None in an index that no run has used."""
        row = self._file.read_one("SELECT value FROM meta WHERE name = 'codecs'")
        return json.loads(row[0]) if row else None

    def forget_payload(self, digest: str) -> None:
        """Forget bytes that were removed."""
        self._file.put("DELETE FROM payloads WHERE digest = ?", (digest,))

    # --- files --------------------------------------------------------------------------------

    def file(self, location: Location) -> FileRow | None:
        """Return what a source file was when it was last read."""
        row = self._file.read_one(
            "SELECT size, mtime_ns, ctime_ns, inode, seen_ns, digest FROM files WHERE path = ? AND member = ?",
            spell_path(location.path),
            spell_path(location.member or ""),
        )
        return FileRow(*row) if row else None

    def members(self, path: str, first: str) -> tuple[dict[str, FileRow], bool]:
        """Return what the next members of an archive were when they were last read, by their names, in name order.

        Args:
            path: of the archive.
            first: the name to begin at.

        Returns:
            So many as are read at once, and whether there may be more.
        """
        rows = self._file.read_page(
            "SELECT member, size, mtime_ns, ctime_ns, inode, seen_ns, digest FROM files "
            "WHERE path = ? AND member >= ? ORDER BY member",
            spell_path(path),
            spell_path(first),
        )
        return {read_path(member): FileRow(*row) for member, *row in rows}, len(rows) == self._file.page_rows

    def record_file(self, location: Location, row: FileRow) -> None:
        """Remember a file that was read."""
        self._file.put(
            "INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?)",
            (
                spell_path(location.path),
                spell_path(location.member or ""),
                row.size,
                row.mtime_ns,
                row.ctime_ns,
                row.inode,
                row.seen_ns,
                row.digest,
            ),
        )

    # --- runs and datasets ----------------------------------------------------------------------

    def begin_run(self, recipe: str) -> int:
        """Open a run; what an earlier, killed run left unfinished is cleared."""
        self._file.flush()
        with self._file.transaction() as connection:
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
        self._file.put("UPDATE runs SET status = ?, steps = ? WHERE id = ?", (status, json.dumps(steps), run))
        self._file.flush()

    def last_run(self, recipe: str) -> tuple[int, dict[str, int]] | None:
        """Return the newest finished run of a recipe: its id, and step to dataset id."""
        row = self._file.read_one(
            "SELECT id, steps FROM runs WHERE recipe = ? AND status = 'done' ORDER BY id DESC", recipe
        )
        return (row[0], json.loads(row[1])) if row else None

    def run_before(self, recipe: str, run: int) -> dict[str, int] | None:
        """Return the datasets of the finished run before one."""
        row = self._file.read_one(
            "SELECT steps FROM runs WHERE recipe = ? AND status = 'done' AND id < ? ORDER BY id DESC", recipe, run
        )
        return json.loads(row[0]) if row else None

    def run_started(self, run: int) -> float | None:
        """Return when a run began, in seconds since 1970."""
        row = self._file.read_one("SELECT started FROM runs WHERE id = ?", run)
        return row[0] if row else None

    def begin_dataset(self, run: int, step: str, config: str) -> int:
        """Open a dataset that a step will fill."""
        with self._file.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO datasets (run, step, config, inputs, complete, rows_digest, counts) "
                "VALUES (?,?,?,'',0,'','{}')",
                (run, step, config),
            )
            return int(cursor.lastrowid or 0)

    def complete_dataset(self, dataset: int, inputs: str, rows_digest: str, counts: Mapping[str, Any]) -> None:
        """Close a dataset: from now on its configuration and inputs stand for it."""
        self._file.put(
            "UPDATE datasets SET complete = 1, inputs = ?, rows_digest = ?, counts = ? WHERE id = ?",
            (inputs, rows_digest, json.dumps(counts), dataset),
        )

    def find_dataset(self, step: str, config: str, inputs: str) -> DatasetRow | None:
        """Return the newest complete dataset of that step, configuration and inputs."""
        row = self._file.read_one(
            "SELECT id, run, step, config, inputs, rows_digest, counts FROM datasets "
            "WHERE config = ? AND inputs = ? AND step = ? AND complete = 1 ORDER BY id DESC",
            config,
            inputs,
            step,
        )
        return read_dataset(row) if row else None

    def dataset(self, dataset: int) -> DatasetRow | None:
        """Return a dataset by its id."""
        row = self._file.read_one(
            "SELECT id, run, step, config, inputs, rows_digest, counts FROM datasets WHERE id = ?", dataset
        )
        return read_dataset(row) if row else None

    # --- care -----------------------------------------------------------------------------------

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        return int(self._file.read_one(f"SELECT count(*) FROM {table}")[0])

    def last_runs(self, count: int) -> list[dict[str, int]]:
        """Return the newest so many finished runs of every recipe, as step to dataset id."""
        found: dict[str, list[dict[str, int]]] = {}
        cursor = self._file.read("SELECT recipe, steps FROM runs WHERE status = 'done' ORDER BY id DESC")
        for recipe, steps in cursor:
            runs = found.setdefault(recipe, [])
            if len(runs) < count:
                runs.append(json.loads(steps))
        return [run for runs in found.values() for run in runs]

    def drop_datasets_but(self, kept: Iterable[int]) -> int:
        """Delete all datasets but some, with their rows; return how many rows went."""
        self._file.flush()
        with self._file.transaction() as connection:
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
            cursor = self._file.read("SELECT digest FROM samples WHERE dataset = ?", number)
            found.update(row[0] for row in cursor)
        return found

    def shrink(self) -> None:
        """Give back the room of what was deleted."""
        self._file.read("VACUUM")

    # --- rows of datasets -----------------------------------------------------------------------

    def add_sample(self, dataset: int, sample: Sample) -> None:
        """Add a row to an open dataset; a second one of the same key is left out (`row_count` tells)."""
        statement = "INSERT OR IGNORE INTO samples VALUES (?,?,?,?,?,?,?,?,?,?)"
        self._file.put(statement, (dataset, *spell_sample(sample)))

    def sample_texts(self, dataset: int) -> Iterator[tuple[str, str, str, str]]:
        """Read key, kind, digest and, as canonical JSON, the trail of every row of a dataset, in key order."""
        query = "SELECT key, kind, digest, trail FROM samples WHERE dataset = ? AND key > ? ORDER BY key"
        after = ""
        while rows := self._file.read_page(query, dataset, after):
            yield from rows
            after = rows[-1][0]

    def row_count(self, dataset: int) -> int:
        """Count the rows of a dataset."""
        return int(self._file.read_one("SELECT count(*) FROM samples WHERE dataset = ?", dataset)[0])

    def shared_key(self, one: int, other: int) -> str:
        """Return the first key that two datasets share, or an empty string."""
        # Datasets of different sources lie apart in key order: then no row is looked at.
        query = (
            "SELECT a.key FROM samples a JOIN samples b USING (key) WHERE a.dataset = ?1 AND b.dataset = ?2 "
            "AND a.key BETWEEN (SELECT min(key) FROM samples WHERE dataset = ?2) "
            "AND (SELECT max(key) FROM samples WHERE dataset = ?2) ORDER BY a.key LIMIT 1"
        )
        row = self._file.read_one(query, one, other)
        return row[0] if row else ""

    def samples(self, dataset: int) -> Iterator[Sample]:
        """Read a dataset in key order."""
        after = ""
        while rows := self._file.read_page(
            "SELECT * FROM samples WHERE dataset = ? AND key > ? ORDER BY key", dataset, after
        ):
            for row in rows:
                yield read_sample(row[1:])
            after = rows[-1][1]

    def sample(self, dataset: int, key: str) -> Sample | None:
        """Read one row."""
        row = self._file.read_one("SELECT * FROM samples WHERE dataset = ? AND key = ?", dataset, key)
        return read_sample(row[1:]) if row else None

    def add_measures(self, dataset: int, port: str, key: str, values: Mapping[str, str]) -> None:
        """Add what was measured on one sample for an open dataset; values as JSON text."""
        for label, value in values.items():
            self._file.put("INSERT OR REPLACE INTO measures VALUES (?,?,?,?,?)", (dataset, port, key, label, value))

    def measures(self, dataset: int, port: str, label: str) -> dict[str, Any]:
        """Read one column of measures, by sample key."""
        cursor = self._file.read(
            "SELECT key, value FROM measures WHERE dataset = ? AND port = ? AND label = ?", dataset, port, label
        )
        return {key: json.loads(value) for key, value in cursor}

    def drop_measures(self, dataset: int) -> None:
        """Forget the columns of a decide that is done; the actions keep every measure."""
        self._file.put("DELETE FROM measures WHERE dataset = ?", (dataset,))

    def add_reject(self, dataset: int, row: RejectRow) -> None:
        """Add a sample that did not go on."""
        self._file.put(
            "INSERT OR REPLACE INTO rejects VALUES (?,?,?,?,?,?,?)",
            (
                dataset,
                row.key,
                row.kind,
                row.reason,
                row.message,
                json.dumps(dict(row.values)),
                spell_trail(row.trail),
            ),
        )

    def rejects(self, dataset: int, step: str) -> Iterator[RejectRow]:
        """Read who did not go on from a step, in key order."""
        after = ("", "", "")
        while rows := self._file.read_page(
            "SELECT key, kind, reason, message, facts, trail FROM rejects "
            "WHERE dataset = ? AND (key, kind, reason) > (?, ?, ?) ORDER BY key, kind, reason",
            dataset,
            *after,
        ):
            for key, kind, reason, message, facts, trail in rows:
                yield RejectRow(step, key, kind, reason, message, json.loads(facts), read_trail(trail))
            after = rows[-1][:3]

    # --- compiled plans -------------------------------------------------------------------------

    def plan(self, key: str) -> str | None:
        """Return a compiled plan."""
        row = self._file.read_one("SELECT json FROM plans WHERE key = ?", key)
        return row[0] if row else None

    def record_plan(self, key: str, json_text: str) -> None:
        """Keep a compiled plan, and let the 100 least used ones go."""
        self._file.put("INSERT OR REPLACE INTO plans VALUES (?,?,?)", (key, json_text, time.time()))
        self._file.put("DELETE FROM plans WHERE key NOT IN (SELECT key FROM plans ORDER BY used DESC LIMIT 100)")

    # --- the file -------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait until everything recorded so far is committed. Raises EnvironmentFault (the disk is full)."""
        self._file.flush()

    def raise_fault(self) -> None:
        """Raise what went wrong while recording, if anything did."""
        self._file.raise_fault()

    def close(self) -> None:
        """Commit and close. Never raises: what could not be committed is made again by the next run."""
        self._file.close()


def _payload_name(digest: str) -> str:
    """Name an uncommitted payload: an action's key is as long as a digest."""
    return f"payload {digest}"


def nondeterministic(operator: str, key: str, known: str, found: str) -> NondeterministicOperator:
    """Say that one action key gave two results."""
    return NondeterministicOperator(
        f"operator '{operator}' is not deterministic: the same input and parameters (action {key[:12]}) "
        f"gave {_shorten(known)} before and {_shorten(found)} now",
        "set `cache: off` on its steps until it is mended, and report it to the operator's author",
    )


def _shorten(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."
