"""
What a deployment is worth to a call now. Pure.

What others will need is worth keeping: from the fitness of a deployment is taken what others would miss, by the price of
its dearest bucket (prices.py) and the size of the call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import Struct

from gateway.quota.buckets import Bucket
from gateway.routing.prices import Price
from gateway.routing.talents import LastWays, unneeded
from gateway.words import Candidate, Deployment, Exclusion, Preference

TYPICAL = 1000.0
"""Tokens of a request that costs what the price of a bucket of tokens says; others cost in proportion."""

_FREED_SOON = 1.0
"""Seconds as which the wait for a slot that is in use counts among those for full windows: it has no moment."""

_WARM = 0.2
"""What staying is worth where the conversation is in a cache."""

_LAST_WAY = 0.4
"""What the last ways to a talent are worth to requests that need it: more than quota that will be lost, less than quality."""

_SCARCE = 0.5
_FEW = 100.0
"""What a deployment of hardly any requests a day is worth less to a chore, or beyond a share, and of how many it is worth less by half of that."""

_EXPECTED = math.log1p(1.5)  # as if 1.5 seconds had been measured, where nothing was
_SPEED_WEIGHT = {"balance": 0.1, "quality": 0.02, "speed": 0.5}


class Bid(Struct, frozen=True):
    """
    What a call brings to the ranking: what it prefers, its size in tokens, and the name of the deployment that has the
    beginning of its conversation in a cache (*warm*), if any; the capabilities that it *needs*, and which buckets are the
    last ways to others. A *chore* is no use of what is scarce, and nor is a call that is *sparing* there.
    """

    prefer: Preference = "balance"
    tokens: float = 0.0
    warm: str = ""
    needs: frozenset[str] = frozenset()
    last_ways: LastWays = {}
    chore: bool = False
    sparing: frozenset[str] = frozenset()


class Appraisal(Struct, frozen=True):
    """
    The score of a deployment, and what it is made of: its fitness, the price of what others would miss, the seconds of a
    typical answer (None: not known), and whether the conversation is warm there.
    """

    score: float
    fitness: float
    price: float
    seconds: float | None
    warm: bool


def score(candidate: Candidate, price: float, seconds: float | None, bid: Bid) -> float:
    """
    The fitness of *candidate*, less the *seconds* that a typical answer takes, as far as *bid* minds, and less what others
    would miss: its *price*, and the last ways to talents that the call does not need.
    """
    slow = _EXPECTED if seconds is None else math.log1p(seconds)
    value = candidate.fitness - _SPEED_WEIGHT[bid.prefer] * slow - price
    if bid.last_ways and unneeded(candidate.deployment, bid.needs, bid.last_ways):
        value -= _LAST_WAY
    if bid.chore or (bid.sparing and _is_spared(candidate.deployment, bid.sparing)):
        value -= _SCARCE / (1 + candidate.deployment.a_day / _FEW)
    return value + _WARM if candidate.deployment.name == bid.warm else value


def _is_spared(deployment: Deployment, sparing: frozenset[str]) -> bool:
    provider = deployment.provider.name
    return provider in sparing or f"{provider}/{deployment.model}" in sparing


def appraise(
    candidate: Candidate, prices: Mapping[str, Price], seconds: float | None, now: float, bid: Bid
) -> Appraisal:
    """What ranking goes by, for people."""
    price = price_of(candidate.deployment, prices, now, bid.tokens)[0]
    value = score(candidate, price, seconds, bid)
    return Appraisal(value, candidate.fitness, price, seconds, candidate.deployment.name == bid.warm)


def price_of(
    deployment: Deployment, prices: Mapping[str, Price], now: float, tokens: float
) -> tuple[float, Exclusion | None]:
    """
    What others would miss if *deployment* served a call of so many *tokens*: the price of its dearest bucket; and why it
    looks full, if it does.
    """
    dearest, full_until, crowded = -1.0, now, None
    for bucket in deployment.buckets:
        price = prices.get(bucket.key)
        if price is None:
            continue
        if price.price or price.steps:
            here = price.price - price.fall * (now - price.at)
            if here > 0 and bucket.unit != "requests":
                here *= tokens / TYPICAL
            if price.steps:
                here += price.displaced(tokens)
            if here > dearest:  # noqa: PLR1730 - max() would double what ranking costs
                dearest = here
        if price.full_until > full_until:
            full_until, crowded = price.full_until, bucket
        elif price.when_freed and crowded is None:
            crowded = bucket
    missed = dearest if dearest > -1 else 0.0
    if crowded is None:
        return missed, None
    limit = prices[crowded.key].limit
    return missed, full(deployment.name, crowded, full_until if full_until > now else None, limit)


def full(deployment: str, bucket: Bucket, opens_at: float | None, in_force: float = math.inf) -> Exclusion:
    """
    Why *deployment* has no room: *bucket* is used up until *opens_at*; None: until a request under way ends. The limit *in_force*
    is told where it is known, else the bucket's.
    """
    limit = bucket.limit if in_force == math.inf else in_force
    if opens_at is None:
        return Exclusion(deployment, "quota", f"has {limit:g} requests under way already", when_freed=True)
    if bucket.unit == "in-flight":
        return Exclusion(deployment, "quota", f"takes no more than {limit:g} requests at a time", opens_at)
    return Exclusion(deployment, "quota", f"{limit:g} {bucket.unit} a {bucket.window_name} are used", opens_at)


def works_from(deployment: Deployment, prices: Mapping[str, Price], busy: float, now: float) -> float:
    """When a machine of one's own would work on what it is sent *now*, if each that it has takes it *busy* seconds."""
    for bucket in deployment.buckets:
        price = prices.get(bucket.key)
        if bucket.window == "in-flight" and price is not None and price.under_way:
            return max(now, min(price.under_way) + busy) + (len(price.under_way) - 1) * busy
    return now
