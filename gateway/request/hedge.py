"""
Sending, and hedging: a call whose deployment says nothing for too long is sent to a second one, too.

    first ──► begins, or fails, within our patience ────────────► that is all
      └ silent: second ──► the first to begin serves, the other is cancelled; one fails: the other goes on

A source that says nothing is mostly a request that hangs: another that is asked at the same time answers sooner than its
timeout comes (Dean and Barroso, *The tail at scale*, CACM 2013). What it costs is a request of the second source, so that
is one of which there is plenty. Where none has room, the call waits for that in the queue, as others do, and takes what
comes first. A call is hedged once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from gateway.events import Attempted, Hedged, Leaving
from gateway.quota.nouns import Reservation
from gateway.request import images, lacking, outcome, promises
from gateway.request.bounds import typical
from gateway.request.call import Offers
from gateway.request.engine import Answer, Engine, Slot
from gateway.request.plan import Plan, Retry, plan
from gateway.request.stream import visible
from gateway.request.tried import Attempt, Tried
from gateway.routing.affinity import TOOLS_FOR
from gateway.routing.hedging import may_hedge_to, patience
from gateway.routing.latency import Point
from gateway.routing.rank import price_of
from gateway.routing.silence import Asked
from gateway.routing.talents import unneeded
from gateway.words import Deployment, Stopping
from providers.dialect import AnyRequest, Request
from providers.embeddings import Embeddings, EmbedRequest
from providers.failures import ProviderFailure, Superseded, Unreachable

LOST = 2.0
"""How many times as long as patience lasts a source may be silent before its request is taken for lost."""


async def send(slot: Slot, tried: Tried, budget: int, engine: Engine) -> Answer | None:
    """
    The answer of *slot*, or of a second deployment that was asked, too, once it has begun. None: all that were asked
    failed, which *tried* then knows, and what follows from it is done. Cancelling it cancels all upstream calls.
    """
    if tried.hedged or engine.limits.hedge == "off" or tried.spent(budget, under_way=1):
        return await _attempt(slot, _sent(slot, engine), tried, engine)
    asked_at, before = engine.clock.now(), len(tried.attempts)
    begun: Answer | None = None
    first_asked = _sent(slot, engine)
    tasks = [asyncio.ensure_future(_attempt(slot, first_asked, tried, engine))]
    try:
        stays = math.inf if engine.queue.is_crowded else tried.stays_until - asked_at
        await _until_over(tasks[0], _patience(slot, asked_at, engine, stays), engine)
        unheard = not (tasks[0].done() or first_asked.heard)
        if unheard and first_asked.overdue(engine.clock.now()) and slot.deployment.proof.kind != "local":
            engine.find_out(slot.deployment.provider)  # one on this machine loads its model, maybe
        other = await _another_meanwhile(tasks[0], slot, first_asked, tried, engine) if unheard else None
        if other is None:
            begun = await tasks[0]
            return begun
        tried.hedged, silent = True, engine.clock.now() - asked_at
        tasks.append(asyncio.ensure_future(_attempt(other, _sent(other, engine), tried, engine)))
        try:
            begun = await _first_to_begin(tasks, tried)
        finally:
            won = begun is not None and begun.slot is other
            engine.tell(Hedged(slot.call.id, other.deployment.name, "won" if won else "lost"))
        return begun and _with_loser(begun, slot, other, silent, tried.attempts[before:], engine)
    finally:
        for task in tasks:
            _drop(task, begun, engine)


async def _until_over(first: asyncio.Future[Answer | None], seconds: float, engine: Engine) -> None:
    """Return when *first* is over, or *seconds* have passed on our clock."""
    over = asyncio.get_running_loop().create_future()

    def end(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    timer = engine.clock.call_later(seconds, end)
    first.add_done_callback(end)
    try:
        await over
    finally:
        timer.cancel()
        first.remove_done_callback(end)


async def _first_to_begin(tasks: Sequence[asyncio.Future[Answer | None]], tried: Tried) -> Answer | None:
    """
    The answer of the first of *tasks* that has one; None if all failed, or the first says that the request is at fault.
    A bug in asking the second one does not cost the answer of the first.
    """
    first, second = tasks
    pending = set(tasks)
    while pending:
        _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if first.done() and (begun := first.result()) is not None:
            return begun
        if second.done() and second.exception() is None and (begun := second.result()) is not None:
            return begun
        if first.done() and outcome.told(tried.attempts) is not None:
            break
    return None


def _drop(task: asyncio.Future[Answer | None], begun: Answer | None, engine: Engine) -> None:
    """*task* is no longer waited for: it is cancelled; what it gave, unless it is what *begun*, is closed and paid for."""

    def end(done: asyncio.Future[Answer | None]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is not None:
            told = {"message": "a second deployment could not be asked", "exception": error, "future": done}
            asyncio.get_running_loop().call_exception_handler(told)
            return
        answer = done.result()
        if answer is not None and answer is not begun:
            answer.reply.close()
            whole = answer.reply.whole
            usage = None if whole is None else whole.usage
            outcome.settle(answer.slot, usage, answer.reply.observed + answer.reply.cost, engine)

    if task.done():
        end(task)
    else:
        task.cancel()
        task.add_done_callback(end)


def _sent(slot: Slot, engine: Engine) -> Asked:
    """
    The request of *slot* as it is about to be sent, of which others know at once; and how long its silence means nothing,
    however long its caller stays. A model on this machine that loads is silent, too, and not watched.
    """
    now, pace, tokens = engine.clock.now(), engine.view.health.pace(slot.deployment.name), _tokens(slot, engine)
    asked = Asked.of(slot.deployment.name, now, pace, tokens, patience(pace, tokens, math.inf))
    if slot.deployment.proof.kind != "local":
        engine.view.health.sent(asked)
    return asked


def _request(slot: Slot, engine: Engine) -> AnyRequest:
    """
    What is sent: the caller's request, which says that it may not be trained on, if caller or client forbids that, and asks
    for what shows whose vectors these are, where that is not known.
    """
    request = slot.request
    if isinstance(request, EmbedRequest):
        return engine.spaces.controlled(slot.deployment, request)
    if isinstance(request, Request) and engine.view.catalog.forbids_training(slot.wants):
        return msgspec.structs.replace(request, no_train=True)
    return request


async def _as_taken(slot: Slot, tried: Tried, engine: Engine) -> tuple[AnyRequest, tuple[str, ...]]:
    """The request as the deployment of *slot* takes it, and what was made up for that. Raises a ProviderFailure."""
    request, made_up = _request(slot, engine), list[str]()
    if isinstance(request, Request) and "json_schema" in slot.call.wants.capabilities - slot.wants.capabilities:
        request = msgspec.structs.replace(request, schema_told=True)
        made_up.append("JSON schema by instruction")
    addresses = images.addresses_for(slot.deployment, request) if engine.fetch is not None else []
    if addresses and engine.fetch is not None:
        request = await images.inlined(request, addresses, engine.fetch, tried.images)
        made_up.append(f"images fetched: {len(addresses)}")
    return request, tuple(made_up)


async def _attempt(slot: Slot, asked: Asked, tried: Tried, engine: Engine) -> Answer | None:
    """Ask the deployment of *slot*: its answer once it has begun, or None if it failed, and that is reported."""
    deployment, call, health, sent_at = slot.deployment, slot.call, engine.view.health, asked.at
    engine.tell(Leaving(deployment.name, slot.call.id))
    first_content = 0.0
    overdue = engine.clock.call_later(asked.overdue_in, lambda: health.overdue(asked, engine.clock.now()))
    try:
        request, made_up = await _as_taken(slot, tried, engine)
        reply = await deployment.provider.send(deployment.target, request)
        now = engine.clock.now()
        health.heard(asked, now)
        first_content = now - sent_at
        if isinstance(reply.whole, Embeddings) and isinstance(request, EmbedRequest):
            reply.whole = engine.spaces.verify(deployment, request, reply.whole)
        elif reply.whole is not None:
            promises.verify(slot, reply.whole, tried.attempts)
        elif call.hides_reasoning:
            await visible(reply)
    except ProviderFailure as failure:
        now = engine.clock.now()
        if not asked.heard and (failure.reached == "refused" or not isinstance(failure, Unreachable)):
            health.heard(asked, now)
        else:
            health.unheard(asked, now)
        engine.tell(Attempted(call.id, deployment.name, type(failure).__name__, failure.message))
        tried.add(outcome.report(failure, slot, now - sent_at, engine))
        outcome.acquit(tried.attempts, engine)
        return None
    except BaseException:  # the caller left, or another was quicker: the provider has it
        health.unheard(asked, engine.clock.now())
        outcome.settle(slot, None, (), engine)
        raise
    finally:
        overdue.cancel()
    return _begun(
        Answer(slot, reply, tuple(tried.attempts), sent_at, first_content, tuple(tried.waits), made_up=made_up), engine
    )


def _begun(found: Answer, engine: Engine) -> Answer:
    """*found*, an answer that has begun, from which what others need to know is learned."""
    deployment, call, affinity, now = found.deployment, found.call, engine.view.affinity, engine.clock.now()
    engine.view.health.served(deployment.name, now)
    outcome.served(deployment, found.sent_at, engine)
    engine.view.catalog.learned.accept(deployment.provider.name, now, engine.tell)
    lacking.compare(found.attempts, found.slot, engine)
    stayed = affinity.warm(call.session, now) == deployment.name
    warm_for = max(deployment.provider.spec.prompt_cache, TOOLS_FOR if "tools" in call.wants.capabilities else 0.0)
    if warm_for:
        affinity.served(call.session, deployment.name, now + warm_for)
    return msgspec.structs.replace(found, stayed=stayed)


# ── the second one ──


async def _another_meanwhile(
    first_answer: asyncio.Future[Answer | None], first: Slot, asked: Asked, tried: Tried, engine: Engine
) -> Slot | None:
    """As ``_another``; None, too, if *first_answer* comes, or fails, before another has room."""
    seeking, found = asyncio.ensure_future(_another(first, asked, tried, engine)), None
    try:
        await asyncio.wait((first_answer, seeking), return_when=asyncio.FIRST_COMPLETED)
        if not first_answer.done():
            found = seeking.result()
        return found
    finally:
        if found is None:
            seeking.cancel()
            seeking.add_done_callback(partial(_give_back, engine))


def _give_back(engine: Engine, seeking: asyncio.Future[Slot | None]) -> None:
    """What a search that is no longer waited for has found is given back."""
    if not seeking.cancelled() and seeking.exception() is None and (slot := seeking.result()) is not None:
        engine.ledger.refund(slot.held)


async def _another(first: Slot, asked: Asked, tried: Tried, engine: Engine) -> Slot | None:
    """
    One that may be asked, too, with its debit made, once one has room: the call waits for that as others do. None if none
    will have room before its deadline. Once *first* has been silent for twice as long as patience lasts, it is taken for
    lost, and the call for one that was never sent: it takes what is dear, too.
    """
    call, lost_at = first.call, asked.at + LOST * asked.overdue_in
    dear = set[str]()
    with suppress(Stopping), engine.queue.enter(call.client, call.priority, call.deadline) as ticket:
        await ticket.turn()
        while True:
            tried.look_again()
            chosen = plan(call, tried, engine.view, engine.clock.now())
            lost = engine.clock.now() >= lost_at
            if lost:
                dear.clear()
            slot = await _hold(first, asked, chosen, engine, dear, lost=lost)
            if slot is not None:
                ticket.through()
                return slot
            line = (chosen.wants, tried.over, "hedge")
            retry = chosen.retry if lost else Retry(min(chosen.retry.at, lost_at), chosen.retry.when_freed)
            if not ticket.can_wait(retry) or not await ticket.sleep(retry, line, call.tokens):
                break
    return None


async def _hold(first: Slot, asked: Asked, chosen: Plan, engine: Engine, dear: set[str], *, lost: bool) -> Slot | None:
    """
    The best of *chosen* that may be asked, too, if it has room right now, with its debit made. One that the debit makes *dear*
    is not tried twice: what is given back wakes those that wait, and they would take it in turns for as long as it is so.
    """
    fit = [one for one in chosen.ranked if one.name not in dear and _fits(one, first, asked, engine, lost=lost)]
    while fit:
        offers = Offers(fit, first.call, engine.view.calibration, engine.ledger.limit, {}, engine.spaces.compared)
        held = await engine.ledger.reserve(offers)
        if not isinstance(held, Reservation):
            return None
        if _fits(fit[held.place], first, asked, engine, lost=lost):  # by what the ledger has just said of its buckets
            return Slot(first.call, chosen.wants, fit[held.place], held, first.skipped, offers.request(held.place))
        dear.add(fit[held.place].name)
        engine.ledger.refund(held)
        fit = fit[held.place + 1 :]
    return None


def _fits(deployment: Deployment, first: Slot, asked: Asked, engine: Engine, *, lost: bool) -> bool:
    """
    A provider that hangs hangs mostly for all its models, unless something came from it since *first* was *asked*; and this is
    not how to find out whether one has recovered, nor what the last ways to a talent are for. If *first* is *lost*, all fit but the
    last resort, and what the same machine of one's own would have to load besides.
    """
    if deployment is first.deployment or engine.view.health.ailing(deployment.name):
        return False
    same = deployment.provider.name == first.deployment.provider.name
    local = deployment.proof.kind == "local"
    if lost and not deployment.last_resort and not (same and local):
        return True
    if same and (local or not engine.view.health.silence.spoke(deployment.provider.name, asked.at)):
        return False
    now, view = engine.clock.now(), engine.view
    prices = view.prices(now)
    if unneeded(deployment, first.wants.capabilities, view.talents.last_ways(view.catalog.deployments(), prices, now)):
        return False
    price = price_of(deployment, prices, now, first.call.tokens)[0]
    return may_hedge_to(deployment, price, engine.limits.hedge)


def _patience(slot: Slot, asked_at: float, engine: Engine, stays: float = math.inf) -> float:
    pace = engine.view.health.pace(slot.deployment.name)
    return patience(pace, _tokens(slot, engine), slot.call.deadline - asked_at, stays)


def _tokens(slot: Slot, engine: Engine) -> int:
    """How long an answer that comes in one piece mostly is; 0: it comes as a stream."""
    if slot.call.streams:
        return 0
    mostly = typical(slot.call, slot.deployment.model, engine.view.calibration)
    return round(mostly) or int(slot.held.offer.cost.output)


# ── the one that lost ──


def _with_loser(
    begun: Answer, first: Slot, second: Slot, silent: float, failed: Iterable[Attempt], engine: Engine
) -> Answer:
    """*begun*, which tells of the deployment that lost. If that was slow and did not fail, its pace is known from now on."""
    now = engine.clock.now()
    if begun.slot is second:
        loser, asked_at, took = first, begun.sent_at - silent, silent
        said = f"silent for {silent:.1f} s; asked too: {second.deployment.name}"
    else:
        loser, asked_at, took = second, begun.sent_at + silent, 0.0  # its time went by anyway
        said = f"asked too after {silent:.1f} s of silence of {first.deployment.name}"
    if any(attempt.deployment is loser.deployment for attempt in failed):
        return begun
    if loser.deployment.proof.kind != "local" and now - asked_at >= _patience(loser, asked_at, engine):
        point = Point(float(_tokens(loser, engine)), now - asked_at)
        engine.view.health.timed(loser.deployment.name, [point], now)
    lost = Attempt(loser.deployment, Superseded(said), took, again=True)
    return msgspec.structs.replace(begun, attempts=(*begun.attempts, lost))
