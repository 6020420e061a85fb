"""The HTTP server of ``freeway serve``: how it writes responses, and what a caller may hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import StringIO
from typing import Any, cast

import httpx
import pytest
import uvicorn
from rich.console import Console

from gateway.commands import server
from gateway.commands.serve import _greet
from gateway.commands.server import Connections, _HeadWithBody, protocol, room_for
from gateway.settings import Server, Settings
from providers.simulator.server import listening

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class Pipe:
    """A transport that remembers what was written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.fixture
async def pipe() -> Pipe:
    return Pipe()


def joining(pipe: Pipe) -> Any:
    return _HeadWithBody(cast(asyncio.Transport, pipe), asyncio.get_running_loop())


async def test_head_and_body_of_one_turn_are_one_write(pipe):
    transport = joining(pipe)
    transport.write(HEAD)
    transport.write(b"body")
    await asyncio.sleep(0)

    assert pipe.written == [HEAD + b"body"]


async def test_a_head_alone_is_written_at_the_end_of_the_turn(pipe):
    transport = joining(pipe)
    transport.write(HEAD)
    assert pipe.written == []
    await asyncio.sleep(0)
    transport.write(b"body")

    assert pipe.written == [HEAD, b"body"]


@pytest.mark.parametrize("data", [b"data: x\n\n", b"HTTP/1.1 100 Continue\r\n\r\n", b""])
async def test_anything_else_is_written_at_once(pipe, data):
    joining(pipe).write(data)

    assert pipe.written == [data]


async def test_closing_writes_what_was_kept_first(pipe):
    transport = joining(pipe)
    transport.write(HEAD)
    transport.close()
    await asyncio.sleep(0)

    assert (pipe.written, transport.is_closing()) == ([HEAD], True)


async def test_every_kind_of_response_arrives_whole():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        pieces = int(scope["path"][1:])
        headers = [(b"content-length", b"4")] if pieces == 0 else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": b"HTTP/1.1 2 is no head here", "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"" if pieces else b"body"})

    config = uvicorn.Config(app, http=protocol(Connections(10, 10)), lifespan="off", log_level="warning")
    async with listening(config) as base_url, httpx.AsyncClient(base_url=base_url) as client:
        for _ in range(2):  # on one connection
            assert (await client.post("/0", content=b"{}")).text == "body"
            assert (await client.get("/3")).text == "HTTP/1.1 2 is no head here" * 3
            assert (await client.head("/0")).headers["content-length"] == "4"
            closing = await client.get("/1", headers={"connection": "close"})
            assert closing.text == "HTTP/1.1 2 is no head here"
            assert (await client.head("/0", headers={"connection": "close"})).status_code == 200


# ── what a caller may hold ──


class Line:
    """A connection to the server, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0.01)

    async def hear(self) -> bytes:
        """One answer; nothing if the connection was closed instead."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
            return head + await self._reader.readexactly(int(length[16:]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def is_closed(self) -> bool:
        try:
            return await asyncio.wait_for(self._reader.read(), 2) == b""
        except ConnectionError:
            return True


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    if scope["path"] == "/headers":
        body = str(len(scope["headers"])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def echoing(connections: Connections) -> AsyncIterator[Callable[..., Any]]:
    """A server, and what connects to it."""
    config = uvicorn.Config(echo, http=protocol(connections), lifespan="off", log_config=None)
    async with listening(config) as base_url:
        host, _, port = base_url.removeprefix("http://").rpartition(":")
        lines: list[Line] = []

        async def connect() -> Line:
            lines.append(Line(*await asyncio.open_connection(host, int(port))))
            return lines[-1]

        try:
            yield connect
        finally:
            for line in lines:
                line._writer.transport.abort()


POST = b"POST / HTTP/1.1\r\nhost: localhost\r\n"
H2C = POST + b"connection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAEAAEAA\r\nupgrade: h2c\r\n"


@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"content-length: 5\r\n\r\n", b"hello"), (b"transfer-encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n")],
)
async def test_a_request_that_offers_to_upgrade_keeps_its_body_however_it_comes(framing, body):
    """Java's HttpClient offers HTTP/2 with each first request."""
    async with echoing(Connections(10, 10)) as connect:
        request = H2C + framing + body
        for cut in (len(request), len(request) - len(body), len(request) - 2, len(H2C) - 4):
            line = await connect()
            await line.say(request[:cut], request[cut:])
            assert (await line.hear()).endswith(b"\r\n\r\nhello")
            await line.say(POST + b"content-length: 2\r\n\r\nhi")
            assert (await line.hear()).endswith(b"\r\n\r\nhi")


