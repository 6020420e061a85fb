"""
Vectors that were made once: a SQLite file of its own, bounded, in which a text is known by a hash of it alone.

Losing it costs quota and nothing else, so that what is damaged or in the way is deleted, and writes are not forced to the
disk one by one. All of it happens in one thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gateway.state.private_files import private_file, write_ahead

_T = TypeVar("_T")

_TABLE = "CREATE TABLE IF NOT EXISTS vector (key BLOB PRIMARY KEY, numbers BLOB NOT NULL, used INTEGER NOT NULL)"
_OVERHEAD = 64
"""Bytes that a row takes beside its numbers, about."""

_AT_ONCE = 500
"""Keys in one statement: SQLite takes 32 766 at most."""


_SIZES = {"": 1, "K": 1000, "Ki": 1024, "M": 1000**2, "Mi": 1024**2, "G": 1000**3, "Gi": 1024**3}


def bytes_of(size: str) -> int:
    """*size*, like ``256MiB``, as bytes."""
    number = size.rstrip("KMGiB ")
    return int(number) * _SIZES[size.removeprefix(number).strip().removesuffix("B")]


def key_of(space: str, item: str | list[int]) -> bytes:
    """Where the vector of *item* in *space* is found; nothing of the text can be told from it."""
    told = item.encode(errors="surrogatepass") if isinstance(item, str) else b"\0" + repr(item).encode()
    return blake2b(space.encode() + b"\0" + told, digest_size=20, person=b"freeway vectors").digest()


class Vectors(Protocol):
    """Where vectors are kept. Trouble with it is never the caller's: nothing is found then, or kept."""

    async def get(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """The vectors of those of *keys* that are known."""

    async def put(self, vectors: Mapping[bytes, bytes]) -> None:
        """Keep *vectors*, in place of those that were used least lately if there is no room."""

    async def aclose(self) -> None:
        """Give everything back."""


class NoVectors:
    """Keeps nothing."""

    async def get(self, keys: Collection[bytes]) -> dict[bytes, bytes]:  # noqa: ARG002
        return {}

    async def put(self, vectors: Mapping[bytes, bytes]) -> None: ...

    async def aclose(self) -> None: ...


class SqliteVectors:
    """In the file *path*, of about *size* bytes at most; None keeps them in this process."""

    def __init__(self, path: Path | None, size: int) -> None:
        self._path, self._size = path, size
        self._worker = ThreadPoolExecutor(1, "vectors")
        self._db = self._open()
        self._turn, self._held = self._db.execute(
            "SELECT coalesce(max(used), 0), coalesce(sum(length(numbers) + ?), 0) FROM vector", (_OVERHEAD,)
        ).fetchone()

    async def get(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        return await self._in_turn(self._get, list(keys)) or {}

    async def put(self, vectors: Mapping[bytes, bytes]) -> None:
        await self._in_turn(self._put, dict(vectors))

    async def aclose(self) -> None:
        await self._in_turn(self._db.close)
        self._worker.shutdown()

    async def _in_turn(self, work: Callable[..., _T], *arguments: Any) -> _T | None:
        with suppress(sqlite3.Error):
            return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)
        return None

    def _get(self, keys: list[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        self._turn += 1
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            holes = ",".join("?" * len(some))
            found |= dict(self._db.execute(f"SELECT key, numbers FROM vector WHERE key IN ({holes})", some))  # noqa: S608
            self._db.execute(f"UPDATE vector SET used = ? WHERE key IN ({holes})", [self._turn, *some])  # noqa: S608
        return found

    def _put(self, vectors: dict[bytes, bytes]) -> None:
        self._turn += 1
        rows = [(key, numbers, self._turn) for key, numbers in vectors.items()]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            new = sum(
                self._db.execute("INSERT OR IGNORE INTO vector VALUES (?, ?, ?)", row).rowcount
                * (len(row[1]) + _OVERHEAD)
                for row in rows
            )
            freed = self._make_room(self._held + new - self._size)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._held += new - freed

    def _make_room(self, needed: int) -> int:
        """Delete what was used least lately until *needed* bytes are free; how many are."""
        freed = 0
        while freed < needed:
            oldest = self._db.execute(
                "SELECT key, length(numbers) + ? FROM vector ORDER BY used LIMIT ?", (_OVERHEAD, _AT_ONCE)
            ).fetchall()
            if not oldest:
                break
            for key, size in oldest:
                self._db.execute("DELETE FROM vector WHERE key = ?", (key,))
                freed += size
                if freed >= needed:
                    break
        return freed

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.DatabaseError:
            assert self._path is not None  # what is kept in this process cannot be damaged
            for end in ("-wal", "-shm", ""):
                self._path.with_name(self._path.name + end).unlink(missing_ok=True)
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        if self._path is not None:
            private_file(self._path)
        db = sqlite3.connect(self._path or ":memory:", isolation_level=None, timeout=1.0, check_same_thread=False)
        try:
            write_ahead(db)
            db.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last ones, and nothing else
            db.execute(_TABLE)
            db.execute("CREATE INDEX IF NOT EXISTS lately ON vector (used)")
        except BaseException:
            db.close()
            raise
        return db
