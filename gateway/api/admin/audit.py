"""
What admins did: one JSON object a line in a file for the gateway's owner alone. No key and no prompt is in it.

Every request of the admin API that changes something is written down with its status, and every one that was refused. A
handler says what it did in words with ``noted``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import Struct

from gateway.api import errors
from gateway.clock import Clock
from gateway.events import Event
from gateway.state.private_files import private_file

FILE = "audit.jsonl"
"""In the state folder."""

LONGEST_FILE = 1_000_000
"""Bytes after which a new file begins. The one before is kept, as ``audit.jsonl.1``."""

_LONGEST = 300  # characters of a path, or of what was done
READS = ("GET", "HEAD", "OPTIONS")
_KEPT_FROM_PAGES = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]

_WHAT, _BY = "freeway audit what", "freeway audit by"


class Done(Struct, frozen=True, omit_defaults=True, rename={"peer": "from"}):
    """Something that was asked for *at* a moment (unix seconds), *by* a key, a session or this machine, from the address *peer*."""

    at: float
    peer: str
    by: str
    method: str
    path: str
    status: int
    what: str = ""


def noted(scope: Scope, what: str) -> None:
    """*what* this request did, in words for the audit log. Never a secret."""
    scope["state"][_WHAT] = what


def admitted(scope: Scope, by: str) -> None:
    """*by* what this request is known to be an admin's."""
    scope["state"][_BY] = by


class AuditLog:
    """The file, in *folder*. Every one of *secrets* is blotted out of it, wherever it may come from."""

    def __init__(self, folder: Path, secrets: Sequence[str] = ()) -> None:
        self.path = folder / FILE
        self._secrets = tuple(secrets)
        self._writing = asyncio.Lock()

    async def write(self, done: Done) -> None:
        """Add *done*. Raises OSError."""
        line = msgspec.json.encode(done).decode()
        for secret in self._secrets:
            line = line.replace(secret, "***")
        async with self._writing:
            await asyncio.to_thread(self._append, line.encode() + b"\n")

    def _append(self, line: bytes) -> None:
        private_file(self.path)
        if self.path.stat().st_size + len(line) > LONGEST_FILE:
            self.path.replace(self.path.with_name(f"{FILE}.1"))
            private_file(self.path)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


class Audited(ASGIMiddleware):
    """What stands before every route of the admin API: it writes to *log*, and has no answer kept by browsers."""

    def __init__(self, log: AuditLog, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._log, self._clock, self._tell = log, clock, tell

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Any, receive: Receive, send: Send, next_app: ASGIApp) -> None:

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._write(scope, message["status"])  # before: who hears of it can read it there
                message = {**message, "headers": [*message["headers"], *_KEPT_FROM_PAGES]}
            await send(message)

        await next_app(scope, receive, send_on)

    async def _write(self, scope: Any, status: int) -> None:
        if scope["method"] in READS and status not in (401, 403, 429):
            return
        done = Done(
            at=self._clock.now(),
            peer=(scope.get("client") or ("",))[0],
            by=scope["state"].get(_BY, ""),
            method=scope["method"],
            path=scope["path"][:_LONGEST],
            status=status,
            what=scope["state"].get(_WHAT, "")[:_LONGEST],
        )
        try:
            await self._log.write(done)
        except OSError as exc:  # a disk that is full must not keep anybody from switching something off
            self._tell(errors.bug(exc, "the audit log"))
