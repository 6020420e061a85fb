"""
What clients take of their own limits: debited before a request is looked at by the pipeline, settled when it is over.

The ledger counts, as it does for providers: exactly, for all gateways of one store, with one exchange more for a client that
has limits and none for others. Tokens are debited by estimate and settled with what the provider counted. A request that
came to nothing, because no source could serve it, is given back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from gateway.clock import Clock
from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket
from gateway.quota.client_limits import buckets_of
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation
from gateway.settings.clients import Client, Limit

_STORE_AWAY = 5.0
"""Seconds after which to ask again where the store is away and this gateway's part of a limit is used up."""


class Used(Struct, frozen=True):
    """How much of a *limit* is used, and when (unix seconds) all of it is there again."""

    limit: Limit
    used: float
    resets_at: float

    @property
    def remaining(self) -> float:
        return max(0.0, self.limit.amount - self.used)


class Over(Exception):
    """
    The client's *limit* has no room until *opens_in* seconds from now; infinity: a request like this outgrows it. *uncounted*: the
    store is away, and this gateway's part of the limit is used up.
    """

    def __init__(self, limit: Limit, opens_in: float, headers: Mapping[str, str], *, uncounted: bool = False) -> None:
        super().__init__(str(limit))
        self.limit, self.opens_in, self.headers, self.uncounted = limit, opens_in, headers, uncounted


class Allowance:
    """What one request holds of its client's limits; to be ended once. *headers* say what is left."""

    def __init__(self, ledger: Ledger, held: Reservation, headers: Mapping[str, str]) -> None:
        self._ledger, self._held, self.headers = ledger, held, headers

    def give_back(self) -> None:
        """Nothing came of it."""
        self._ledger.refund(self._held)

    def settle(self, prompt: int, output: int) -> None:
        """It took so many tokens."""
        self._ledger.settle(self._held, Cost(prompt, output))

    def keep(self) -> None:
        """It is over, and how many tokens it took was not told: the estimate stays."""
        self._ledger.settle(self._held, self._held.offer.cost)


class Allowances:
    """
    One for each process. Gateways of one *namespace* count together. *clients* says which there are: what they used is looked at
    beside their requests, so that each gateway knows its part should the store be lost.
    """

    clients: Callable[[], Iterable[Client]] = tuple

    def __init__(self, ledger: Ledger, clock: Clock, namespace: str) -> None:
        self._ledger, self._clock, self._namespace = ledger, clock, namespace

    def buckets(self) -> list[Bucket]:
        """Those of all clients."""
        limited = (client for client in self.clients() if client.limits)
        return [bucket for client in limited for _, bucket in buckets_of(client, self._namespace)]

    async def take(self, client: Client, prompt: int, output: int, least: int) -> Allowance:
        """
        Debit a request of *client* of about so many *prompt* and *output* tokens, at *least* so many altogether. An estimate
        beyond what a limit ever holds is cut to it. Raises Over.
        """
        limits = {bucket.key: (limit, bucket) for limit, bucket in buckets_of(client, self._namespace)}
        buckets = [bucket for _, bucket in limits.values()]
        tightest = min((limit for limit, _ in limits.values() if limit.unit == "tokens"), key=_amount, default=None)
        most = math.inf if tightest is None else tightest.amount
        if tightest is not None and least > most:
            raise Over(tightest, math.inf, self._headers(client))
        prompt = int(min(prompt, most))
        cost = Cost(prompt, min(output, most - prompt))
        held = await self._ledger.reserve([Offer(f"client {client.name}", tuple(buckets), cost, call=False)])
        if isinstance(held, NoRoom):
            (refusal,) = held.refusals
            opens_in = _STORE_AWAY if refusal.when_freed else max(0.0, refusal.opens_at - self._clock.now())
            limit, _ = limits[refusal.bucket.key]
            raise Over(limit, opens_in, self._headers(client), uncounted=refusal.when_freed)
        return Allowance(self._ledger, held, self._headers(client))

    async def used(self, client: Client) -> list[Used]:
        """How much of each limit of *client* is used now, by all gateways."""
        levels = await self._ledger.levels([bucket for _, bucket in buckets_of(client, self._namespace)])
        return [
            Used(limit, levels[bucket.key].used, levels[bucket.key].resets_at)
            for limit, bucket in buckets_of(client, self._namespace)
        ]

    def _headers(self, client: Client) -> dict[str, str]:
        """Of requests and of tokens the limit of which least is left, in OpenAI's words, as far as this process has seen."""
        now = self._clock.now() + self._ledger.cache.ahead
        tightest: dict[str, tuple[float, Limit, float]] = {}
        for limit, bucket in buckets_of(client, self._namespace):
            level = self._ledger.cache.level(bucket, now)
            left = max(0.0, limit.amount - b.used(bucket, level))
            if limit.unit not in tightest or left < tightest[limit.unit][0]:
                resets_in = b.refilled_at(bucket, level, now) - now if left < limit.amount else 0.0
                tightest[limit.unit] = left, limit, resets_in
        found = {}
        for unit, (left, limit, resets_in) in tightest.items():
            found[f"x-ratelimit-limit-{unit}"] = f"{limit.amount:.0f}"
            found[f"x-ratelimit-remaining-{unit}"] = f"{math.floor(left)}"
            found[f"x-ratelimit-reset-{unit}"] = duration(resets_in)
        return found


def duration(seconds: float) -> str:
    """*seconds* as OpenAI writes them in its headers: ``850ms``, ``12s``, ``6m0s``, ``3h25m0s``."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms" if seconds > 0 else "0s"
    whole = math.ceil(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{whole % 60}s"


def _amount(limit: Limit) -> float:
    return limit.amount
