"""
What taking from a bucket costs those who come later: a shadow price, 0 where it would not be missed and 1 for the last of
it; and a little below 0 for what is lost if it is not taken now.

Where tokens are counted, a long request pays for the short ones, too, that it would displace (gateway/quota/demand.py).
A window with an end is as dear as it would be used up at its end, if all went on as it did so far, and no dearer than
what is left would last: so at half its price when it is used up just in time, and free when it is not used or when it
ends before it is used up. It rises and falls steeply on both sides of that, so that all windows that are wanted are used
up in time. That is the bid price of network revenue management, by the pace alone. What flows back all
the time is dear once some of it is used, since until then the inflow is lost; what leaves a rolling window, as it is
used: Mehta, Saberi, Vazirani and Vazirani, *AdWords and generalized online matching*, JACM 2007. What is back within two
minutes costs no more than a wait. What will be lost, because its day is about to end or because it is full and more
flows in, goes first. The price falls until it is looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket, Level
from gateway.quota.demand import Step, counts
from gateway.quota.level_cache import LevelCache

SOON = 120.0
"""Seconds. Windows that are no longer cost nothing, until they are full."""

ENDS_SOON = 3600.0
"""Seconds before the end of a window from which on nothing is kept of it: what is left would be lost."""

_STEEP = 4
"""How steeply: a window that is used at 1.3 times its pace costs three times what one at 0.8 times does."""

_STORED = 4
"""How much sooner than it is used up what flows back becomes dear."""

_LOST = 0.15
"""What is lost anyway goes before what is better by no more than that (by quality, on its scale from 0 to 1)."""

_NEARLY_FULL = 0.05
"""The used part up to which what flows back counts as about to be full."""


_STALE = 30.0
"""Seconds after which a price is made anew, though nothing was taken: days end, and prices with them."""

_AT_ONCE = 100
"""Prices that are made anew for one decision, of each: those that changed and those that are stale."""


_LEAST = {"requests": 1.0, "in-flight": 1.0}
"""What every request takes, at least."""


class Price(Struct, frozen=True):
    """
    What a bucket cost at the moment *at*: *price* for a typical request, which becomes cheaper by *fall* each second, and
    by *steps* what a long request pays besides for the short ones that it would displace. Nothing fits before
    *full_until*, or, *when_freed*, before something is given back. Moments are unix seconds. Of a long window of requests
    that does not end soon, so many are *left*. *limit* is the one in force; *under_way* are the moments at which what is in
    flight began.
    """

    price: float
    at: float
    fall: float = 0.0
    full_until: float = 0.0
    when_freed: bool = False
    steps: tuple[Step, ...] = ()
    left: float = math.inf
    limit: float = math.inf
    under_way: tuple[float, ...] = ()

    def displaced(self, tokens: float) -> float:
        """How many shorter requests one of so many *tokens* takes the place of: each is worth one."""
        most = 0.0
        for step in self.steps:
            if tokens > step.longer_than:
                missed = (tokens - step.spare) * step.each
                if missed > most:  # noqa: PLR1730 - max() would double what ranking costs
                    most = missed
        return most


class Prices:
    """The prices of all *buckets* in use, by the levels in *cache*; made anew when they are asked for."""

    def __init__(self, cache: LevelCache, buckets: Callable[[], Sequence[Bucket]]) -> None:
        self._cache, self._buckets = cache, buckets
        self._prices: dict[str, Price] = {}
        self._steps: dict[str, tuple[float, tuple[Step, ...]]] = {}  # and when they were worked out
        self._renewed, self._since = 0, 0.0

    def current(self, now: float) -> Mapping[str, Price]:
        """The price of each bucket, by key. Of no more than some the price is made anew at once; those are a second late."""
        cache = self._cache
        for _ in range(min(len(cache.changed), _AT_ONCE)):
            key = cache.changed.pop()
            seen = cache.parts.get(key) or cache.levels.get(key)
            if seen is None:
                self._prices.pop(key, None)  # it is blank: its turn comes with those that are stale
                self._renewed = self._renewed if self._renewed < len(self._buckets()) else 0
            else:
                self._prices[key] = self._price(seen[0], now)
        self._renew_stale(now)
        return self._prices

    def _renew_stale(self, now: float) -> None:
        buckets = self._buckets()
        if self._renewed >= len(buckets):
            if now < self._since + _STALE:
                return
            self._renewed, self._since = 0, now
        for bucket in buckets[self._renewed : self._renewed + _AT_ONCE]:
            price = self._prices.get(bucket.key)
            if price is None or now >= price.at + _STALE:
                self._prices[bucket.key] = self._price(bucket, now)
        self._renewed += _AT_ONCE

    def _price(self, bucket: Bucket, now: float) -> Price:
        cache = self._cache
        level = cache.level(bucket, now + cache.ahead)
        steps = self._steps_of(bucket, level, now) if counts(bucket) else ()
        return price_at(bucket, level, now + cache.ahead, cache.ahead, steps)

    def _steps_of(self, bucket: Bucket, level: Level, now: float) -> tuple[Step, ...]:
        at, steps = self._steps.get(bucket.key, (float("-inf"), ()))
        if now >= at + _STALE:
            cache, theirs = self._cache, now + self._cache.ahead
            left = max(0.0, b.limit_of(bucket, level, theirs) - b.used(bucket, level))
            steps = cache.demand.steps(bucket, left, b.window_end(bucket, theirs), theirs, cache.replicas)
            self._steps[bucket.key] = now, steps
        return steps


def price_at(bucket: Bucket, level: Level, now: float, ahead: float, steps: tuple[Step, ...] = ()) -> Price:
    """The price of a level that was rolled to *now*, by a clock that is *ahead* seconds of the price's."""
    at, limit = now - ahead, b.limit_of(bucket, level, now)
    used = b.used(bucket, level) / limit if limit else 1.0
    opens = b.opens_at(bucket, level, _LEAST.get(bucket.unit, 0.0), now)
    full_until = opens - ahead if now < opens < math.inf else 0.0
    if bucket.window == "in-flight":
        began = tuple(until - b.LEASE - ahead for _, until in level.leases)
        return Price(0.0, at, full_until=full_until, when_freed=used >= 1, limit=limit, under_way=began)
    back_in = b.refilled_at(bucket, level, now) - now
    price = 0.0 if 0 < bucket.period <= SOON else _price(bucket, used, now, back_in)
    fall = price / back_in if price > 0 else 0.0
    ends_soon = bucket.window in ("clock", "calendar") and back_in <= ENDS_SOON
    kept = bucket.unit == "requests" and not 0 < bucket.period <= SOON and not ends_soon
    left = max(0.0, limit - b.used(bucket, level)) if kept else math.inf
    return Price(price, at, fall, full_until, steps=steps, left=left, limit=limit)


def _price(bucket: Bucket, used: float, now: float, back_in: float) -> float:
    if used >= 1:
        return 1.0
    match bucket.window:
        case "clock" | "calendar":
            start = b.window_start(bucket, now)
            gone = (now - start) / (now + back_in - start)
            pace = min(used / gone if gone else used, (1 - gone) / (1 - used))
            steep = pace**_STEEP
            price = steep / (1 + steep)
            return price - _LOST * gone * gone * max(0.0, 1 - 2 * price)
        case "refill":
            return 1 - (1 - used) ** _STORED - _LOST * max(0.0, 1 - used / _NEARLY_FULL)
        case _:
            return used
