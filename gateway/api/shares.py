"""
Shares of scarce quotas: a client that has used up its part of a provider's day yields to others, where others ask.

A share is of each quota that is counted by the day: an account's, or a model's there. Beyond it a client goes behind all
whose priority is normal where requests wait, and what is scarce there is worth less to it, so that it takes what there is
plenty of. It is refused nothing, and where no one else asks nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from gateway.api.options import Options
from gateway.catalog.catalog import Catalog
from gateway.clock import Clock
from gateway.quota.buckets import Bucket
from gateway.quota.ledger import Ledger
from gateway.settings.clients import BEYOND_SHARE, PRIORITIES, Client

ASKS = 3600.0
"""Seconds for which a client that has asked is one of those who ask."""


class Known(Protocol):
    """What each client used *today*, requests and tokens by provider and model, and when it was *seen* last (unix seconds)."""

    @property
    def today(self) -> Mapping[str, Mapping[tuple[str, str], tuple[float, float]]]: ...

    @property
    def seen(self) -> Mapping[str, float]: ...


class Shares:
    """*known* tells what clients used, of all gateways of the store; *catalog* and *ledger* how much there is a day."""

    def __init__(self, known: Known, catalog: Catalog, ledger: Ledger, clock: Clock) -> None:
        self._known, self._catalog, self._ledger, self._clock = known, catalog, ledger, clock
        self._a_day: Mapping[str, Mapping[str, Bucket]] = {}
        self._revision = -1

    def applied(self, options: Options) -> Options:
        """*options*, as they are for a client that may be beyond its share."""
        if options.client.share is None or not (over := self.over(options.client, options.client.share)):
            return options
        priority = min(options.priority, PRIORITIES["normal"]) - BEYOND_SHARE
        return msgspec.structs.replace(options, priority=priority, sparing=over)

    def over(self, client: Client, share: float) -> frozenset[str]:
        """The providers, and the models as ``provider/model``, of whose day *client* has used its *share*, while others ask."""
        now, used = self._clock.now(), dict[str, list[float]]()
        if all(at <= now - ASKS for name, at in self._known.seen.items() if name != client.name):
            return frozenset()
        for (provider, model), amounts in self._known.today.get(client.name, {}).items():
            for name in (provider, f"{provider}/{model}"):
                here = used.setdefault(name, [0.0, 0.0])
                here[0], here[1] = here[0] + amounts[0], here[1] + amounts[1]
        return frozenset(
            name for name, (requests, tokens) in used.items() if self._is_over(name, requests, tokens, share)
        )

    def _is_over(self, name: str, requests: float, tokens: float, share: float) -> bool:
        buckets = self.a_day().get(name, {}).values()
        return any(
            (requests if bucket.unit == "requests" else tokens) >= share * self._ledger.limit(bucket)
            for bucket in buckets
        )

    def a_day(self) -> Mapping[str, Mapping[str, Bucket]]:
        """What is counted by the day, of each provider and of each model there."""
        if self._revision != self._catalog.revision:
            found: dict[str, dict[str, Bucket]] = {}
            for deployment in self._catalog.deployments():
                for bucket in deployment.buckets:
                    if bucket.window_name == "day" and bucket.unit in ("requests", "tokens"):
                        provider = deployment.provider.name
                        name = provider if bucket.scope == "account" else f"{provider}/{deployment.model}"
                        found.setdefault(name, {})[bucket.unit] = bucket
            self._a_day, self._revision = found, self._catalog.revision
        return self._a_day
