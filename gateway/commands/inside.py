"""The gateway's parts for commands that look at them without serving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from gateway.app import USER_AGENT, make_providers, make_store
from gateway.catalog.catalog import Catalog
from gateway.catalog.discovery import Discovery
from gateway.clock import Clock, WallClock
from gateway.events import Announcer
from gateway.ledger.ledger import Ledger
from gateway.settings import Settings
from providers.client import Provider
from providers.dialect import Listing
from providers.failures import ProviderFailure
from providers.wire import HttpWire


class Inside(Struct, frozen=True):
    """The parts."""

    settings: Settings
    catalog: Catalog
    ledger: Ledger
    discovery: Discovery
    providers: dict[str, Provider]
    clock: Clock

    async def look_everywhere(self) -> dict[str, Listing | ProviderFailure]:
        """Ask every provider for its list, at once."""

        async def look(name: str) -> Listing | ProviderFailure:
            try:
                return await self.discovery.look(name)
            except ProviderFailure as failure:
                return failure

        names = list(self.providers)
        return dict(zip(names, await asyncio.gather(*(look(name) for name in names)), strict=True))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Inside]:
    """The parts, with what is known from earlier; nothing is asked yet."""
    clock = WallClock()
    catalog = Catalog(settings.provider, settings.alias, settings.virtual)
    ledger = Ledger(make_store(settings), clock)
    discovery = Discovery(catalog, ledger, settings, clock=clock, tell=Announcer(()))
    async with HttpWire(user_agent=USER_AGENT) as wire:
        providers = make_providers(settings, wire, {})
        discovery.recall(providers)
        try:
            yield Inside(settings, catalog, ledger, discovery, providers, clock)
        finally:
            await ledger.aclose()
