"""
Ranking: a pure function of requirements, candidates, how full the buckets are, and health. Best first.

What others will need is worth keeping: from what a deployment is worth to the request is taken what others would miss,
by the price of its dearest bucket (gateway/routing/prices.py) and the size of the request.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from msgspec import Struct

from gateway.routing.health import Health
from gateway.routing.prices import Price
from gateway.words import Candidate, Deployment, Exclusion, Preference

SHORTLIST = 20
"""
Deployments that are compared with each other. The best two of each account come first, so that those beyond the first so
many with room and health hardly ever win; and no decision costs more in a larger catalog.
"""

_TYPICAL = 1000.0
"""Tokens of a request that costs what the price of a bucket of tokens says; others cost in proportion."""

_FREED_SOON = 1.0
"""Seconds as which the wait for a slot that is in use counts among those for full windows: it has no moment."""

_WARM = 0.2
"""What staying is worth where the conversation is in a cache."""

_EXPECTED = math.log1p(1.5)  # as if 1.5 seconds had been measured, where nothing was
_SPEED_WEIGHT = {"balance": 0.1, "quality": 0.02, "speed": 0.5}


class Bid(Struct, frozen=True):
    """
    What a request brings with it: what it prefers, and its size in tokens. One that *spares* shorter ones leaves alone
    what is kept for them. *warm* is the deployment that has the beginning of its conversation in a cache, if any.
    """

    prefer: Preference = "balance"
    tokens: float = 0.0
    spares: bool = True
    warm: str = ""


_ANY = Bid()


class Ranking(Struct, frozen=True):
    """The deployments to be tried, best first, and why others rest for a while."""

    best: list[Deployment]
    resting: list[Exclusion]


def rank(
    candidates: Iterable[Candidate],
    prices: Mapping[str, Price],
    health: Health,
    now: float,
    bid: Bid = _ANY,
) -> Ranking:
    """
    The best of *candidates*, which come as the catalog has them, for a request that makes this *bid*.

    *prices* tells how dear each bucket is, by key, as it was when somebody last looked. Those that look full come last,
    in the order in which they open: the ledger knows better. The last resort comes after all others.
    """
    scored: list[tuple[tuple[int, int], float, int, Deployment]] = []
    full: list[tuple[float, int, Deployment]] = []
    last: list[Deployment] = []
    resting: list[Exclusion] = []
    speed, tokens = _SPEED_WEIGHT[bid.prefer], bid.tokens
    for candidate in candidates:
        deployment = candidate.deployment
        name = deployment.name
        blocked = health.blocked_until(name, now)
        if blocked is not None:
            resting.append(Exclusion(name, "cooling", f"cooling: {blocked[1]}", blocked[0]))
            continue
        if deployment.last_resort:
            last.append(deployment)
            continue
        price, full_until = _price(deployment, prices, now, tokens)
        if full_until > now:
            full.append((full_until, len(full), deployment))
            continue
        value = score(candidate.worth, price, health.expected(name), speed)
        if name == bid.warm:
            value += _WARM
        scored.append((candidate.place, -value, len(scored), deployment))
        if len(scored) == SHORTLIST:
            break
    scored.sort()
    full.sort()
    return Ranking([*(row[-1] for row in scored), *(row[-1] for row in full[:SHORTLIST]), *last], resting)


def score(worth: float, price: float, seconds: float | None, speed: float) -> float:
    """
    What is *worth* so much is worth now: less for the *seconds* that a typical answer takes, by the weight of *speed*,
    and less what others would miss (*price*).
    """
    return worth - speed * (_EXPECTED if seconds is None else math.log1p(seconds)) - price


def price(deployment: Deployment, prices: Mapping[str, Price], now: float, tokens: float) -> float:
    """What others would miss if *deployment* served a request of so many *tokens*."""
    return _price(deployment, prices, now, tokens)[0]


class Appraisal(Struct, frozen=True):
    """
    The score of a deployment, and what it is made of. *seconds*: of a typical answer, None if that is not known.
    *warm*: it has the beginning of the conversation in a cache.
    """

    score: float
    worth: float
    price: float
    seconds: float | None
    warm: bool


def appraise(
    candidate: Candidate,
    prices: Mapping[str, Price],
    health: Health,
    now: float,
    bid: Bid = _ANY,
) -> Appraisal:
    """What ``rank`` goes by, for people."""
    missed = price(candidate.deployment, prices, now, bid.tokens)
    seconds = health.expected(candidate.deployment.name)
    value = score(candidate.worth, missed, seconds, _SPEED_WEIGHT[bid.prefer])
    warm = candidate.deployment.name == bid.warm
    return Appraisal(value + _WARM * warm, candidate.worth, missed, seconds, warm)


def _price(deployment: Deployment, prices: Mapping[str, Price], now: float, tokens: float) -> tuple[float, float]:
    """The price of the dearest bucket; and when the last of the full ones has room, as far as that can be told."""
    dearest, full_until = -1.0, 0.0
    for bucket in deployment.buckets:
        price = prices.get(bucket.key)
        if price is None:
            continue
        if price.price or price.steps:
            here = price.price - price.fall * (now - price.at)
            if here > 0 and bucket.unit != "requests":
                here *= tokens / _TYPICAL
            if price.steps:
                here += price.displaced(tokens)
            if here > dearest:  # noqa: PLR1730 - max() would double what ranking costs
                dearest = here
        if price.full_until > full_until:  # noqa: PLR1730
            full_until = price.full_until
        if price.when_freed and full_until <= now:
            full_until = now + _FREED_SOON
    return dearest if dearest > -1 else 0.0, full_until
