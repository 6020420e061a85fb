"""The caller's end of the connection: whether it is still there while an answer is made, and how it is kept there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from gateway.clock import Clock, Timer

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_MOMENT = 0.02
"""Seconds of the event loop: what is answered within them need not pay for a watch on the connection."""


class while_connected:  # noqa: N801 - used like a function
    """
    Run the body of the ``with`` until it ends or the caller leaves, which cancels it; then *left* is true.

    Enter when the request's body has been read to its end: the next message can only be that the caller is gone. Neither
    the server nor the framework looks for it before an answer has begun.
    """

    def __init__(self, receive: Receive) -> None:
        self.left = False
        self._receive = receive
        self._working: asyncio.Task[Any] | None = None
        self._watch: asyncio.Future[Any] | None = None

    async def __aenter__(self) -> Self:
        self._working = asyncio.current_task()
        self._beginning = asyncio.get_running_loop().call_later(_MOMENT, self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._beginning.cancel()
        if self._watch is not None:
            self._watch.remove_done_callback(self._leave)
            self._watch.cancel()
        if not isinstance(error, asyncio.CancelledError) or not self.left:
            return False
        assert self._working is not None
        return self._working.uncancel() == 0  # if not, the server cancels too: it is going down

    def _begin(self) -> None:
        self._watch = asyncio.ensure_future(self._receive())
        self._watch.add_done_callback(self._leave)

    def _leave(self, watched: asyncio.Future[Any]) -> None:
        if not watched.cancelled() and not watched.exception():
            self.left = True
            assert self._working is not None
            self._working.cancel()


class KeptAlive:
    """A context in which *say* is called after each *silence* seconds on *clock*, unless it is still saying something."""

    def __init__(self, say: Callable[[], Coroutine[Any, Any, None]], silence: float, clock: Clock) -> None:
        self._say, self._silence, self._clock = say, silence, clock
        self._timer: Timer | None = None
        self._speaking: asyncio.Future[None] | None = None

    def __enter__(self) -> None:
        self._timer = self._clock.call_later(self._silence, self._due)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._speaking is not None:
            self._speaking.cancel()

    def _due(self) -> None:
        if self._speaking is None or self._speaking.done():
            self._speaking = asyncio.ensure_future(self._say())
        self._timer = self._clock.call_later(self._silence, self._due)


class Style(Protocol):
    """What an API sends a stream as: its media type, and what keeps it alive without saying anything."""

    @property
    def stream_type(self) -> str: ...

    @property
    def comment(self) -> bytes: ...


class Outgoing:
    """Our side of the connection: a response is begun once, and a stream is never silent for long."""

    def __init__(self, style: Style, send: Send, request: str) -> None:
        self._style, self._send, self._request = style, send, request
        self.more: Mapping[str, str] = {}  # headers of every answer
        self.started = self.ended = False
        self._busy, self._quiet = False, True

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Head and body, in the same turn of the loop."""
        self.started = self.ended = True
        await self._head(status, {"content-type": "application/json", **headers, "content-length": str(len(body))})
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """The head of a stream."""
        self.started = True
        await self._head(status, {"content-type": self._style.stream_type, **_UNBUFFERED, **headers})

    async def send(self, data: bytes, *, last: bool = False) -> None:
        """Whole events of a stream that has begun, or begins so."""
        if not self.started:
            await self.start(200, {})
        self.ended, self._quiet, self._busy = last, False, True
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        self._busy = False

    async def _head(self, status: int, headers: Mapping[str, str]) -> None:
        raw = [
            (name.encode(), value.encode("latin-1", "replace"))
            for name, value in (*headers.items(), *self.more.items())
        ]
        raw += [(name, self._request.encode()) for name in _REQUEST_ID]
        self._busy = True
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        self._busy = False

    def kept_alive(self, silence: float, clock: Clock) -> KeptAlive:
        """A context in which a comment goes out after each *silence* seconds on *clock* in which nothing was sent."""
        return KeptAlive(self.comment, silence, clock)

    async def comment(self) -> None:
        """Say nothing, unless something was said lately, or is being said to a caller who does not read."""
        if self._quiet and not self._busy and not self.ended:
            await self.send(self._style.comment)
        self._quiet = True


_REQUEST_ID = (b"x-request-id", b"request-id")
"""The second is Anthropic's, whose package shows it in its errors."""

_UNBUFFERED = {"cache-control": "no-cache", "x-accel-buffering": "no"}
