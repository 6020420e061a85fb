"""
What admins did, and who was refused: one JSON object a line, in two files for the gateway's owner alone. No key and no prompt is in
them.

Every request that an admin made to change something is written down with its status; a handler says in words what it did, with
``noted``. Refusals have a file of their own, and no more than some a minute are written: no flood of them wipes out what was done.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import Struct

from gateway.api import errors
from gateway.clock import Clock
from gateway.events import Event
from gateway.observe.log import blotted
from gateway.state.private_files import private_file

DONE, REFUSED = "audit.jsonl", "refused.jsonl"
"""In the state folder."""

REFUSALS = RateLimitItemPerMinute(30)
"""That are written down."""

LONGEST_FILE = 1_000_000
"""Bytes after which a new file begins. The one before is kept, with ``.1`` at its end."""

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
    """The file at *path*. Every one of *secrets*, as they are then, is blotted out of it, wherever it may come from."""

    def __init__(self, path: Path, secrets: Callable[[], Sequence[str]] = tuple) -> None:
        self.path = path
        self._secrets = secrets
        self._writing = asyncio.Lock()

    async def write(self, done: Done) -> None:
        """Add *done*. Raises OSError."""
        path, what = done.path, done.what
        for secret in self._secrets():
            path, what = blotted(path, secret), blotted(what, secret)
        line = msgspec.json.encode(msgspec.structs.replace(done, path=path, what=what))
        async with self._writing:
            await asyncio.to_thread(self._append, line + b"\n")

    def _append(self, line: bytes) -> None:
        private_file(self.path)
        if self.path.stat().st_size + len(line) > LONGEST_FILE:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            private_file(self.path)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


class Audited(ASGIMiddleware):
    """What stands before every route of the admin API: it writes down what was *done* and *refused*, and has no browser keep an answer."""

    def __init__(self, done: AuditLog, refused: AuditLog, clock: Clock, tell: Callable[[Event], None]) -> None:
        self._done, self._refused, self._clock, self._tell = done, refused, clock, tell
        self._refusals = FixedWindowRateLimiter(MemoryStorage())

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Any, receive: Receive, send: Send, next_app: ASGIApp) -> None:

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._write(scope, message["status"])  # before: who hears of it can read it there
                message = {**message, "headers": [*message["headers"], *_KEPT_FROM_PAGES]}
            await send(message)

        await next_app(scope, receive, send_on)

    async def _write(self, scope: Any, status: int) -> None:
        log = self._log_for(scope, status)
        if log is None:
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
            await log.write(done)
        except OSError as exc:  # a disk that is full must not keep anybody from switching something off
            self._tell(errors.bug(exc, "the audit log"))

    def _log_for(self, scope: Any, status: int) -> AuditLog | None:
        """Where it is written down; None: nowhere, for it changed nothing, or too many were refused already."""
        if _BY in scope["state"] or _WHAT in scope["state"]:
            return None if scope["method"] in READS else self._done
        if status in (401, 403, 429) and self._refusals.hit(REFUSALS):
            return self._refused
        return None
