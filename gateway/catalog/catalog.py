"""Who serves what, now: the deployments, by every name they can be asked for, and what was taken from them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import msgspec
from msgspec import Struct

from gateway.ledger.buckets import Bucket
from gateway.settings import Virtual
from gateway.words import Deployment, Exclusion, GatewayError, NoSource, NothingCapable, Requirements, UnknownModel
from providers.spec import ProviderSpec

AUTO = "auto"
_EXPIRED = "its free proof has expired"


class Withdrawal(Struct, frozen=True):
    """A deployment or an account is out until a moment (unix seconds)."""

    until: float
    because: str


class Catalog:
    """Swapped as a whole for each provider; looked up for each request."""

    def __init__(
        self,
        specs: Mapping[str, ProviderSpec],
        aliases: Mapping[str, str | tuple[str, ...]],
        virtual: Mapping[str, Virtual],
    ) -> None:
        self._specs, self._aliases = specs, aliases
        self._virtual = {AUTO: Virtual(), **virtual}
        self._by_provider: dict[str, tuple[Deployment, ...]] = {}
        self._by_name: dict[str, list[Deployment]] = {}
        self._buckets: list[Bucket] = []
        self._withdrawn: dict[str, Withdrawal] = {}
        self._lost: dict[str, frozenset[str]] = {}
        self._awaited: set[str] = set()
        self.complete = asyncio.Event()

    # ── what is there ──

    def await_lists(self, providers: Iterable[str]) -> None:
        """From now until *providers* were all heard of, the catalog is not *complete*."""
        self._awaited = set(providers)

    def heard_of(self, provider: str) -> None:
        """Its list is here, or cannot be had."""
        self._awaited.discard(provider)
        if not self._awaited:
            self.complete.set()

    def swap(self, provider: str, deployments: Iterable[Deployment]) -> None:
        """Replace all that *provider* serves."""
        self._by_provider[provider] = tuple(deployments)
        by_name: dict[str, list[Deployment]] = {}
        for deployment in self.deployments():
            by_name.setdefault(deployment.model, []).append(deployment)
            by_name.setdefault(deployment.name, []).append(deployment)
            by_name.setdefault(f"{deployment.provider.name}/{deployment.model}", []).append(deployment)
            by_name.setdefault(deployment.target.model, []).append(deployment)
        self._by_name = by_name
        self._buckets = list({b.key: b for d in self.deployments() for b in d.buckets}.values())
        self.heard_of(provider)

    def deployments(self) -> list[Deployment]:
        return [deployment for served in self._by_provider.values() for deployment in served]

    def buckets(self) -> list[Bucket]:
        """Every bucket that some deployment debits."""
        return self._buckets

    def names(self) -> list[str]:
        """Every model that a caller may ask for: virtual ones, then canonical ones, then aliases."""
        return [*self._virtual, *sorted({d.model for d in self.deployments()}), *self._aliases]

    # ── what was learned ──

    def withdraw(self, name: str, until: float, because: str) -> None:
        """Take out the deployment, or all of the account, that goes by *name*."""
        self._withdrawn[name] = Withdrawal(until, because)

    def lose(self, deployment: Deployment, capability: str) -> None:
        """*deployment* turned out to lack *capability*."""
        self._lost[deployment.name] = self._lost.get(deployment.name, frozenset()) | {capability}

    def withdrawn(self, deployment: Deployment, now: float) -> Withdrawal | None:
        """Why *deployment* is out, if it is."""
        if not self._withdrawn:
            return None
        for name in (deployment.name, deployment.provider.name):
            withdrawal = self._withdrawn.get(name)
            if withdrawal is not None and now < withdrawal.until:
                return withdrawal
        return None

    # ── who can ──

    def candidates(self, needs: Requirements, now: float) -> list[Deployment]:
        """
        Those that may serve *needs*: free, capable, large enough, private enough, not withdrawn.

        Raises UnknownModel; NothingCapable saying what was missing and who came closest; NoSource if those that could
        are out of service.
        """
        capable: dict[str, Deployment] = {}
        excluded: list[tuple[Deployment, Exclusion]] = []
        for asked in needs.models:
            named, wanted = self._resolve(asked, needs)
            for deployment in named:
                reason = self._unfit(deployment, wanted, now)
                if reason is None:
                    capable.setdefault(deployment.name, deployment)
                else:
                    excluded.append((deployment, reason))
        if capable:
            return list(capable.values())
        if not excluded:
            raise self._unknown(needs)
        raise _out_of_service(excluded, now) or _incapable(needs, excluded)

    def _resolve(self, asked: str, needs: Requirements) -> tuple[list[Deployment], Requirements]:
        """The deployments that *asked* names, and the requirements with those of a virtual model added."""
        for name in self._aliased(asked):
            virtual = self._virtual.get(name)
            if virtual is None:
                if found := self._by_name.get(name) or self._by_name.get(name.lower()):
                    return found, needs
                continue
            return (
                [
                    d
                    for d in self.deployments()
                    if _fits(d.model, virtual.models) and (d.context or 0) >= virtual.context
                ],
                msgspec.structs.replace(
                    needs,
                    capabilities=needs.capabilities | set(virtual.needs),
                    no_train=needs.no_train or virtual.no_train,
                ),
            )
        return [], needs

    def _aliased(self, asked: str) -> tuple[str, ...]:
        alias = self._aliases.get(asked)
        if alias is None:
            return (asked,)
        return (alias,) if isinstance(alias, str) else alias

    def prefers(self, asked: str) -> str:
        """What ranking should prefer for the name *asked*: ``balance``, ``quality`` or ``speed``."""
        for name in self._aliased(asked):
            if name in self._virtual:
                return self._virtual[name].prefer
        return "balance"

    def _unfit(self, deployment: Deployment, needs: Requirements, now: float) -> Exclusion | None:
        """Why *deployment* cannot serve *needs*, or None."""
        provider, reason, until = deployment.provider.name, "", None
        missing = needs.capabilities and needs.capabilities - self._capabilities(deployment)
        if missing:
            reason = f"lacks {', '.join(sorted(missing))}"
        elif deployment.context and needs.prompt_tokens > deployment.context:
            reason = f"holds {deployment.context} tokens, the request has about {needs.prompt_tokens}"
        elif needs.no_train and deployment.trains != "no":
            reason = "may train on prompts"
        elif (needs.only and provider not in needs.only) or provider in needs.ignore:
            reason = "the request leaves this provider out"
        elif not deployment.proof.fresh(now):
            reason = _EXPIRED
        elif withdrawal := self.withdrawn(deployment, now):
            reason, until = withdrawal.because, withdrawal.until
        return Exclusion(deployment.name, reason, until) if reason else None

    def _capabilities(self, deployment: Deployment) -> frozenset[str]:
        return deployment.capabilities - self._lost.get(deployment.name, frozenset())

    def _unknown(self, needs: Requirements) -> GatewayError:
        asked = ", ".join(repr(name) for name in needs.models)
        for name in needs.models:
            if any(one in self._virtual for one in self._aliased(name)):
                return NoSource("no source is there: `freeway check` says which keys are missing or refused")
            spec = self._specs.get(name.partition("/")[0])
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
    out = [reason for _, reason in excluded if reason.until is not None or reason.reason == _EXPIRED]
    if not out:
        return None
    told = "; ".join(f"{reason.deployment}: {reason.reason}" for reason in out[:3])
    back = min((reason.until for reason in out if reason.until is not None), default=None)
    return NoSource(
        f"every free source that could serve this request is out of service ({told})",
        retry_after=None if back is None else max(1.0, back - now),
        excluded=tuple(out),
    )


def _incapable(needs: Requirements, excluded: list[tuple[Deployment, Exclusion]]) -> NothingCapable:
    """Say what was missing, and who came closest: of those that lack the least, the best."""
    closest, why = min(excluded, key=lambda pair: (len(needs.capabilities - pair[0].capabilities), -pair[0].quality))
    wanted = ", ".join(sorted(needs.capabilities)) or "chat"
    return NothingCapable(
        f"no free source can serve this request ({wanted}; about {needs.prompt_tokens} tokens): "
        f"{closest.name} came closest, but {why.reason}",
        excluded=tuple(reason for _, reason in excluded),
    )
