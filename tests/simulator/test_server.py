"""The server of simulated providers and of the demo's gateway."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from providers.simulator.server import listening


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        raise OSError("no room")
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_no_answer_waits_for_the_one_before_to_be_acknowledged():
    """With Nagle's algorithm each but the first on a connection takes forty milliseconds more."""
    at_once: list[int] = []

    class Watched(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            mine = transport.get_extra_info("socket")
            at_once.append(mine.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    settings = uvicorn.Config(app, http=Watched, lifespan="off", log_level="critical")
    async with listening(settings) as origin, httpx.AsyncClient() as client:
        assert (await client.get(origin)).status_code == 204

    assert at_once == [1]


async def test_an_application_that_does_not_start_is_not_served():
    with pytest.raises(RuntimeError, match="did not start"):
        async with listening(uvicorn.Config(app, lifespan="on", log_level="critical")):
            pass
