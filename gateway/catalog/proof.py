"""
Why a deployment is free, which is the first of the three locks against cost, and what shows that it is not, the third.
(The second is each dialect's: what is sent cannot cost anything.) Deny by default. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from gateway.words import Deployment, FreeProof
from providers.chat import Usage
from providers.costs import COST
from providers.dialect import Listed
from providers.observations import Observation
from providers.spec import Free, ProviderSpec

LOCAL_FOR = 10 * 365 * 86_400.0
"""Seconds: hardware of our own stays our own."""


def prove(spec: ProviderSpec, listed: Listed, listed_at: float, lasts: float) -> FreeProof | None:
    """
    The proof that *listed*, read at *listed_at*, costs nothing, or None.

    It holds for *lasts* seconds from then, and no longer than the model is offered: a list that is not refreshed proves
    nothing for long. What is given away where a credit pays the rest is free by its prices: it takes nothing of the credit.
    """
    free = spec.free
    if not _named(free, listed.id) or not _holds(free, listed):
        return None
    until = listed_at + (LOCAL_FOR if free.kind == "local" else lasts)
    if listed.ends_at is not None:
        until = min(until, listed.ends_at)
    if free.kind == "credit" and not (listed.prompt_price or listed.output_price):
        return FreeProof("prices", f"{spec.title} gives it away: its prices are zero", free.source, listed_at, until)
    return FreeProof(free.kind, free.because or f"{spec.title}: {free.kind}", free.source, listed_at, until)


def _named(free: Free, model: str) -> bool:
    if any(fnmatchcase(model, pattern) for pattern in free.except_):
        return False
    return not free.models or any(fnmatchcase(model, pattern) for pattern in free.models)


def _holds(free: Free, listed: Listed) -> bool:
    priced = bool(listed.prompt_price or listed.output_price or listed.other_prices)
    match free.kind:
        case "prices":
            return not priced and listed.prompt_price is not None and listed.output_price is not None
        case "credit":
            return listed.prompt_price is not None and listed.output_price is not None and not listed.other_prices
        case "local":
            return listed.runs_at is None
        case "plan" | "trial":
            return listed.runs_at is None


def disproof(deployment: Deployment, usage: Usage | None, said: Iterable[Observation]) -> str | None:
    """
    What in an answer of *deployment* shows that money is spent, although it was proved to be free; None if nothing does.

    That is a cost above zero, where no credit pays it, or a limit above that of the free plan, which only a paid one has.
    """
    if deployment.proof.kind == "credit":
        return None
    if usage is not None and usage.cost:
        return f"{deployment.name} cost {usage.cost:g} dollars although it was proved to be free"
    said = [*said]
    for observed in said:
        if observed.unit == COST and observed.limit:
            return f"{deployment.name} cost {observed.limit:g} dollars although it was proved to be free"
    if not deployment.provider.spec.free.higher_limits_cost:
        return None
    for observed in said:
        for bucket in deployment.buckets:
            of_bucket = (observed.unit, observed.window) == (bucket.unit, bucket.window_name)
            if of_bucket and observed.limit is not None and observed.limit > bucket.limit:
                return (
                    f"{deployment.name} has {observed.limit:g} {bucket.unit} a {bucket.window_name}, the free plan "
                    f"{bucket.limit:g}: this is a plan that is paid for. If the free plan has grown, say so in the "
                    f"provider's quota"
                )
    return None
