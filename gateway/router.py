"""
Ranking: a pure function of requirements, candidates, how full the buckets are, and health. Best first.

A source is worth its quality; what is nearly used up is worth keeping. The trade-off is that of Mehta, Saberi, Vazirani
and Vazirani, *AdWords and generalized online matching*, JACM 2007: value times (1 - e^(share - 1)), where share is the
used part of the scarcest bucket.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from gateway.ledger.nouns import Share
from gateway.words import Deployment, Requirements

_IDLE_TALENT = 0.04  # taken off for each capability that the request does not need: others will need it
_CREDIT = 0.5  # of its value is left to what a credit pays: that is gone for the month, a free quota comes back
_LAST = -10.0  # the last resort comes after everything else
_EXPECTED_LATENCY = 1.5  # seconds, where nothing was measured
_QUALITY_WEIGHT = {"balance": 0.6, "quality": 1.0, "speed": 0.25}
_SPEED_WEIGHT = {"balance": 0.1, "quality": 0.02, "speed": 0.5}


def rank(
    needs: Requirements,
    candidates: Sequence[Deployment],
    shares: Mapping[str, Share],
    now: float,
    latency: Callable[[str], float | None],
    prefer: str = "balance",
) -> list[Deployment]:
    """
    *candidates*, best first.

    *shares* tells the used share of each bucket by key, as it was when somebody last looked, *latency* the seconds to first content of a deployment.
    The caller's own order of models and providers goes before any score.
    """

    def place(deployment: Deployment) -> tuple[int, int, float]:
        provider = deployment.provider.name
        return (
            _asked_as(needs, deployment),
            needs.order.index(provider) if provider in needs.order else len(needs.order),
            -score(needs, deployment, shares, now, latency(deployment.name), prefer),
        )

    return sorted(candidates, key=place)


def score(
    needs: Requirements,
    deployment: Deployment,
    shares: Mapping[str, Share],
    now: float,
    latency: float | None,
    prefer: str,
) -> float:
    """How good it is to serve *needs* with *deployment* now; higher is better."""
    if deployment.last_resort:
        return _LAST + deployment.quality
    weight = _QUALITY_WEIGHT[prefer]
    value = (
        (1 - weight)
        + weight * deployment.quality
        - _SPEED_WEIGHT[prefer] * math.log1p(_EXPECTED_LATENCY if latency is None else latency)
        - _IDLE_TALENT * len(deployment.talents - needs.capabilities)
    )
    if deployment.proof.kind == "credit":
        value *= _CREDIT
    fullest = 0.0
    for bucket in deployment.buckets:
        share = shares.get(bucket.key)
        if share is not None and share.used > fullest and now < share.back_at:
            fullest = share.used
    return max(value, 0.01) * (1 - math.exp(min(fullest, 1.0) - 1))


def _asked_as(needs: Requirements, deployment: Deployment) -> int:
    """The place, in the caller's list of models, of the first name that means *deployment* exactly."""
    for place, name in enumerate(needs.models):
        if name in (deployment.model, deployment.name, deployment.target.model):
            return place
    return len(needs.models)
