"""
The last ways to a talent: buckets through which few requests can still be served that need it, and nothing else serves.

A talent belongs to a deployment, but what is used up is a bucket. A model that cannot see, and draws on an account's day,
takes the day of the model there that can.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import exp, inf
from types import MappingProxyType

from gateway.routing.prices import Price
from gateway.words import TALENTS, Deployment

FEW = 100.0
"""Requests that all ways to a talent can serve together, before a window of theirs begins anew, up to which it is rare."""

AHEAD = 12 * 3600.0
"""Seconds: a talent is rare, too, if its ways would not last for so long at the pace at which it was asked for lately."""

LATELY = 900.0
"""Seconds after which what was asked for counts a third in that pace."""

MAYBE = 0.05
"""The part of all requests that may need a talent before long, though none did lately."""

_SOONEST = 60.0
"""Seconds from which a pace is told, at least."""

_ANY = ""

_FRESH_FOR = 5.0
"""Seconds after which it is worked out anew."""

_NONE: frozenset[str] = frozenset()

LastWays = Mapping[str, frozenset[str]]
"""The rare talents that each bucket, by key, is a last way to."""


class Talents:
    """What was worked out last, for some seconds: every plan asks. Moments are arguments."""

    def __init__(self) -> None:
        self._at, self._since = -inf, inf  # when that was, and since when requests are counted
        self._last_ways: LastWays = {}
        self._asked: dict[str, tuple[float, float]] = {}  # faded count of the requests that needed it, and as of when

    def asked(self, needs: Iterable[str], now: float) -> None:
        """A request came that *needs* these capabilities."""
        self._since = min(self._since, now)
        for talent in (_ANY, *TALENTS.intersection(needs)):
            self._asked[talent] = self._count(talent, now) + 1.0, now

    def _count(self, talent: str, now: float) -> float:
        count, at = self._asked.get(talent, (0.0, now))
        return count * exp((at - now) / LATELY)

    def last_ways(self, deployments: Iterable[Deployment], prices: Mapping[str, Price], now: float) -> LastWays:
        """The last ways among the buckets of *deployments*, of which *prices* tell how much is left."""
        if not self._at <= now < self._at + _FRESH_FOR:
            self._at, self._last_ways = now, last_ways(deployments, prices, self._wanted(now))
        return self._last_ways

    def _wanted(self, now: float) -> dict[str, float]:
        """How many requests are expected to need each talent before long, if they come as they did lately."""
        counted_for = LATELY * (1 - exp(-max(_SOONEST, now - self._since) / LATELY))
        maybe = MAYBE * self._count(_ANY, now)
        return {talent: max(maybe, self._count(talent, now)) / counted_for * AHEAD for talent in TALENTS}


def last_ways(
    deployments: Iterable[Deployment], prices: Mapping[str, Price], wanted: Mapping[str, float] = MappingProxyType({})
) -> LastWays:
    """
    See ``Talents``. A talent that some deployment has without a limit for long is not rare. *wanted*: how many requests are
    expected to need it before long.
    """
    ways: dict[str, dict[str, float]] = defaultdict(dict)  # of each talent: its buckets, and what they have left
    for deployment in deployments:
        left, through = inf, ""
        for bucket in deployment.buckets:
            price = prices.get(bucket.key)
            if price is not None and price.left < left:
                left, through = price.left, bucket.key
        for talent in deployment.talents:
            ways[talent][through] = left
    found: dict[str, frozenset[str]] = {}
    for talent, buckets in ways.items():
        if sum(buckets.values()) <= max(FEW, wanted.get(talent, 0.0)):
            for key in buckets:
                found[key] = found.get(key, _NONE) | {talent}
    return found


def unneeded(deployment: Deployment, needed: frozenset[str], ways: LastWays) -> frozenset[str]:
    """The rare talents to which *deployment* would take a last way for a request that needs only what is *needed*."""
    if not ways:
        return _NONE
    return _NONE.union(*(ways.get(bucket.key, _NONE) for bucket in deployment.buckets)) - needed
