"""Deployments made up for tests that look at choosing, and a view of nothing but them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from gateway.catalog.catalog import Catalog
from gateway.quota.buckets import Bucket
from gateway.request.plan import View
from gateway.routing.affinity import Sessions
from gateway.routing.calibration import Calibration
from gateway.routing.health import Health
from gateway.routing.prices import Price
from gateway.settings import NotFree, Settings, Virtual
from gateway.state.store import StateBackend, StateStore
from gateway.words import Deployment, FreeProof
from providers.client import Provider
from providers.dialect import Account, Target
from tests.clock import FakeClock
from tests.payloads import SPECS
from tests.unit.test_client import Canned, Wire

NOW = 1_795_440_000.0
NO_BACKEND = cast(StateBackend, None)
"""For a state that nobody starts: it is never asked."""
PROOF = FreeProof("plan", "free plan", "", 0, 1e12)


def deployment(name: str, quality: float = 0.5, talents: str = "", *, last_resort: bool = False) -> Deployment:
    """*name* is ``provider/model``; it has a hundred requests a minute."""
    provider, _, model = name.partition("/")
    account = Account(SPECS[provider], "https://acme.example", "key")
    return Deployment(
        model=model,
        provider=Provider(account, Wire(Canned(200, {}, []))),
        target=Target(account, model),
        proof=PROOF,
        buckets=(Bucket(key=name, unit="requests", limit=100, window="clock", period=60, window_name="minute"),),
        capabilities=frozenset(talents.split()),
        quality=quality,
        last_resort=last_resort,
    )


def catalog(
    *deployments: Deployment, virtual: Mapping[str, Virtual] | None = None, not_free: tuple[NotFree, ...] = ()
) -> Catalog:
    """A catalog of just these."""
    settings = Settings(
        not_free=not_free,
        provider=SPECS,
        alias={"mine": "auto:tools", "either": ("nobody", "b")},
        virtual={"auto:tools": Virtual(needs=("tools",)), **(virtual or {})},
    )
    clock = FakeClock(NOW)
    made = Catalog(settings, StateStore(NO_BACKEND, clock))
    for name in dict.fromkeys(d.provider.name for d in deployments):
        made.swap(name, [d for d in deployments if d.provider.name == name], NOW)
    return made


def unshared() -> Health:
    """Of a gateway that has nobody to tell."""
    return Health(StateStore(NO_BACKEND, FakeClock()), "me")


def view(
    deployments: Sequence[Deployment], prices: Mapping[str, Price] | None = None, health: Health | None = None
) -> View:
    """What a gateway knows that has just these."""
    known = prices or {}
    return View(catalog(*deployments), health or unshared(), lambda _: known, Sessions(), Calibration())
