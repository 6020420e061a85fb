"""
Receipts: a record of every call that left, for anybody who wants to verify that none cost anything.

Each process writes a chain of its own, a *run*, in files of the state folder. A receipt's hash is that of the one before and of
itself; every batch ends in a *seal*, signed with the gateway's own key, whose count and head are kept in the state as well. So a
receipt that is changed, dropped, moved or cut off is found out (``receipts_audit.py``). The ledger counts by run, too, what it
debited: a seal says how many of these calls have ended, so that those without a receipt are told, even where the files are lost.
Nothing is written while a request waits: what leaves is counted in a mapped page of memory, which outlives the process, and the
receipts follow within half a second. The oldest files go when there are too many; where they ended is signed.
"""

from __future__ import annotations

import asyncio
import hmac
import mmap
import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct

from gateway.clock import Clock
from gateway.events import Event, Leaving, Left, ProofRead
from gateway.state.private_files import private_file
from gateway.state.store import StateStore

if sys.platform != "win32":
    import fcntl

HEADS = "receipts"
"""The topic of the state that holds each run's head."""

EVERY = 0.5
"""Seconds between two batches: what a process that is killed may leave without a receipt."""

SEGMENT, FOLDER = 8 << 20, 64 << 20
"""Bytes of one file after which a new one is begun, and of all after which the oldest goes."""

MOST_PENDING = 50_000
"""Receipts that may wait to be written; what is more is counted as lost, and the seal says so."""

PRUNED = "pruned.jsonl"
_KEY = "key"


class Receipt(Struct, frozen=True):
    """
    One call that left. *number* counts from one on, *debits* are amounts by bucket, *told* the dollars that the answer says it
    cost (None: it says nothing), *came* is how it ended: ``answered``, or the class of the failure.
    """

    number: int
    at: float
    request: str
    deployment: str
    proof: ProofRead
    debits: dict[str, float]
    told: float | None
    came: str


class RunHeader(Struct, frozen=True):
    """The first line of a file: whose chain it is, its place among the run's files, and how far the chain had come."""

    run: str
    segment: int
    at: float
    count: int
    head: str


class Seal(Struct, frozen=True):
    """
    The end of a batch. *lost* receipts could not be kept; a *closed* run ended in good order. Of the calls that the ledger counts as
    debited so many have *ended*: with a receipt, or because they never left.
    """

    count: int
    head: str
    at: float
    closed: bool = False
    lost: int = 0
    ended: int = 0


class Head(Struct, frozen=True):
    """A run as the state knows it; *key* names the key that it is signed with."""

    count: int
    head: str
    at: float
    key: str
    ended: int = 0


class Pruned(Struct, frozen=True):
    """A file that was deleted for its age: where the chain stood at its end."""

    file: str
    run: str
    segment: int
    count: int
    head: str
    last: bool = False  # the run had no later file


class Line(Struct, frozen=True, omit_defaults=True):
    """One line of a file: a receipt with its *hash*, or something signed (*sig*)."""

    receipt: Raw = Raw()
    hash: str = ""
    header: Raw = Raw()
    seal: Raw = Raw()
    pruned: Raw = Raw()
    sig: str = ""


encode = msgspec.json.Encoder().encode


def start_of(run: str) -> str:
    """The head of a chain without receipts."""
    return sha256(run.encode()).hexdigest()


def linked(head: str, receipt: bytes) -> str:
    """The head of a chain after *receipt*, as it is written."""
    return sha256(bytes.fromhex(head) + receipt).hexdigest()


def signature(key: bytes, kind: str, content: bytes) -> str:
    """What *key* makes of *content*."""
    return hmac.digest(key, kind.encode() + b"\n" + content, "sha256").hex()


def signed(key: bytes, kind: str, value: Struct) -> bytes:
    """The line that says *value* with its signature."""
    content = encode(value)
    return encode({kind: Raw(content), "sig": signature(key, kind, content)}) + b"\n"


def name_of(key: bytes) -> str:
    """What the key is called, which says nothing of it."""
    return sha256(b"name of the key\n" + key).hexdigest()[:16]


def key_in(folder: Path) -> bytes:
    """The gateway's own key, made when it is not there. Raises OSError."""
    path = folder / _KEY
    private_file(path)
    if not path.read_bytes():
        fresh = folder / f"{_KEY}.{uuid4().hex}"
        private_file(fresh)
        fresh.write_bytes(os.urandom(32))
        if (
            not path.read_bytes()
        ):  # of two processes that begin at once the last one wins, before either has signed anything
            fresh.replace(path)
        fresh.unlink(missing_ok=True)
    return path.read_bytes()


class Tally:
    """How many calls of a run left: one number in a page that the system keeps, whatever becomes of the process."""

    def __init__(self, path: Path, left: int) -> None:
        private_file(path)
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        os.ftruncate(self._file, 8)
        self._page = mmap.mmap(self._file, 8)
        if sys.platform != "win32":
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.set(left)

    def set(self, left: int) -> None:
        struct.pack_into("<Q", self._page, 0, left)

    def close(self) -> None:
        self._page.close()
        os.close(self._file)


