"""An observer that tells a webhook of changes and alarms: one JSON object for each, as configured in ``[catalog]``."""

from __future__ import annotations

import asyncio

import msgspec

from gateway.clock import Clock
from gateway.events import Changed, Event
from gateway.state.store import StateStore
from providers.dialect import HttpRequest
from providers.failures import ProviderFailure
from providers.spec import Timeouts
from providers.wire import Wire

_TRIES = 4
_PAUSE = 5.0
"""Seconds before the second try; then twice as many, and so on."""

_UNTOLD = 200
"""Changes that may wait to be told; what is more is in the history all the same. A charge takes the place of the oldest."""

_ONCE_WITHIN = 3600.0
_TIMEOUTS = Timeouts(connect=5.0, head=10.0, silence=10.0)


class Webhook:
    """Told in the background, one after the other; only one of several gateways tells each."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url, self._clock = url, clock
        self._waiting: asyncio.Queue[Changed] = asyncio.Queue(_UNTOLD)

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Changed):
            return
        if self._waiting.full() and event.kind == "charged":
            self._waiting.get_nowait()
        if not self._waiting.full():
            self._waiting.put_nowait(event)

    async def tell_forever(self, wire: Wire, state: StateStore) -> None:
        """The background loop: tell what there is to tell."""
        while True:
            change = await self._waiting.get()
            if await state.claim(f"tell {change.key}", _ONCE_WITHIN):
                await self._tell(change, wire)

    async def _tell(self, change: Changed, wire: Wire) -> None:
        call = HttpRequest("POST", self._url, {"content-type": "application/json"}, msgspec.json.encode(change))
        for number in range(_TRIES):
            try:
                answer = await wire.send(call, _TIMEOUTS)
                answer.close()
            except ProviderFailure:
                pass
            else:
                if answer.status < 500:
                    return
            await self._clock.sleep(_PAUSE * 2**number)
