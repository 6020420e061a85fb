"""Simulated providers beside the real program."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from providers.simulator.server import serve
from providers.simulator.world import World


@contextmanager
def simulated(world: World) -> Iterator[dict[str, Any]]:
    """*world* in a thread of its own: the variables that point a gateway at it."""
    ready, done = threading.Event(), threading.Event()
    origins: list[str] = []

    async def keep() -> None:
        async with serve(world) as origin:
            origins.append(origin)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(keep()))
    thread.start()
    assert ready.wait(10)
    try:
        yield dict(world.environment(origins[0]))
    finally:
        done.set()
        thread.join(10)
