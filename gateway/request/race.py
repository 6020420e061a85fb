"""
A request whose source says nothing for too long is asked of a second one, too; whoever begins to answer serves it.

    sent → patience runs out → a second one is sent to → the first to begin serves, the other call is cancelled
             │ over by then: that is all                    │ one fails: the other goes on; both: none has begun

Who may be second, and after how long, is decided in hedge.py. Until then all of this costs one timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from gateway.events import Hedged
from gateway.quota.nouns import Reservation
from gateway.request.call import Wishes
from gateway.request.engine import Answer, Attempt, Engine, Found
from gateway.request.hedge import LEAST, may_hedge_to, patience
from gateway.request.outcome import settle
from gateway.routing.latency import Point
from gateway.routing.rank import price, rank
from gateway.words import Deployment, GatewayError
from providers.failures import Overtaken

Send = Callable[[Found], Coroutine[Any, Any, Answer | None]]
"""Gives an answer that has begun; or None if there is none, and what follows from the failure is done."""


class Racing:
    """What one request is sent to: one source, or, once, a second one as well. *attempts* are those that failed so far."""

    def __init__(self, request: str, attempts: list[Attempt], send: Send, engine: Engine) -> None:
        self._request, self._attempts, self._send, self._engine = request, attempts, send, engine
        self._second: Found | None = None
        self._us: asyncio.Task[Any] | None = None

    async def begun(self, first: Found) -> Answer | None:
        """
        The answer of *first*, or of another one that was asked, too, once it has begun. None: all who were asked failed.

        Raises a GatewayError if one of them says that the request is at fault, and the other does not answer it.
        Cancelling it cancels all upstream calls.
        """
        engine, limits = self._engine, self._engine.limits
        alone = self._second is not None or limits.hedge == "off" or not first.needs.fallbacks
        if alone or len(self._attempts) + 1 >= limits.max_attempts:
            return await self._send(first)
        self._us = us = asyncio.current_task()
        assert us is not None  # this is a coroutine
        cancels, self._overtaken = us.cancelling(), False
        self._other: asyncio.Task[Answer | None] | None = None
        self._first, self._sent_at, self._before = first, engine.clock.now(), len(self._attempts)
        self._timer = engine.clock.call_later(LEAST, self._look)
        begun = None
        try:
            try:
                begun = await self._send(first)  # right here: a task of its own would cost every request more
            except asyncio.CancelledError:
                if not self._overtaken or us.cancelling() > cancels + 1:
                    raise  # the caller left
            finally:
                self._timer.cancel()
                if self._other is not None:
                    self._first_is_over(us)
            if begun is None and self._other is not None:
                begun = await self._other
        finally:
            if self._other is not None:
                self._both_are_over(begun, self._other)
        return begun if begun is None or self._second is None else self._told(begun, self._second)

    def _first_is_over(self, us: asyncio.Task[Any]) -> None:
        self._us = None  # a second one that was over in the same moment is to overtake nobody any more
        if self._overtaken:
            us.uncancel()

    def _both_are_over(self, begun: Answer | None, other: asyncio.Task[Answer | None]) -> None:
        won = begun is not None and self._second is not None and begun.held is self._second.held
        if not won:
            other.cancel()
            other.add_done_callback(self._drop)
        if self._second is not None:
            self._engine.tell(Hedged(self._request, self._second.deployment.name, "won" if won else "lost"))

    def _patience(self, found: Found, now: float) -> float:
        pace = self._engine.health.pace(found.deployment.name)
        return patience(pace, _tokens(found), found.needs.deadline - now)

    # ── the second one ──

    def _look(self) -> None:
        """Nothing came for so long that it may be too long; to find out each time a request is sent would cost more."""
        left = self._patience(self._first, self._sent_at) - (self._engine.clock.now() - self._sent_at)
        if left > 0:
            self._timer = self._engine.clock.call_later(left, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        self._other = asyncio.get_running_loop().create_task(self._ask_another())
        self._other.add_done_callback(self._overtake)

    async def _ask_another(self) -> Answer | None:
        second = await self._another()
        if second is None:
            return None
        self._second, self._silent = second, self._engine.clock.now() - self._sent_at
        return await self._send(second)

    async def _another(self) -> Found | None:
        """One that may be asked, too, and has room right now, with its debit made."""
        engine, first = self._engine, self._first
        if engine.waiting_room.waiting:
            return None  # what it would take is theirs
        ranked = self._others()
        while ranked:
            held = await engine.ledger.reserve(Wishes(ranked, first.needs, engine.calibration))
            if not isinstance(held, Reservation):
                return None
            chosen = ranked[held.place]
            if self._fits(chosen):  # by what the ledger has just said of its buckets
                return Found(chosen, held, first.needs, first.skipped, first.waited)
            engine.ledger.refund(held)
            ranked = ranked[held.place + 1 :]
        return None

    def _others(self) -> list[Deployment]:
        """Those that may be asked, too, best first."""
        engine, needs, now = self._engine, self._first.needs, self._engine.clock.now()
        failed = {attempt.deployment.name for attempt in self._attempts}
        try:
            capable = engine.catalog.candidates(needs, now)
        except GatewayError:  # the first was the last one that could serve it
            return []
        fit = [one for one in capable if one.deployment.name not in failed and self._fits(one.deployment)]
        return rank(fit, engine.prices.current(now), engine.health, now, engine.bid(needs)).best

    def _fits(self, deployment: Deployment) -> bool:
        """A provider that hangs hangs for all its models; and nobody is to find out with this whether one has recovered."""
        engine, first, now = self._engine, self._first, self._engine.clock.now()
        if deployment.provider.name == first.deployment.provider.name or engine.health.ailing(deployment.name):
            return False
        missed = price(deployment, engine.prices.current(now), now, first.needs.tokens)
        return may_hedge_to(deployment, missed, engine.limits.hedge)

    def _overtake(self, other: asyncio.Task[Answer | None]) -> None:
        """The second one is over, before the first: if it has begun to answer, the first call is cancelled."""
        if self._us is not None and not other.cancelled() and other.exception() is None and other.result() is not None:
            self._overtaken = True
            self._us.cancel()

    def _drop(self, other: asyncio.Task[Answer | None]) -> None:
        """Nobody wants what the second one gave: if it has begun to answer, too, it is closed, and paid for."""
        if other.cancelled():
            return
        error = other.exception()
        if error is not None:
            if not isinstance(error, GatewayError):  # nobody else hears of our bug
                told = {"message": "a second source could not be asked", "exception": error, "task": other}
                asyncio.get_running_loop().call_exception_handler(told)
            return
        answer = other.result()
        if answer is not None:
            answer.reply.close()
            whole = answer.reply.whole
            usage = None if whole is None else whole.completion.usage
            settle(answer.deployment, answer.held, usage, answer.reply.observed, self._engine)

    # ── the one that lost ──

    def _told(self, begun: Answer, second: Found) -> Answer:
        """*begun*, which knows of the other one. If that has not failed but was slow, its pace is known from now on."""
        if begun.held is second.held:
            loser, asked_at, took = self._first, self._sent_at, self._silent
            said = f"silent for {self._silent:.1f} s; asked too: {second.deployment.name}"
        else:
            loser, asked_at, took = second, self._sent_at + self._silent, 0.0  # its time went by anyway
            said = f"asked too after {self._silent:.1f} s of silence of {self._first.deployment.name}"
        if any(attempt.deployment is loser.deployment for attempt in self._attempts[self._before :]):
            return begun  # it failed
        now = self._engine.clock.now()
        if now - asked_at >= self._patience(loser, asked_at):
            point = Point(float(_tokens(loser)), now - asked_at)
            self._engine.health.timed(loser.deployment.name, [point], now)
        lost = Attempt(loser.deployment, Overtaken(said), took)
        return msgspec.structs.replace(begun, attempts=(*begun.attempts, lost))


def _tokens(found: Found) -> int:
    """How long an answer that comes in one piece may be; 0: it comes as a stream."""
    return 0 if "stream" in found.needs.capabilities else found.needs.output_tokens
