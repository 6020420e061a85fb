"""
Ask each provider for its models, in the background; keep the last good list, also across restarts.

A list that cannot be had leaves the old one in place until its free proofs expire. What one gateway read, the others of
the same store hear.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec import Struct

from gateway.catalog import changes
from gateway.catalog.catalog import Catalog
from gateway.catalog.database import Database, bundled
from gateway.catalog.facts import deployment_of
from gateway.clock import Clock
from gateway.events import Discovered, Event
from gateway.quota.buckets import Bucket
from gateway.quota.configured import buckets_of
from gateway.quota.ledger import Ledger
from gateway.settings import Settings
from gateway.state.store import Memory, Notes
from gateway.words import Deployment
from providers.client import Provider
from providers.dialect import HttpRequest, Listed, Listing
from providers.failures import CredentialRejected, ProviderFailure
from providers.spec import Timeouts
from providers.wire import Wire

_LISTS = "lists"
_FIRST_RETRY, _JITTER = 15.0, 0.1
_DAY = 86_400.0
_DATABASE_TIMEOUTS = Timeouts(connect=10.0, head=60.0, silence=30.0)


class Kept(Struct):
    """
    A provider's last good list, as it is remembered. *at* is in unix seconds. *limits* are what it said of the account,
    by ``unit/window``.
    """

    at: float
    models: tuple[Listed, ...]
    limits: dict[str, float] = {}


class Discovery:
    """Fills the catalog, and keeps it true."""

    def __init__(
        self,
        catalog: Catalog,
        ledger: Ledger,
        settings: Settings,
        *,
        memory: Memory,
        clock: Clock,
        tell: Callable[[Event], None],
    ) -> None:
        self._catalog, self._ledger, self._settings = catalog, ledger, settings
        self._memory, self._database = memory, bundled(settings.names)
        self._providers: Mapping[str, Provider] = {}
        self._clock, self._tell = clock, tell
        self._kept: dict[str, Kept] = {}
        memory.watch(_LISTS, self._recall)
        self._tasks: list[asyncio.Task[None]] = []
        self.looked: dict[str, str | None] = {}  # provider → why its list could not be had, or None

    def know(self, providers: Mapping[str, Provider]) -> None:
        """From now on *providers* can be asked; their last known lists are taken in, now and as others read them."""
        self._providers = providers
        self._recall(self._memory.notes(_LISTS))

    def _recall(self, notes: Notes) -> None:
        """A damaged note is as good as none."""
        for name in self._providers:
            try:
                kept = msgspec.json.decode(notes[name], type=Kept)
            except (KeyError, msgspec.DecodeError):
                continue
            known = self._kept.get(name)
            if known is None or kept.at > known.at:
                self._take_in(name, kept)
            elif kept.at < known.at:  # somebody who had not heard of ours told an older one
                self._memory.note(_LISTS, name, msgspec.json.encode(known))

    @property
    def names(self) -> Iterable[str]:
        """The providers that can be asked."""
        return self._providers.keys()

    def serve(self, wire: Wire) -> None:
        """Look at every list now and from time to time, until ``stop``; at the models database once a day."""
        self._catalog.await_lists(self._providers)
        self._tasks = [asyncio.create_task(self._keep_looking(name)) for name in self._providers]
        if self._settings.catalog.database:
            self._tasks.append(asyncio.create_task(self._keep_reading(self._settings.catalog.database, wire)))

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
                until = now + self._settings.catalog.refresh
                self._catalog.experience.withdraw(name, until, f"key refused: {failure.message}")
            self._tell(Discovered(name, 0, failure.message))
            raise
        self.looked[name] = None
        limits = {f"{said.unit}/{said.window}": said.limit for said in listing.observed if said.limit is not None}
        known, before = self._kept.get(name), self._by_name(name)
        kept = Kept(now, listing.models, limits)
        self._take_in(name, kept)
        self._memory.note(_LISTS, name, msgspec.json.encode(kept))
        if known is not None:
            listed = [model.id for model in listing.models]
            for change in (
                *changes.between(before, self._by_name(name), listed, now),
                *changes.of_limits(name, known.limits, limits, now),
            ):
                self._tell(change)
        self._ledger.observe(_of_account(provider), listing.observed, now)
        self._catalog.experience.sweep(now)
        await self._memory.tell()  # before anybody is answered by it: a process that is killed has not learned in vain
        self._tell(Discovered(name, len(self._catalog.served_by(name)), None))
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

    async def _keep_reading(self, url: str, wire: Wire) -> None:
        """Read the models database once a day. What cannot be had or read leaves the one that we have."""
        while True:
            try:
                answer = await wire.send(HttpRequest("GET", url, {}), _DATABASE_TIMEOUTS)
                try:
                    encoded = b"".join([piece async for piece in answer.pieces()])
                finally:
                    answer.close()
                if answer.status == 200:
                    self._database = await asyncio.to_thread(Database, encoded, self._settings.names)
                    for name, kept in self._kept.items():
                        self._take_in(name, kept)
            except (ProviderFailure, msgspec.DecodeError):
                pass
            await self._clock.sleep(_DAY * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - not a secret

    def _by_name(self, name: str) -> dict[str, Deployment]:
        return {d.name: d for d in self._catalog.served_by(name)}

    def _take_in(self, name: str, kept: Kept) -> None:
        self._kept[name] = kept
        provider, free, not_free = self._providers[name], [], []
        for listed in kept.models:
            deployment = deployment_of(listed, provider, kept.at, self._settings, self._database)
            if deployment is not None:
                free.append(deployment)
            else:
                not_free.append(listed.id)
        self._catalog.swap(name, free, kept.at, not_free)


def _of_account(provider: Provider) -> list[Bucket]:
    """The buckets of which a list may tell."""
    return [bucket for bucket in buckets_of(provider.spec, "") if bucket.scope == "account"]
