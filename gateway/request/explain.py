"""
What would be chosen for a request, and why every other would not be. Nothing is reserved and nothing is sent.

It goes the way of ``pipeline.answer`` up to the reservation, by the same functions: what it tells is what would happen.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from gateway.request import rejections
from gateway.request.engine import Engine
from gateway.request.pipeline import first_lists, look
from gateway.request.plan import Tried, plan
from gateway.routing.rank import Appraisal, Bid, appraise
from gateway.words import Call, Candidate, Exclusion, GatewayError, UnknownModel, Wants


class Needs(Struct, frozen=True, kw_only=True):
    """What the request was understood to need. Tokens are upper estimates."""

    models: tuple[str, ...]
    instead_of: str | None
    capabilities: list[str]
    parameters: list[str]
    prompt_tokens: int
    output_tokens: int
    no_train: bool
    prefer: str


class Ranked(Struct, frozen=True, kw_only=True):
    """
    A deployment that could serve the request now, and its *score*, which is made of its *fitness*, the *price* of what
    others will miss, how many *seconds* a typical answer takes (None if that is not known) and whether it is *warm*: has
    the beginning of the conversation in a cache. Among those of one *preference*, which is the position in the caller's own
    lists, the higher score goes first; the last resort comes after all others.
    """

    deployment: str
    provider: str
    model: str
    preference: tuple[int, int]
    score: float
    fitness: float
    price: float
    seconds: float | None
    warm: bool
    last_resort: bool


class Told(Struct, frozen=True, kw_only=True):
    """What the caller of this request would be told, where no deployment can serve it."""

    status: int
    code: str | None
    message: str
    retry_after: float | None


class Explanation(Struct, frozen=True, kw_only=True):
    """
    *chosen* is the first of *ranked*, if there is one. *opens_at* (unix seconds) is when the first of those who are
    excluded for a time could serve it.
    """

    needs: Needs
    chosen: str | None
    ranked: list[Ranked]
    excluded: list[Exclusion]
    opens_at: float | None
    told: Told | None = None


async def explain(call: Call, engine: Engine) -> Explanation:
    """What would become of *call* now. Raises UnknownModel, and NoSource as long as the first lists are on their way."""
    if not engine.view.catalog.complete.is_set():
        await first_lists(call, engine)
    view, now = engine.view, engine.clock.now()
    tried, chosen = Tried(), plan(call, Tried(), view, now)
    while chosen.ranked and not await look(chosen, call, tried, engine):
        chosen = plan(call, tried, view, now)
    bid = view.bid(call, chosen.wants, now)
    by_name = {one.deployment.name: one for one in view.catalog.fitting(chosen.wants, now)}
    ready = [by_name[d.name] for d in chosen.ranked if d.name not in tried.full]
    excluded = [*chosen.unavailable, *(full for name, full in tried.full.items() if name in by_name)]
    seen = {one.deployment.name for one in ready} | {reason.deployment for reason in excluded}
    excluded += [
        reason for _, reason in view.catalog.exclusions(call, chosen.wants, now) if reason.deployment not in seen
    ]
    seen |= {reason.deployment for reason in excluded}
    excluded += [Exclusion(name, "rank", "enough others are worth more") for name in by_name if name not in seen]
    told: Told | None = None
    if not ready:
        error = rejections.after(call, tried, spent=False, view=view, now=now)
        if isinstance(error, UnknownModel):
            raise error
        told = _told(error)
    ranked = [
        _ranked(one, appraise(one, view.prices(now), view.health.expected(one.deployment.name), now, bid))
        for one in ready
    ]
    return Explanation(
        needs=_shown(call, chosen.wants, bid),
        chosen=ranked[0].deployment if ranked else None,
        ranked=ranked,
        excluded=list(dict.fromkeys(excluded)),
        opens_at=min((reason.until for reason in excluded if reason.until is not None), default=None),
        told=told,
    )


def _told(error: GatewayError) -> Told:
    return Told(status=error.status, code=error.code, message=error.message, retry_after=error.retry_after)


def _shown(call: Call, wants: Wants, bid: Bid) -> Needs:
    return Needs(
        models=wants.models,
        instead_of=wants.instead_of,
        capabilities=sorted(wants.capabilities),
        parameters=sorted(wants.parameters),
        prompt_tokens=call.prompt_tokens,
        output_tokens=call.output_tokens,
        no_train=wants.no_train,
        prefer=bid.prefer,
    )


def _ranked(candidate: Candidate, appraisal: Appraisal) -> Ranked:
    deployment = candidate.deployment
    return Ranked(
        deployment=deployment.name,
        provider=deployment.provider.name,
        model=deployment.model,
        preference=candidate.preference,
        last_resort=deployment.last_resort,
        **msgspec.structs.asdict(appraisal),
    )
