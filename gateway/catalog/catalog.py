"""Who serves what, now: the deployments, by every name they can be asked for, and which of them may serve a request."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import chain

import msgspec
from msgspec import Struct

from gateway.catalog.learned import Learned
from gateway.catalog.substitutes import Profile, nearest
from gateway.quota.buckets import Bucket
from gateway.routing.worth import worth
from gateway.settings import Settings, Virtual
from gateway.state.store import StateStore
from gateway.words import (
    Candidate,
    Deployment,
    Exclusion,
    GatewayError,
    NoSource,
    NotAllowed,
    NothingCapable,
    Preference,
    Requirements,
    UnknownModel,
)

AUTO = "auto"
_GONE = "gone"
_SHAPES = 512
_AT_A_TURN = 2
_UNTAKEN = 0.1  # of its worth is lost to who does not take a parameter of the request


class Shape(Struct, frozen=True):
    """What decides, for as long as no list changes, who fits a request and in which order."""

    models: tuple[str, ...]
    capabilities: frozenset[str]
    no_train: bool
    only: tuple[str, ...]
    ignore: tuple[str, ...]
    order: tuple[str, ...]
    parameters: frozenset[str]
    strict: bool
    prefer: str | None
    allowed_models: tuple[str, ...]
    allowed_providers: tuple[str, ...]


class Catalog:
    """
    Swapped as a whole for each provider; looked up for each request, at a cost that does not grow with its size: who
    fits a request of some shape, best first, is found once.
    """

    def __init__(self, settings: Settings, state: StateStore) -> None:
        self._specs, self._aliases = settings.provider, settings.alias
        self._names = settings.names
        self._virtual = {AUTO: Virtual(), **settings.virtual}
        self._state = state
        self._by_provider: dict[str, tuple[Deployment, ...]] = {}
        self._all: tuple[Deployment, ...] = ()
        self._by_name: dict[str, list[Deployment]] = {}
        self._not_free: dict[str, str] = {}
        self._buckets: list[Bucket] = []
        self._fitting: dict[Shape, tuple[Candidate, ...]] = {}
        self._fitting_at = 0
        self._gone: dict[str, Profile] = {}
        self._awaited: set[str] = set()
        self.learned = Learned(state)
        self.complete = asyncio.Event()
        state.watch(_GONE, Profile, self._hear_gone)

    # ── what is there ──

    def await_lists(self, providers: Iterable[str]) -> None:
        """From now until *providers* were all heard of, the catalog is not *complete*."""
        self._awaited = set(providers)

    def heard_of(self, provider: str) -> None:
        """Its list is here, or cannot be had."""
        self._awaited.discard(provider)
        if not self._awaited:
            self.complete.set()

    def swap(self, provider: str, deployments: Iterable[Deployment], now: float, not_free: Iterable[str] = ()) -> None:
        """Replace all that *provider* serves; *not_free* are ids that it lists and that are not proved to be free."""
        before = {d.model for d in self._by_provider.get(provider, ())}
        served = self._by_name
        self._by_provider[provider] = tuple(deployments)
        self._all = tuple(d for found in self._by_provider.values() for d in found)
        by_name: dict[str, list[Deployment]] = {}
        for d in self._all:
            for name in dict.fromkeys((d.model, d.name, f"{d.provider.name}/{d.model}", d.target.model)):
                by_name.setdefault(name, []).append(d)
        self._by_name = by_name
        self._buckets = list({b.key: b for d in self._all for b in d.buckets}.values())
        self._not_free = {name: p for name, p in self._not_free.items() if p != provider}
        self._not_free |= dict.fromkeys(not_free, provider)
        self._fitting.clear()
        for model in before - by_name.keys():
            self._miss(Profile.of((d for d in served[model] if d.model == model), now))
        self.heard_of(provider)

    def _miss(self, profile: Profile) -> None:
        """Remember what a model that is gone was like."""
        self._gone[profile.model] = profile
        self._state.set(_GONE, profile.model, profile)

    def _hear_gone(self, heard: dict[str, Profile]) -> None:
        self._gone = heard

    def deployments(self) -> tuple[Deployment, ...]:
        return self._all

    def served_by(self, provider: str) -> tuple[Deployment, ...]:
        """What *provider* serves."""
        return self._by_provider.get(provider, ())

    def serving(self, now: float) -> list[Deployment]:
        """Those that may be asked now."""
        return [d for d in self._all if d.proof.fresh(now) and self.learned.withdrawn(d, now) is None]

    def buckets(self) -> list[Bucket]:
        """Every bucket that some deployment debits."""
        return self._buckets

    def names(self) -> list[str]:
        """Every model that a caller may ask for: virtual ones, then canonical ones, then aliases."""
        return [*self._virtual, *sorted({d.model for d in self._all}), *self._aliases]

    # ── who can ──

    def candidates(self, needs: Requirements, now: float) -> Iterator[Candidate]:
        """
        Those that may serve *needs*: free, capable, large enough, private enough, not withdrawn. They come in the order
        of the caller's lists and of their worth, the best two of each account before its next two: what is worth most
        now is among the first of them, whatever an account's quota has come to.

        Raises UnknownModel; NothingCapable saying what was missing and who came closest; NoSource if those that could
        are out of service.
        """
        found = (one for one in self._fit(needs, now) if self._passing(one.deployment, needs, now) is None)
        first = next(found, None)
        if first is None:
            raise self._excuse(needs, now)
        return chain((first,), found)

    def exclusions(self, needs: Requirements, now: float) -> list[tuple[Deployment, Exclusion]]:
        """Why each deployment that *needs* names may not serve it."""
        found: dict[str, tuple[Deployment, Exclusion]] = {}
        fits: set[str] = set()
        for asked in needs.models:
            named, wanted = self._resolve(asked, needs)
            for d in named:
                reason = self._lasting(d, wanted, now) or self._passing(d, needs, now)
                if reason is None:
                    fits.add(d.name)
                else:
                    found.setdefault(d.name, (d, reason))
        return [pair for name, pair in found.items() if name not in fits]

    def standing_in(self, needs: Requirements, now: float) -> Requirements:
        """
        *needs*, with the nearest model in place of one that is gone, if it allows for that; else as they are.

        ``instead_of`` tells what was asked for.
        """
        if not needs.substitute or len(needs.models) != 1 or needs.instead_of is not None:
            return needs
        served = self._resolve(needs.models[0], needs)[0]
        out = [self.learned.withdrawn(d, now) for d in served]
        if any(withdrawal is None or not withdrawal.gone for withdrawal in out):
            return needs
        asked = needs.models[0]
        gone = Profile.of(served) if served else self._gone.get(asked) or self._gone.get(self._names.canonical(asked))
        present: dict[str, list[Deployment]] = {}
        for d in self._all:
            if not d.last_resort and self._lasting(d, needs, now) is None and self._passing(d, needs, now) is None:
                present.setdefault(d.model, []).append(d)
        found = nearest(gone, map(Profile.of, present.values())) if gone is not None else None
        return needs if found is None else msgspec.structs.replace(needs, models=(found.model,), instead_of=asked)

    def prefers(self, asked: str) -> Preference:
        """What ranking should prefer for the name *asked*: ``balance``, ``quality`` or ``speed``."""
        for name in self._aliased(asked):
            if name in self._virtual:
                return self._virtual[name].prefer
        return "balance"

    def shape_of(self, needs: Requirements) -> Shape:
        """Requests of one shape are served by the same deployments."""
        return Shape(
            needs.models,
            needs.capabilities,
            needs.no_train,
            needs.only,
            needs.ignore,
            needs.order,
            needs.parameters,
            needs.strict,
            needs.prefer,
            needs.allowed_models,
            needs.allowed_providers,
        )

    def _fit(self, needs: Requirements, now: float) -> tuple[Candidate, ...]:
        """Those that fit for as long as no list changes, in order."""
        if self._fitting_at != self.learned.revision or len(self._fitting) >= _SHAPES:
            self._fitting.clear()
            self._fitting_at = self.learned.revision
        shape = self.shape_of(needs)
        found = self._fitting.get(shape)
        if found is None:
            found = self._fitting[shape] = tuple(self._find(needs, now))
        return found

    def _find(self, needs: Requirements, now: float) -> list[Candidate]:
        found: dict[str, Candidate] = {}
        places: dict[tuple[int, int], tuple[int, int]] = {}  # each but once: they are compared for every request
        prefer = needs.prefer or self.prefers(needs.models[0])
        wanted_talents = needs.capabilities | ({"reasoning"} if "reasoning_effort" in needs.parameters else set())
        for place, asked in enumerate(needs.models):
            named, wanted = self._resolve(asked, needs)
            for d in named:
                if d.name not in found and self._lasting(d, wanted, now) is None:
                    provider = d.provider.name
                    ordered = needs.order.index(provider) if provider in needs.order else len(needs.order)
                    value = worth(d, wanted_talents, prefer) - _UNTAKEN * len(self._untaken(d, needs, now))
                    at = places.setdefault((place, ordered), (place, ordered))
                    found[d.name] = Candidate(d, value, at)
        ranked = sorted(found.values(), key=lambda one: (one.place, -one.worth))
        seen: Counter[tuple[tuple[int, int], str]] = Counter()
        turns = []
        for one in ranked:
            key = one.place, one.deployment.provider.name
            turns.append((one.place, seen[key] // _AT_A_TURN))
            seen[key] += 1
        return [ranked[n] for n in sorted(range(len(ranked)), key=turns.__getitem__)]

    def _resolve(self, asked: str, needs: Requirements) -> tuple[list[Deployment], Requirements]:
        """The deployments that *asked* names, and the requirements with those of a virtual model added."""
        for name in self._aliased(asked):
            virtual = self._virtual.get(name)
            if virtual is None:
                if found := self._named(name):
                    return found, needs
                continue
            return (
                [d for d in self._all if _fits(d.model, virtual.models) and (d.context or 0) >= virtual.context],
                msgspec.structs.replace(
                    needs,
                    capabilities=needs.capabilities | set(virtual.needs),
                    no_train=needs.no_train or virtual.no_train,
                ),
            )
        return [], needs

    def _named(self, name: str) -> list[Deployment]:
        """
        Those that go by *name*, however it is spelled.

        ``groq/…`` means Groq's and nobody else's. Some providers are makers, too: ``nvidia/…`` also means models that
        others list as NVIDIA's.
        """
        found = self._by_name.get(name)
        if found is not None:
            return found
        found = self._by_name.get(self._names.canonical(name), [])
        owner, slash, _ = name.partition("/")
        if not slash or owner not in self._specs:
            return found
        return [d for d in found if d.provider.name == owner or d.target.model.startswith(f"{owner}/")]

    def _aliased(self, asked: str) -> tuple[str, ...]:
        alias = self._aliases.get(asked)
        if alias is None:
            return (asked,)
        return (alias,) if isinstance(alias, str) else alias

    def _lasting(self, deployment: Deployment, needs: Requirements, now: float) -> Exclusion | None:
        """Why *deployment* cannot serve any request like *needs*, or None."""
        provider, name = deployment.provider.name, deployment.name
        missing = needs.capabilities and needs.capabilities - self.learned.capabilities(deployment, now)
        if not (_fits(provider, needs.allowed_providers) and _fits(deployment.model, needs.allowed_models)):
            return Exclusion(name, "policy", "the client's key does not allow it")
        if missing:
            return Exclusion(name, "capability", f"lacks {', '.join(sorted(missing))}")
        if needs.no_train and deployment.policy.trains != "no":
            return Exclusion(name, "privacy", "may train on prompts")
        if (needs.only and provider not in needs.only) or provider in needs.ignore:
            return Exclusion(name, "choice", "the request leaves this provider out")
        if needs.strict and (untaken := self._untaken(deployment, needs, now)):
            return Exclusion(name, "capability", f"does not take {', '.join(sorted(untaken))}")
        return None

    def _untaken(self, deployment: Deployment, needs: Requirements, now: float) -> set[str]:
        """The parameters of the request that *deployment* is known not to take."""
        untaken = set(needs.parameters.intersection(deployment.provider.spec.drop))
        reasons = "reasoning" in self.learned.capabilities(deployment, now)
        if "reasoning_effort" in needs.parameters and not reasons:
            untaken.add("reasoning_effort")
        return untaken

    def _passing(self, deployment: Deployment, needs: Requirements, now: float) -> Exclusion | None:
        """Why *deployment* cannot serve *needs* now, or because of its size, or None."""
        if deployment.context and needs.prompt_tokens > deployment.context:
            reason = f"holds {deployment.context} tokens, the request has about {needs.prompt_tokens}"
            return Exclusion(deployment.name, "context", reason)
        if not deployment.proof.fresh(now):
            return Exclusion(deployment.name, "proof", "its free proof has expired")
        if withdrawal := self.learned.withdrawn(deployment, now):
            return Exclusion(deployment.name, "withdrawn", withdrawal.because, withdrawal.until)
        return None

    # ── why nobody can ──

    def _excuse(self, needs: Requirements, now: float) -> GatewayError:
        excluded = self.exclusions(needs, now)
        if not excluded:
            return self._unknown(needs)
        return _out_of_service(excluded, now) or _forbidden(excluded) or _incapable(needs, excluded)

    def _unknown(self, needs: Requirements) -> GatewayError:
        asked = ", ".join(repr(name) for name in needs.models)
        for name in (one for model in needs.models for one in self._aliased(model)):
            if name in self._virtual:
                return NoSource("no source is there: `freeway check` says which keys are missing or refused")
            owner, _, rest = name.partition("/")
            spec = self._specs.get(owner)
            priced = self._not_free.get(name) or (self._not_free.get(rest) if spec is not None else None)
            if priced is not None:
                title = self._specs[priced].title
                return UnknownModel(
                    f"model {asked}: {title} lists it, but nothing proves that it costs nothing there, and only what is "
                    f"free is served; GET /v1/models lists that",
                    param="model",
                )
            if spec is not None and spec.name not in self._by_provider:
                how = f"set {spec.key_env}" if spec.key_env else "it cannot be reached"
                return UnknownModel(f"model {asked}: {spec.title} is not available here: {how}", param="model")
        return UnknownModel(
            f"no free source serves a model called {asked}; GET /v1/models lists what is served, "
            f"and 'auto' takes whatever fits",
            param="model",
        )


def _fits(model: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(model, pattern) for pattern in patterns)


def _out_of_service(excluded: list[tuple[Deployment, Exclusion]], now: float) -> NoSource | None:
    """What to say if some of *excluded* could do it, but may not be asked for now: the request is not at fault."""
    out = [reason for _, reason in excluded if reason.kind in ("withdrawn", "proof")]
    if not out:
        return None
    told = "; ".join(f"{reason.deployment}: {reason.reason}" for reason in out[:3])
    back = min((reason.until for reason in out if reason.until is not None), default=None)
    return NoSource(
        f"every free source that could serve this request is out of service ({told})",
        retry_after=None if back is None else max(1.0, back - now),
        excluded=tuple(out),
    )


def _forbidden(excluded: list[tuple[Deployment, Exclusion]]) -> NotAllowed | None:
    """What to say if nothing but the client's own policy is in the way."""
    if any(reason.kind != "policy" for _, reason in excluded):
        return None
    return NotAllowed(
        f"the client's key allows none of the {len(excluded)} deployments that go by this name; its [[client]] entry "
        f"in the settings says which models and providers it may use",
        param="model",
        excluded=tuple(reason for _, reason in excluded),
    )


def _incapable(needs: Requirements, excluded: list[tuple[Deployment, Exclusion]]) -> NothingCapable:
    """Say what was missing, and who came closest: of those that lack the least, one that the client may use, the best."""

    def distance(pair: tuple[Deployment, Exclusion]) -> tuple[int, bool, float]:
        deployment, reason = pair
        return len(needs.capabilities - deployment.capabilities), reason.kind == "policy", -deployment.quality

    closest, why = min(excluded, key=distance)
    wanted = ", ".join(sorted(needs.capabilities - {"stream"})) or "chat"
    return NothingCapable(
        f"no free source can serve this request ({wanted}; about {needs.prompt_tokens} tokens): "
        f"{closest.name} came closest, but {why.reason}",
        excluded=tuple(reason for _, reason in excluded),
    )
