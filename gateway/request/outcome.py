"""
What an attempt came to, and what follows from it: for its debit, for the deployment's health, for the catalog, and for the
call. The policy is one table; it is carried out here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from msgspec import Struct, structs

from gateway.catalog.fitness import NO_TRAIN
from gateway.catalog.learned import OfKey
from gateway.catalog.proof import cost_told, dearer, disproof, owed
from gateway.catalog.quarantine import quarantine
from gateway.events import Changed, Counted, Left, ProofRead, Withdrawn
from gateway.quota.buckets import Bucket, shortest, window_length
from gateway.quota.nouns import LONGEST_REASON, Cost, Reservation, Unserved, keeps
from gateway.request.engine import Engine, Slot
from gateway.request.poison import LATELY, is_poisonous, looks_poisoned
from gateway.request.spoken import explained
from gateway.request.tried import INSTANT, Attempt
from gateway.routing.limits import HINTED_BY, SAID_BY, alike
from gateway.words import BadRequest, Deployment, GatewayError, NothingCapable, Refused, TooLong
from providers import failures as f
from providers.chat import Usage
from providers.dialect import Request
from providers.observations import Observation, longest_wait
from providers.words import stated_context

HOUR, DAY = 3600.0, 86_400.0


class Consequence(Struct, frozen=True):
    """
    *cools*: seconds for which the deployment is left alone, doubled with each failure; 0: not at all. *forgives*: so many
    such failures in a row are borne with before. *closes_bucket*: the bucket that the provider named closes.
    *withdraws*: seconds for which the deployment (or, if the failure is account-wide, the account) leaves; *refused*: this key's.
    *loses_capability*: the deployment is believed no more to have the capability that the failure names.
    *again*: the same deployment may be asked for the same call, once its pause is over.
    *tells*: the request is at fault and its caller hears it at once; *last*: if every deployment that was asked says so.
    """

    cools: float = 0.0
    forgives: int = 0
    closes_bucket: bool = False
    withdraws: float = 0.0
    refused: OfKey | None = None
    loses_capability: bool = False
    again: bool = False
    tells: type[GatewayError] | None = None
    last: type[GatewayError] | None = None


CONSEQUENCES: dict[type[f.ProviderFailure], Consequence] = {
    f.RateLimited: Consequence(closes_bucket=True, again=True),
    f.Busy: Consequence(cools=5.0, again=True),
    f.TooLarge: Consequence(last=NothingCapable),
    f.WouldCost: Consequence(withdraws=DAY),
    f.OtherWeights: Consequence(withdraws=7 * DAY),
    f.ModelGone: Consequence(withdraws=DAY),
    f.CredentialRejected: Consequence(withdraws=HOUR, refused="key"),
    f.NotEntitled: Consequence(withdraws=DAY, refused="model"),
    f.CallersFault: Consequence(tells=Refused),
    f.RefusedHere: Consequence(loses_capability=True, last=Refused),
    f.ContextTooLong: Consequence(last=TooLong),
    f.Unsupported: Consequence(loses_capability=True, last=BadRequest),
    f.ContentRefused: Consequence(tells=Refused),
    f.NoAnswer: Consequence(cools=10.0, forgives=2),  # mostly the request's doing: others may be served well
    f.Unreachable: Consequence(cools=10.0),
    f.Interrupted: Consequence(cools=10.0),
    f.Superseded: Consequence(again=True),
}

_SHOWN = 120  # characters of a refusal that a bucket keeps


def report(failure: f.ProviderFailure, slot: Slot, took: float, engine: Engine) -> Attempt:
    """
    Do what follows from *failure* of *slot*, which *took* so many seconds.

    An answer that was interrupted counts as sent, whatever the cause; what its provider says of that is learned as if it
    had been said at once.
    """
    deployment, now = slot.deployment, engine.clock.now()
    failure = _for_this_request(failure, slot, engine)
    cost, told = slot.held.offer.cost, cost_told(deployment, None, failure.observed)
    unserved = None if told else _unserved(failure)
    record(slot, cost, engine, told=told, failure=type(failure).__name__, unserved=unserved)
    if told and not slot.held.ended:
        engine.tell(_counted(deployment, Usage(), told, told, now))
    if unserved is None:  # whatever came of it, the provider has counted it
        engine.ledger.settle(slot.held, owed(deployment, cost, None, failure.observed), failure.observed)
    else:
        engine.ledger.refund(slot.held, unserved, failure.observed)
    engine.view.health.left(deployment.name)
    check(deployment, None, failure.observed, engine)
    cause = failure.cause if isinstance(failure, f.Interrupted) else None
    if cause is None or not CONSEQUENCES[type(cause)].cools:
        _learn(failure, slot, engine, now)
    if cause is not None:
        _learn(cause, slot, engine, now)
    well = engine.view.health.answered_since(deployment.provider.name, now - LATELY)
    return Attempt(deployment, failure, took, CONSEQUENCES[type(failure)].again, well and looks_poisoned(failure))


def acquit(attempts: Sequence[Attempt], engine: Engine) -> None:
    """If the request is what broke those that were asked, cool none of them for it."""
    broke = [attempt for attempt in attempts if attempt.broke]
    if is_poisonous(attempt.deployment.provider.name for attempt in broke):
        for attempt in broke:
            engine.view.health.acquitted(attempt.deployment.name)


def _for_this_request(failure: f.ProviderFailure, slot: Slot, engine: Engine) -> f.ProviderFailure:
    """
    *failure*, unless it is about what only this request forbids: a deployment that has no endpoint for requests that may not
    be trained on serves all others.
    """
    enforced = slot.deployment.provider.spec.enforces_no_train and engine.view.catalog.forbids_training(slot.wants)
    if not (isinstance(failure, f.NotEntitled) and enforced):
        return failure
    refused = f.RefusedHere(failure.message, status=failure.status).of(capability=NO_TRAIN)
    refused.reached, refused.observed = failure.reached, failure.observed
    return refused


def told(attempts: Sequence[Attempt]) -> GatewayError | None:
    """What the caller hears at once after these *attempts*, because the request is at fault wherever it is sent; or None."""
    for attempt in attempts:
        tells = CONSEQUENCES[type(attempt.failure)].tells
        if tells is not None:
            return tells(explained(attempt.deployment, attempt.failure))
    broke = [attempt for attempt in attempts if attempt.broke]
    if is_poisonous(attempt.deployment.provider.name for attempt in broke):
        names = ", ".join(attempt.deployment.name for attempt in broke)
        return Refused(
            f"this request seems to break those that answer it: {names} answered others within the last minute and failed "
            f"at it, the last one with: {broke[-1].failure.message}"
        )
    return None


def record(
    slot: Slot,
    cost: Cost,
    engine: Engine,
    *,
    told: float | None = None,
    failure: str = "",
    unserved: Unserved | None = None,
) -> None:
    """Tell, once, what came of the call of *slot*, which was to leave: it takes *cost*, unless nothing was served."""
    if not slot.held.ended:
        request, deployment = slot.call.id, slot.deployment
        engine.tell(departed(request, deployment, slot.held, cost, told=told, failure=failure, unserved=unserved))


def departed(  # noqa: PLR0913 - each is a field of what it makes
    request: str,
    deployment: Deployment,
    held: Reservation,
    cost: Cost,
    *,
    told: float | None,
    failure: str,
    unserved: Unserved | None = None,
) -> Left:
    """What came of a call of *request* to *deployment*, for which *held* was debited and which takes *cost*."""
    proof, buckets = deployment.proof, held.offer.buckets
    if unserved is not None:
        buckets = tuple(bucket for bucket in buckets if keeps(bucket, unserved))
    return Left(
        request=request,
        deployment=deployment.name,
        at=held.at,
        proof=ProofRead(proof.kind, proof.because, proof.source, proof.since),
        debits={bucket.key: cost.of(bucket.unit) for bucket in buckets},
        sent=unserved != "unsent",
        failure=failure,
        told=told,
    )


def _unserved(failure: f.ProviderFailure) -> Unserved | None:
    """Which buckets keep their debit; None: all, for it was accepted. What a refused request counts, some count."""
    if failure.reached == "accepted":
        return None
    if failure.reached == "unsent":
        return "unsent"
    return "refused" if isinstance(failure, f.RateLimited | f.TooLarge) else "failed"


def _learn(failure: f.ProviderFailure, slot: Slot, engine: Engine, now: float) -> None:
    """What *failure* of *slot* means for those who come later."""
    follows, deployment = CONSEQUENCES[type(failure)], slot.deployment
    if follows.closes_bucket and isinstance(failure, f.RateLimited):
        _close(failure, slot, engine, now)
    crowded = isinstance(failure, f.Busy) and failure.of_places and _learn_places(slot, engine, now)
    if follows.cools and not (crowded or failure.ours or _forgiven(failure, follows, deployment, engine, now)):
        until = failure.until if failure.until is not None else _after(now, failure.retry_in)
        # Where no connection can be made, that concerns all models at this address.
        nowhere = isinstance(failure, f.Unreachable) and failure.reached == "unsent"
        name = deployment.provider.name if nowhere else deployment.name
        engine.view.health.failed(name, failure.message, follows.cools, now, until)
        if nowhere:
            engine.find_out(deployment.provider)
    if follows.withdraws and not (follows.refused and not engine.view.catalog.asks(deployment.provider)):
        _withdraw(failure, deployment, engine, now)
    if isinstance(failure, f.ContextTooLong):
        _learn_context(failure, deployment, engine, now)
    named = failure.capability if isinstance(failure, f.Unsupported | f.RefusedHere) else None
    if isinstance(failure, f.NoAnswer) and failure.breaks is not None:
        engine.view.catalog.learned.learn(deployment.name, failure.breaks, now, has=False)
        engine.tell(
            Changed("capability lost", deployment.name, f"{failure.breaks}: {failure.message[:LONGEST_REASON]}", now)
        )
    if follows.loses_capability and named and failure.reached != "unsent":  # what we refuse to build teaches nothing
        engine.view.catalog.learned.learn(deployment.name, named, now, has=False)
        engine.tell(Changed("capability lost", deployment.name, named, now))


def _withdraw(failure: f.ProviderFailure, deployment: Deployment, engine: Engine, now: float) -> None:
    """
    *deployment* leaves for a while, and all of its account if *failure* is about that. A credit that is used up
    concerns what it pays, and what was to be given away and costs something is alone in that.
    """
    follows, gone = CONSEQUENCES[type(failure)], isinstance(failure, f.ModelGone)
    costs = isinstance(failure, f.WouldCost) and deployment.provider.spec.free.kind == "credit"
    all_of_account = failure.account_wide and not (costs and deployment.proof.kind != "credit")
    name, credit = deployment.provider.name if all_of_account else deployment.name, costs and all_of_account
    until = now + follows.withdraws
    engine.view.catalog.learned.withdraw(
        name, until, failure.message, gone=gone, credit=credit, refused=follows.refused
    )
    engine.tell(Withdrawn(name, failure.message, until, isinstance(failure, f.WouldCost | f.CredentialRejected)))
    engine.tell(Changed("withdrawn", name, f"{type(failure).__name__}: {failure.message[:LONGEST_REASON]}", now))


def _learn_context(failure: f.ContextTooLong, deployment: Deployment, engine: Engine, now: float) -> None:
    tokens = stated_context(failure.message)
    if tokens is not None and engine.view.catalog.shorten(deployment, tokens, now):
        engine.tell(Changed("capability lost", deployment.name, f"holds {tokens} tokens, by its own word", now))


def _forgiven(
    failure: f.ProviderFailure, follows: Consequence, deployment: Deployment, engine: Engine, now: float
) -> bool:
    """Whether *failure* cools no deployment: it is our doing, of one kind of request alone, or *follows* forgives it."""
    if isinstance(failure, f.NoAnswer) and (failure.cut_by_us or failure.breaks is not None):
        return True
    return bool(follows.forgives) and engine.view.health.disappointed(deployment.name, now) <= follows.forgives


def settle(slot: Slot, usage: Usage | None, said: tuple[Observation, ...], engine: Engine) -> None:
    """End the reservation of an answer, once, with the provider's own count where it gave one."""
    deployment, held = slot.deployment, slot.held
    cost = owed(deployment, held.offer.cost, usage, said)
    told = None if held.ended else cost_told(deployment, usage, said)  # else it was told with its failure
    if usage is not None and not isinstance(slot.request, Request):  # what else it takes was known before
        reserved = held.offer.cost
        cost = structs.replace(reserved, prompt=cost.prompt, dollars=max(cost.dollars, reserved.dollars))
    record(slot, cost, engine, told=told)
    engine.ledger.settle(held, cost, said)
    if usage is not None or told:
        engine.tell(_counted(deployment, usage or Usage(), told, cost.dollars, engine.clock.now()))
    check(deployment, usage, said, engine)