def tallied(path: Path) -> tuple[int, bool]:
    """How many calls left by the tally at *path*, and whether its process lives. Raises OSError."""
    with path.open("r+b") as file:
        (left,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if sys.platform == "win32":
            return left, False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return left, True
        return left, False


class Receipts:
    """
    The observer that keeps them: one *run*, as the ledger counts its calls, in *folder*. *ended* tells how many of these have ended.
    Nothing is there before something was debited.
    """

    def __init__(  # noqa: PLR0913 - one for each thing that a run is of, and two sizes for tests
        self,
        folder: Path,
        clock: Clock,
        state: StateStore,
        run: str,
        ended: Callable[[], int],
        *,
        segment: int = SEGMENT,
        most: int = FOLDER,
    ) -> None:
        self.run, self._ended = run, ended
        self._folder, self._clock, self._state = folder, clock, state
        self._writing = asyncio.Lock()
        self._most_in_segment, self._most = segment, most
        self._pending: list[Left] = []
        self._told_ended = 0
        self._left = self._lost = self._count = self._segment = self._written = 0
        self._head = start_of(self.run)
        self._began = clock.now()
        self._key: bytes | None = None
        self._tally: Tally | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Leaving):
            self._left += 1
        elif isinstance(event, Left):
            if not event.sent:
                self._left -= 1
            elif len(self._pending) < MOST_PENDING:
                self._pending.append(event)
                return
            else:
                self._lost += 1
        else:
            return
        if self._tally is not None:
            self._tally.set(self._left)

    async def write_forever(self) -> None:
        """The background loop. From its beginning on, what leaves is counted where it outlives the process."""
        await asyncio.to_thread(self._open)
        while True:
            await self.write()
            await self._clock.sleep(EVERY)

    async def write(self, *, closing: bool = False) -> None:
        """
        Write what there is. Raises OSError; then it waits for the next time. One who gives up waiting does not end it: a batch that a
        thread is about to write is neither lost nor overtaken by the one that closes the run.
        """
        await asyncio.shield(asyncio.create_task(self._write(closing=closing)))

    async def _write(self, *, closing: bool) -> None:
        async with self._writing:
            ended = self._ended()
            begun = bool(self._segment or self._written)
            if not self._pending and ended == self._told_ended and not (closing and begun):
                return
            batch, self._pending = self._pending, []
            try:
                head = await asyncio.to_thread(self._append, batch, ended, closing)
            except OSError:
                self._pending = batch + self._pending
                raise
            self._told_ended = ended
        self._state.set(HEADS, self.run, head)

    async def aclose(self) -> None:
        """Write the rest, and that the run is over."""
        try:
            await self.write(closing=True)
        except OSError:
            return
        if self._tally is not None:
            self._tally.close()
            if self._left == self._count + self._lost:
                self._tally.path.unlink(missing_ok=True)

    # ── in a thread ──

    def _open(self) -> bytes:
        if self._key is None:
            self._key = key_in(self._folder)
        if self._tally is None:
            _sweep(self._folder)
            self._tally = Tally(self._folder / f"{self.run}.tally", self._left)
        return self._key

    def _append(self, batch: list[Left], ended: int, closing: bool) -> Head:
        key, count, head = self._open(), self._count, self._head
        lines = []
        if not self._written:
            lines.append(signed(key, "header", RunHeader(self.run, self._segment, self._began, count, head)))
        for left in batch:
            count += 1
            content = encode(_receipt(count, left))
            head = linked(head, content)
            lines.append(encode({"receipt": Raw(content), "hash": head}) + b"\n")
        now = self._clock.now()
        lines.append(signed(key, "seal", Seal(count, head, now, closing, self._lost, ended)))
        path, written = self._path(self._segment), b"".join(lines)
        private_file(path)
        with path.open("r+b") as file:
            file.truncate(self._written)  # what a failed attempt may have left behind
            file.seek(self._written)
            file.write(written)
        self._count, self._head, self._written = count, head, self._written + len(written)
        if self._written > self._most_in_segment:
            self._segment, self._written = self._segment + 1, 0
            self._prune(key)
        return Head(count, head, now, name_of(key), ended)

    def _path(self, segment: int) -> Path:
        return self._folder / f"{int(self._began):010d}-{self.run}.{segment:06d}.jsonl"

    def _prune(self, key: bytes) -> None:
        """Delete the oldest files, and write down where they ended."""
        files = sorted(path for path in self._folder.glob("*-*.jsonl"))
        sizes = {path: path.stat().st_size for path in files}
        while len(files) > 1 and sum(sizes[path] for path in files) > self._most:
            oldest = files.pop(0)
            run, _, segment = oldest.name.partition("-")[2].removesuffix(".jsonl").partition(".")
            end = last_seal(oldest)
            last = run != self.run and not any(f"-{run}." in path.name for path in files)
            if end is not None:
                told = Pruned(oldest.name, run, int(segment), end.count, end.head, last)
                private_file(self._folder / PRUNED)
                with (self._folder / PRUNED).open("ab") as file:
                    file.write(signed(key, "pruned", told))
            oldest.unlink(missing_ok=True)
            if last:
                (self._folder / f"{run}.tally").unlink(missing_ok=True)


def _receipt(number: int, left: Left) -> Receipt:
    came = left.failure or "answered"
    return Receipt(number, left.at, left.request, left.deployment, left.proof, left.debits, left.told, came)


def _sweep(folder: Path) -> None:
    """Delete the tallies of processes that ended without a call."""
    for path in folder.glob("*.tally"):
        with suppress(OSError):
            if tallied(path) == (0, False):
                path.unlink()


def last_seal(path: Path) -> Seal | None:
    """The last seal in the file at *path*, whether or not it is genuine."""
    for line in reversed(path.read_bytes().splitlines()):
        try:
            found = msgspec.json.decode(line, type=Line)
            if bytes(found.seal):
                return msgspec.json.decode(found.seal, type=Seal)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return None
