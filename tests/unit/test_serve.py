"""How ``freeway serve`` writes responses to the connection."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import uvicorn

from gateway.commands.demo import listening
from gateway.commands.serve import _HeadWithBody, _Protocol

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
    return _HeadWithBody(pipe, asyncio.get_running_loop())


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

    config = uvicorn.Config(app, http=_Protocol, lifespan="off", log_level="warning")  # type: ignore[arg-type]
    async with listening(config) as base_url, httpx.AsyncClient(base_url=base_url) as client:
        for _ in range(2):  # on one connection
            assert (await client.post("/0", content=b"{}")).text == "body"
            assert (await client.get("/3")).text == "HTTP/1.1 2 is no head here" * 3
            assert (await client.head("/0")).headers["content-length"] == "4"
            closing = await client.get("/1", headers={"connection": "close"})
            assert closing.text == "HTTP/1.1 2 is no head here"
            assert (await client.head("/0", headers={"connection": "close"})).status_code == 200
