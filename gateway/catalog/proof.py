"""
Why a deployment is free, which is the first of the three locks against cost, and what shows that it is not, the third.
(The second is each dialect's: what is sent cannot cost anything.) Deny by default. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.quota.nouns import Cost
from gateway.words import Deployment, FreeProof
from providers.chat import Usage
from providers.costs import COST, ESTIMATE
from providers.dialect import Listed, Standing
from providers.lenient import dollars_of
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


def chargeable(spec: ProviderSpec, standing: Standing) -> str | None:
    """
    Why no request may leave for the account: its provider says that it can be charged, and a person has not allowed it. Else
    None; what a provider does not say shuts nothing.
    """
    if spec.free.kind != "credit" or spec.credit is not None or standing.can_pay is not True:
        return None
    return f"{standing.because}. To use it all the same, set [provider.{spec.name}] credit = 0.10 (dollars a month)"


class Certainty(Struct, frozen=True):
    """How far it is known that an account costs nothing, and why, for people."""

    level: Literal["proven", "promised", "not knowable"]
    why: str


def certainty(spec: ProviderSpec, standing: Standing) -> Certainty:
    """How far it is known that the account at *spec* costs nothing, by its *standing* and by what configuration says."""
    free, signs = spec.free, "; ".join(filter(None, (spec.free.signs, standing.because)))
    if free.kind == "credit" and standing.can_pay is True:
        allowed = (
            "nothing is sent" if spec.credit is None else f"up to {spec.credit:g} dollars a month are used, as allowed"
        )
        return Certainty("not knowable", f"{standing.because}: {allowed}")
    if free.kind == "credit" and standing.can_pay is False:
        return Certainty("proven", standing.because)
    if free.sure == "proven" or free.kind == "local":
        return Certainty("proven", signs or free.because)
    if free.sure == "promised":
        return Certainty("promised", "; ".join(filter(None, (signs, free.faith and f"left to faith: {free.faith}"))))
    return Certainty("not knowable", "; ".join(filter(None, (free.faith, signs))))


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
        return None  # see dearer
    said = [*said]
    if told := cost_told(deployment, usage, said):
        return f"{deployment.name} cost {told:g} dollars although it was proved to be free"
    if not deployment.provider.spec.free.higher_limits_cost:
        return None
    for observed in said:
        for bucket in deployment.buckets:
            of_bucket = (observed.unit, observed.window) == (bucket.unit, bucket.window_name)
            if of_bucket and not bucket.assumed and observed.limit is not None and observed.limit > bucket.limit:
                return (
                    f"{deployment.name} has {observed.limit:g} {bucket.unit} a {bucket.window_name}, the free plan "
                    f"{bucket.limit:g}: this is a plan that is paid for. If the free plan has grown, say so in the "
                    f"provider's quota"
                )
    return None


_ROUNDED = 1.01
"""A told cost may exceed the list price by so much: prices are rounded."""


def dearer(deployment: Deployment, usage: Usage | None, said: Iterable[Observation] = ()) -> str | None:
    """What an answer that a credit paid shows of a price above the listed one; None: it does not."""
    told = cost_told(deployment, usage, said)
    if deployment.proof.kind != "credit" or not told:
        return None
    listed = 0.0 if usage is None else deployment.cost(usage.prompt_tokens, usage.completion_tokens).dollars
    if told <= listed * _ROUNDED:
        return None
    return f"{deployment.name} cost {told:g} dollars where its list price comes to {listed:g}"


def cost_told(deployment: Deployment, usage: Usage | None, said: Iterable[Observation] = ()) -> float | None:
    """
    Dollars that an answer of *deployment* says it cost, the most of what it *said* wherever it did; None: it says nothing that makes
    sense. An estimate is a cost only where a credit pays it.
    """
    by_credit = deployment.proof.kind == "credit"
    told = [one.limit for one in said if one.unit == COST or (by_credit and one.unit == ESTIMATE)]
    if usage is not None:
        told += [dollars_of(value) for value in (usage.cost, usage.estimated_cost if by_credit else None)]
    return max((value for value in told if value is not None), default=None)


_LONGEST, _BEYOND = 1e7, 10
"""Tokens that no context exceeds, as far as it is not known; and how often what was reserved is exceeded at most."""


def owed(deployment: Deployment, reserved: Cost, usage: Usage | None, said: Iterable[Observation] = ()) -> Cost:
    """
    What an answer of *deployment* is debited, for which *reserved* was held. What a provider says only raises: no count of zero or
    below gives anything back, and a cost that it tells counts where it is more than ours. A count beyond all that there can be counts
    as the most that there can be: a bucket would never open again.
    """
    told = cost_told(deployment, usage, said) or 0.0
    if usage is None:
        return reserved if told <= reserved.dollars else msgspec.structs.replace(reserved, dollars=told)
    counted = usage.prompt_tokens > 0 and usage.completion_tokens >= 0 and usage.total_tokens > 0
    most = max(deployment.context or _LONGEST, _BEYOND * (reserved.prompt + reserved.output))
    prompt = min(usage.prompt_tokens, most) if usage.prompt_tokens > 0 else reserved.prompt
    output = min(usage.completion_tokens, most) if usage.completion_tokens > 0 else reserved.output
    cost = deployment.cost(prompt, output)
    least = Cost() if counted else reserved
    return msgspec.structs.replace(
        cost, dollars=max(cost.dollars, least.dollars, told), neurons=max(cost.neurons, least.neurons)
    )
