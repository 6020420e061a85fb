"""
The embedded store: one SQLite file, shared by all processes of this machine, true after ``kill -9``.

One row for each bucket; every exchange is one short transaction. Levels stay in memory as long as SQLite says that no
other connection has written (https://www.sqlite.org/pragma.html#pragma_data_version). The write-ahead log is not forced
to the disk at every commit (``synchronous = NORMAL``): a power cut may lose the last moments, a crash of the process
loses nothing (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic

import msgspec

from gateway.quota import buckets as b
from gateway.quota import exchange as book
from gateway.quota.buckets import Bucket, Level
from gateway.quota.exchange import Beat, Outcome, StoreFailure
from gateway.quota.nouns import Wanted
from gateway.quota.operations import Happening
from gateway.quota.process_lock import Presence

PATIENCE = 1.0
"""Seconds that a request waits for other processes that are writing, at most."""

_BUSY = 0.01
"""Seconds of it for which nothing else is done, at a time: SQLite waits in the event loop."""

_SWEEP_EVERY = 3600.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS level (
    bucket TEXT PRIMARY KEY, state BLOB NOT NULL, fades_at REAL NOT NULL
) WITHOUT ROWID;
"""
_WRITE = """
INSERT INTO level VALUES (?, ?, ?)
ON CONFLICT (bucket) DO UPDATE SET state = excluded.state, fades_at = excluded.fades_at
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Level).decode


class EmbeddedStore:
    """See ``Store``. *path* None keeps it in memory, for tests and simulations. Raises StoreFailure."""

    title, shared = "embedded", False

    def __init__(self, path: Path | None) -> None:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=PATIENCE, cached_statements=64)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as exc:
            raise StoreFailure(f"{path}: {exc}") from exc
        self._levels: dict[str, Level] = {}
        self._version = -1
        self._presence: Presence | None = None
        self.name = "alone"
        if path is not None:
            self._join(path.with_suffix(".processes"))
        self._db.execute(f"PRAGMA busy_timeout = {round(1000 * _BUSY)}")
        self._swept_at = 0.0

    async def exchange(
        self,
        happened: Sequence[tuple[Bucket, Happening]],
        wanted: Iterable[Wanted],
        lease: str,
        now: float,
        look_at: Sequence[Bucket] = (),
    ) -> Outcome:
        await self._begin(PATIENCE)
        try:
            self._forget_what_others_changed()

            def level_of(bucket: Bucket) -> Level:
                return self._level(bucket, now)

            outcome, changed = book.exchange(level_of, happened, wanted, lease, now)
            outcome.levels += [(bucket, level_of(bucket)) for bucket in look_at]
            self._write(changed, now)
            self._db.execute("COMMIT")
        except BaseException as exc:
            self._levels.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(exc, sqlite3.Error):
                raise StoreFailure(str(exc), self._kin()) from exc
            raise
        return outcome

    async def beat(self, _: str) -> Beat:
        await self._begin(0.0)
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as exc:
            raise StoreFailure(str(exc), self._kin()) from exc
        return self._kin()

    async def aclose(self) -> None:
        self._db.close()
        if self._presence is not None:
            self._presence.close()

    async def _begin(self, patience: float) -> None:
        """Begin to write; from here to the end of it nothing else of this process runs."""
        until = monotonic() + patience
        while True:
            try:
                self._db.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as exc:
                busy = getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
                if not busy or monotonic() >= until:
                    raise StoreFailure(str(exc), self._kin()) from exc
            else:
                return
            await asyncio.sleep(_BUSY)

    def _kin(self) -> Beat:
        return Beat() if self._presence is None else Beat(*self._presence.place())

    def _join(self, folder: Path) -> None:
        """Be one of the processes that share the file, and give back what those that died had in flight."""
        try:
            self._presence = Presence(folder)
            self.name = self._presence.name
            dead = tuple(f"{name}-" for name in self._presence.dead())
            if not dead:
                return
            self._db.execute("BEGIN IMMEDIATE")
            for key, state in self._db.execute("SELECT bucket, state FROM level").fetchall():
                level = _decode(state)
                held = [lease for lease in level.leases if not lease[0].startswith(dead)]
                if len(held) < len(level.leases):
                    level.leases = held
                    self._db.execute("UPDATE level SET state = ? WHERE bucket = ?", (_encode(level), key))
            self._db.execute("COMMIT")
        except (OSError, sqlite3.Error) as exc:
            raise StoreFailure(f"{folder}: {exc}") from exc

    def _forget_what_others_changed(self) -> None:
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._levels.clear()
            self._version = version

    def _level(self, bucket: Bucket, now: float) -> Level:
        """The level of *bucket*, rolled to *now*."""
        level = self._levels.get(bucket.key)
        if level is None:
            row = self._db.execute("SELECT state FROM level WHERE bucket = ?", (bucket.key,)).fetchone()
            level = self._levels[bucket.key] = _decode(row[0]) if row else Level()
        b.roll(bucket, level, now)
        return level

    def _write(self, changed: Mapping[str, tuple[Bucket, Level]], now: float) -> None:
        if changed:
            self._db.executemany(
                _WRITE,
                [(key, _encode(level), b.fades_at(bucket, level, now)) for key, (bucket, level) in changed.items()],
            )
        if now > self._swept_at + _SWEEP_EVERY:
            self._db.execute("DELETE FROM level WHERE fades_at < ?", (now,))
            self._levels.clear()
            self._swept_at = now
