"""
Find out, with a few requests a day, what models can really do: ask what ``gateway/catalog/checks.py`` wants to know.

``[catalog] probes`` is how many a day for each provider. A capability check is an ordinary small request: it is reserved and
settled like any other, and what follows from its failure is the same. It is made out of quota that the next reset would take,
never at start, and never for dollars or neurons.
"""

from __future__ import annotations

import random
from functools import partial

from gateway.background import Background
from gateway.catalog.checks import MOST_A_DAY, OUTPUT, PROMPT, CapabilityCheck, cost_of, next_check
from gateway.events import Changed, ChangeKind, Leaving
from gateway.quota.nouns import NoRoom, Offer, Reservation, Unserved
from gateway.request import outcome
from gateway.request.engine import Engine, Slot
from gateway.state.store import StateStore
from gateway.words import Call, Deployment, Wants
from providers import failures as f
from providers.chat import Usage, Whole, decode_fields, decode_request, encode
from providers.dialect import Request

DAY = 86_400.0

LOOK_EVERY = 900.0
"""Seconds between two looks at what is left over; one check is made at a look."""

_JITTER = 0.3


class CapabilityChecker:
    """Asks, spread over the day, what has not been found out lately. All gateways of one store share one budget."""

    def __init__(self, engine: Engine, state: StateStore, a_day: int) -> None:
        self._engine, self._state, self._a_day = engine, state, min(a_day, MOST_A_DAY)

    def serve(self, background: Background, providers: list[str]) -> None:
        """Check each of *providers* as often as is wanted, those that are checked already too."""
        for name in providers if self._a_day else ():
            if not background.runs(loop := f"capability checks of {name}"):
                background.run(loop, partial(self._check_forever, name))

    async def _check_forever(self, provider: str) -> None:
        while True:
            await self._engine.clock.sleep(LOOK_EVERY * random.uniform(1, 1 + _JITTER))  # noqa: S311 - not a secret
            await self.check(provider)

    async def check(self, provider: str) -> str | None:
        """
        Ask one question of one model of *provider*, if there is budget, and quota is left over: which capability of which was
        asked for.
        """
        catalog = self._engine.view.catalog
        buckets = {bucket.key: bucket for d in catalog.served_by(provider) for bucket in d.buckets}
        levels = await self._engine.ledger.levels(list(buckets.values()))
        found = next_check(catalog, provider, levels, self._engine.clock.now())
        if found is None or not await self._in_budget(provider):
            return None
        deployment, check = found
        held = await self._engine.ledger.reserve([Offer(deployment.name, deployment.buckets, cost_of(deployment))])
        if isinstance(held, NoRoom):
            return None
        await self._ask(deployment, check, held)
        return f"{check.capability} of {deployment.name}"

    async def _in_budget(self, provider: str) -> bool:
        """Whether one of the day's checks is still to be had."""
        for number in range(self._a_day):
            if await self._state.claim(f"capability check {provider} {number}", DAY):
                return True
        return False

    async def _ask(self, deployment: Deployment, check: CapabilityCheck, held: Reservation) -> None:
        engine = self._engine
        body = encode({"model": deployment.target.model, "max_tokens": OUTPUT, **check.fields})
        request = Request(decode_request(body), decode_fields(body), PROMPT, OUTPUT, bounded_by_caller=True)
        slot = _slot(deployment, request, held, engine.clock.now())
        engine.tell(Leaving(deployment.name))
        try:
            reply = await deployment.provider.send(deployment.target, request)
            usage: Usage | None = None
            if reply.rest is not None:
                async for steps in reply.rest:
                    usage = next((s.chunk.usage for s in steps if s.chunk.usage is not None), usage)
                has: bool | None = True
            else:
                assert isinstance(reply.whole, Whole)  # a reply has one or the other
                usage = reply.whole.completion.usage
                has = check.shows(reply.whole.completion)
            reply.close()
        except f.Unsupported as failure:
            kept: Unserved = "unsent" if failure.reached == "unsent" else "failed"
            outcome.record(slot, held.offer.cost, engine, failure="Unsupported", unserved=kept)
            engine.ledger.refund(held, "failed", failure.observed)
            self._learn(deployment, check.capability, has=False)
        except f.ProviderFailure as failure:
            outcome.report(failure, slot, 0.0, engine)
            if isinstance(failure, f.CallersFault | f.RefusedHere) or check.capability == "stream":
                self._learn(deployment, check.capability, has=False)
        else:
            outcome.settle(slot, usage, reply.observed, engine)
            if has is not None:
                self._learn(deployment, check.capability, has=has)

    def _learn(self, deployment: Deployment, capability: str, *, has: bool) -> None:
        engine, now = self._engine, self._engine.clock.now()
        had = capability in engine.view.catalog.learned.capabilities(deployment, now) or capability == "stream"
        engine.view.catalog.learned.learn(deployment.name, capability, now, has=has)
        if had != has:
            kind: ChangeKind = "capability gained" if has else "capability lost"
            engine.tell(Changed(kind, deployment.name, f"{capability}, found out by asking", now))


def _slot(deployment: Deployment, request: Request, held: Reservation, now: float) -> Slot:
    """*deployment* as what a call of our own is sent to."""
    call = Call(
        id="check",
        wants=Wants(models=(deployment.name,)),
        request=request,
        prompt_tokens=PROMPT,
        output_tokens=OUTPUT,
        deadline=now,
    )
    return Slot(call, call.wants, deployment, held, (), request)
