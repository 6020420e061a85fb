"""How well a deployment fits what is wanted, before anything that changes from moment to moment. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from gateway.words import Deployment

_IDLE_TALENT = 0.04  # taken off for each capability that the request does not need: other requests will need it
_CREDIT = 0.5  # of its fitness is left to what a credit pays: that is gone for the month, a free quota comes back
_QUALITY_WEIGHT = {"balance": 0.6, "quality": 1.0, "speed": 0.25}


def fitness(deployment: Deployment, needed: AbstractSet[str], prefer: str) -> float:
    """
    How good *deployment* is for a request that needs the capabilities *needed*; higher is better.

    *prefer* is ``balance``, ``quality`` or ``speed``. It is the deployment's quality, less what others would miss.
    """
    weight = _QUALITY_WEIGHT[prefer]
    value = (1 - weight) + weight * deployment.quality - _IDLE_TALENT * len(deployment.talents - needed)
    return value * _CREDIT if deployment.proof.kind == "credit" else value
