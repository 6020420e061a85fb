"""What a request is served with, and the nouns of its life."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from gateway.catalog.catalog import Catalog
from gateway.clock import Clock
from gateway.events import Event
from gateway.observe.usage import Costs
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Reservation
from gateway.request.queue import WaitingRoom
from gateway.routing.affinity import LONG, Sessions
from gateway.routing.calibration import Calibration
from gateway.routing.health import Health
from gateway.routing.prices import Prices
from gateway.routing.rank import Bid
from gateway.settings import Requests
from gateway.words import Deployment, Exclusion, Requirements
from providers.client import Reply
from providers.failures import ProviderFailure


class Engine(Struct, frozen=True):
    """Built once, in app.py."""

    catalog: Catalog
    ledger: Ledger
    prices: Prices
    health: Health
    waiting_room: WaitingRoom
    costs: Costs
    calibration: Calibration
    sessions: Sessions
    clock: Clock
    limits: Requests
    tell: Callable[[Event], None]

    def bid(self, needs: Requirements) -> Bid:
        """What *needs* brings to the ranking."""
        prefer = needs.prefer or self.catalog.prefers(needs.models[0])
        long = needs.prompt_tokens >= LONG
        return Bid(
            prefer, needs.tokens, needs.spares, self.sessions.warm(needs.session, self.clock.now()) if long else ""
        )


class Found(Struct, frozen=True):
    """Where a request goes, with its debit made, and the requirements that led there."""

    deployment: Deployment
    held: Reservation
    needs: Requirements
    skipped: tuple[Exclusion, ...]
    waited: float


class Attempt(Struct, frozen=True):
    """A deployment that was asked and failed, or was too slow, and the seconds that nothing else *took*."""

    deployment: Deployment
    failure: ProviderFailure
    took: float = 0.0


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
    skipped: tuple[Exclusion, ...]  # those, and who rested
    waited: float = 0.0  # seconds for capacity

    def overhead(self, began: float, ended: float) -> float:
        """
        Seconds of a request from *began* to *ended* that the gateway took itself. What it does while a stream is on its
        way cannot be told from waiting for the next piece, and is left out.
        """
        before = self.sent_at - began - self.waited - sum(attempt.took for attempt in self.attempts)
        after = 0.0 if self.reply.whole is None else ended - self.sent_at - self.first_content
        return max(0.0, before + after)
