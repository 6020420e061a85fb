"""A real server for the simulated providers, on this machine, that can break a connection when told to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from providers.simulator.world import World


class _Breakable(HttpToolsProtocol):
    """Tells the application how to break its connection, which ASGI has no word for."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"simulator.abort": self.transport.abort}  # type: ignore[dict-item]


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
    """Serve *world* on a free port of this machine, in this loop; gives its origin, ``http://127.0.0.1:PORT``."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config(world))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        # The socket listens already: who calls before the server is up waits in its backlog.
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await serving