def _counted(deployment: Deployment, usage: Usage, told: float | None, dollars: float, now: float) -> Counted:
    spent, credit = (0.0, dollars) if deployment.proof.kind == "credit" else (told or 0.0, 0.0)
    provider, model, saved = deployment.provider.name, deployment.model, deployment.saves(usage)
    return Counted(provider=provider, model=model, spent=spent, credit=credit, saved=saved, at=now)


def check(deployment: Deployment, usage: Usage | None, said: Iterable[Observation], engine: Engine) -> None:
    """The third lock: if the answer shows that money is spent, nothing more leaves for that account, from any replica."""
    account, now = deployment.provider.name, engine.clock.now()
    if (higher := dearer(deployment, usage, said)) is not None:
        engine.view.catalog.learned.withdraw(deployment.name, now + DAY, higher)
        engine.tell(Withdrawn(deployment.name, higher, now + DAY, alarm=True))
        engine.tell(Changed("became paid", deployment.name, higher, now))
    sign = disproof(deployment, usage, said)
    if sign is None:
        return
    quarantine(account, sign, engine.view.catalog, engine.ledger, now, engine.tell)


def _close(failure: f.RateLimited, slot: Slot, engine: Engine, now: float) -> None:
    """
    Close the bucket that the provider named, until it said it opens, and no other window of it; cool the deployment if it
    named none of ours. One that names no window means the shortest, and one that names no unit means requests.

    Where nothing is told, the model is closed, and its account only if others refuse, too.
    Where the provider tells no limit, what it served in the window is the limit for now, if that can be. A moment that it
    tells is believed: until then the bucket is full, and then there is room for as much as was refused. Where it tells
    neither, all of a rolling window is used, and comes back as what we took ourselves leaves it; whether that was the
    reason is found out with growing pauses.
    """
    deployment = slot.deployment
    until = failure.until if failure.until is not None else _after(now, failure.retry_in)
    unit = failure.unit or ("requests" if failure.window is None else None)
    named = [
        bucket
        for bucket in deployment.buckets
        if unit in (None, bucket.unit) and failure.window in (None, bucket.window_name)
    ]
    told = any(said.limit is not None for said in failure.observed)
    if failure.window is None and (first := shortest(named)) is not None:
        named = (
            [bucket for bucket in named if window_length(bucket) == window_length(first)] if until is None else [first]
        )
    first_pause = 30.0
    if until is None and not (told or failure.account_wide) and named:
        named, first_pause = _of_whom(named, slot, engine, now), 10.0
    if any(bucket.unit == "in-flight" for bucket in named) and _learn_places(slot, engine, now):
        return
    for bucket in named:
        limit = None if told else engine.learned_limits.refused(bucket, engine.ledger.cache, now, until)
        if limit is not None:
            _learn_limit(bucket, limit, engine, now, full=True)
            _hint_siblings(bucket, limit, engine, now)
        if until is not None:
            seconds = min(until - now, longest_wait(bucket.window_name))
            amount = slot.held.offer.cost.of(bucket.unit)
            engine.ledger.refused(bucket, amount, seconds, f"a refusal: {failure.message[:_SHOWN]}")
        elif limit is None and bucket.window == "rolling":
            used_up = Observation(bucket.unit, bucket.window_name, remaining=0.0, by="a refusal")
            engine.ledger.observe([bucket], [used_up], now)
            engine.view.health.failed(deployment.name, failure.message, 2.0, now)
        elif limit is None:
            engine.ledger.close(bucket, None, failure.message)
    if not named:
        engine.view.health.failed(deployment.name, failure.message, first_pause, now, until)


