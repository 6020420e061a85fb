"""The gateway for commands that ask it where none serves: its parts, and all of it in this process, answering nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

import httpx
from litestar import Litestar
from msgspec import Struct

from gateway.app import USER_AGENT, Parts, create_app, make_parts, make_providers, make_receipts
from gateway.catalog.catalog import Catalog
from gateway.clock import Clock, WallClock
from gateway.events import Announcer
from gateway.quota.ledger import Ledger
from gateway.settings import Settings
from gateway.stores import make_state, make_store
from providers.client import Provider
from providers.dialect import Listing
from providers.failures import ProviderFailure
from providers.wire import HttpWire


class Inside(Struct, frozen=True):
    """The parts."""

    settings: Settings
    parts: Parts
    providers: dict[str, Provider]
    clock: Clock

    @property
    def catalog(self) -> Catalog:
        return self.parts.engine.view.catalog

    @property
    def ledger(self) -> Ledger:
        return self.parts.engine.ledger

    async def look_everywhere(self) -> dict[str, Listing | ProviderFailure]:
        """Ask every provider for its list, at once."""

        async def look(name: str) -> Listing | ProviderFailure:
            try:
                return await self.parts.discovery.look(name)
            except ProviderFailure as failure:
                return failure

        names = list(self.providers)
        return dict(zip(names, await asyncio.gather(*(look(name) for name in names)), strict=True))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Inside]:
    """The parts, with what is known from earlier; nothing is asked yet."""
    clock = WallClock()
    tell = Announcer(())
    parts = make_parts(settings, clock, make_store(settings), make_state(settings, clock, tell), tell)
    receipts = make_receipts(settings, parts)
    tell.add(receipts)
    async with HttpWire(user_agent=USER_AGENT) as wire:
        providers = make_providers(settings, wire, {})
        try:
            await parts.open(providers)
            yield Inside(settings, parts, providers, clock)
        finally:
            await receipts.aclose()
            await parts.aclose()


class _InThread(httpx.BaseTransport):
    """Requests to an application that lives in the event *loop* of another thread."""

    def __init__(self, app: Litestar, loop: asyncio.AbstractEventLoop) -> None:
        # A handler's error reaches us as an answer, as it would over a network.
        self._there = httpx.ASGITransport(cast("Any", app), raise_app_exceptions=False, client=("127.0.0.1", 0))
        self._loop = loop

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()

        async def ask() -> httpx.Response:
            again = httpx.Request(request.method, request.url, headers=request.headers, content=body)
            answer = await self._there.handle_async_request(again)
            return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result()


@contextmanager
def looking(settings: Settings) -> Iterator[httpx.BaseTransport]:
    """
    A gateway with *settings* that only answers what it is asked by this transport: it knows what this machine's files know, asks no
    provider by itself and listens nowhere.
    """
    app = create_app(settings, looks=True)
    ready: Future[None] = Future()
    loop, done = asyncio.new_event_loop(), asyncio.Event()

    async def live() -> None:
        try:
            async with app.lifespan():
                ready.set_result(None)
                await done.wait()
        except BaseException as exc:
            if ready.done():
                raise
            ready.set_exception(exc)

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()))
    thread.start()
    try:
        ready.result()
        yield _InThread(app, loop)
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
