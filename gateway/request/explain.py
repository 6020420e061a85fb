"""
What would be chosen for a request, and why everybody else would not be. Nothing is reserved and nothing is sent.

It goes the way of ``pipeline.answer`` up to the reservation, by the same functions: what it tells is what would happen.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from gateway.quota.nouns import NoRoom
from gateway.request.call import Wishes, requirements_of
from gateway.request.engine import Engine
from gateway.request.pipeline import first_lists
from gateway.request.rejections import full
from gateway.routing.rank import Appraisal, appraise, rank
from gateway.words import Ask, Candidate, Deployment, Exclusion, GatewayError, Requirements, UnknownModel


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
    A deployment that could serve the request now, and its *score*, which is made of its *worth*, the *price* of what
    others will miss, how many *seconds* a typical answer takes (None if that is not known) and whether it is *warm*: has
    the beginning of the conversation in a cache. Among those of one *place* in the caller's own lists the higher score goes
    first; the last resort comes after all others.
    """

    deployment: str
    provider: str
    model: str
    place: tuple[int, int]
    score: float
    worth: float
    price: float
    seconds: float | None
    warm: bool
    last_resort: bool


class Told(Struct, frozen=True, kw_only=True):
    """What the caller of this request would be told, where nobody can serve it."""

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


async def explain(ask: Ask, engine: Engine) -> Explanation:
    """What would become of *ask* now. Raises UnknownModel, and NoSource as long as the first lists are on their way."""
    needs = requirements_of(ask, engine.limits.output_tokens)
    if not engine.catalog.complete.is_set():
        await first_lists(needs, engine)
    now = engine.clock.now()
    needs = engine.catalog.standing_in(needs, now)
    bid = engine.bid(needs)
    shown = _shown(needs, bid.prefer)
    excluded = [reason for _, reason in engine.catalog.exclusions(needs, now)]
    try:
        candidates = list(engine.catalog.candidates(needs, now))
    except UnknownModel:
        raise
    except GatewayError as error:
        told = Told(status=error.status, code=error.code, message=error.message, retry_after=error.retry_after)
        return Explanation(
            needs=shown, chosen=None, ranked=[], excluded=excluded, opens_at=_opens_at(excluded), told=told
        )
    prices = engine.prices.current(now)
    ranking = rank(candidates, prices, engine.health, now, bid)
    ready, crowded = await _with_room(ranking.best, needs, engine)
    excluded += [*ranking.resting, *crowded]
    seen = {d.name for d in ready} | {reason.deployment for reason in excluded}
    excluded += [
        Exclusion(one.deployment.name, "rank", "enough others are worth more")
        for one in candidates
        if one.deployment.name not in seen
    ]
    by_name = {one.deployment.name: one for one in candidates}
    ranked = [_ranked(one, appraise(one, prices, engine.health, now, bid)) for one in (by_name[d.name] for d in ready)]
    return Explanation(
        needs=shown,
        chosen=ranked[0].deployment if ranked else None,
        ranked=ranked,
        excluded=excluded,
        opens_at=_opens_at(excluded),
    )


async def _with_room(
    ranked: list[Deployment], needs: Requirements, engine: Engine
) -> tuple[list[Deployment], list[Exclusion]]:
    """Those of *ranked* that have room now, and when the others have."""
    ready, crowded, refusals = [], [], []
    openings = await engine.ledger.openings(list(Wishes(ranked, needs, engine.calibration)))
    for deployment, opening in zip(ranked, openings, strict=True):
        if opening is None:
            ready.append(deployment)
        else:
            crowded.append(deployment)
            refusals.append(opening)
    return ready, full(crowded, NoRoom(tuple(refusals)))


def _opens_at(excluded: list[Exclusion]) -> float | None:
    return min((reason.until for reason in excluded if reason.until is not None), default=None)


def _shown(needs: Requirements, prefer: str) -> Needs:
    return Needs(
        models=needs.models,
        instead_of=needs.instead_of,
        capabilities=sorted(needs.capabilities),
        parameters=sorted(needs.parameters),
        prompt_tokens=needs.prompt_tokens,
        output_tokens=needs.output_tokens,
        no_train=needs.no_train,
        prefer=prefer,
    )


def _ranked(candidate: Candidate, appraisal: Appraisal) -> Ranked:
    deployment = candidate.deployment
    return Ranked(
        deployment=deployment.name,
        provider=deployment.provider.name,
        model=deployment.model,
        place=candidate.place,
        last_resort=deployment.last_resort,
        **msgspec.structs.asdict(appraisal),
    )