def _of_whom(named: list[Bucket], slot: Slot, engine: Engine, now: float) -> list[Bucket]:
    """Those of *named* that a refusal of *slot* closes which does not say whose limit it was."""
    here, beside = slot.deployment, engine.view.catalog.served_by(slot.deployment.provider.name)
    shared = [bucket for bucket in named if bucket.scope == "account" and bucket.unit == "requests"]
    rows = [engine.learned_limits.of_account(bucket, here.name, len(beside), slot.held.at, now) for bucket in shared]
    theirs = [bucket for bucket, row in zip(shared, rows, strict=True) if row]
    if not theirs:
        return [bucket for bucket in named if bucket not in shared]
    for row, one in product(rows, beside):  # what they were thought to lack, their account does
        for bucket in one.buckets if one.name in row else ():
            limit = engine.learned_limits.forgiven(bucket, row[one.name]) if bucket.scope == "model" else None
            if limit is not None:
                _learn_limit(bucket, limit, engine, now)
    return theirs


def _learn_places(slot: Slot, engine: Engine, now: float) -> bool:
    """
    All places are taken where *slot* was sent: if others of ours have some, it is known how many there are for now. Of those
    that were sent at the same moment some are about to be refused, too: until then no other is sent.
    """
    learned = False
    for bucket in slot.deployment.buckets:
        if bucket.unit == "in-flight":
            limit = engine.learned_limits.crowded(bucket, engine.ledger.cache, now, slot.held.id)
            if limit is not None:
                _learn_limit(bucket, limit, engine, now)
                engine.ledger.close(bucket, INSTANT, "its places are taken")
                learned = True
    return learned


