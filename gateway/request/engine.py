"""What a call is served with, and the nouns of its way: where it goes, and the answer that it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from gateway.catalog.spaces import Spaces
from gateway.clock import Clock
from gateway.events import Event
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Reservation
from gateway.request.plan import View
from gateway.request.queue import Queue
from gateway.request.tried import Attempt, Wait
from gateway.routing.limits import LearnedLimits
from gateway.settings import Requests, Settings
from gateway.state.vectors import Vectors
from gateway.words import Call, Deployment, Exclusion, Wants
from providers.client import Made, Provider, Reply
from providers.dialect import AnyRequest
from providers.fetching import Fetch
from providers.spec import Operation


class Engine(Struct):
    """
    Built once, in app.py; what settings say of requests is taken anew with ``adopt``. *refresh* has a provider's list read now, by name; *find_out* has it asked whether it answers at
    all. *fetch* has an image by its address; None: none is fetched.
    """

    view: View
    ledger: Ledger
    queue: Queue
    clock: Clock
    limits: Requests
    tell: Callable[[Event], None]
    refresh: Callable[[str], None]
    find_out: Callable[[Provider], None]
    offering: Mapping[Operation, Sequence[str]]  # who could be asked for each operation, were they configured
    spaces: Spaces
    vectors: Vectors
    learned_limits: LearnedLimits = field(default_factory=LearnedLimits)
    fetch: Fetch | None = None
    coming: dict[bytes, asyncio.Future[dict[bytes, bytes]]] = field(default_factory=dict)  # vectors that are being made

    def adopt(self, settings: Settings) -> None:
        """From now on requests go as far as *settings* say."""
        self.limits, self.offering = settings.requests, settings.offering()
        self.queue.resize(settings.requests.max_waiting)


class Slot(Struct, frozen=True):
    """
    Where a call goes: a deployment with its debit made, and the *request* as it gets it. *wants* led there, *skipped* are
    the better ones that had no room and those that were unavailable.
    """

    call: Call
    wants: Wants
    deployment: Deployment
    held: Reservation
    skipped: tuple[Exclusion, ...]
    request: AnyRequest


class Answer(Struct, frozen=True):
    """
    A reply that has begun, the slot whose reservation it must settle, and how we came by it. *made_up* is what was done for the
    caller that its source cannot.
    """

    slot: Slot
    reply: Reply
    attempts: tuple[Attempt, ...]
    sent_at: float
    first_content: float  # seconds from sending to the head of the answer
    waits: tuple[Wait, ...] = ()
    stayed: bool = False  # where the conversation was at home
    made_up: tuple[str, ...] = ()

    @property
    def call(self) -> Call:
        return self.slot.call

    @property
    def deployment(self) -> Deployment:
        return self.slot.deployment

    @property
    def passed_over(self) -> int:
        """Better deployments that had no room: refusals that were never provoked."""
        return self.slot.held.place

    @property
    def waited(self) -> float:
        """Seconds for capacity."""
        return sum(wait.seconds for wait in self.waits)

    def overhead(self, began: float, ended: float) -> float:
        """
        Seconds of a request from *began* to *ended* that the gateway took itself. What it does while a stream is on its
        way cannot be told from waiting for the next piece, and is left out.
        """
        before = self.sent_at - began - self.waited - sum(attempt.took for attempt in self.attempts)
        after = 0.0 if self.reply.whole is None else ended - self.sent_at - self.first_content
        return max(0.0, before + after)


class Served(Struct, frozen=True):
    """*made*, an answer in one piece, by *model*; and the *last* answer that brought some of it, if one had to be asked for."""

    made: Made
    last: Answer | None
    model: str
