"""Images that are fetched for providers that take bytes alone: what is called, and what is not."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import fetching
from providers.fetching import ImageFetcher, NotFetched, is_public

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"


class Server:
    """Answers whatever it is asked with *answer*, and remembers the heads of the requests."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n%s" % (len(PNG), PNG)
        self.heads: list[str] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()
    await listening.wait_closed()


class Names:
    """A resolver: what each next look at a name tells."""

    def __init__(self, *told: Sequence[str]) -> None:
        self.told, self.asked = list(told), list[str]()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.told[min(len(self.asked), len(self.told)) - 1]


def fetcher(names: Names, *allowed: str) -> ImageFetcher:
    return ImageFetcher(names, lambda address: address in allowed)


async def test_an_image_comes_as_a_data_uri_from_the_address_that_was_checked(server):
    names = Names(["127.0.0.1"])
    found = await fetcher(names, "127.0.0.1").fetch(f"http://pictures.example:{server.port}/cat.png?size=1")

    assert found == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert names.asked == ["pictures.example"]
    assert server.heads[0].startswith("GET /cat.png?size=1 ")
    assert f"Host: pictures.example:{server.port}" in server.heads[0]
    assert "ookie" not in server.heads[0]


async def test_a_name_that_means_something_else_the_next_time_is_looked_up_but_once(server):
    """DNS rebinding: the address that was checked is the one that is called."""
    names = Names(["127.0.0.1"], ["10.0.0.1"], ["10.0.0.1"])
    await fetcher(names, "127.0.0.1").fetch(f"http://pictures.example:{server.port}/")

    assert (len(names.asked), len(server.heads)) == (1, 1)


@pytest.mark.parametrize("told", [[], ["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::1"]])
async def test_a_name_with_any_address_that_is_not_public_is_not_called(server, told):
    with pytest.raises(NotFetched, match="not public"):
        await ImageFetcher(Names(told)).fetch(f"http://pictures.example:{server.port}/")

    assert server.heads == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{}/",
        "http://[::1]:{}/",
        "http://localhost:{}/",
        "http://2130706433:{}/",
        "http://0x7f.1:{}/",
        "http://127.1:{}/",
        "http://[::ffff:127.0.0.1]:{}/",
        "http://0.0.0.0:{}/",
    ],
)
async def test_no_spelling_of_this_machine_is_called(server, url):
    """With the resolver of the system."""
    with pytest.raises(NotFetched):
        await ImageFetcher().fetch(url.format(server.port))

    assert server.heads == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n", "redirects"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "404"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 6\r\n\r\n<html>", "no PNG"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "no PNG"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + PNG + b"x" * 2000, "longer than"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n" + PNG, "cannot be had"),
        (b"this is not HTTP\r\n\r\n", "cannot be had"),
    ],
)
async def test_what_is_no_image_of_bounded_size_is_not_passed_on(server, monkeypatch, answer, why):
    monkeypatch.setattr(fetching, "MOST_BYTES", 1000)
    server.answer = answer
    with pytest.raises(NotFetched, match=why):
        await fetcher(Names(["127.0.0.1"]), "127.0.0.1").fetch(f"http://pictures.example:{server.port}/")

    assert len(server.heads) == 1


@pytest.mark.parametrize(
    "url", ["ftp://x.example/a", "file:///etc/passwd", "http://user@x.example/", "//x", "", "http://["]
)
async def test_what_is_no_address_of_the_web_is_not_looked_up(url):
    names = Names(["127.0.0.1"])
    with pytest.raises(NotFetched):
        await fetcher(names, "127.0.0.1").fetch(url)

    assert names.asked == []


async def test_a_server_that_says_nothing_is_given_up(server, monkeypatch):
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(server, "handle", silent)
    monkeypatch.setattr(fetching, "SECONDS", 0.05)
    quiet = await asyncio.start_server(silent, "127.0.0.1", 0)
    with pytest.raises(NotFetched, match="within"):
        await fetcher(Names(["127.0.0.1"]), "127.0.0.1").fetch(f"http://x.example:{quiet.sockets[0].getsockname()[1]}/")
    quiet.close()


@given(st.ip_addresses())
def test_only_addresses_of_the_public_internet_are_public(address: Any):
    private = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast

    assert not is_public(str(address)) or (address.is_global and not private)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.168.0.1",
        "172.16.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:8.8.8.8",
        "64:ff9b::a00:1",
        "2002:0a00:0001::1",
        "ff02::1",
        "name",
        "",
    ],
)
def test_what_is_not_public_is_known(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111"])
def test_what_is_public_is_known(address):
    assert is_public(address)