def served(deployment: Deployment, sent_at: float, engine: Engine) -> None:
    """*deployment* has answered what was sent *sent_at*: a limit that was learned from refusals may be higher by now."""
    now = engine.clock.now()
    for bucket in deployment.buckets:
        limit = engine.learned_limits.served(bucket, engine.ledger.cache, sent_at, now)
        if limit is not None:
            _learn_limit(bucket, limit, engine, now)


def _learn_limit(
    bucket: Bucket, limit: float, engine: Engine, now: float, by: str = SAID_BY, *, full: bool = False
) -> None:
    remaining = 0.0 if full else None
    engine.ledger.observe([bucket], [Observation(bucket.unit, bucket.window_name, limit, remaining, by=by)], now)


def _hint_siblings(bucket: Bucket, limit: float, engine: Engine, now: float) -> None:
    """A limit that was found lower than it is configured is a hint for other models of that account."""
    buckets = engine.view.catalog.buckets()
    mine = bucket.account, bucket.unit, bucket.window_name
    if any(one.scope == "account" and (one.account, one.unit, one.window_name) == mine for one in buckets):
        return  # that one is theirs: of a model none is known
    for other in alike(bucket, buckets):
        if engine.learned_limits.hinted(other, limit, engine.ledger.cache, now):
            _learn_limit(other, limit, engine, now, HINTED_BY)


def _after(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds
