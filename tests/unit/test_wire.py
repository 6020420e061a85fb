"""Connections to providers: how one is made, kept and broken off, whatever the other side does or does not."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp.connector
import pytest
from aiohttp.client_reqrep import ConnectionKey
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from providers import wire as wire_module
from providers.dialect import HttpRequest
from providers.failures import Unreachable
from providers.spec import Timeouts
from providers.wire import HttpWire
from tests.clock import eventually

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
PIECE = b"5\r\nhello\r\n"


@pytest.fixture
def certificate(tmp_path) -> Path:
    """Of ``localhost``, with its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=localhost")
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    file = tmp_path / "localhost.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


class Deaf:
    """A provider with TLS behind something that passes bytes on, until the provider hears nothing any more."""

    def __init__(self) -> None:
        self.asked = self.deaf = self.closed = False
        self.port = 0

    @asynccontextmanager
    async def serving(self, certificate: Path, said: bytes) -> AsyncIterator[None]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        over = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            self.asked = True
            writer.write(said)
            await over.wait()
            writer.transport.abort()

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            behind, ahead = await asyncio.open_connection("127.0.0.1", port)
            back = asyncio.create_task(_copy(behind, writer))
            with suppress(ConnectionResetError):  # one that is broken off with something unread is reset
                while data := await reader.read(65_536):
                    if not self.deaf:
                        ahead.write(data)
            self.closed = True
            back.cancel()
            ahead.transport.abort()
            writer.transport.abort()

        async with (
            await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as provider,
            await asyncio.start_server(pass_on, "127.0.0.1", 0) as front,
        ):
            port = provider.sockets[0].getsockname()[1]
            self.port = front.sockets[0].getsockname()[1]
            yield
            over.set()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)


@pytest.mark.parametrize("said", [b"", HEAD, HEAD + PIECE], ids=["no head", "a head", "a piece"])
async def test_with_tls_a_connection_is_left_without_waiting_for_the_other_side(monkeypatch, certificate, said):
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=certificate))
    provider = Deaf()
    async with provider.serving(certificate, said), HttpWire(user_agent="freeway") as wire:
        asking = asyncio.create_task(
            _first(wire, HttpRequest("POST", f"https://localhost:{provider.port}/", {}, b"{}"))
        )
        await eventually(lambda: provider.asked)
        provider.deaf = True
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

        await eventually(lambda: provider.closed)


async def _first(wire: HttpWire, call: HttpRequest) -> None:
    incoming = await wire.send(call, Timeouts())
    try:
        async for _ in incoming.pieces():
            await asyncio.Event().wait()
    finally:
        incoming.close()


@pytest.mark.filterwarnings("ignore:Sending a large body")
async def test_what_is_not_sent_yet_of_a_long_request_is_not_sent_any_more():
    size, counted = 64 * 1024 * 1024, asyncio.Event()
    begun, left, received = asyncio.Event(), asyncio.Event(), 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await left.wait()
        with suppress(ConnectionError):
            while data := await reader.read(1024 * 1024):
                received += len(data)
        counted.set()
        writer.close()

    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as provider,
        HttpWire(user_agent="freeway") as wire,
    ):
        port = provider.sockets[0].getsockname()[1]
        asking = asyncio.create_task(_first(wire, HttpRequest("POST", f"http://127.0.0.1:{port}/", {}, bytes(size))))
        await eventually(begun.is_set)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        left.set()
        await eventually(counted.is_set)

    assert received < size


# ── how a connection is made, and kept ──


def request_to(port: int) -> HttpRequest:
    return HttpRequest("POST", f"http://127.0.0.1:{port}/", {}, b"{}")


