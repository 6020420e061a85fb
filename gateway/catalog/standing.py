"""
How a source stands, in one word and why: the one judgement that ``/health``, ``freeway check``, the admin API and the page tell.

``judge`` is pure: it decides from what is known at a moment. ``Sources`` gathers that.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gateway.catalog.catalog import Catalog
from gateway.catalog.discovery import Discovery
from gateway.catalog.learned import Withdrawal
from gateway.catalog.proof import Certainty, certainty
from gateway.routing.health import Health
from gateway.settings import EMBEDDED, Settings
from gateway.words import Deployment
from providers.spec import DataPolicy, ProviderSpec

SourceState = Literal["on", "starting", "no key", "key refused", "shut", "failing", "off"]
"""
``on``: it serves. ``starting``: its list was not had yet. ``no key``: it needs one. ``key refused``: the provider takes this key
not. ``shut``: a call could cost, or did. ``failing``: its list cannot be had, or all its models cool down. ``off``: by configuration.
"""


class Known(Struct, frozen=True, kw_only=True):
    """
    What is known of the source at *spec*. *asked*: it is one of those that can be asked. *looked*: its list was asked for, and
    could not be had because of a *problem*, if so. It is *shut* because it could charge, *out* because of what it said. Of its
    *models* so many *serve*; *cooling* is why none does that may, if all cool down, and *until* when.
    """

    spec: ProviderSpec
    has_key: bool
    asked: bool = True
    looked: bool = True
    problem: str | None = None
    shut: str | None = None
    out: Withdrawal | None = None
    models: int = 0
    serve: int = 0
    cooling: str | None = None
    until: float | None = None


class Judgement(Struct, frozen=True):
    """The *state* of a source, the *reason* in words (empty: none is needed), what a person can do, and when it ends by itself."""

    state: SourceState
    reason: str = ""
    remedy: str = ""
    until: float | None = None


def judge(known: Known) -> Judgement:
    """How the source stands of which that is *known*."""
    if not known.asked:
        return _unasked(known)
    return _kept_out(known) or (Judgement("on", _beside(known)) if known.serve else _failing(known))


def _kept_out(known: Known) -> Judgement | None:
    spec, out = known.spec, known.out
    if known.shut is not None:
        remedy = f"look at the account at {spec.title}: while it can be charged, nothing is sent there"
        return Judgement("shut", known.shut, remedy)
    if out is not None and out.refused is not None:
        return Judgement("key refused", out.because, f"set another key: {_key_from(spec)}", out.until)
    if out is not None and not (out.credit and known.serve):
        remedy = f"`freeway models --readmit {spec.name}` lets it in again, once you know that nothing is charged"
        return Judgement("shut", out.because, remedy, out.until)
    return None


def _failing(known: Known) -> Judgement:
    again = "it is asked again by itself"
    if not known.looked and known.cooling is None:
        return Judgement("starting", "its list of models is on its way")
    if known.problem is not None:
        return Judgement("failing", known.problem, again)
    if known.cooling is not None:
        return Judgement("failing", known.cooling, again, known.until)
    if known.models:
        return Judgement(
            "failing", "nothing proves any more that its models are free", "its list is read again by itself"
        )
    if known.spec.dialect == "ollama" and known.spec.keyless:
        return Judgement("failing", "it has no model yet", "`ollama pull llama3.2` brings one")
    return Judgement("failing", "its list has no model that is free", f"see {known.spec.docs}")


def _unasked(known: Known) -> Judgement:
    spec = known.spec
    if not spec.enabled:
        why = "; ".join(filter(None, ("off until a person allows it", spec.free.terms)))
        return Judgement("off", why, spec.how_to_have())
    if not known.has_key and not spec.keyless:
        return Judgement("no key", f"it needs a key of its own: {spec.key_env}", f"get a free one: {_key_from(spec)}")
    missing = [variable for name, variable in spec.base_url_needs.items() if f"{{{name}}}" in spec.base_url]
    if missing:
        return Judgement(
            "no key", f"its key is there, and {' and '.join(missing)} is missing", f"set {' and '.join(missing)}"
        )
    return Judgement("off", "off by configuration")


def _beside(known: Known) -> str:
    """What to know of a source that serves."""
    if known.out is not None:
        return f"only what its credit does not pay serves: {known.out.because}"
    return f"by its last list, as the next one could not be had: {known.problem}" if known.problem else ""


def _key_from(spec: ProviderSpec) -> str:
    return f"{spec.get_a_key or spec.docs} makes one, for {spec.key_env}"


def prompts_of(policy: DataPolicy) -> str:
    """What becomes of prompts, in words."""
    trains = {"yes": "train models", "no": "train nothing", "unknown": "may train models"}[policy.trains]
    kept = {"yes": "are kept", "no": "are not kept", "unknown": ""}[policy.retains]
    where = f"stay in {policy.region}" if policy.region != "unknown" else ""
    return ", ".join(part for part in (trains, kept, where) if part)


class Sources:
    """All sources of *settings*, as they stand by what the other parts know."""

    def __init__(self, settings: Settings, catalog: Catalog, discovery: Discovery, health: Health) -> None:
        self._settings, self._catalog, self._discovery, self._health = settings, catalog, discovery, health

    def adopt(self, settings: Settings) -> None:
        """From now on *settings* hold."""
        self._settings = settings

    def missing(self, now: float) -> list[str]:
        """What stands between a gateway that can serve nothing and its first answer, the most useful first."""
        settings = self._settings
        easiest = [
            spec.key_env
            for spec in settings.provider.values()
            if spec.key_env and spec.enabled and not spec.base_url_needs
        ]
        some_key = f"{settings.hint} (or set one of {', '.join(filter(None, easiest))}; it is taken up while this runs)"
        found = [] if settings.keys else [some_key]
        for name in (*settings.keys, *(name for name in self.asked() if name not in settings.keys)):
            judgement = self.judgement(name, now)
            if judgement.state not in ("on", "starting"):
                told = "; ".join(filter(None, (judgement.reason, judgement.remedy)))
                found.append(f"{settings.provider[name].title}: {told}")
        return found

    def asked(self) -> list[str]:
        """Those that can be asked."""
        return list(self._discovery.names)

    def names(self) -> list[str]:
        """Those of which something can be said: first those that are asked, then those that could be."""
        asked = self.asked()
        return [*asked, *(name for name in self._settings.provider if name not in asked and name != EMBEDDED)]

    def spec(self, name: str) -> ProviderSpec:
        return self._settings.provider[name]

    def has_key(self, name: str) -> bool:
        return name in self._settings.keys

    def sure(self, name: str) -> Certainty:
        """How far it is known that the account at *name* costs nothing."""
        return certainty(self._settings.provider[name], self._discovery.standing(name))

    def read_at(self, name: str) -> float | None:
        """When the list that is used of *name* was read (unix seconds); None: none was."""
        return self._discovery.looked_at(name)

    def judgement(self, name: str, now: float) -> Judgement:
        """How the source *name* stands *now*."""
        return judge(self.known(name, now))

    def known(self, name: str, now: float) -> Known:
        """What is known of the source *name*."""
        models, discovery = self._catalog.served_by(name), self._discovery
        may = [d for d in models if self._catalog.serves(d, now)]
        blocked = [reason for d in may if (reason := self._health.blocked(d.name, now)) is not None]
        cooling = blocked[0].reason if may and len(blocked) == len(may) else None
        return Known(
            spec=self._settings.provider[name],
            has_key=name in self._settings.keys,
            asked=name in discovery.names,
            looked=name in discovery.looked,
            problem=discovery.looked.get(name),
            shut=discovery.shut(name),
            out=self._catalog.learned.out(now).get(name),
            models=len(models),
            serve=0 if cooling else len(may),
            cooling=cooling,
            until=min((reason.until for reason in blocked if reason.until is not None), default=None),
        )

    def serving(self, name: str, now: float) -> list[Deployment]:
        """The deployments of *name* that may be asked."""
        return [d for d in self._catalog.served_by(name) if self._catalog.serves(d, now)]
