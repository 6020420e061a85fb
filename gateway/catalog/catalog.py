"""Who serves what, now: the deployments, by every name they can be asked for, and which of them may serve a request."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from fnmatch import fnmatchcase

import msgspec

from gateway.catalog.fitness import fitness, matches, outgrows_credit, unfit, untaken
from gateway.catalog.learned import LEAST_CONTEXT, Learned
from gateway.catalog.near import gone, profiles, unknown
from gateway.catalog.substitutes import Profile, nearest
from gateway.quota.buckets import Bucket
from gateway.settings import AUTO, Settings, Virtual
from gateway.state.store import StateStore
from gateway.words import (
    Call,
    Candidate,
    Deployment,
    Exclusion,
    GatewayError,
    NoSource,
    Preference,
    UnknownModel,
    Wants,
)
from providers.client import Provider

_GONE = "gone"
_MOST_WANTS = 512
"""Kinds of request whose deployments are remembered."""

_AT_A_TURN = 2
_UNTAKEN = 0.1  # of its fitness a deployment loses for each parameter of the request that it does not take


class Catalog:
    """
    Swapped as a whole for each provider; looked up for each request, at a cost that does not grow with its size: who
    fits a request of some shape, best first, is found once. *freed* is called when a list may have brought what calls wait for.
    """

    def __init__(self, settings: Settings, state: StateStore, freed: Callable[[], None] = lambda: None) -> None:
        self._freed = freed
        self._state = state
        self._by_provider: dict[str, tuple[Deployment, ...]] = {}
        self._listed: dict[str, tuple[Deployment, ...]] = {}  # as they were before anything was learned
        self._all: tuple[Deployment, ...] = ()
        self._by_name: dict[str, list[Deployment]] = {}
        self._spelled: dict[str, set[str]] = {}  # how providers spell them: the models that it may mean
        self._aliased_by: dict[str, str] = {}  # names that a pattern was found for, or none: ""
        self._not_free: dict[str, str] = {}
        self._buckets: list[Bucket] = []
        self._fitting: dict[Wants, tuple[Candidate, ...]] = {}
        self._fitting_at = 0
        self.gone: dict[str, Profile] = {}  # what models were like that were served once
        self._awaited: set[str] = set()
        self.revision = 0  # another one whenever a list is replaced
        self.learned = Learned(state, settings.accounts())
        self.complete = asyncio.Event()
        self.adopt(settings)
        state.watch(_GONE, Profile, self._hear_gone)

    def adopt(self, settings: Settings) -> None:
        """From now on names mean what *settings* say, and accounts are those of their keys. The lists stay."""
        self._specs, self._aliases, self._names = settings.provider, settings.alias, settings.names
        self._virtual, self._patterns = {AUTO: Virtual(), **settings.virtual}, tuple(settings.pattern.items())
        self.hint = settings.hint
        self._paid = {name: source for source in settings.not_free for name in source.names}
        self.learned.belong(settings.accounts())
        self._aliased_by.clear()
        self._fitting.clear()
        self.revision += 1
        self._freed()

    def asks(self, provider: Provider) -> bool:
        """Whether *provider* is the one that is asked now: another takes its place once its key or its address is another."""
        return any(d.provider is provider for d in self._by_provider.get(provider.name, ())[:1])

    # ── what is there ──

    def await_lists(self, providers: Iterable[str]) -> None:
        """From now until *providers* were all heard of, the catalog is not *complete*."""
        self._awaited = set(providers)
        (self.complete.clear if self._awaited else self.complete.set)()

    def heard_of(self, provider: str) -> None:
        """Its list is here, or cannot be had."""
        self._awaited.discard(provider)
        if not self._awaited:
            self.complete.set()

    def swap(self, provider: str, deployments: Iterable[Deployment], now: float, not_free: Iterable[str] = ()) -> None:
        """Replace all that *provider* serves; *not_free* are ids that it lists and that are not proved to be free."""
        self.revision += 1
        before = {d.model for d in self._by_provider.get(provider, ())}
        served = self._by_name
        self._listed[provider] = tuple(deployments)
        self._by_provider[provider] = tuple(self.learned.applied(d, now) for d in self._listed[provider])
        self._all = tuple(d for found in self._by_provider.values() for d in found)
        by_name: dict[str, list[Deployment]] = {}
        spelled: dict[str, set[str]] = {}
        for d in self._all:
            spelled.setdefault(d.target.model, set()).add(d.model)
            for name in dict.fromkeys((d.model, d.name, f"{d.provider.name}/{d.model}")):
                by_name.setdefault(name, []).append(d)
        self._by_name, self._spelled = by_name, spelled
        self._aliased_by.clear()
        self._buckets = list({b.key: b for d in self._all for b in d.buckets}.values())
        self._not_free = {name: p for name, p in self._not_free.items() if p != provider}
        self._not_free |= dict.fromkeys(not_free, provider)
        self._fitting.clear()
        for model in before - by_name.keys():
            self._miss(Profile.of((d for d in served[model] if d.model == model), now))
        self.heard_of(provider)
        self._freed()

    def shorten(self, deployment: Deployment, tokens: int, now: float) -> bool:
        """*deployment* says that it holds no more than so many *tokens*: whether that is news."""
        if not LEAST_CONTEXT <= tokens < (deployment.context or math.inf):
            return False
        self.learned.shorten(deployment.name, tokens, now)
        self.look_again(deployment.provider.name, now)
        return True

    def look_again(self, provider: str, now: float) -> None:
        """Something was learned of what *provider* serves."""
        not_free = [name for name, lister in self._not_free.items() if lister == provider]
        self.swap(provider, self._listed.get(provider, ()), now, not_free)

    def _miss(self, profile: Profile) -> None:
        """Remember what a model that is gone was like."""
        self.gone[profile.model] = profile
        self._aliased_by.clear()
        self._state.set(_GONE, profile.model, profile)

    def _hear_gone(self, heard: dict[str, Profile]) -> None:
        self.gone = heard
        self._aliased_by.clear()

    def deployments(self) -> tuple[Deployment, ...]:
        return self._all

    def served_by(self, provider: str) -> tuple[Deployment, ...]:
        """What *provider* serves."""
        return self._by_provider.get(provider, ())

    def serving(self, now: float) -> list[Deployment]:
        """Those that may be asked now."""
        return [d for d in self._all if self.serves(d, now)]

    def buckets(self) -> list[Bucket]:
        """Every bucket that some deployment debits."""
        return self._buckets

    def serves(self, deployment: Deployment, now: float) -> bool:
        """Whether *deployment* may be asked now."""
        return deployment.proof.fresh(now) and self.learned.withdrawn(deployment, now) is None

    def standing_for(self) -> dict[str, Wants]:
        """The names that stand for many models, and what each requires of a deployment."""
        return {
            name: Wants(
                models=(name,),
                allowed_models=virtual.models,
                capabilities=frozenset(virtual.needs),
                no_train=virtual.no_train,
                min_context=virtual.context,
            )
            for name, virtual in self._virtual.items()
        }

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """The names that mean others, and which: the first of them that is served."""
        return {name: self._aliased(name) for name in self._aliases}

    def meant(self, asked: str) -> str:
        """The one name that *asked* stands for where the second of an alias must not take the place of the first."""
        return self._aliased(asked)[0]

    def spelled(self, name: str) -> list[Deployment]:
        """The deployments of the one model, or the one deployment, that *name* spells in whatever way."""
        return self._named(name)

    def meets(self, deployment: Deployment, wants: Wants, now: float) -> bool:
        """Whether *deployment* can do all that *wants* requires."""
        return unfit(deployment, wants, self.learned, now) is None

    # ── who can ──

    def fitting(self, wants: Wants, now: float) -> tuple[Candidate, ...]:
        """
        The deployments that fit *wants* for as long as no list changes: capable, private and allowed.

        They come in the order of the caller's lists and of their fitness, the best two of each account before its next
        two: what is worth most now is among the first of them, whatever an account's quota has come to.
        """
        if self._fitting_at != self.learned.revision or len(self._fitting) >= _MOST_WANTS:
            self._fitting.clear()
            self._fitting_at = self.learned.revision
        found = self._fitting.get(wants)
        if found is None:
            found = self._fitting[wants] = tuple(self._find(wants, now))
        return found

    def unusable(self, deployment: Deployment, call: Call, now: float) -> Exclusion | None:
        """Why *deployment*, which fits what *call* wants, cannot serve it now, or because of its size; or None."""
        if deployment.context and call.prompt_tokens > deployment.context and call.least_tokens > deployment.context:
            why = f"holds {deployment.context} tokens, the request has about {call.prompt_tokens}"
            return Exclusion(deployment.name, "context", why)
        if why := outgrows_credit(deployment, call):
            return Exclusion(deployment.name, "size", why)
        if not deployment.proof.fresh(now):
            why = "its free proof has expired"  # the next list may renew it
            return Exclusion(deployment.name, "proof", why, when_freed=True)
        if withdrawal := self.learned.withdrawn(deployment, now):
            return Exclusion(deployment.name, "withdrawn", withdrawal.because, withdrawal.until)
        return None

    def exclusions(self, call: Call, wants: Wants, now: float) -> list[tuple[Deployment, Exclusion]]:
        """Why each deployment that *wants* names may not serve *call*."""
        found: dict[str, tuple[Deployment, Exclusion]] = {}
        fits: set[str] = set()
        for asked in wants.models:
            named, tight = self._resolve(asked, wants)
            for d in named:
                reason = unfit(d, tight, self.learned, now) or self.unusable(d, call, now)
                if reason is None:
                    fits.add(d.name)
                else:
                    found.setdefault(d.name, (d, reason))
        return [pair for name, pair in found.items() if name not in fits]

    def standing_in(self, call: Call, now: float) -> Wants:
        """
        What *call* wants, with the nearest model in place of one that is gone, if it allows for that; else unchanged.

        What the name that was asked for requires (of a virtual model: privacy, capabilities, context) holds for the
        model that stands in, too. ``instead_of`` tells what was asked for.
        """
        wants = call.wants
        if not wants.substitute or len(wants.models) != 1 or wants.operation != "chat":
            return wants
        asked = wants.models[0]
        served, tight = self._resolve(asked, wants)
        out = [self.learned.withdrawn(d, now) for d in served]
        if any(withdrawal is None or not withdrawal.gone for withdrawal in out):
            return wants
        gone = Profile.of(served) if served else self.gone.get(asked) or self.gone.get(self._names.canonical(asked))
        if gone is None:
            return wants
        present: dict[str, list[Deployment]] = {}
        for d in self._all:
            if not d.last_resort and unfit(d, tight, self.learned, now) is None and self.unusable(d, call, now) is None:
                present.setdefault(d.model, []).append(d)
        found = nearest(gone, map(Profile.of, present.values()))
        return wants if found is None else msgspec.structs.replace(tight, models=(found.model,), instead_of=asked)

    def forbids_training(self, wants: Wants) -> bool:
        """Whether nothing of a request that *wants* this may be trained on: it says so, or a virtual model that it names."""
        named = (self._virtual.get(name) for asked in wants.models for name in self._aliased(asked))
        return wants.no_train or any(virtual is not None and virtual.no_train for virtual in named)

    def prefers(self, asked: str) -> Preference:
        """What ranking should prefer for the name *asked*: ``balance``, ``quality`` or ``speed``."""
        for name in self._aliased(asked):
            if name in self._virtual:
                return self._virtual[name].prefer
        return "balance"

    def _find(self, wants: Wants, now: float) -> list[Candidate]:
        found: dict[str, Candidate] = {}
        preferences: dict[tuple[int, int], tuple[int, int]] = {}  # each but once: they are compared for every request
        prefer = wants.prefer or self.prefers(wants.models[0])
        talents = wants.capabilities | ({"reasoning"} if "reasoning_effort" in wants.parameters else set())
        for place, asked in enumerate(wants.models):
            named, tight = self._resolve(asked, wants)
            for d in named:
                if d.name not in found and unfit(d, tight, self.learned, now) is None:
                    provider = d.provider.name
                    ordered = wants.order.index(provider) if provider in wants.order else len(wants.order)
                    value = fitness(d, talents, prefer) - _UNTAKEN * len(untaken(d, wants, self.learned, now))
                    at = preferences.setdefault((place, ordered), (place, ordered))
                    found[d.name] = Candidate(d, value, at)
        if wants.operation == "embed":  # vectors of two models never meet in one index
            model = next((one.deployment.model for one in found.values()), "")
            found = {name: one for name, one in found.items() if one.deployment.model == model}
        ranked = sorted(found.values(), key=lambda one: (one.preference, -one.fitness))
        seen: Counter[tuple[tuple[int, int], str]] = Counter()
        turns = []
        for one in ranked:
            key = one.preference, one.deployment.provider.name
            turns.append((one.preference, seen[key] // _AT_A_TURN))
            seen[key] += 1
        return [ranked[n] for n in sorted(range(len(ranked)), key=turns.__getitem__)]

    def _resolve(self, asked: str, wants: Wants) -> tuple[list[Deployment], Wants]:
        """The deployments that *asked* names, and what is wanted of them: more for a virtual model; no training for all or none."""
        tight = msgspec.structs.replace(wants, no_train=self.forbids_training(wants))
        for name in self._aliased(asked):
            virtual = self._virtual.get(name)
            if virtual is None:
                if found := self._named(name):
                    return found, tight
                continue
            if virtual.needs or virtual.context:
                capabilities = wants.capabilities | set(virtual.needs)
                least = max(wants.min_context, virtual.context)
                tight = msgspec.structs.replace(tight, capabilities=capabilities, min_context=least)
            serves = [d for d in self._all if wants.operation in d.operations and matches(d.model, virtual.models)]
            return serves, tight
        return [], tight

    def _named(self, name: str) -> list[Deployment]:
        """
        Those that go by *name*, however it is spelled: all that serve the model.

        ``groq/…`` means Groq's and no other's. Some providers are makers, too: ``nvidia/…`` means the model as long as
        a provider lists it as NVIDIA's, and NVIDIA's deployment where none does.
        """
        canonical = self._names.canonical(name)
        owner, slash, rest = name.partition("/")
        if not slash:
            return (
                self._by_name.get(name)
                or self._of_models(self._spelled.get(name, ()))
                or self._by_name.get(canonical)
                or ([] if self._names.means_great(name) else self._of_models(self._spelled.get(f"{name}:latest", ())))
            )
        if "/" in rest and name in self._by_name:
            return self._by_name[name]
        found = self._by_name.get(canonical, [])
        if name in self._spelled:
            return self._of_models(self._spelled[name])
        if owner not in self._specs or any(d.target.model.lower().startswith(f"{owner}/") for d in found):
            return found
        return (
            self._by_name.get(name)
            or [d for d in found if d.provider.name == owner]
            or self._by_name.get(f"{name}:latest", [])
        )

    def _of_models(self, models: Collection[str]) -> list[Deployment]:
        """All deployments of *models*."""
        return [d for d in self._all if d.model in models] if models else []

    def alias(self, asked: str) -> str | None:
        """What the name *asked* was taken for, if it is an alias: the first of its names that is served; else None."""
        names = self._aliased(asked)
        if names == (asked,):
            return None
        return next((name for name in names if name in self._virtual or self._named(name)), names[0])

    def _aliased(self, asked: str) -> tuple[str, ...]:
        """The names that *asked* stands for. A pattern never comes before what is served, or is known, by that very name."""
        alias = self._aliases.get(asked)
        if alias is not None:
            return (alias,) if isinstance(alias, str) else alias
        if asked in self._virtual or asked in self._by_name:
            return (asked,)
        by_pattern = self._aliased_by.get(asked)
        if by_pattern is None:
            if len(self._aliased_by) >= _MOST_WANTS:
                self._aliased_by.clear()
            by_pattern = self._aliased_by[asked] = self._by_pattern(asked)
        return (by_pattern or asked,)

    def _by_pattern(self, asked: str) -> str:
        """The name that the first fitting pattern has for *asked*; "" if there is none, or *asked* is a model's name."""
        name = next((name for pattern, name in self._patterns if fnmatchcase(asked.lower(), pattern)), "")
        known = asked in self._not_free or asked in self.gone or self._names.canonical(asked) in self.gone
        return "" if not name or known or self._named(asked) else name

    def unknown(self, wants: Wants) -> GatewayError:
        """What to say of names under which nothing is served."""
        asked = ", ".join(repr(name) for name in wants.models)
        for name in (one for model in wants.models for one in self._aliased(model)):
            if name in self._virtual:
                return NoSource(f"no source is there yet: {self.hint}; `freeway check` says which keys are refused")
            owner, _, rest = name.partition("/")
            spec = self._specs.get(owner)
            priced = self._not_free.get(name) or (self._not_free.get(rest) if spec is not None else None)
            if priced is not None:
                return UnknownModel(
                    f"model {asked}: {self._specs[priced].title} lists it, but nothing proves that it costs nothing there, and only what is "
                    f"free is served; GET /v1/models lists that",
                    param="model",
                )
            if spec is None and rest and (paid := self._paid.get(owner.lower())) is not None:
                return UnknownModel(f"model {asked}: {paid.title} is not free: {paid.why}", param="model")
            if spec is not None and spec.name not in self._by_provider:
                return UnknownModel(f"model {asked}: {spec.title} is not here: {spec.how_to_have()}", param="model")
        for model in wants.models:
            if (profile := self.gone.get(model) or self.gone.get(self._names.canonical(model))) is not None:
                return gone(model, profile, profiles(self._all))
        return unknown(wants.models[0], {*self._virtual, *(d.model for d in self._all)}, self._specs)
