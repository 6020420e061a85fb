"""A real server for the simulated providers, on this machine, that can break a connection when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from providers.simulator.world import World


class _Breakable(HttpToolsProtocol):
    """
    Tells the application how to break its connection, which ASGI has no word for. What was said before arrives: a
    connection that is aborted may take it along, or not.
    """

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"simulator.abort": self.transport.close}  # type: ignore[dict-item]


def config(world: World, **options: Any) -> uvicorn.Config:
    """How the server is run."""
    return uvicorn.Config(
        world.app,
        http=_Breakable,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="critical",  # broken connections are its business
        interface="asgi3",
        proxy_headers=False,
        timeout_graceful_shutdown=0,
        **options,
    )


@asynccontextmanager
async def serve(world: World) -> AsyncIterator[str]:
    """Serve *world* on a free port of this machine; see ``listening``."""
    async with listening(config(world)) as origin:
        yield origin


@asynccontextmanager
async def listening(settings: uvicorn.Config) -> AsyncIterator[str]:
    """
    Serve what *settings* say on a free port of this machine, in this loop; gives its origin, ``http://127.0.0.1:PORT``.

    Leaving breaks what is still open. (``uvicorn.Server`` would do, but for the fifth of a second that it waits.)
    """
    settings.load()
    protocol: Any = settings.http_protocol_class
    state, life = ServerState(), settings.lifespan_class(settings)
    await life.startup()
    if life.should_exit:
        raise RuntimeError("the application did not start")
    # On a socket that it did not make itself asyncio may leave Nagle's algorithm on: forty milliseconds for each answer.
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=settings, server_state=state, app_state=life.state),
        "127.0.0.1",
        0,
        backlog=settings.backlog,
    )
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await life.shutdown()
