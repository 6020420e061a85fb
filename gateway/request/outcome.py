"""
What is done after an attempt: what follows from a failure, and what an answer gives away of money.

The decisions are consequences.py's and proof.py's; here they are carried out.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.catalog.proof import disproof
from gateway.events import Changed, Withdrawn
from gateway.quota.nouns import Cost, Reservation
from gateway.request.consequences import CONSEQUENCES
from gateway.request.engine import Engine
from gateway.words import Deployment
from providers import failures as f
from providers.chat import Usage
from providers.observations import Observation

QUARANTINE = 7 * 86_400.0
"""Seconds that an account is out after it has cost money, unless a person lets it back in."""


def bear(failure: f.ProviderFailure, deployment: Deployment, held: Reservation, engine: Engine) -> None:
    """
    Do what follows from *failure*; raises a GatewayError if it is the caller's to hear.

    An answer that was interrupted counts as sent, whatever the cause; what its provider says of that is learned as if it
    had been said at once.
    """
    now = engine.clock.now()
    follows = CONSEQUENCES[type(failure)]
    if follows.debit == "kept":
        engine.ledger.settle(held, held.offer.cost, failure.observed)
    else:
        engine.ledger.refund(held, follows.debit, failure.observed)
    engine.health.left(deployment.name)
    check(deployment, None, failure.observed, engine)
    cause = failure.cause if isinstance(failure, f.Interrupted) else None
    if cause is None or not CONSEQUENCES[type(cause)].cools:
        _learn(failure, deployment, engine, now)
    if cause is not None:
        _learn(cause, deployment, engine, now)
    if follows.tells is not None:
        raise follows.tells(failure.message) from failure


def _learn(failure: f.ProviderFailure, deployment: Deployment, engine: Engine, now: float) -> None:
    """What *failure* means for those who come later."""
    follows = CONSEQUENCES[type(failure)]
    if follows.closes_bucket and isinstance(failure, f.RateLimited):
        _close(failure, deployment, engine, now)
    if follows.cools:
        until = failure.until if failure.until is not None else _after(now, failure.retry_in)
        engine.health.failed(deployment.name, failure.message, follows.cools, now, until)
    if follows.withdraws:
        name = deployment.provider.name if failure.account_wide else deployment.name
        gone = isinstance(failure, f.ModelGone)
        engine.catalog.experience.withdraw(name, now + follows.withdraws, failure.message, gone=gone)
        alarm = isinstance(failure, f.WouldCost | f.CredentialRejected)
        engine.tell(Withdrawn(name, failure.message, now + follows.withdraws, alarm))
        engine.tell(Changed("withdrawn", name, f"{type(failure).__name__}: {failure.message[:200]}", now))
    if follows.loses_capability and isinstance(failure, f.Unsupported) and failure.capability:
        engine.catalog.experience.learn(deployment.name, failure.capability, now, has=False)
        engine.tell(Changed("capability lost", deployment.name, failure.capability, now))


def settle(
    deployment: Deployment,
    held: Reservation,
    usage: Usage | None,
    said: tuple[Observation, ...],
    engine: Engine,
) -> None:
    """End the reservation of an answer, once, with the provider's own count where it gave one."""
    if usage is None:
        engine.ledger.settle(held, held.offer.cost, said)
    else:
        dollars = usage.prompt_tokens * deployment.prompt_price + usage.completion_tokens * deployment.output_price
        engine.ledger.settle(held, Cost(usage.prompt_tokens, usage.completion_tokens, dollars), said)
        engine.costs.add(deployment, usage, engine.clock.now())
    check(deployment, usage, said, engine)


def check(deployment: Deployment, usage: Usage | None, said: Iterable[Observation], engine: Engine) -> None:
    """The third lock: if the answer shows that money is spent, nothing more leaves for that account, from any replica."""
    sign = disproof(deployment, usage, said)
    if sign is None:
        return
    account, now = deployment.provider.name, engine.clock.now()
    engine.catalog.experience.withdraw(account, now + QUARANTINE, sign)
    for bucket in engine.catalog.buckets():
        if bucket.account == account:
            engine.ledger.close(bucket, QUARANTINE, sign)
    engine.tell(Withdrawn(account, sign, now + QUARANTINE, alarm=True))
    engine.tell(Changed("charged", account, sign, now))


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
