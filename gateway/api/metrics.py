"""``GET /metrics``, for Prometheus. As open as health: it has no secret and no caller's name in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection

from litestar import Response, Router, get
from litestar.di import NamedDependency

from gateway.observe.metrics import CONTENT_TYPE, Metrics, State
from gateway.quota.nouns import LevelView
from gateway.request.engine import Engine
from gateway.state.store import StateStore

PATIENCE = 1.0
"""Seconds that the ledger's store may take; after that the levels of the last time are shown."""


class Scrape:
    """Looks at the gateway for *metrics*, once at a time: who asks meanwhile gets the same page."""

    def __init__(self, engine: Engine, state: StateStore, metrics: Metrics) -> None:
        self._engine, self._state, self._metrics = engine, state, metrics
        self._levels: Collection[LevelView] = ()
        self._looking: asyncio.Task[bytes] | None = None

    async def page(self) -> bytes:
        """What is known now."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> bytes:
        engine = self._engine
        try:
            async with asyncio.timeout(PATIENCE):
                self._levels = (await engine.ledger.levels(engine.view.catalog.buckets())).values()
        except TimeoutError:
            pass
        now = engine.clock.now()
        state = State(
            now=now,
            waiting=engine.queue.waiting,
            store_up=engine.ledger.condition().lost is None and self._state.lost is None,
            deployments=Counter(deployment.provider.name for deployment in engine.view.catalog.serving(now)),
            levels=self._levels,
        )
        return await asyncio.to_thread(self._metrics.page, state)  # some 50 ms for a thousand buckets


@get("/metrics")
async def metrics(scrape: NamedDependency[Scrape]) -> Response[bytes]:
    """The page."""
    return Response(await scrape.page(), headers={"content-type": CONTENT_TYPE})


def router() -> Router:
    """The route."""
    return Router("/", route_handlers=[metrics])
