"""
The way of a call, top to bottom: plan, hold, send, report.

       ┌─► plan ──► hold ──► send ──► report
       │    │                  └ failed ──┴──► again, within the attempt budget
       └────┴ nothing free: sleep until the plan's retry

Everything that can happen to a call before its answer begins happens in ``answer``. The steps are elsewhere, the order is
here. What happens after the head of the answer is in stream.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from gateway.quota.nouns import NoRoom, Reservation, Turn
from gateway.request import hedge, rejections
from gateway.request.call import Offers
from gateway.request.engine import Answer, Engine, Slot
from gateway.request.outcome import told
from gateway.request.plan import Plan, plan
from gateway.request.prospects import Prospect, awaited, prospect, refusal
from gateway.request.ticket import LONG, Ticket
from gateway.request.tried import Attempt, Tried, Wait
from gateway.routing.patience import FLOOR
from gateway.words import Call, Deployment, Exclusion, GatewayError

_OPENING = ("quota", "cooling", "queue")
"""The kinds of exclusions that pass while others are served."""


async def answer(call: Call, engine: Engine, failed: Iterable[Attempt] = ()) -> Answer:
    """
    Have *call* answered by whichever free deployment can; *failed* was tried for it before.

    Raises a GatewayError that says what was missing, or when to come back. Cancelling it cancels the upstream call.
    """
    tried = Tried(failed)
    budget = engine.limits.max_attempts if call.wants.fallbacks else 1
    engine.view.talents.asked(call.wants.capabilities, engine.clock.now())
    if not engine.view.catalog.complete.is_set():
        await first_lists(call, engine)
    with engine.queue.enter(call.client, call.priority, call.deadline) as ticket, learning(call, ticket, engine):
        await ticket.turn()
        while True:
            spent = tried.spent(budget)
            if spent or told(tried.attempts) is not None:
                await look(plan(call, tried, engine.view, engine.clock.now()), call, tried, engine)
                raise rejections.after(call, tried, spent=spent, view=engine.view, now=engine.clock.now())
            foresee(call, tried, ticket, engine)
            chosen = plan(call, tried, engine.view, engine.clock.now())
            offered = chosen.ranked
            if not offered:
                likely = expect(chosen, call, tried, ticket, engine)
                if ticket.can_wait(chosen.retry) and not likely.hopeless:
                    await sleep(chosen, call, tried, ticket, engine)
                    continue
                offered = chosen.full
                if not offered:
                    if likely.hopeless:
                        engine.queue.crowded()
                    raise in_vain(likely, chosen, call, tried, engine)
            slot = await hold(offered, chosen, call, tried, engine, Turn(call.client, ticket.wanting, ticket.priority))
            if slot is None:
                continue  # the next plan knows what was found out
            ticket.through()
            begun = await send(slot, tried, budget, engine)
            if begun is not None:
                return begun


async def hold(
    offered: Sequence[Deployment], chosen: Plan, call: Call, tried: Tried, engine: Engine, turn: Turn
) -> Slot | None:
    """
    The first of *offered* that has room now, with its debit made; None if none has, or it is not the call's *turn*, which
    *tried* then knows.

    Those of a plan that look full by the levels known here are offered, too, before a call is refused: others may have
    given something back.
    """
    offers = Offers(offered, call, engine.view.calibration, engine.ledger.limit, {}, engine.spaces.compared)
    held = await engine.ledger.reserve(offers, turn)
    if not isinstance(held, Reservation):
        tried.refused(offered, held)
        return None
    deployment = offered[held.place]
    if not await _may_be_sent(deployment.name, held, engine):
        return None
    full = (Exclusion(d.name, "quota", "has no room") for d in offered[: held.place])
    return Slot(call, chosen.wants, deployment, held, (*full, *chosen.unavailable), offers.request(held.place))


async def send(slot: Slot, tried: Tried, budget: int, engine: Engine) -> Answer | None:
    """See ``hedge.send``. A machine of one's own works on *slot* until it is over, or until its answer is (stream.py)."""
    name, machines, begun = slot.deployment.name, engine.view.machines, None
    if slot.deployment.proof.kind != "local":
        return await hedge.send(slot, tried, budget, engine)
    machines.sent(name, slot.held.id)
    try:
        begun = await hedge.send(slot, tried, budget, engine)
    finally:
        if begun is None or begun.slot is not slot:
            machines.ended(name, slot.held.id, engine.clock.now())
    return begun


