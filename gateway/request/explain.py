"""
What would be chosen for a request, and why every other would not be. Nothing is reserved and nothing is sent.

It goes the way of ``pipeline.answer`` up to the reservation, by the same functions: what it tells is what would happen.
"""

from __future__ import annotations

from math import inf

import msgspec
from msgspec import Struct

from gateway.request.engine import Engine
from gateway.request.pipeline import expect, first_lists, foresee, in_vain, look
from gateway.request.plan import held_back, plan
from gateway.request.prospects import Prospect
from gateway.request.tried import Tried
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
    lists, the higher score goes first, but for what is *held_back*, for reasons in words; the last resort comes after all
    others.
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
    held_back: list[str] = []


class Told(Struct, frozen=True, kw_only=True):
    """What the caller of this request would be told, where no deployment can serve it."""

    status: int
    code: str | None
    message: str
    retry_after: float | None


class Expected(Struct, frozen=True, kw_only=True):
    """
    What the request may expect where nothing can serve it now: when it would begin (unix seconds; None: not known),
    *behind* how many others, in how many seconds the quickest answer comes, and when its caller is expected to leave (None:
    that is not known). *waits*: it would wait for that; else it is told at once. *said* is all of it in words.
    """

    waits: bool
    begins_at: float | None
    behind: int
    answers_in: float
    leaves_at: float | None
    said: str


class Explanation(Struct, frozen=True, kw_only=True):
    """
    *chosen* is the first of *ranked*, if there is one. *opens_at* (unix seconds) is when the first of those who are
    excluded for a time could serve it, *expected* what the request would wait for, if it has to.
    """

    needs: Needs
    chosen: str | None
    ranked: list[Ranked]
    excluded: list[Exclusion]
    opens_at: float | None
    told: Told | None = None
    expected: Expected | None = None


async def explain(call: Call, engine: Engine) -> Explanation:
    """What would become of *call* now. Raises UnknownModel, and NoSource as long as the first lists are on their way."""
    if not engine.view.catalog.complete.is_set():
        await first_lists(call, engine)
    view, now = engine.view, engine.clock.now()
    tried, ticket = Tried(), engine.queue.enter(call.client, call.priority, call.deadline)
    foresee(call, tried, ticket, engine)
    chosen = plan(call, tried, view, now)
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
    likely: Prospect | None = None
    if not ready:
        likely = expect(chosen, call, tried, ticket, engine)
        error = in_vain(likely, chosen, call, tried, engine)
        if isinstance(error, UnknownModel):
            raise error
        told = _told(error)
    ranked = [
        _ranked(
            one,
            appraise(one, view.prices(now), view.health.expected(one.deployment.name), now, bid),
            held_back(one.deployment, call, tried, bid, view, now),
        )
        for one in ready
    ]
    return Explanation(
        needs=_shown(call, chosen.wants, bid, no_train=view.catalog.forbids_training(chosen.wants)),
        chosen=ranked[0].deployment if ranked else None,
        ranked=ranked,
        excluded=list(dict.fromkeys(excluded)),
        opens_at=min((reason.until for reason in excluded if reason.until is not None), default=None),
        told=told,
        expected=None if likely is None else _expected(likely, waits=ticket.can_wait(chosen.retry), now=now),
    )


def _expected(likely: Prospect, *, waits: bool, now: float) -> Expected:
    return Expected(
        waits=waits and not likely.hopeless,
        begins_at=None if likely.begins_at == inf else likely.begins_at,
        behind=likely.behind,
        answers_in=likely.answers_in,
        leaves_at=None if likely.leaves_at == inf else likely.leaves_at,
        said=likely.said(now),
    )


def _told(error: GatewayError) -> Told:
    return Told(status=error.status, code=error.code, message=error.message, retry_after=error.retry_after)


def _shown(call: Call, wants: Wants, bid: Bid, *, no_train: bool) -> Needs:
    return Needs(
        models=wants.models,
        instead_of=wants.instead_of,
        capabilities=sorted(wants.capabilities),
        parameters=sorted(wants.parameters),
        prompt_tokens=call.prompt_tokens,
        output_tokens=call.output_tokens,
        no_train=no_train,
        prefer=bid.prefer,
    )


def _ranked(candidate: Candidate, appraisal: Appraisal, held_back: list[str]) -> Ranked:
    deployment = candidate.deployment
    return Ranked(
        deployment=deployment.name,
        provider=deployment.provider.name,
        model=deployment.model,
        preference=candidate.preference,
        last_resort=deployment.last_resort,
        held_back=held_back,
        **msgspec.structs.asdict(appraisal),
    )
