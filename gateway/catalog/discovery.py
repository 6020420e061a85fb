"""
Ask each provider for its models, in the background; keep the last good list, also across restarts.

A list that cannot be had leaves the old one in place until its free proofs expire, and ``looked`` says why. What one
gateway read, the others of the same store hear. A request that meets an expired proof has its provider asked at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import msgspec
from msgspec import Struct

from gateway.background import Background
from gateway.catalog import changes
from gateway.catalog.catalog import Catalog
from gateway.catalog.database import Database, bundled
from gateway.catalog.facts import deployment_of
from gateway.catalog.proof import chargeable
from gateway.catalog.quarantine import quarantine
from gateway.clock import Clock
from gateway.events import Changed, Discovered, Event, Withdrawn
from gateway.quota.buckets import Bucket
from gateway.quota.configured import buckets_of
from gateway.quota.ledger import Ledger
from gateway.settings import Settings
from gateway.state.store import StateStore
from gateway.words import CLOCKS_APART, Deployment
from providers.client import Provider
from providers.dialect import Account, HttpRequest, Listed, Listing, Standing
from providers.failures import CredentialRejected, ProviderFailure
from providers.spec import ProviderSpec, Timeouts
from providers.wire import Wire

_LISTS = "lists"
_FIRST_RETRY, _JITTER = 15.0, 0.1
_DAY = 86_400.0
_DATABASE_TIMEOUTS = Timeouts(connect=10.0, head=60.0, silence=30.0)

WAKE_PAUSE = 5.0
"""Seconds after the end of a look for which the provider is not asked again, whatever wakes the loop."""


_NOTHING_SPENT = 1e-9
"""Dollars: what is less is how numbers are rounded."""


class KeptList(Struct):
    """
    A provider's last good list, as it is remembered. *at* is in unix seconds. *limits* are what it said of the account,
    by ``unit/window``, *standing* what it said of whether it can be charged, and *spent* the dollars that its *key*, by its
    fingerprint, had spent by then.
    """

    at: float
    models: tuple[Listed, ...]
    limits: dict[str, float] = {}
    standing: Standing = Standing()
    spent: float | None = None
    key: str = ""


class Discovery:
    """Fills the catalog, and keeps it true."""

    def __init__(
        self,
        catalog: Catalog,
        ledger: Ledger,
        settings: Settings,
        *,
        state: StateStore,
        clock: Clock,
        tell: Callable[[Event], None],
    ) -> None:
        self._catalog, self._ledger, self._settings = catalog, ledger, settings
        self._state, self._database = state, bundled(settings.names)
        self._providers: Mapping[str, Provider] = {}
        self._background: Background | None = None
        self._wire: Wire | None = None
        self._clock, self._tell = clock, tell
        self._kept: dict[str, KeptList] = {}
        self._woken: dict[str, asyncio.Event] = {}
        self._looked_at: dict[str, float] = {}  # when the last look ended, in unix seconds
        self._shut: dict[str, str | None] = {}  # provider → why its account may not be used at all
        self.looked: dict[str, str | None] = {}  # provider → why its list could not be had, or None
        state.watch(_LISTS, KeptList, self._recall)

    def know(self, providers: Mapping[str, Provider]) -> None:
        """From now on *providers* can be asked; their last known lists are taken in, now and as others read them."""
        self._providers = providers
        self._woken = {name: asyncio.Event() for name in providers}
        self._recall(self._state.entries(_LISTS, KeptList))

    def adopt(self, settings: Settings, providers: Mapping[str, Provider]) -> None:
        """
        From now on *settings* hold, and *providers* can be asked. One that is not the same object as before has another key or
        address: what was read with the old one is forgotten, and its list is asked for at once.
        """
        before, self._settings, self._providers = self._providers, settings, providers
        remembered, keys = self._state.entries(_LISTS, KeptList), settings.accounts()
        for name in before.keys() | providers.keys():
            if before.get(name) is not providers.get(name):
                for known in (self._kept, self._shut, self.looked):
                    known.pop(name, None)
                self._catalog.swap(name, (), self._clock.now())
                self._woken.setdefault(name, asyncio.Event()).set()
                if name in providers and name in remembered and remembered[name].key == keys[name]:
                    self._kept[name] = remembered[name]
        for name, kept in list(self._kept.items()):
            self._take_in(name, kept)
        self._run_loops()
        self._catalog.await_lists(name for name in providers if name not in self.looked)

    def _recall(self, heard: Mapping[str, KeptList]) -> None:
        now = self._clock.now()
        for name in self._providers:
            kept, known = heard.get(name), self._kept.get(name)
            if kept is None or kept.at > now + CLOCKS_APART:  # it would prove things for longer than it may
                continue
            if known is None or kept.at > known.at or known.at > now + CLOCKS_APART:
                self._take_in(name, kept)
            elif kept.at < known.at:  # another gateway, which had not heard of ours, told an older one
                self._state.set(_LISTS, name, known)

    @property
    def providers(self) -> Mapping[str, Provider]:
        """Those that can be asked, by name."""
        return self._providers

    @property
    def names(self) -> Iterable[str]:
        """The providers that can be asked."""
        return self._providers.keys()

    def serve(self, background: Background, wire: Wire) -> None:
        """Look at every list now and from time to time; at the models database once a day."""
        self._catalog.await_lists(self._providers)
        self._background, self._wire = background, wire
        self._run_loops()
        if url := self._settings.catalog.database:
            background.run("models database", partial(self._read_forever, url, wire))

    def _run_loops(self) -> None:
        """Have a loop for each provider that has none. Those of others end by themselves."""
        for name in self._providers:
            if self._background is not None and not self._background.runs(loop := f"model list of {name}"):
                self._background.run(loop, partial(self._look_forever, name))

    async def listed_with(self, spec: ProviderSpec, key: str) -> Listing:
        """What the provider at *spec* lists to who has *key*, of which nothing is taken in. Raises a ProviderFailure."""
        assert self._wire is not None  # it is there once requests are
        return await Provider(Account(spec, spec.base_url, key), self._wire).discover()

    def wake(self, provider: str) -> None:
        """
        Have *provider* asked for its list now rather than when it is due, as a request met a proof of it that has expired.

        Many calls are one: a look that is under way, or ended less than ``WAKE_PAUSE`` seconds ago, will do.
        """
        woken, looked_at = self._woken.get(provider), self._looked_at.get(provider)
        if woken is None or looked_at is None:
            return
        if not 0 <= self._clock.now() - looked_at < WAKE_PAUSE:
            woken.set()

    async def look(self, name: str) -> Listing:
        """
        Ask *name* for its list and take it in.

        Raises a ProviderFailure if it cannot be had, and what a faulty dialect raises; the last good list stays.
        """
        provider = self._providers[name]
        now = self._clock.now()
        try:
            listing = _sound(await provider.discover())
        except ProviderFailure as failure:
            if self._providers.get(name) is not provider:  # what its old key is told is no news
                raise
            if isinstance(failure, CredentialRejected):
                self._refuse(name, f"key refused: {failure.message}", now)
            self._missed(name, failure.message)
            raise
        except Exception as exc:
            self._missed(name, f"its list could not be read ({type(exc).__name__}; the log says more)")
            raise
        if self._providers.get(name) is not provider:
            return listing
        limits = {f"{said.unit}/{said.window}": said.limit for said in listing.observed if said.limit is not None}
        known, before = self._kept.get(name), self._by_name(name)
        standing, key = _last_word(known, listing), self._settings.accounts()[name]
        kept = KeptList(now, listing.models, limits, standing, listing.spent, key)
        self._state.set(_LISTS, name, kept)
        await self._state.flush()  # a process that is killed once it has answered by this list has not learned in vain
        self._take_in(name, kept)
        self.looked[name] = None
        if provider.spec.list_proves_key:
            self._catalog.learned.accept(name, now, self._tell)
        if known is not None:
            listed = [model.id for model in listing.models]
            for change in (
                *changes.between(before, self._by_name(name), listed, now),
                *changes.of_limits(name, known.limits, limits, now),
            ):
                self._tell(change)
        self._ledger.observe(_of_account(provider), listing.observed, now)
        self._see_money(provider, listing, known, now)
        self._catalog.learned.sweep(now)
        self._tell(Discovered(name, len(self._catalog.served_by(name)), None))
        return listing

    def _see_money(self, provider: Provider, listing: Listing, known: KeptList | None, now: float) -> None:
        """
        Whether the account has been spending: then it is left alone. What is spent is seen here, too, where no answer told of it,
        because its caller had left.
        """
        name, learned = provider.name, self._catalog.learned
        out = name in learned.out(now)
        before = known.spent if known is not None and known.key == self._settings.accounts()[name] else None
        if not out and before is not None and listing.spent is not None and listing.spent > before + _NOTHING_SPENT:
            sign = (
                f"the key of {name} has spent {listing.spent - before:g} dollars since it was last looked at. If something else "
                f"spends with it, give this gateway a key of its own"
            )
            quarantine(name, sign, self._catalog, self._ledger, now, self._tell)

    def _refuse(self, name: str, because: str, now: float) -> None:
        """The key of *name* is not taken. It is told once."""
        learned = self._catalog.learned
        known = learned.out(now).get(name)
        learned.withdraw(name, now + self._settings.catalog.refresh, because, refused="key")
        if known is None or known.refused != "key":
            self._tell(Changed("withdrawn", name, because, now))

    def _missed(self, name: str, problem: str) -> None:
        self.looked[name] = problem
        self._catalog.heard_of(name)
        self._tell(Discovered(name, 0, problem))

    async def _look_forever(self, name: str) -> None:
        retry = _FIRST_RETRY
        while name in self._providers:
            asked = self._providers[name]
            try:
                await self.look(name)
                wait, retry = self._settings.catalog.refresh, _FIRST_RETRY
            except ProviderFailure:
                wait, retry = retry, min(2 * retry, self._settings.catalog.refresh)
            finally:
                self._looked_at[name] = self._clock.now()
                self._woken[name].clear()
            if self._providers.get(name) is asked:
                await self._rest(name, wait)
            else:
                retry = _FIRST_RETRY

    async def _rest(self, name: str, seconds: float) -> None:
        """Return after some *seconds*, or when the loop is woken."""
        timer = self._clock.call_later(_about(seconds), self._woken[name].set)
        try:
            await self._woken[name].wait()
        finally:
            timer.cancel()

    async def _read_forever(self, url: str, wire: Wire) -> None:
        """Read the models database once a day. One that cannot be had or read leaves the one that we have."""
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
            except (ProviderFailure, ValueError):
                pass
            await self._clock.sleep(_about(_DAY))

    def _by_name(self, name: str) -> dict[str, Deployment]:
        return {d.name: d for d in self._catalog.served_by(name)}

    def _take_in(self, name: str, kept: KeptList) -> None:
        self._kept[name] = kept
        provider, free, not_free = self._providers[name], [], []
        shut = chargeable(provider.spec, kept.standing)
        if shut is not None and self._shut.get(name) != shut:
            now = self._clock.now()
            self._tell(Withdrawn(name, shut, now + self._settings.catalog.refresh, alarm=True))
            self._tell(Changed("withdrawn", name, shut, now))
        self._shut[name] = shut
        for listed in () if shut is not None else kept.models:
            deployment = deployment_of(listed, provider, kept.at, self._settings, self._database)
            if deployment is not None:
                free.append(deployment)
            else:
                not_free.append(listed.id)
        if shut is not None:
            not_free = [listed.id for listed in kept.models]
        self._catalog.swap(name, free, kept.at, not_free)

    def standing(self, name: str) -> Standing:
        """What *name* said last of whether its account can be charged."""
        kept = self._kept.get(name)
        return Standing() if kept is None else kept.standing

    def looked_at(self, name: str) -> float | None:
        """When the list that is used of *name* was read (unix seconds); None: none was."""
        kept = self._kept.get(name)
        return None if kept is None else kept.at

    def shut(self, name: str) -> str | None:
        """Why nothing is sent to *name*, whose account could be charged; None: it is not shut."""
        return self._shut.get(name)


def _last_word(known: KeptList | None, listing: Listing) -> Standing:
    """What a provider said last of its account: one that does not say so now has not taken back that it can be charged."""
    told_before = known is not None and known.standing.can_pay is True
    return known.standing if told_before and known and listing.standing.can_pay is None else listing.standing


def _about(seconds: float) -> float:
    return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - not a secret


def _sound(listing: Listing) -> Listing:
    """*listing* without entries that hold values of a wrong type: they could be neither compared nor remembered."""
    models = []
    for listed in listing.models:
        try:
            models.append(msgspec.convert(msgspec.to_builtins(listed), Listed))
        except msgspec.ValidationError:
            continue
    return msgspec.structs.replace(listing, models=tuple(models))


def _of_account(provider: Provider) -> list[Bucket]:
    """The buckets of which a list may tell."""
    return [bucket for bucket in buckets_of(provider.spec, "") if bucket.scope == "account"]
