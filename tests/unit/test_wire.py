"""An answer that nobody awaits any more: its connection is broken off at once, whatever the other side does or does not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp.connector
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from providers.dialect import HttpRequest
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
