"""
The embedded store: one SQLite file, shared by all processes of this machine, true after ``kill -9``.

One row for each bucket; every exchange is one short transaction, and carries whatever the process's requests asked for
while the one before it ran. A thread of its own does all of it: a slow disk or a file that another process holds makes
reservations wait, and nothing else. Levels stay in memory as long as SQLite says that no other connection has written
(https://www.sqlite.org/pragma.html#pragma_data_version). The write-ahead log is not forced to the disk at every commit
(``synchronous = NORMAL``), only when it is written back: a power cut may lose the last moments, a crash of the process
loses nothing (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from gateway.quota import buckets as b
from gateway.quota import debited
from gateway.quota import exchange as pure
from gateway.quota.buckets import Bucket, Level
from gateway.quota.exchange import Ask, ExchangeResult, Heartbeat, Look, Orphan, StoreFailure, Withheld
from gateway.quota.operations import Entry
from gateway.quota.process_lock import ProcessLock
from gateway.state.private_files import write_ahead

PATIENCE = 1.0
"""Seconds that an exchange waits for other processes that are writing, at most."""

_SWEEP_EVERY = 3600.0

_VERSION = 2
"""Of the file. Files without a version are of the first, which had no table ``unreadable``."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS level (
    bucket TEXT PRIMARY KEY, state BLOB NOT NULL, fades_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unreadable (bucket TEXT NOT NULL, state BLOB NOT NULL, found_at REAL NOT NULL);
{debited.TABLE}
"""
_WRITE = """
INSERT INTO level VALUES (?, ?, ?)
ON CONFLICT (bucket) DO UPDATE SET state = excluded.state, fades_at = excluded.fades_at
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Level).decode
_T = TypeVar("_T")


