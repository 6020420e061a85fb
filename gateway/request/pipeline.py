"""
The life of one request, top to bottom.

    requirements → our turn → candidates → rank → reserve → send → settle
                       ▲                             │ no room │ failed
                       └───── wait, or give up ◄─────┴─────────┘

Everything that can happen to a request before its answer begins happens in ``answer``. The steps are elsewhere; the
order is here. Whoever says nothing for too long is raced by another in race.py; what happens after is in relay.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial

from gateway.events import Attempted
from gateway.quota.nouns import Reservation
from gateway.request.call import Wishes, requirements_of
from gateway.request.consequences import CONSEQUENCES
from gateway.request.engine import Answer, Attempt, Engine, Found
from gateway.request.outcome import bear
from gateway.request.queue import Place
from gateway.request.race import Racing
from gateway.request.rejections import full, given_up, in_vain
from gateway.routing.rank import rank
from gateway.words import Ask, Candidate, Exclusion, GatewayError, NoSource, Requirements
from providers import failures as f
from providers.dialect import Request


async def answer(ask: Ask, request: str, engine: Engine, failed: Iterable[Attempt] = ()) -> Answer:
    """
    Have *ask* answered by whichever free source can; *request* is its id, *failed* was tried for it before.

    Raises a GatewayError that says what was missing, or when to come back. Cancelling it cancels the upstream call.
    """
    needs = requirements_of(ask, engine.limits.output_tokens)
    if not engine.catalog.complete.is_set():
        await first_lists(needs, engine)
    line = engine.catalog.shape_of(needs), needs.tokens.bit_length()
    attempts = list(failed)
    with engine.waiting_room.place(line, ask.client, ask.priority, needs.deadline) as place:
        racing = Racing(request, attempts, partial(_send, ask, request, attempts, engine), engine)
        while len(attempts) < (engine.limits.max_attempts if needs.fallbacks else 1):
            begun = await racing.begun(await _reserve(needs, attempts, place, engine))
            if begun is not None:
                return begun
        raise await _worn_out(needs, attempts, engine)


async def _reserve(needs: Requirements, attempts: list[Attempt], place: Place, engine: Engine) -> Found:
    """
    The best deployment that has room now, or as soon as one has that our turn comes for.

    Raises a GatewayError if there is none, or none before the deadline.
    """
    too_late = await place.turn()
    while True:
        now = engine.clock.now()
        needs = engine.catalog.standing_in(needs, now)
        capable = _candidates(needs, attempts, engine)
        ranking = rank(capable, engine.prices.current(now), engine.health, now, engine.bid(needs))
        if too_late is not None:
            excluded = [
                *ranking.resting,
                *(Exclusion(d.name, "queue", "others wait for it, too") for d in ranking.best),
            ]
            raise given_up(needs, attempts, excluded, too_late, engine)
        held = await engine.ledger.reserve(Wishes(ranking.best, needs, engine.calibration))
        if isinstance(held, Reservation):
            full_now = (Exclusion(d.name, "quota", "has no room") for d in ranking.best[: held.place])
            skipped = (*full_now, *ranking.resting)
            found = Found(ranking.best[held.place], held, needs, skipped, place.waited)
            if await _may_be_sent(found, engine):
                place.through()
                return found
            continue
        excluded = [*ranking.resting, *full(ranking.best, held)]
        opens_at = min((e.until for e in excluded if e.until is not None), default=float("inf"))
        too_late = await place.wait(opens_at)
        if too_late is not None and too_late <= opens_at:
            raise given_up(needs, attempts, excluded, opens_at, engine)


async def _may_be_sent(found: Found, engine: Engine) -> bool:
    """Whether *found* is not being probed by another request, of whichever replica; else its debit is given back."""
    health, name, now = engine.health, found.deployment.name, engine.clock.now()
    try:
        if health.blocked_until(name, now) is None and (not health.trying(name, now) or await health.claim(name, now)):
            return True
    except BaseException:  # the caller left
        health.left(name)
        engine.ledger.refund(found.held)
        raise
    engine.ledger.refund(found.held)
    return False


async def _send(ask: Ask, request: str, attempts: list[Attempt], engine: Engine, found: Found) -> Answer | None:
    """
    The answer of *found*, once it has begun; None if it failed, and what follows from that is done.

    Raises a GatewayError if the failure is the caller's to hear. Cancelling it cancels the upstream call.
    """
    deployment, held, needs, now = found.deployment, found.held, found.needs, engine.clock.now()
    try:
        reply = await deployment.provider.send(deployment.target, Request(ask.view, ask.fields, needs.prompt_tokens))
    except f.ProviderFailure as failure:
        attempts.append(Attempt(deployment, failure, engine.clock.now() - now))
        engine.tell(Attempted(request, deployment.name, type(failure).__name__, failure.message))
        bear(failure, deployment, held, engine)
        return None
    except BaseException:  # the caller left, or we have a bug: what was sent counts as sent
        engine.health.left(deployment.name)
        engine.ledger.settle(held, held.offer.cost)
        raise
    began = engine.clock.now()
    engine.health.served(deployment.name, began)
    if cached_for := deployment.target.account.spec.prompt_cache:
        engine.sessions.served(needs.session, deployment.name, began + cached_for)
    return Answer(
        request=request,
        deployment=deployment,
        reply=reply,
        held=held,
        needs=needs,
        attempts=tuple(attempts),
        sent_at=now,
        first_content=began - now,
        passed_over=held.place,
        skipped=found.skipped,
        waited=found.waited,
    )


async def first_lists(needs: Requirements, engine: Engine) -> None:
    """
    After a cold start, wait for the first lists rather than deny what is there; not if one has what is needed.

    Raises NoSource if they do not come in time: nobody can say yet who serves what.
    """
    with suppress(GatewayError):
        engine.catalog.candidates(needs, engine.clock.now())
        return
    try:
        await asyncio.wait_for(engine.catalog.complete.wait(), max(0.0, needs.deadline - engine.clock.now()))
    except TimeoutError:
        try:
            engine.catalog.candidates(needs, engine.clock.now())
        except GatewayError:
            raise NoSource(
                "this gateway has just started and not heard from all sources yet", retry_after=1.0
            ) from None


def _candidates(needs: Requirements, attempts: list[Attempt], engine: Engine) -> Iterator[Candidate]:
    """Those that may serve; when an attempt has just taken the last of them away, its failure is what is told."""
    done = {a.deployment.name for a in attempts if not CONSEQUENCES[type(a.failure)].again}
    try:
        capable = engine.catalog.candidates(needs, engine.clock.now())
    except GatewayError:
        if attempts:
            return iter(())
        raise
    return (one for one in capable if one.deployment.name not in done) if done else capable


async def _worn_out(needs: Requirements, attempts: list[Attempt], engine: Engine) -> GatewayError:
    """What the caller is told who had as many attempts as there may be: others may have room already."""
    now = engine.clock.now()
    needs = engine.catalog.standing_in(needs, now)
    capable = _candidates(needs, attempts, engine)
    ranking = rank(capable, engine.prices.current(now), engine.health, now, engine.bid(needs))
    openings = await engine.ledger.openings([*Wishes(ranking.best, needs, engine.calibration)])
    opens = [now if opening is None or opening.when_freed else opening.opens_at for opening in openings]
    opens += [reason.until for reason in ranking.resting if reason.until is not None]
    return in_vain(attempts, min(opens, default=float("inf")), engine)
