"""
Ask each provider for its models, in the background; keep the last good list, also across restarts.

A list that cannot be had leaves the old one in place until its free proofs expire.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.catalog.catalog import Catalog
from gateway.catalog.facts import deployment_of
from gateway.clock import Clock
from gateway.events import Discovered, Event
from gateway.ledger.ledger import Ledger
from gateway.ledger.quotas import buckets_of
from gateway.settings import Settings
from providers.client import Provider
from providers.dialect import Listed, Listing
from providers.failures import CredentialRejected, ProviderFailure

_FIRST_RETRY, _JITTER = 15.0, 0.1


class Kept(Struct):
    """A provider's last good list, as it is kept on disk. *at* is in unix seconds."""

    at: float
    models: tuple[Listed, ...]


class Discovery:
    """Fills the catalog, and keeps it true."""

    def __init__(
        self,
        catalog: Catalog,
        ledger: Ledger,
        settings: Settings,
        *,
        clock: Clock,
        tell: Callable[[Event], None],
    ) -> None:
        self._catalog, self._ledger, self._settings = catalog, ledger, settings
        self._providers: Mapping[str, Provider] = {}
        self._clock, self._tell = clock, tell
        self._file = settings.state_dir / "catalog.json"
        self._kept: dict[str, Kept] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.looked: dict[str, str | None] = {}  # provider → why its list could not be had, or None

    def recall(self, providers: Mapping[str, Provider]) -> None:
        """Take the last known lists of *providers*: a restart answers at once. A damaged file is as good as none."""
        self._providers = providers
        try:
            kept = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Kept])
        except (OSError, msgspec.DecodeError):
            return
        for name, lists in kept.items():
            if name in self._providers:
                self._kept[name] = lists
                self._swap(name, lists)

    @property
    def names(self) -> Iterable[str]:
        """The providers that can be asked."""
        return self._providers.keys()

    def serve(self, providers: Mapping[str, Provider]) -> None:
        """Recall what is known of *providers*, and look at their lists now and from time to time, until ``stop``."""
        self._catalog.await_lists(providers)
        self.recall(providers)
        self._tasks = [asyncio.create_task(self._keep_looking(name)) for name in self._providers]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def look(self, name: str) -> Listing:
        """
        Ask *name* for its list and take it in.

        Raises a ProviderFailure if it cannot be had; the last good list stays.
        """
        provider = self._providers[name]
        now = self._clock.now()
        try:
            listing = await provider.discover()
        except ProviderFailure as failure:
            self.looked[name] = failure.message
            self._catalog.heard_of(name)
            if isinstance(failure, CredentialRejected):
                self._catalog.withdraw(name, now + self._settings.catalog.refresh, f"key refused: {failure.message}")
            self._tell(Discovered(name, 0, failure.message))
            raise
        self.looked[name] = None
        kept = Kept(now, listing.models)
        self._swap(name, kept)
        self._observe(provider, listing, now)
        if self._kept.get(name) != kept:
            self._kept[name] = kept
            self._save()
        self._tell(Discovered(name, sum(d.provider is provider for d in self._catalog.deployments()), None))
        return listing

    async def _keep_looking(self, name: str) -> None:
        retry = _FIRST_RETRY
        while True:
            try:
                await self.look(name)
                wait, retry = self._settings.catalog.refresh, _FIRST_RETRY
            except ProviderFailure:
                wait, retry = retry, min(2 * retry, self._settings.catalog.refresh)
            await self._clock.sleep(wait * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - not a secret

    def _swap(self, name: str, kept: Kept) -> None:
        provider = self._providers[name]
        found = (deployment_of(listed, provider, kept.at, self._settings) for listed in kept.models)
        self._catalog.swap(name, [deployment for deployment in found if deployment is not None])

    def _observe(self, provider: Provider, listing: Listing, asked_at: float) -> None:
        """Take in what the provider said of the account's own buckets."""
        account = [b for b in buckets_of(provider.spec, "") if b.scope == "account"]
        self._ledger.observe(account, listing.observed, asked_at)

    def _save(self) -> None:
        """Replace the file as a whole, so that a crash leaves the old one or the new one."""
        new = self._file.with_name(f"{self._file.name}.{os.getpid()}.new")
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(msgspec.json.encode(self._kept))
        Path.replace(new, self._file)
