"""
The life of one request, top to bottom.

    requirements → candidates → rank → reserve → send → settle
                       ▲                  │ none has room     │ failed
                       └── wait, or give up ◄─────────────────┘

Everything that can happen to a request before its answer begins happens in ``answer``. The steps are elsewhere; the
order is here. What happens after is in relay.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct

from gateway.admission import WaitingRoom
from gateway.catalog.catalog import Catalog
from gateway.clock import Clock
from gateway.consequences import CONSEQUENCES
from gateway.events import Attempted, Event, Withdrawn
from gateway.health import Health
from gateway.ledger.ledger import Ledger
from gateway.ledger.nouns import NoRoom, Reservation
from gateway.requirements import Wishes, requirements_of
from gateway.router import rank
from gateway.settings import Requests
from gateway.words import Ask, Deployment, Exclusion, GatewayError, NoCapacity, NoSource, NothingCapable, Requirements
from providers import failures as f
from providers.client import Reply
from providers.dialect import Request
from providers.observations import Observation


class Engine(Struct, frozen=True):
    """What a request is served with. Built once, in app.py."""

    catalog: Catalog
    ledger: Ledger
    health: Health
    waiting_room: WaitingRoom
    clock: Clock
    limits: Requests
    tell: Callable[[Event], None]


class Attempt(Struct, frozen=True):
    """A deployment that was asked and failed."""

    deployment: Deployment
    failure: f.ProviderFailure


class Answer(Struct, frozen=True):
    """A reply that has begun, the reservation it must settle, and how we came by it."""

    request: str
    deployment: Deployment
    reply: Reply
    held: Reservation
    needs: Requirements
    attempts: tuple[Attempt, ...]
    sent_at: float
    first_content: float  # seconds from sending to the head of the answer
    passed_over: int  # better places that had no room: refusals that were never provoked


async def answer(ask: Ask, request: str, engine: Engine) -> Answer:
    """
    Have *ask* answered by whichever free source can; *request* is its id.

    Raises a GatewayError that says what was missing, or when to come back. Cancelling it cancels the upstream call.
    """
    needs = requirements_of(ask, engine.limits.output_tokens)
    if not engine.catalog.complete.is_set():
        await _first_lists(needs, engine)
    attempts: list[Attempt] = []
    while len(attempts) < engine.limits.max_attempts:
        now = engine.clock.now()
        capable = _candidates(needs, attempts, engine)
        rested, excluded = _rested(capable, engine, now)
        ranked = rank(needs, rested, engine.ledger.shares(), now, engine.health.latency, _preference(needs, engine))
        held = await engine.ledger.reserve(Wishes(ranked, needs))
        if isinstance(held, NoRoom):
            excluded += _full(ranked, held)
            opens_at = min((e.until for e in excluded if e.until is not None), default=float("inf"))
            if not await engine.waiting_room.wait(opens_at, needs.deadline):
                raise _given_up(needs, attempts, excluded, opens_at, now)
            continue
        deployment = ranked[held.place]
        engine.health.trying(deployment.name, now)
        try:
            reply = await deployment.provider.send(
                deployment.target, Request(ask.view, ask.fields, needs.prompt_tokens)
            )
        except f.ProviderFailure as failure:
            attempts.append(Attempt(deployment, failure))
            engine.tell(Attempted(request, deployment.name, type(failure).__name__, failure.message))
            bear(failure, deployment, held, engine)
        except BaseException:  # the caller left, or we have a bug: what was sent counts as sent
            engine.health.left(deployment.name)
            engine.ledger.settle(held, held.wanted.cost)
            raise
        else:
            first_content = engine.clock.now() - now
            engine.health.served(deployment.name, first_content)
            return Answer(request, deployment, reply, held, needs, tuple(attempts), now, first_content, held.place)
    raise _given_up(needs, attempts, [], float("inf"), engine.clock.now())


def bear(failure: f.ProviderFailure, deployment: Deployment, held: Reservation, engine: Engine) -> None:
    """Do what follows from *failure*; raises a GatewayError if it is the caller's to hear."""
    now = engine.clock.now()
    follows = CONSEQUENCES[type(failure)]
    if follows.debit == "kept":
        engine.ledger.settle(held, held.wanted.cost, failure.observed)
    else:
        engine.ledger.refund(held, follows.debit, failure.observed)
    engine.health.left(deployment.name)
    if follows.closes_bucket and isinstance(failure, f.RateLimited):
        _close(failure, deployment, engine, now)
    if follows.cools:
        until = failure.until if failure.until is not None else _after(now, failure.retry_in)
        engine.health.failed(deployment.name, failure.message, follows.cools, now, until)
    if follows.withdraws:
        name = deployment.provider.name if failure.account_wide else deployment.name
        engine.catalog.withdraw(name, now + follows.withdraws, failure.message)
        alarm = isinstance(failure, f.WouldCost | f.CredentialRejected)
        engine.tell(Withdrawn(name, failure.message, now + follows.withdraws, alarm))
    if follows.loses_capability and isinstance(failure, f.Unsupported) and failure.capability:
        engine.catalog.lose(deployment, failure.capability)
    if follows.tells is not None:
        raise follows.tells(failure.message) from failure


