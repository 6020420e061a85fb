"""The gateway's parts for commands that look at them without serving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from gateway.app import RECEIPTS, USER_AGENT, Parts, make_parts, make_providers
from gateway.catalog.catalog import Catalog
from gateway.clock import Clock, WallClock
from gateway.events import Announcer
from gateway.observe.receipts import Receipts
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
    receipts = Receipts(settings.state_dir / RECEIPTS, clock, parts.state)
    tell.add(receipts)
    async with HttpWire(user_agent=USER_AGENT) as wire:
        providers = make_providers(settings, wire, {})
        try:
            await parts.open(providers)
            yield Inside(settings, parts, providers, clock)
        finally:
            await receipts.aclose()
            await parts.aclose()
