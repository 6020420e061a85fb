"""Stop working when the caller has left: neither the server nor the framework does so before an answer has begun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Receive = Callable[[], Awaitable[Any]]


class Presence:
    """Whether the caller has *left*."""

    def __init__(self) -> None:
        self.left = False


@asynccontextmanager
async def while_present(receive: Receive) -> AsyncIterator[Presence]:
    """
    Run the body of the ``with`` until it ends or the caller leaves, which cancels it.

    Enter when the request's body has been read to its end: the next message can only be that the caller is gone.
    """
    presence = Presence()
    working = asyncio.current_task()
    assert working is not None

    def leave(_: asyncio.Task[Any]) -> None:
        if not _.cancelled() and not _.exception():
            presence.left = True
            working.cancel()

    watch = asyncio.ensure_future(receive())
    watch.add_done_callback(leave)
    try:
        yield presence
    except asyncio.CancelledError:
        if not presence.left or working.uncancel() > 0:
            raise  # somebody else cancels too: the server is going down
    finally:
        watch.remove_done_callback(leave)
        watch.cancel()
