"""``GET /metrics``, for Prometheus. As open as health: it has no secret in it, but the names of the clients."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from contextlib import suppress

from litestar import Response, Router, get
from litestar.di import NamedDependency

from gateway.catalog.discovery import Discovery
from gateway.observe.metrics import CONTENT_TYPE, Dollars, Metrics, State
from gateway.observe.usage import Costs
from gateway.quota.nouns import LevelView
from gateway.request.engine import Engine
from gateway.state.store import StateFailure, StateStore

PATIENCE = 1.0
"""Seconds that the stores may take; after that what they told the last time is shown."""


class Scrape:
    """Looks at the gateway for *metrics*, once at a time: who asks meanwhile gets the same page."""

    def __init__(self, engine: Engine, state: StateStore, metrics: Metrics, discovery: Discovery, costs: Costs) -> None:
        self._engine, self._state, self._metrics = engine, state, metrics
        self._discovery, self._costs = discovery, costs
        self._levels: Collection[LevelView] = ()
        self._dollars: Dollars | None = None
        self._looking: asyncio.Task[bytes] | None = None

    async def page(self) -> bytes:
        """What is known now."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> bytes:
        engine, discovery = self._engine, self._discovery
        await asyncio.gather(self._look_at_levels(), self._look_at_dollars())
        now = engine.clock.now()
        serving = Counter(deployment.provider.name for deployment in engine.view.catalog.serving(now))
        state = State(
            now=now,
            waiting=engine.queue.waiting,
            ledger_up=engine.ledger.condition().lost is None,
            state_up=self._state.lost is None,
            deployments={name: serving[name] for name in discovery.names},
            reachable={name: discovery.looked.get(name, "not looked yet") is None for name in discovery.names},
            levels=self._levels,
            dollars=self._dollars,
        )
        return await asyncio.to_thread(self._metrics.page, state)  # some 50 ms for a thousand buckets

    async def _look_at_levels(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                self._levels = (await self._engine.ledger.levels(self._engine.view.catalog.buckets())).values()

    async def _look_at_dollars(self) -> None:
        with suppress(TimeoutError, StateFailure):
            async with asyncio.timeout(PATIENCE):
                months = await self._costs.report()
                self._dollars = Dollars(sum(each.spent for each in months), sum(each.saved for each in months))


@get("/metrics")
async def metrics(scrape: NamedDependency[Scrape]) -> Response[bytes]:
    """The page."""
    return Response(await scrape.page(), headers={"content-type": CONTENT_TYPE})


def router() -> Router:
    """The route."""
    return Router("/", route_handlers=[metrics])