async def _first_lists(needs: Requirements, engine: Engine) -> None:
    """After a cold start, wait for the first lists rather than deny what is there; not if one has what is needed."""
    try:
        engine.catalog.candidates(needs, engine.clock.now())
    except GatewayError:
        with suppress(TimeoutError):
            await asyncio.wait_for(engine.catalog.complete.wait(), max(0.0, needs.deadline - engine.clock.now()))


def _candidates(needs: Requirements, attempts: list[Attempt], engine: Engine) -> list[Deployment]:
    """Those that may serve; when an attempt has just taken the last of them away, its failure is what is told."""
    done = {a.deployment.name for a in attempts if not CONSEQUENCES[type(a.failure)].again}
    try:
        capable = engine.catalog.candidates(needs, engine.clock.now())
    except GatewayError:
        if attempts:
            return []
        raise
    return [deployment for deployment in capable if deployment.name not in done] if done else capable


def _rested(capable: list[Deployment], engine: Engine, now: float) -> tuple[list[Deployment], list[Exclusion]]:
    """*capable* without those that are cooling, and why those are left out."""
    rested, cooling = [], []
    for deployment in capable:
        blocked = engine.health.blocked_until(deployment.name, now)
        if blocked is None:
            rested.append(deployment)
        else:
            cooling.append(Exclusion(deployment.name, f"cooling: {blocked[1]}", blocked[0]))
    return rested, cooling


def _preference(needs: Requirements, engine: Engine) -> str:
    return engine.catalog.prefers(needs.models[0])


def _close(failure: f.RateLimited, deployment: Deployment, engine: Engine, now: float) -> None:
    """
    Close the bucket that the provider named, until it said it opens; cool the deployment if it named none of ours.

    Of a rolling window that nobody knows the end of, all is used now, and comes back as what we took ourselves leaves it;
    whether that was the reason is found out with growing pauses.
    """
    until = failure.until if failure.until is not None else _after(now, failure.retry_in)
    named = [
        bucket
        for bucket in deployment.buckets
        if failure.unit in (None, bucket.unit) and failure.window in (None, bucket.window_name)
    ]
    if failure.unit is None and failure.window is None:
        named = [bucket for bucket in named if bucket.unit == "requests"][:1]
    for bucket in named:
        if until is None and bucket.window == "rolling":
            used_up = Observation(bucket.unit, bucket.window_name, remaining=0.0, by="a refusal")
            engine.ledger.observe([bucket], [used_up], now)
            engine.health.failed(deployment.name, failure.message, 2.0, now)
        else:
            engine.ledger.close(bucket, None if until is None else until - now, failure.message)
    if not named:
        engine.health.failed(deployment.name, failure.message, 30.0, now, until)


def _after(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


def _full(ranked: list[Deployment], no_room: NoRoom) -> list[Exclusion]:
    reasons = []
    for deployment, (bucket, opens) in zip(ranked, no_room.refusals, strict=True):
        if opens == float("inf"):
            reasons.append(Exclusion(deployment.name, f"the request outgrows {bucket.limit:g} {bucket.key}"))
        else:
            reasons.append(
                Exclusion(deployment.name, f"{bucket.limit:g} {bucket.unit} a {bucket.window_name} are used", opens)
            )
    return reasons


def _given_up(
    needs: Requirements, attempts: list[Attempt], excluded: list[Exclusion], opens_at: float, now: float
) -> GatewayError:
    """What the caller is told when nothing is left to try, or not soon enough."""
    reasons = tuple(Exclusion(a.deployment.name, f"{type(a.failure).__name__}: {a.failure.message}") for a in attempts)
    if attempts and opens_at == float("inf"):
        last = CONSEQUENCES[type(attempts[-1].failure)].last
        if last is not None and all(CONSEQUENCES[type(a.failure)].last for a in attempts):
            return last(attempts[-1].failure.message, excluded=reasons)
        tried = "; ".join(f"{reason.deployment}: {reason.reason}" for reason in reasons)
        return NoSource(f"every source that was tried failed ({tried})", excluded=reasons)
    if opens_at == float("inf"):
        return NothingCapable(
            f"no free source has a quota for about {needs.prompt_tokens} tokens and an answer of {needs.output_tokens} "
            f"at once; bound the answer by max_tokens, send fewer tools or less text, or add another source's key",
            excluded=tuple(excluded),
        )
    wait = max(1.0, opens_at - now)
    return NoCapacity(
        f"every free source that fits is at its limit; the first opens in {wait:.0f} s",
        retry_after=wait,
        excluded=(*reasons, *excluded),
    )
