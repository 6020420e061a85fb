"""
The HTTP server: uvicorn, with bounds on what a caller may hold before anything is parsed, and a drain that tells callers.

A caller costs memory and a descriptor from the moment it connects, so the bounds are here: how many connections there are, how
long the head of a request is and how long it may take to come, how slowly a body may come.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.api.drain import Drain
from gateway.settings import Server as ServerSettings

HEAD_BYTES = 64 * 1024
HEAD_LINES = 200
"""What the head of a request may have. 60 MB of header lines took 890 MB of memory before there was a bound."""

HEAD_SECONDS = 15.0
"""From the first byte of a head to its last, and from connecting to the first byte."""

BODY_SECONDS, BODY_RATE = 30.0, 16 * 1024
"""A body may take so many seconds, and one more for each *BODY_RATE* bytes of it that came."""

IDLE_SECONDS = 75
"""A connection is kept for the next request: longer than the 60 s for which proxies pool theirs."""

_OWN_FILES = 32
"""Descriptors that are not connections: listening, logs, the state's files, the event loop's."""
_FILES_PER_CALLER = 3
"""Descriptors that a request takes: its caller's, its deployment's, a hedge's."""
_FEWEST = 4


class Connections:
    """
    Those that are open, at most *most* of them, *most_of_one* from one address.

    When there is no room the connection that has waited longest for a request gives way, first one of the address that has
    too many. So those who only hold connections lock no other out, and a caller who is being answered is never cut off.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._open: dict[Connection, None] = {}
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> bool:
        """Whether *connection* may stay, once another has made room if need be."""
        address = connection.address
        if self._of[address] >= self._most_of_one and not self._make_room(address):
            return False
        if len(self._open) >= self._most and not self._make_room():
            return False
        self._open[connection] = None
        self._of[address] += 1
        return True

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        if connection in self._open:
            del self._open[connection]
            self._of[connection.address] -= 1
            if not self._of[connection.address]:
                del self._of[connection.address]

    def sweep(self, now: float) -> None:
        """Close those whose time is over."""
        for connection in list(self._open):
            if connection.overdue(now):
                connection.give_up()

    def _make_room(self, address: str | None = None) -> bool:
        waiting = [one for one in self._open if one.waits() and address in (None, one.address)]
        if not waiting:
            return False
        most = max(waiting, key=lambda one: (self._of[one.address], -one.since))
        self.leave(most)
        most.transport.abort()
        return True


def room_for(configured: int, files: int | None) -> int:
    """How many connections there may be where the system allows *files* open files (None: any number)."""
    if files is None:
        return configured
    return max(_FEWEST, min(configured, (files - _OWN_FILES) // _FILES_PER_CALLER))


class _HeadTooLong(Exception):
    """More lines or bytes than a head may have."""


class Connection(HttpToolsProtocol):
    """
    uvicorn's, with bounds, with the transport below, and with what it loses: the body of a request that also offers to
    upgrade (Java's HttpClient does with each first one; Kludex/uvicorn#2722). No upgrade is taken up here.
    """

    among: Connections  # set by the subclass that a server makes
    counted = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", _HeadWithBody(transport, self.loop)))
        self.address = self.client[0] if self.client else ""
        self.since = self.loop.time()  # when what it is waited for began
        self._in_head, self._in_body = True, False
        self._head_bytes = self._head_lines = self._body_bytes = 0
        self._resuming = False
        self.counted = self.among.admit(self)
        if not self.counted:
            self._refuse(503, "too many connections: close some, or try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        self.among.leave(self)
        super().connection_lost(exc)

    # ── what is waited for ──

    def waits(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def overdue(self, now: float) -> bool:
        """Whether what is waited for, a head or a body, should be here by *now*. (An idle one is uvicorn's to end.)"""
        if self._in_body:
            held_up = bool(self.pipeline)  # by us: an answer on this connection goes first
            return not held_up and now - self.since > BODY_SECONDS + self._body_bytes / BODY_RATE
        begun = self._head_bytes > 0 or self.cycle is None
        return self._in_head and begun and self.waits() and now - self.since > HEAD_SECONDS

    def give_up(self) -> None:
        """Close a connection that is overdue, with a word if a request had begun."""
        if self.waits() and self._head_bytes:
            self._refuse(408, "the request did not come in time")
        else:
            self.transport.abort()

    # ── what comes ──

    def data_received(self, data: bytes) -> None:
        if not self.counted or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            if not self._head_bytes:
                self.since = self.loop.time()
            self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as exc:
            if isinstance(exc.__context__, _HeadTooLong):
                self._refuse_head()
            else:
                self._refuse(400, "this is not HTTP")
            return
        if self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse_head()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            self.parser = httptools.HttpRequestParser(self)
            self._resuming = True
            self._feed(b"POST / HTTP/1.1\r\n%s\r\n%s" % (_framing(self.headers), rest))

    def on_message_begin(self) -> None:
        if not self._resuming:
            super().on_message_begin()
            self._head_lines = 0

    def on_url(self, url: bytes) -> None:
        if not self._resuming:
            super().on_url(url)
            if len(self.url) > HEAD_BYTES:
                raise _HeadTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_lines += 1
        if self._head_lines > HEAD_LINES or len(name) + len(value) > HEAD_BYTES:
            raise _HeadTooLong
        if self._in_head and not self._resuming:  # else it is in a trailer, which is not read
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._resuming:
            self._resuming = False
            return
        self._in_head, self._in_body, self._head_bytes, self._body_bytes = False, True, 0, 0
        self.since = self.loop.time()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # its body is still to come: see _feed
        self._in_head, self._in_body = True, False
        super().on_message_complete()

    # ── what is refused before there is a request ──

    def _refuse_head(self) -> None:
        self._refuse(431, f"the head of the request has more than {HEAD_LINES} lines or {HEAD_BYTES} bytes")

    def _refuse(self, status: int, message: str) -> None:
        body = b'{"error":{"message":"%s","type":"invalid_request_error","param":null,"code":null}}' % message.encode()
        head = b"HTTP/1.1 %d \r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()


def _framing(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Of *headers* those that say where the body ends."""
    kept = [pair for pair in headers if pair[0] in (b"content-length", b"transfer-encoding")]
    return b"".join(b"%s: %s\r\n" % pair for pair in kept)


class _HeadWithBody:
    """
    A *transport* that writes the head of a response together with what follows it in the same turn of *loop*: one system
    call and one wake-up of the caller instead of two, about 10 µs a request. (uvicorn writes head and body one by one, and
    neither asyncio nor uvloop joins what is written in one turn.)
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write *data*, or, if it is a head, keep it until the next write or the end of the turn."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(_HEADS):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            self.write(b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


_HEADS = tuple(b"HTTP/1.1 %d" % kind for kind in (2, 3, 4, 5))
"""How the heads of final responses begin. A body may begin so, too: that is written at the end of the turn as well."""


class _Server(uvicorn.Server):
    """Goes on listening while it drains: a caller who asks then is told, rather than not answered."""

    def __init__(self, config: uvicorn.Config, drain: Drain, grace: float, connections: Connections) -> None:
        super().__init__(config)
        self._drain, self._grace, self._open = drain, grace, connections
        self._signal: int | None = None
        self._until = 0.0  # event loop's time

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the drain, the next ends it."""
        if self._signal is not None:
            super().handle_exit(sig, frame)
        self._signal = sig

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to go."""
        now = asyncio.get_running_loop().time()
        if counter % 10 == 0:
            self._open.sweep(now)
        if self._signal is not None and not self.should_exit:
            if not self._drain.begun:
                self._drain.begin()
                self._until = now + self._grace
            if not self.server_state.tasks or now >= self._until:
                super().handle_exit(self._signal, None)
        return await super().on_tick(counter)


def protocol(connections: Connections) -> type[Connection]:
    """The class of connections that are among *connections*: uvicorn makes one of each that comes."""
    return type("Connection", (Connection,), {"among": connections})


def run(
    app: object, listening: list[socket.socket], settings: ServerSettings, drain: Drain, reload: Callable[[], None]
) -> None:
    """Serve on all sockets *listening* until SIGTERM or SIGINT, then let unfinished answers go on for a while and leave with status 0. SIGHUP calls *reload*."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # uvicorn takes over, and raises the signal again in the end
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: reload())  # so the terminal that started it may go
    most = room_for(settings.max_connections, _open_files())
    connections = Connections(most, min(settings.max_connections_per_address, most))
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="uvloop" if sys.platform != "win32" else "auto",
        http=protocol(connections),
        ws="none",
        lifespan="on",
        log_config=None,  # what it logs goes where our own does
        access_log=False,
        proxy_headers=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=1,  # what the drain did not wait for is cancelled
    )
    gc.collect()
    gc.freeze()  # what is here now stays: no collection need look at it again
    _Server(config, drain, settings.drain, connections).run(sockets=listening)


def _open_files() -> int | None:
    """How many files may be open, as many as the system lets us have; None: it does not say."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):
            pass
    return None if soft == resource.RLIM_INFINITY else soft
