"""
What was answered, for those who come back to it: each response or chat completion with its input, for a day after it was last used.

Prompts are in it, so it has a file of its own, readable for its owner only, which may be deleted at any time. Gateways that
share a Redis share it there. It is a convenience with a bound, and never the only copy of anything that we need.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from gateway.clock import Clock
from gateway.state.private_files import private_file, write_ahead

KEPT_FOR = 24 * 3600.0
"""Seconds after its last use for which a response is kept."""

MOST_BYTES = 64 * 1024 * 1024
"""Of all responses in the file; those that were not used for longest go first."""

_BUSY = 0.5
"""Seconds to wait for another process that is writing."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS response (key TEXT PRIMARY KEY, used_at REAL NOT NULL, size INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS response_by_use ON response (used_at, size);
"""
_ENDS = ("", "-wal", "-shm")

_T = TypeVar("_T")


class ResponsesLost(Exception):
    """The store cannot be reached now, or its file was damaged and a new one is in its place."""


class ResponseStore(Protocol):
    """
    Values by key: ``client/name``, or ``client/place/name`` for those that are listed, too. Only ``ResponsesLost`` is raised, and
    soon; the event loop is never blocked.
    """

    async def keep(self, key: str, value: bytes) -> None:
        """From now on *key* has *value*."""

    async def find(self, key: str) -> bytes | None:
        """What *key* has, if anything; it is kept for another day."""

    async def drop(self, key: str) -> bool:
        """Forget *key*; whether it was there."""

    async def names(self, place: str) -> list[str]:
        """The names of what is kept in *place*, which is ``client/place``, in their order."""

    async def look(self, keys: Sequence[str]) -> list[bytes | None]:
        """What each of *keys* has; that is no use of it."""

    async def aclose(self) -> None:
        """Give everything back."""


class SqliteResponses:
    """
    In the file at *path*, shared by the processes of one machine, through one thread of its own. A damaged file is
    replaced by an empty one.

    Raises OSError or sqlite3.Error if there can be no such file.
    """

    def __init__(self, path: Path, clock: Clock, most: int = MOST_BYTES) -> None:
        self._path, self._clock, self._most = path, clock, most
        self._worker = ThreadPoolExecutor(1, "responses")
        try:
            self._db = self._open()
        except sqlite3.DatabaseError:
            self._db = self._anew()

    async def keep(self, key: str, value: bytes) -> None:
        now = self._clock.now()

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            try:
                db.execute("INSERT OR REPLACE INTO response VALUES (?, ?, ?, ?)", (key, now, len(value), value))
                self._make_room(db, now)
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise

        await self._do(work)

    async def find(self, key: str) -> bytes | None:
        now = self._clock.now()

        def work(db: sqlite3.Connection) -> bytes | None:
            found = db.execute(
                "UPDATE response SET used_at = ? WHERE key = ? AND used_at > ? RETURNING value",
                (now, key, now - KEPT_FOR),
            ).fetchone()
            return None if found is None else bytes(found[0])

        return await self._do(work)

    async def drop(self, key: str) -> bool:
        return await self._do(lambda db: bool(db.execute("DELETE FROM response WHERE key = ?", (key,)).rowcount))

    async def names(self, place: str) -> list[str]:
        since = self._clock.now() - KEPT_FOR

        def work(db: sqlite3.Connection) -> list[str]:
            found = db.execute(
                "SELECT key FROM response WHERE key > ? AND key < ? AND used_at > ? ORDER BY key",
                (f"{place}/", f"{place}0", since),  # 0 follows the slash
            )
            return [key.removeprefix(f"{place}/") for (key,) in found]

        return await self._do(work)

    async def look(self, keys: Sequence[str]) -> list[bytes | None]:
        since = self._clock.now() - KEPT_FOR

        def work(db: sqlite3.Connection) -> list[bytes | None]:
            asked = "SELECT value FROM response WHERE key = ? AND used_at > ?"
            found = [db.execute(asked, (key, since)).fetchone() for key in keys]
            return [None if row is None else bytes(row[0]) for row in found]

        return await self._do(work)

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._worker, self._closed)
        self._worker.shutdown()

    def _closed(self) -> None:
        self._db.close()  # the one there is when it is our turn

    def _make_room(self, db: sqlite3.Connection, now: float) -> None:
        """Take away what is too old, and then what was not used for longest, until the rest is small enough."""
        db.execute("DELETE FROM response WHERE used_at <= ?", (now - KEPT_FOR,))
        over = db.execute("SELECT TOTAL(size) FROM response").fetchone()[0] - self._most
        if over > 0:
            db.execute(
                "DELETE FROM response WHERE rowid IN (SELECT rowid FROM "
                "(SELECT rowid, SUM(size) OVER (ORDER BY used_at, rowid) - size AS freed FROM response) WHERE freed < ?)",
                (over,),
            )

    async def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def turn() -> _T:
            try:
                return work(self._db)
            except sqlite3.OperationalError:  # busy, or a full disk: the file is well
                raise
            except sqlite3.DatabaseError:
                self._db.close()
                self._db = self._anew()
                raise

        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, turn)
        except (sqlite3.Error, OSError) as exc:
            raise ResponsesLost(str(exc)) from exc

    def _open(self) -> sqlite3.Connection:
        private_file(self._path)
        db = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY, check_same_thread=False)
        try:
            write_ahead(db)
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = ON")  # a prompt that is deleted is gone
            db.executescript(_SCHEMA)
        except BaseException:
            db.close()
            raise
        return db

    def _anew(self) -> sqlite3.Connection:
        for end in _ENDS:
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)
        return self._open()
