"""``GET series``: what happened in the last hours and days, and what calendar quotas lost when they were reset."""

from __future__ import annotations

import math
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from gateway.api.admin import views
from gateway.catalog.catalog import Catalog
from gateway.clock import Clock
from gateway.observe.series import SECONDS, Series, Tally
from gateway.quota import buckets as b
from gateway.quota.forecast import Outlook, Supply, supply
from gateway.quota.nouns import Cost
from gateway.request.engine import Engine

MOST_HOURS = 168
_POINTS = 288
"""Points that are told at most: of longer times each is of more seconds."""

_LOOK_EVERY = 600.0
"""Seconds after which it is looked again when the next quota is reset: lists change."""

_BEFORE = 2.0
"""Seconds before a reset at which it is looked what will be lost."""


class Resets:
    """Tells *series* what is left of calendar quotas when they are reset, by provider: that is lost."""

    def __init__(self, engine: Engine, series: Series) -> None:
        self._engine, self._series = engine, series

    async def watch_forever(self) -> None:
        """The background loop."""
        clock: Clock = self._engine.clock
        while True:
            at = self.next_at(clock.now())
            until = at - _BEFORE - clock.now()
            if until > 0:
                await clock.sleep(min(until, _LOOK_EVERY))
                continue
            left = self.left(at)
            await clock.sleep(max(0.0, at - clock.now()) + _BEFORE)
            self._series.lost(at, left)

    def next_at(self, now: float) -> float:
        """When the next calendar quota of requests is reset (unix seconds); infinity: there is none."""
        ahead = self._engine.ledger.cache.ahead
        return min((b.window_end(one, now + ahead) - ahead for one in self._counted()), default=math.inf)

    def left(self, at: float) -> dict[str, float]:
        """How many more requests could be made, by provider, by those quotas that are reset *at* that moment."""
        cache = self._engine.ledger.cache
        now = self._engine.clock.now() + cache.ahead
        outlook = Outlook({key: level for key, (_, level) in {**cache.levels, **cache.parts}.items()}, now)
        ending = {one.key for one in self._counted() if b.window_end(one, now) - cache.ahead <= at}
        found: dict[str, list[Supply]] = {}
        for deployment in self._engine.view.catalog.deployments():
            buckets = tuple(one for one in deployment.buckets if one.key in ending)
            if buckets:
                name = deployment.provider.name
                found.setdefault(name, []).append(supply(name, buckets, Cost()))
        return {name: float(outlook.forecast(supplies).answers) for name, supplies in found.items()}

    def _counted(self) -> list[b.Bucket]:
        return [one for one in self._engine.view.catalog.buckets() if counts_by_calendar(one)]


def counts_by_calendar(bucket: b.Bucket) -> bool:
    """Whether *bucket* counts requests, and is reset by the calendar."""
    return bucket.calendar is not None and bucket.unit == "requests"


class Calendar:
    """Which buckets count requests by the calendar, looked up again only where a list has changed."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog, self._revision = catalog, -1
        self._keys: frozenset[str] = frozenset()

    def keys(self) -> frozenset[str]:
        """Their keys."""
        if self._revision != self._catalog.revision:
            self._revision = self._catalog.revision
            self._keys = frozenset(one.key for one in self._catalog.buckets() if counts_by_calendar(one))
        return self._keys


@get("/series")
async def series(
    counted: NamedDependency[Series],
    engine: NamedDependency[Engine],
    hours: Annotated[float, QueryParameter(gt=0, le=MOST_HOURS)] = 24,
) -> views.Series:
    """The last *hours*, in points of five minutes; of longer times in fewer points."""
    seconds = SECONDS * max(1, math.ceil(hours * 3600 / SECONDS / _POINTS))
    points = counted.points(engine.clock.now() - hours * 3600, seconds)
    return views.Series(seconds=seconds, points=[_point(tally) for tally in points])


def _point(tally: Tally) -> views.Point:
    return views.Point(
        at=tally.at,
        served=tally.served,
        refused=tally.refused,
        retried=tally.retried,
        waited=tally.waited / tally.waiters if tally.waiters else 0.0,
        waiters=tally.waiters,
        prompt_tokens=tally.prompt_tokens,
        output_tokens=tally.output_tokens,
        used=tally.used,
        lost=tally.lost,
    )


HANDLERS = (series,)
