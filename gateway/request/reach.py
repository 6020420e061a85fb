"""
Whether a provider's address answers at all: its model list is asked for, which costs no quota.

    a connection was refused, or ──► ask for the list ──► it answers, whatever it says ──► its cooldown is over
    a request there is overdue         ▲    └ nothing comes: its cooldown goes on ──┐
                                       └──── after a second, then longer and longer ◄┘

So no request has to find out that an address is there again, and one that accepts connections and sends nothing is known
before a second request hangs.
"""

from __future__ import annotations

import asyncio
from functools import partial

from gateway.background import Background
from gateway.clock import Clock
from gateway.routing.health import Health
from providers.client import Provider
from providers.failures import Unreachable

WITHIN = 5.0
"""Seconds within which the list of an address that answers begins to come."""

FIRST_PAUSE, GROWS, LONGEST_PAUSE = 1.0, 1.5, 30.0
"""Seconds until it is asked again: at first, by which factor they grow, and at most."""

LATELY = 10.0
"""Seconds for which an address that answered is not asked whether it does."""


class Reach:
    """Asks in the *background*; what comes of it is *health*'s."""

    def __init__(self, background: Background, health: Health, clock: Clock) -> None:
        self._background, self._health, self._clock = background, health, clock
        self._asking: set[str] = set()
        self._answered_at: dict[str, float] = {}

    def find_out(self, provider: Provider) -> None:
        """Have it found out whether *provider* answers, and when it does again. One whose models are all told has no list."""
        name = provider.name
        lately = self._clock.now() < self._answered_at.get(name, 0.0) + LATELY
        if name in self._asking or not provider.spec.listed_at or (lately and not self._health.ailing(name)):
            return
        self._asking.add(name)
        self._background.run(f"whether {name} answers", partial(self._ask, provider))

    async def _ask(self, provider: Provider) -> None:
        pause = FIRST_PAUSE
        try:
            while not await self._answers(provider):
                now = self._clock.now()
                until = now + pause + 2 * WITHIN
                self._health.failed(provider.name, "nothing comes from its address", WITHIN, now, until)
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * GROWS)
        finally:
            self._asking.discard(provider.name)
        self._answered_at[provider.name] = self._clock.now()
        self._health.reached(provider.name)

    async def _answers(self, provider: Provider) -> bool:
        """Whether anything comes when *provider* is asked for its list; a refusal is an answer."""
        asking, over = asyncio.ensure_future(provider.discover()), asyncio.ensure_future(self._clock.sleep(WITHIN))
        try:
            await asyncio.wait((asking, over), return_when=asyncio.FIRST_COMPLETED)
            failure = asking.exception() if asking.done() else None
            return asking.done() and not (isinstance(failure, Unreachable) and failure.status is None)
        finally:
            for task in (asking, over):
                task.cancel()
            await asyncio.gather(asking, over, return_exceptions=True)
