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
from gateway.words import Deployment, Exclusion, Requirements
from gateway.worth import worth

SHORTLIST = 32
"""
Deployments that are compared with each other. They come best first but for what changes from moment to moment, so that
those beyond the first so many with room and health hardly ever win; and no decision costs more in a larger catalog.
"""

_EXPECTED_LATENCY = 1.5  # seconds, where nothing was measured
_SPEED_WEIGHT = {"balance": 0.1, "quality": 0.02, "speed": 0.5}


class Ranking(Struct, frozen=True):
    """The deployments to be tried, best first, and why others rest for a while."""

    best: list[Deployment]
    resting: list[Exclusion]


def rank(
    needs: Requirements,
    candidates: Iterable[Deployment],
    shares: Mapping[str, Share],
    health: Health,
    now: float,
    prefer: str = "balance",
) -> Ranking:
    """
    The best of *candidates*, which come in the order of the caller's own preference and of their worth.

    *shares* tells the used share of each bucket by key, as it was when somebody last looked. Those that look full come
    last, in the order in which they open: the ledger knows better.
    """
    scored: list[tuple[int, int, float, int, Deployment]] = []
    full: list[tuple[float, int, Deployment]] = []
    resting: list[Exclusion] = []
    for number, deployment in enumerate(candidates):
        blocked = health.blocked_until(deployment.name, now)
        if blocked is not None:
            resting.append(Exclusion(deployment.name, f"cooling: {blocked[1]}", blocked[0]))
            continue
        used, back_at = _fullest(deployment, shares, now)
        if used >= 1.0:
            full.append((back_at, number, deployment))
            continue
        value = score(needs, deployment, used, health.latency(deployment.name), prefer)
        scored.append((*caller_prefers(needs, deployment), -value, number, deployment))
        if len(scored) == SHORTLIST:
            break
    scored.sort()
    full.sort()
    best = [*(row[-1] for row in scored), *(row[-1] for row in full[:SHORTLIST])]
    best.sort(key=_last_resort)
    return Ranking(best, resting)


def _last_resort(deployment: Deployment) -> bool:
    return deployment.last_resort


def score(needs: Requirements, deployment: Deployment, used: float, latency: float | None, prefer: str) -> float:
    """How good it is to serve *needs* with *deployment* now, of whose scarcest bucket the share *used* is gone."""
    value = worth(deployment, needs.capabilities, prefer)
    if deployment.last_resort:
        return value
    value -= _SPEED_WEIGHT[prefer] * math.log1p(_EXPECTED_LATENCY if latency is None else latency)
    return max(value, 0.01) * (1 - math.exp(used - 1))


def caller_prefers(needs: Requirements, deployment: Deployment) -> tuple[int, int]:
    """
    The place of *deployment* in the caller's own lists of models and of providers, which go before any score.

    A model counts where it is named exactly.
    """
    provider = deployment.provider.name
    asked = len(needs.models)
    if asked > 1:
        names = (deployment.model, deployment.name, deployment.target.model)
        asked = next((place for place, name in enumerate(needs.models) if name in names), asked)
    return asked, needs.order.index(provider) if provider in needs.order else len(needs.order)


def _fullest(deployment: Deployment, shares: Mapping[str, Share], now: float) -> tuple[float, float]:
    """The used share of the bucket that is used most, and when it comes back."""
    fullest, back_at = 0.0, now
    for bucket in deployment.buckets:
        share = shares.get(bucket.key)
        if share is not None and share.used > fullest and now < share.back_at:
            fullest, back_at = share.used, share.back_at
    return fullest, back_at
