"""From an entry of a provider's list, and what configuration adds, to a deployment. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from gateway.catalog.names import canonical
from gateway.catalog.proof import prove
from gateway.ledger.quotas import buckets_of
from gateway.settings import EMBEDDED, ModelQuality, Settings
from gateway.words import Deployment
from providers.client import Provider
from providers.dialect import Listed, Target
from providers.spec import ModelFact, ProviderSpec

UNRATED = 0.4
"""Quality of a model that no row of configuration rates: a little below the middle."""


def deployment_of(listed: Listed, provider: Provider, listed_at: float, settings: Settings) -> Deployment | None:
    """The deployment that *listed* is, or None if it does not chat or is not proved to be free."""
    spec = provider.spec
    fact = _fact(spec, listed.id)
    chats = fact.chat if fact.chat is not None else listed.chat
    proof = prove(spec, listed, listed_at, settings.catalog.proof)
    if chats is False or proof is None:
        return None
    model = canonical(listed.id, provider.name)
    capabilities = _capabilities(spec, listed, fact)
    context = listed.context or fact.context
    return Deployment(
        model=model,
        provider=provider,
        target=Target(provider.account, listed.id, capabilities, context, fact.opens_in_thought),
        proof=proof,
        buckets=buckets_of(spec, listed.id),
        capabilities=capabilities,
        context=context,
        max_output=listed.max_output or fact.max_output,
        quality=quality_of(model, settings.model),
        trains=spec.data_policy.trains,
        last_resort=provider.name == EMBEDDED,
        prompt_price=listed.prompt_price or 0.0,
        output_price=listed.output_price or 0.0,
    )


def quality_of(model: str, rows: tuple[ModelQuality, ...]) -> float:
    """The quality that the first fitting row gives."""
    for row in rows:
        if any(fnmatchcase(model, pattern) for pattern in row.models):
            return row.quality
    return UNRATED


def _fact(spec: ProviderSpec, model: str) -> ModelFact:
    for fact in spec.models:
        if any(fnmatchcase(model, pattern) for pattern in fact.ids):
            return fact
    return ModelFact(ids=())


def _capabilities(spec: ProviderSpec, listed: Listed, fact: ModelFact) -> frozenset[str]:
    """A row of configuration corrects the list, which corrects what is said of the provider as a whole."""
    if fact.capabilities is not None:
        return frozenset(fact.capabilities)
    if listed.capabilities is not None:
        return listed.capabilities
    return frozenset(spec.capabilities)