class EmbeddedStore:
    """
    See ``Store``. *path* None keeps it in memory, for tests and simulations. Raises StoreFailure.

    An exchange that fails has not been done: the transaction was rolled back, and there is never a doubt.
    """

    title, shared = "embedded", False

    def __init__(self, path: Path | None) -> None:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._connect(path)
        except (OSError, sqlite3.Error) as exc:
            raise StoreFailure(f"{path}: {exc}") from exc
        self._levels: dict[str, Level] = {}
        self._data_version = -1
        self._lock: ProcessLock | None = None
        self.name = f"alone-{uuid4().hex[:6]}"
        if path is not None:
            self._join(path.with_suffix(".processes"))
        self._swept_at = 0.0
        self._thread = _Thread() if path is not None else None

    @staticmethod
    def _connect(path: Path | None) -> sqlite3.Connection:
        db = sqlite3.connect(
            path or ":memory:", isolation_level=None, timeout=PATIENCE, cached_statements=64, check_same_thread=False
        )
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise StoreFailure(f"{path}: written by a newer version of Freeway (file version {version})")
        write_ahead(db)
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
        if version < _VERSION:
            db.execute(f"PRAGMA user_version = {_VERSION}")
        return db

    async def exchange(
        self,
        entries: Sequence[Entry],
        asks: Sequence[Ask],
        looks: Sequence[Bucket],
        now: float,
        withheld: Withheld,
        _: float = 0.0,
    ) -> ExchangeResult:
        return await self._run(lambda: self._exchange(entries, asks, looks, now, withheld))

    async def look(self, buckets: Sequence[Bucket], now: float, _: float = 0.0) -> Look:
        return Look(now, again=list(buckets))

    def seen(self, _: Sequence[Bucket]) -> bool:
        """Other processes may have written since."""
        return False

    async def clear_doubt(self) -> list[Orphan]:
        return []

    async def heartbeat(self, _: str, __: float) -> Heartbeat:
        return await self._run(self._write_nothing)

    def belong(self, _: Mapping[str, str]) -> None:
        """Nobody else has them."""

    async def sign_off(self, _: str) -> None:
        pass

    async def listen(self, freed: Callable[[], None]) -> None:
        """No other process is there."""

    async def aclose(self) -> None:
        if self._thread is not None:
            await self._thread.aclose(self._db.close)
        else:
            self._db.close()
        if self._lock is not None:
            self._lock.close()

    async def _run(self, work: Callable[[], _T]) -> _T:
        return work() if self._thread is None else await self._thread.run(work)

    # ── in the thread ──

    def _exchange(
        self, entries: Sequence[Entry], asks: Sequence[Ask], looks: Sequence[Bucket], now: float, withheld: Withheld
    ) -> ExchangeResult:
        def level_of(bucket: Bucket) -> Level:
            return self._level(bucket, now)

        def opens_at(bucket: Bucket, level: Level, amount: float) -> float:
            return b.opens_at(bucket, level, amount, now, withheld(bucket))

        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._forget_what_others_changed()
            answers, looked, changed = pure.exchange(level_of, entries, asks, opens_at, now)
            self._write(changed, now)
            if calls := debited.counted(asks, (answer.place for answer in answers)):
                self._db.execute(debited.COUNT, (self.name, calls, now, now))
            levels: list[tuple[Bucket, Level | None]] = [
                (bucket, b.copy_of(level)) for bucket, level in looked.values()
            ]
            levels += [(bucket, b.copy_of(level_of(bucket))) for bucket in looks if bucket.key not in looked]
            self._db.execute("COMMIT")
        except BaseException as exc:
            self._levels.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(exc, sqlite3.Error):
                raise StoreFailure(str(exc), self._peers()) from exc
            raise
        for entry in entries:
            entry.done = True
        return ExchangeResult(now, answers, levels)

    def _write_nothing(self) -> Heartbeat:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("COMMIT")
        except sqlite3.Error as exc:
            raise StoreFailure(str(exc), self._peers()) from exc
        return self._peers()

    def _peers(self) -> Heartbeat:
        if self._lock is None:
            return Heartbeat()
        living = self._lock.living()
        return Heartbeat(living.index(self.name), tuple(living))

    def _join(self, folder: Path) -> None:
        """Be one of the processes that share the file, and give back what those that died had in flight."""
        try:
            self._lock = ProcessLock(folder)
            self.name = self._lock.name
            dead = tuple(f"{name}-" for name in self._lock.dead())
            if not dead:
                return
            self._db.execute("BEGIN IMMEDIATE")
            for key, state in self._db.execute("SELECT bucket, state FROM level").fetchall():
                level = _readable(state)
                held = [] if level is None else [lease for lease in level.leases if not lease[0].startswith(dead)]
                if level is not None and len(held) < len(level.leases):
                    level.leases = held
                    self._db.execute("UPDATE level SET state = ? WHERE bucket = ?", (_encode(level), key))
            self._db.execute("COMMIT")
        except (OSError, sqlite3.Error) as exc:
            raise StoreFailure(f"{folder}: {exc}") from exc

    def _forget_what_others_changed(self) -> None:
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version != self._data_version:
            self._levels.clear()
            self._data_version = version

    def _level(self, bucket: Bucket, now: float) -> Level:
        """The level of *bucket*, rolled to *now*."""
        level = self._levels.get(bucket.key)
        if level is None:
            row = self._db.execute("SELECT state FROM level WHERE bucket = ?", (bucket.key,)).fetchone()
            level = Level() if row is None else _readable(row[0]) or self._set_aside(bucket, row[0], now)
            self._levels[bucket.key] = level
        b.roll(bucket, level, now)
        return level

    def _set_aside(self, bucket: Bucket, state: bytes, now: float) -> Level:
        """A row that cannot be read is kept for people; what it said may have been that nothing is left."""
        self._db.execute("INSERT INTO unreadable VALUES (?, ?, ?)", (bucket.key, state, now))
        level = Level()
        b.roll(bucket, level, now)
        b.set_used(bucket, level, bucket.limit, now)
        self._write({bucket.key: (bucket, level)}, now)
        return level

    def _write(self, changed: Mapping[str, tuple[Bucket, Level]], now: float) -> None:
        if changed:
            self._db.executemany(
                _WRITE,
                [(key, _encode(level), b.fades_at(bucket, level, now)) for key, (bucket, level) in changed.items()],
            )
        if now > self._swept_at + _SWEEP_EVERY:
            self._db.execute("DELETE FROM level WHERE fades_at < ?", (now,))
            self._db.execute(debited.SWEEP, (now - debited.KEPT_FOR,))
            self._levels.clear()
            self._swept_at = now


def _readable(state: bytes) -> Level | None:
    try:
        return _decode(state)
    except msgspec.DecodeError:
        return None


class _Thread:
    """One thread that does one thing after another. (An executor's futures would cost as much as what is done.)"""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._do, name="ledger", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], _T]) -> _T:
        """What *work* returns or raises in the thread. Raises StoreFailure once that is to end."""
        if self._ended:
            raise StoreFailure("it is closed")
        return await self._put(work)

    def _put(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def do() -> None:
            try:
                result = work()
            except BaseException as exc:  # noqa: BLE001 - raised where it is awaited
                loop.call_soon_threadsafe(_settle, future.set_exception, future, exc)
            else:
                loop.call_soon_threadsafe(_settle, future.set_result, future, result)

        self._work.put(do)
        return future

    async def aclose(self, last: Callable[[], None]) -> None:
        """Let the thread do what it has, and *last*, and end. Nothing comes after that: a connection that is closed under it crashes."""
        if not self._ended:
            self._ended, ended = True, self._put(last)
            self._work.put(None)
            await ended

    def _do(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _settle(how: Callable[[Any], None], future: asyncio.Future[Any], value: Any) -> None:
    if not future.cancelled():
        how(value)
