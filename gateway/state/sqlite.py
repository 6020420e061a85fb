"""The memory of one machine: a SQLite file, shared by its processes. Forced to the disk: what it holds is seldom written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gateway.clock import Clock
from gateway.state.store import KeeperFailure

_BUSY = 0.5
"""Seconds to wait for another process that is writing."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS note (topic TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (topic, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, amount REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claim (what TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS topic (name TEXT PRIMARY KEY, edition INTEGER NOT NULL) WITHOUT ROWID;
"""
_COUNT = "INSERT INTO counter VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET amount = amount + excluded.amount"
_CHANGED = "INSERT INTO topic VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET edition = edition + 1"
_CLAIM = (
    "INSERT INTO claim VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET until = excluded.until WHERE claim.until <= ?"
)


class EmbeddedKeeper:
    """See ``Keeper``. *path* None keeps it in memory. Raises KeeperFailure."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._clock = clock
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=_BUSY)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as exc:
            raise KeeperFailure(f"{path}: {exc}") from exc

    async def note(self, topic: str, notes: Mapping[str, bytes | None]) -> None:
        with self._writing() as db:
            for key, value in notes.items():
                if value is None:
                    db.execute("DELETE FROM note WHERE topic = ? AND key = ?", (topic, key))
                else:
                    db.execute("INSERT OR REPLACE INTO note VALUES (?, ?, ?)", (topic, key, value))
            db.execute(_CHANGED, (topic,))

    async def notes(self, topic: str) -> dict[str, bytes]:
        with _failing():
            return dict(self._db.execute("SELECT key, value FROM note WHERE topic = ?", (topic,)))

    async def editions(self) -> dict[str, str]:
        with _failing():
            return dict(self._db.execute("SELECT name, CAST(edition AS TEXT) FROM topic"))

    async def count(self, amounts: Mapping[str, float]) -> None:
        with self._writing() as db:
            db.executemany(_COUNT, list(amounts.items()))

    async def counters(self) -> dict[str, float]:
        with _failing():
            return dict(self._db.execute("SELECT name, amount FROM counter"))

    async def claim(self, what: str, seconds: float) -> bool:
        now = self._clock.now()
        with self._writing() as db:
            db.execute("DELETE FROM claim WHERE until <= ?", (now,))
            return bool(db.execute(_CLAIM, (what, now + seconds, now)).rowcount)

    async def aclose(self) -> None:
        self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """All or nothing."""
        with _failing():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise KeeperFailure(str(exc)) from exc
