"""
Ranking: a pure function of requirements, candidates, how full the buckets are, and health. Best first.

What is nearly used up is worth keeping. The trade-off is that of Mehta, Saberi, Vazirani and Vazirani, *AdWords and
generalized online matching*, JACM 2007: value times (1 - e^(share - 1)), where share is the used part of the scarcest
bucket.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from msgspec import Struct

from gateway.health import Health
from gateway.ledger.nouns import Share
from gateway.words import Candidate, Deployment, Exclusion

SHORTLIST = 24
"""
Deployments that are compared with each other. They come best first but for what changes from moment to moment, so that
those beyond the first so many with room and health hardly ever win; and no decision costs more in a larger catalog.
"""

_EXPECTED = math.log1p(1.5)  # as if 1.5 seconds had been measured, where nothing was
_LEAST = 0.01  # so that worth has an order, however slow
_SPEED_WEIGHT = {"balance": 0.1, "quality": 0.02, "speed": 0.5}


class Ranking(Struct, frozen=True):
    """The deployments to be tried, best first, and why others rest for a while."""

    best: list[Deployment]
    resting: list[Exclusion]


def rank(
    candidates: Iterable[Candidate],
    shares: Mapping[str, Share],
    health: Health,
    now: float,
    prefer: str = "balance",
) -> Ranking:
    """
    The best of *candidates*, which come in the order of the caller's own preference and of their worth.

    *shares* tells the used share of each bucket by key, as it was when somebody last looked. Those that look full come
    last, in the order in which they open: the ledger knows better. The last resort comes after all others.
    """
    scored: list[tuple[tuple[int, int], float, int, Deployment]] = []
    full: list[tuple[float, int, Deployment]] = []
    last: list[Deployment] = []
    resting: list[Exclusion] = []
    speed = _SPEED_WEIGHT[prefer]
    for candidate in candidates:
        deployment = candidate.deployment
        name = deployment.name
        blocked = health.blocked_until(name, now)
        if blocked is not None:
            resting.append(Exclusion(name, f"cooling: {blocked[1]}", blocked[0]))
            continue
        if deployment.last_resort:
            last.append(deployment)
            continue
        used, back_at = _fullest(deployment, shares, now)
        if used >= 1.0:
            full.append((back_at, len(full), deployment))
            continue
        value = score(candidate.worth, used, health.latency(name), speed)
        scored.append((candidate.place, -value, len(scored), deployment))
        if len(scored) == SHORTLIST:
            break
    scored.sort()
    full.sort()
    return Ranking([*(row[-1] for row in scored), *(row[-1] for row in full[:SHORTLIST]), *last], resting)


def score(worth: float, used: float, latency: float | None, speed: float) -> float:
    """
    What is *worth* so much is worth now: less for every second to its first content, by the weight of *speed*, and less
    the more of its scarcest bucket is *used*.
    """
    value = worth - speed * (_EXPECTED if latency is None else math.log1p(latency))
    return (max(_LEAST, value)) * (1 - math.exp(used - 1))


def _fullest(deployment: Deployment, shares: Mapping[str, Share], now: float) -> tuple[float, float]:
    """The used share of the bucket that is used most, and when it comes back."""
    fullest, back_at = 0.0, now
    for bucket in deployment.buckets:
        share = shares.get(bucket.key)
        if share is not None and share.used > fullest and now < share.back_at:
            fullest, back_at = share.used, share.back_at
    return fullest, back_at