async def look(chosen: Plan, call: Call, tried: Tried, engine: Engine) -> bool:
    """Whether one of those ranked has room now, without a debit; *tried* learns which have none."""
    offers = Offers(chosen.ranked, call, engine.view.calibration, engine.ledger.limit, {}, engine.spaces.compared)
    openings = await engine.ledger.openings([*offers])
    for deployment, opening in zip(chosen.ranked, openings, strict=True):
        if opening is not None:
            tried.refused([deployment], NoRoom((opening,)))
    return any(opening is None for opening in openings)


async def _may_be_sent(name: str, held: Reservation, engine: Engine) -> bool:
    """Whether no other call, of whichever replica, is the recovery trial of *name* already; else the debit is given back."""
    health, now = engine.view.health, engine.clock.now()
    try:
        if health.blocked(name, now) is None and (not health.trying(name, now) or await health.claim(name, now)):
            return True
    except BaseException:  # the caller left
        health.left(name)
        engine.ledger.refund(held)
        raise
    engine.ledger.refund(held)
    return False


def foresee(call: Call, tried: Tried, ticket: Ticket, engine: Engine) -> None:
    """Say in *tried* when the caller is expected to leave, and what others wait for."""
    now, view = engine.clock.now(), engine.view
    tried.stays_until = view.leaves_at(call, ticket.came_at, now, surely=True)
    crowded = engine.queue.is_crowded  # then others may stay more surely
    tried.leaves_at = tried.stays_until if crowded else view.leaves_at(call, ticket.came_at, now, surely=False)
    tried.others, tried.awaited = engine.queue.demand(), engine.queue.awaited()


def expect(chosen: Plan, call: Call, tried: Tried, ticket: Ticket, engine: Engine) -> Prospect:
    """What *call* may expect, whose *ticket* waits for what *chosen* leaves out."""
    ahead = engine.queue.ahead(ticket, awaited(chosen))
    likely = prospect(chosen, call, tried, ahead, engine.view, engine.clock.now())
    ticket.expect(likely)
    return likely


async def sleep(chosen: Plan, call: Call, tried: Tried, ticket: Ticket, engine: Engine) -> None:
    """
    Sleep until *chosen* says that another try is worth it; raises a GatewayError if there is no place to wait at.

    Where a proof has expired (this machine slept, say), the list that may renew it is asked for.
    """
    for reason in chosen.unavailable:
        if reason.kind == "proof":
            engine.refresh(reason.deployment.partition("/")[0])
    began, names = ticket.waited, tuple(reason.deployment for reason in chosen.unavailable)
    line = (chosen.wants, tried.over)
    if not await ticket.sleep(chosen.retry, line, call.tokens, awaited(chosen)):
        raise rejections.after(call, tried, spent=False, view=engine.view, now=engine.clock.now())
    first = min(chosen.unavailable, key=_opening)
    tried.woke(Wait(ticket.waited - began, ticket.behind, names, first.reason))


def in_vain(likely: Prospect, chosen: Plan, call: Call, tried: Tried, engine: Engine) -> GatewayError:
    """What to tell the caller of *call*, for which waiting is of no use."""
    now = engine.clock.now()
    opens = any(reason.kind in _OPENING for reason in chosen.unavailable)
    if not likely.hopeless or not opens or tried.attempts:
        return rejections.after(call, tried, spent=False, view=engine.view, now=now)
    return refusal(likely, chosen, now)


@contextmanager
def learning(call: Call, ticket: Ticket, engine: Engine) -> Iterator[None]:
    """Learn from how *call* ends how long the like of its caller stay, if it had to wait: for room, or for an answer to begin."""
    left = False
    try:
        yield
    except asyncio.CancelledError:
        left = True
        raise
    finally:
        now = engine.clock.now()
        if ticket.waited >= LONG or now - ticket.came_at >= FLOOR:
            engine.view.patience.stayed(call.alike, now - ticket.came_at, now, left=left)
            if left:
                engine.queue.reconsider(call.client)


def _opening(reason: Exclusion) -> float:
    """What was waited for is what opens first; what has no moment may open at any."""
    return 0.0 if reason.when_freed else float("inf") if reason.until is None else reason.until


async def first_lists(call: Call, engine: Engine) -> None:
    """
    After a cold start, wait for the first lists rather than deny what is there; not if one has what is needed.

    Raises NoSource if they do not come in time: it is not known yet which deployment serves what.
    """
    catalog = engine.view.catalog
    if plan(call, Tried(), engine.view, engine.clock.now()).ranked:
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(catalog.complete.wait(), max(0.0, call.deadline - engine.clock.now()))
    if not catalog.complete.is_set() and not plan(call, Tried(), engine.view, engine.clock.now()).ranked:
        raise rejections.starting()