@pytest.mark.parametrize(
    "head",
    [
        POST + b"x-long: " + b"y" * 70_000,
        POST + b"".join(b"x-%d: y\r\n" % number for number in range(250)),
        b"GET /" + b"y" * 70_000,
        POST + b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(100)),
    ],
)
async def test_a_head_beyond_its_bound_is_refused_before_it_ends(head):
    async with echoing(Connections(10, 10)) as connect:
        line = await connect()
        try:
            await line.say(*[head[at : at + 4000] for at in range(0, len(head), 4000)])
        except ConnectionError:
            return  # it did not even listen to the end
        assert (await line.hear()).startswith(b"HTTP/1.1 431 ")


async def test_lines_after_the_body_are_not_taken_for_headers():
    async with echoing(Connections(10, 10)) as connect:
        line = await connect()
        await line.say(
            b"POST /headers HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
            b"2\r\nhi\r\n0\r\nx-api-key: late\r\n\r\n",
        )
        assert (await line.hear()).endswith(b"\r\n\r\n2")


async def test_a_head_and_a_body_have_their_time_and_an_answer_has_its_own(monkeypatch):
    connections = Connections(10, 10)
    async with echoing(connections) as connect:
        silent, slow_head, slow_body, served = [await connect() for _ in range(4)]
        await slow_head.say(POST)
        await slow_body.say(POST + b"content-length: 5\r\n\r\nhe")
        await served.say(POST + b"content-length: 2\r\n\r\nhi")
        assert (await served.hear()).endswith(b"hi")
        now = asyncio.get_running_loop().time()

        connections.sweep(now + server.HEAD_SECONDS - 1)
        assert len(connections) == 4
        connections.sweep(now + server.HEAD_SECONDS + 1)
        assert await silent.is_closed()
        assert (await slow_head.hear()).startswith(b"HTTP/1.1 408 ")
        connections.sweep(now + server.BODY_SECONDS + 2)
        assert await slow_body.is_closed()

        await served.say(POST + b"content-length: 2\r\n\r\nho")  # which is idle, and may be for longer
        assert (await served.hear()).endswith(b"ho")


async def test_those_who_only_hold_connections_lock_nobody_out():
    connections = Connections(4, 4)
    async with echoing(connections) as connect:
        idle = [await connect() for _ in range(20)]
        for _ in range(10):
            line = await connect()
            await line.say(POST + b"content-length: 2\r\n\r\nhi")
            assert (await line.hear()).endswith(b"hi")

        assert len(connections) <= 4
        assert await idle[0].is_closed()


async def test_who_is_being_answered_is_not_cut_off_for_another():
    connections = Connections(2, 2)
    async with echoing(connections) as connect:
        busy = [await connect() for _ in range(2)]
        for line in busy:
            await line.say(POST + b"content-length: 2\r\n\r\nh")

        refused = await connect()
        assert (await refused.hear()).startswith(b"HTTP/1.1 503 ")
        for line in busy:
            await line.say(b"i")
            assert (await line.hear()).endswith(b"hi")
        assert len(connections) == 2


@pytest.mark.parametrize(
    ("files", "room"), [(None, 8192), (65_536, 8192), (1024, 330), (256, 74), (64, 10), (40, 4), (10, 4)]
)
def test_there_are_no_more_connections_than_the_system_has_files_for(files, room):
    """The rest is for those that requests open, and for the state: with none left, nobody could be let in any more."""
    assert room_for(8192, files) == room


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::", "http://[::1]:8123"),
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("::1", "http://[::1]:8123"),
        ("10.0.0.7", "http://10.0.0.7:8123"),
    ],
)
def test_the_greeting_has_an_address_that_can_be_called(host: str, origin: str):
    """``0.0.0.0`` is where one listens, and nowhere to call."""
    settings = Settings(server=Server(host=host))
    console = Console(file=StringIO(), width=200)
    _greet(console, settings, 8123, "Groq")
    said = console.file.getvalue()  # type: ignore[attr-defined]

    assert f"Freeway on {origin}/v1 in front of: Groq" in said
    assert f"curl -s {origin}/v1/chat/completions" in said
    assert "0.0.0.0" not in said
    assert "[::]" not in said
    assert ("Other machines reach it at port 8123" in said) == (host in ("0.0.0.0", "::"))