@pytest.fixture
def full() -> Iterator[int]:
    """The port of a listener whose queue is full: who connects hears nothing (Linux drops what it cannot queue)."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_a_connection_that_is_not_made_in_time_is_told_as_such(full):
    async with HttpWire(user_agent="freeway") as wire:
        with pytest.raises(Unreachable, match=r"cannot connect within 0\.1 s") as caught:
            await wire.send(request_to(full), Timeouts(connect=0.1))

    assert caught.value.reached == "unsent"


@pytest.mark.parametrize(
    ("error", "host", "ours"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "api.example.com", True),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "api.example.com", True),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "api.example.com", True),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "192.168.1.7", False),
        (OSError(errno.ECONNREFUSED, "Connection refused"), "api.example.com", False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "api.example.com", True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "api.example.com", False),
    ],
)
async def test_our_own_trouble_is_told_apart_from_theirs(monkeypatch, error: OSError, host: str, ours: bool):
    """No descriptor, no network and no resolver say nothing of a provider."""

    async def failing(*_: Any, **__: Any) -> Any:
        key = ConnectionKey(host, 443, True, True, None, None, None)
        kind = aiohttp.ClientConnectorDNSError if isinstance(error, socket.gaierror) else aiohttp.ClientConnectorError
        raise kind(key, error)

    async with HttpWire(user_agent="freeway") as wire:
        monkeypatch.setattr(wire._session, "request", failing)
        with pytest.raises(Unreachable) as caught:
            await wire.send(HttpRequest("GET", f"https://{host}/v1", {}), Timeouts())

    assert (caught.value.reached, caught.value.ours) == ("unsent", ours)


@pytest.mark.parametrize(
    ("host", "proxied"),
    [
        ("api.example.com", True), ("8.8.8.8:443", True), ("localhost:11434", False), ("127.0.0.1:9", False),
        ("[::1]:9", False), ("192.168.1.7", False), ("10.0.0.1:80", False), ("ollama:11434", False),
        ("nas.local", False), ("host.docker.internal:11434", False), ("100.64.1.2", False), ("169.254.1.1", False),
    ],
)  # fmt: skip
def test_no_proxy_is_asked_for_what_is_on_this_machine_or_network(monkeypatch, host: str, proxied: bool):
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    wire_module._proxy.cache_clear()

    assert (wire_module._proxy("http", host) is not None) == proxied
    wire_module._proxy.cache_clear()


async def test_a_connection_that_is_refused_sent_nothing():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with HttpWire(user_agent="freeway") as wire:
            with pytest.raises(Unreachable, match="cannot connect") as caught:
                await wire.send(request_to(unused.getsockname()[1]), Timeouts())

    assert caught.value.reached == "unsent"


class Saying:
    """A provider that answers each request with the same bytes, and counts its connections."""

    def __init__(self, *said: bytes) -> None:
        self._said = said
        self.connections = self.answered = self.open = 0
        self.go_on = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]
            self.go_on.set()
            await eventually(lambda: not self.open)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"{}")
                first, *rest = self._said
                writer.write(first)
                for piece in rest:
                    await self.go_on.wait()
                    writer.write(piece)
                self.answered += 1
        writer.transport.abort()
        self.open -= 1


async def test_what_was_sent_and_not_answered_may_have_arrived():
    provider = Saying(b"")
    async with provider.serving() as port, HttpWire(user_agent="freeway") as wire:
        with pytest.raises(Unreachable, match="no answer within") as caught:
            await wire.send(request_to(port), Timeouts(head=0.1))

    assert caught.value.reached == "accepted"


@pytest.mark.parametrize("late", [False, True], ids=["its end is here", "its end comes a moment later"])
async def test_an_answer_that_said_its_end_gives_its_connection_back(late: bool):
    provider = Saying(HEAD + PIECE, b"0\r\n\r\n")
    async with provider.serving() as port, HttpWire(user_agent="freeway") as wire:
        for number in (1, 2, 3):
            provider.go_on.clear()
            incoming = await wire.send(request_to(port), Timeouts())
            pieces = incoming.pieces()
            assert await anext(pieces) == b"hello"
            if not late:
                provider.go_on.set()
                await eventually(lambda n=number: provider.answered == n)  # type: ignore[misc]
            incoming.finish()
            incoming.close()  # the caller of the wire closes it as well
            provider.go_on.set()
            await eventually(lambda: not wire.finishing)

    assert provider.connections == 1


async def test_an_answer_that_is_left_before_its_end_is_broken_off():
    provider = Saying(HEAD + PIECE, b"0\r\n\r\n")
    async with provider.serving() as port, HttpWire(user_agent="freeway") as wire:
        for _ in range(2):
            provider.go_on.clear()
            incoming = await wire.send(request_to(port), Timeouts())
            assert await anext(incoming.pieces()) == b"hello"
            incoming.close()

    assert provider.connections == 2


async def _all_of(wire: HttpWire, request: HttpRequest) -> None:
    incoming = await wire.send(request, Timeouts(head=2.0))
    try:
        async for _ in incoming.pieces():
            pass
    finally:
        incoming.close()


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\xff nonsense\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        HEAD + PIECE + b"zz\r\nnot a chunk\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 9\r\n\r\nnot gzip!",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\nbad header\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_http_are_a_failure_like_others(said: bytes):
    provider = Saying(said)
    async with provider.serving() as port, HttpWire(user_agent="freeway") as wire:
        with pytest.raises(Unreachable) as caught:
            await _all_of(wire, request_to(port))

    assert caught.value.reached == "accepted"
