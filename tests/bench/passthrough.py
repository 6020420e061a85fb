"""The least that a gateway of these parts can be: Litestar's ``@post`` and aiohttp, nothing looked at on the way."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from litestar import Litestar, Request, Response, post
from litestar.response import Stream


def application(upstream: str) -> Litestar:
    """Everything goes to *upstream*."""

    @post("/v1/chat/completions", status_code=200)
    async def chat(request: Request) -> Response:
        session: aiohttp.ClientSession = request.app.state.session
        headers = {"content-type": "application/json", "authorization": "Bearer bench"}
        answer = await session.post(upstream, data=await request.body(), headers=headers)
        if answer.content_type == "text/event-stream":
            return Stream(_pieces(answer), media_type=answer.content_type)
        return Response(await answer.read(), media_type=answer.content_type, status_code=answer.status)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            app.state.session = session
            yield

    return Litestar([chat], lifespan=[lifespan], openapi_config=None, logging_config=None)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1]),
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
