"""
The state of one machine: a SQLite file, shared by its processes. Each write is forced to the disk, for it is seldom.

A disk may be slow and another process may be writing, so all of it happens in one thread of its own, one operation after
the other. A file that is damaged is set aside, and an empty one started: what is known here is then sent anew.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from gateway.clock import Clock
from gateway.events import Event, StateSetAside
from gateway.state.private_files import private_file, write_ahead
from gateway.state.store import StateFailure

_BUSY = 0.5
"""Seconds to wait for another process that is writing."""

MIGRATIONS = (
    """
    CREATE TABLE IF NOT EXISTS note (topic TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (topic, key)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, amount REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS claim (what TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS topic (name TEXT PRIMARY KEY, edition INTEGER NOT NULL) WITHOUT ROWID;
    """,  # files of the first version have these tables, and no version number
    """
    ALTER TABLE note RENAME TO entry;
    ALTER TABLE topic RENAME COLUMN edition TO revision;
    INSERT OR IGNORE INTO topic VALUES ('', random());
    """,  # the topic '' names the file: see BACKEND
    """
    ALTER TABLE counter RENAME TO ungrouped;
    CREATE TABLE counter (kind TEXT, name TEXT, amount REAL NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
    INSERT INTO counter SELECT '', name, amount FROM ungrouped;
    DROP TABLE ungrouped;
    """,  # kind: the group of a counter
)
"""What brings a file from one schema version (``PRAGMA user_version``, from 0) to the next."""

_COUNT = "INSERT INTO counter VALUES (?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET amount = amount + excluded.amount"
_CHANGED = "INSERT INTO topic VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET revision = revision + 1"
_CLAIM = (
    "INSERT INTO claim VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET until = excluded.until "
    "WHERE claim.until <= ? OR claim.until > excluded.until"  # the clock was set back since
)

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_T = TypeVar("_T")


class SqliteState:
    """
    See ``StateBackend``. *path* None keeps it in this process. *tell* hears when a damaged file was set aside.

    Raises StateFailure if the file cannot be used, or is of a later version.
    """

    def __init__(self, path: Path | None, clock: Clock, tell: Callable[[Event], None] = lambda _: None) -> None:
        self._path, self._clock, self._tell = path, clock, tell
        self._worker = None if path is None else ThreadPoolExecutor(1, "state")
        self._closed = False
        try:
            self._db, self._file = self._open()
        except sqlite3.DatabaseError as exc:
            if not _damaged(exc):
                raise StateFailure(f"{path}: {exc}") from exc
            self._file = _identity(path)
            self._tell(self._start_anew(exc))
        except OSError as exc:
            raise StateFailure(f"{path}: {exc}") from exc

    async def write(self, topic: str, entries: Mapping[str, bytes | None]) -> None:
        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                for key, value in entries.items():
                    if value is None:
                        db.execute("DELETE FROM entry WHERE topic = ? AND key = ?", (topic, key))
                    else:
                        db.execute("INSERT OR REPLACE INTO entry VALUES (?, ?, ?)", (topic, key, value))
                db.execute(_CHANGED, (topic,))

        await self._do(work)

    async def read(self, topic: str) -> dict[str, bytes]:
        return await self._do(
            lambda db: dict(db.execute("SELECT key, CAST(value AS BLOB) FROM entry WHERE topic = ?", (topic,)))
        )

    async def revisions(self) -> dict[str, str]:
        return await self._do(lambda db: dict(db.execute("SELECT name, CAST(revision AS TEXT) FROM topic")))

    async def count(self, amounts: Mapping[str, float], group: str = "") -> None:
        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.executemany(_COUNT, [(group, name, amount) for name, amount in amounts.items()])

        await self._do(work)

    async def counters(self, group: str = "") -> dict[str, float]:
        return await self._do(lambda db: dict(db.execute("SELECT name, amount FROM counter WHERE kind = ?", (group,))))

    async def counter_groups(self) -> list[str]:
        return await self._do(lambda db: [kind for (kind,) in db.execute("SELECT DISTINCT kind FROM counter")])

    async def forget_counters(self, first: str, last: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            with _transaction(db):
                db.execute("DELETE FROM counter WHERE kind >= ? AND kind < ?", (first, last))

        await self._do(work)

    async def claim(self, what: str, seconds: float) -> bool:
        now = self._clock.now()

        def work(db: sqlite3.Connection) -> bool:
            with _transaction(db):
                db.execute("DELETE FROM claim WHERE until <= ?", (now,))
                return bool(db.execute(_CLAIM, (what, now + seconds, now)).rowcount)

        return await self._do(work)

    async def aclose(self) -> None:
        def close() -> None:
            self._db.close()  # the one there is when it is our turn

        if not self._closed:
            self._closed = True
            await self._in_turn(close)
            if self._worker is not None:
                self._worker.shutdown()

    async def _do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """*work*, after all that was asked for before. A damaged file is replaced; what was asked for fails."""
        try:
            return await self._in_turn(lambda: work(self._db))
        except sqlite3.DatabaseError as exc:
            if self._path is not None and _damaged(exc):
                damage = exc
                self._tell(await self._in_turn(lambda: self._start_anew(damage)))
            raise StateFailure(str(exc)) from exc

    async def _in_turn(self, work: Callable[[], _T]) -> _T:
        if self._worker is None:  # nothing blocks
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)

    def _open(self) -> tuple[sqlite3.Connection, tuple[int, int] | None]:
        if self._path is not None:
            private_file(self._path)
        identity = _identity(self._path)
        db = sqlite3.connect(self._path or ":memory:", isolation_level=None, timeout=_BUSY, check_same_thread=False)
        db.text_factory = _text
        try:
            write_ahead(db)
            if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise _damage(found)
            _migrate(db)
        except BaseException:
            db.close()
            raise
        return db, identity

    def _start_anew(self, damage: sqlite3.DatabaseError) -> Event:
        """Set the damaged file aside, unless another process has already, and open the one in its place."""
        assert self._path is not None  # what is kept in this process cannot be damaged
        kept_as = self._path.with_name(f"{self._path.name}.damaged-{self._date()}")
        if hasattr(self, "_db"):
            self._db.close()
        try:
            if _identity(self._path) == self._file:
                for end in ("-wal", "-shm", ""):
                    file = self._path.with_name(self._path.name + end)
                    if file.exists():
                        file.rename(kept_as.with_name(kept_as.name + end))
            self._db, self._file = self._open()
        except (OSError, sqlite3.Error) as exc:
            raise StateFailure(f"{self._path}: {damage}; and it cannot be replaced: {exc}") from exc
        return StateSetAside(str(self._path), str(kept_as), str(damage))

    def _date(self) -> str:
        return f"{datetime.fromtimestamp(self._clock.now(), UTC):%Y-%m-%dT%H%M%S}"


def _migrate(db: sqlite3.Connection) -> None:
    """Bring the file to our schema version; raises StateFailure if it is of a later one."""
    with _transaction(db):
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StateFailure(
                f"the state file is of a later version (schema {version}; this one knows {len(MIGRATIONS)}): run that "
                f"version, or set FREEWAY_STATE_DIR to another folder"
            )
        for statements in MIGRATIONS[version:]:
            for statement in filter(str.strip, statements.split(";")):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _text(encoded: bytes) -> str:
    return encoded.decode(errors="replace")  # one bad key must not hide the others


def _damaged(exc: sqlite3.DatabaseError) -> bool:
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _damage(found: str) -> sqlite3.DatabaseError:
    damage = sqlite3.DatabaseError(found)
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return damage


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Which file it is that *path* names now."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino)
