"""
From an entry of a provider's list, and what else is known of its model, to a deployment. Pure.

Who is believed, in this order: configuration, which is there to correct; what refusals and probes taught (the catalog
adds that); the provider's own list; the models database on this model at this provider; the database on the model in
general; what configuration says of the provider's models as a whole.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from gateway.catalog.database import Database, Known
from gateway.catalog.proof import prove
from gateway.quota.buckets import Bucket
from gateway.quota.configured import buckets_of
from gateway.settings import EMBEDDED, ModelQuality, Settings
from gateway.words import Deployment, FreeProof, ListPrice
from providers.client import Provider
from providers.dialect import Listed, Target
from providers.spec import ModelFact, Operation, ProviderSpec

UNRATED = 0.4
"""Quality of a model that no row of configuration rates: a little below the middle."""

_NOTHING = Known()
_CHAT: frozenset[Operation] = frozenset({"chat"})


def deployment_of(
    listed: Listed, provider: Provider, listed_at: float, settings: Settings, database: Database
) -> Deployment | None:
    """
    The deployment that *listed* is, or None if it does nothing that we can ask for, is not proved to be free, or takes an
    unknown number of neurons.
    """
    spec = provider.spec
    fact = spec.fact(listed.id)
    if fact.dollars is not None and listed.prompt_price is None:
        prompt, output = fact.dollars
        listed = msgspec.structs.replace(listed, prompt_price=prompt / 1e6, output_price=output / 1e6)
    operations = _operations(fact, listed) & provider.operations
    proof = prove(spec, listed, listed_at, settings.catalog.proof)
    if not operations or proof is None:
        return None
    buckets = _buckets(spec, listed.id, proof)
    if fact.neurons is None and any(bucket.unit == "neurons" for bucket in buckets):
        return None
    neurons = fact.neurons or (0.0, 0.0)
    model = settings.names.listed(listed.id, provider.name, listed.parameters)
    here = database.at(spec.database or spec.name, listed.id)
    known = database.of(model) or _NOTHING
    capabilities = _capabilities(spec, listed, fact, here or database.of(model))
    fetched = settings.server.fetch_images and "vision" in capabilities  # here, for a source that takes bytes alone
    near = here or known
    context = fact.context or listed.context or near.context
    rated = _rating(model, settings.model)
    return Deployment(
        model=model,
        provider=provider,
        target=Target(provider.account, listed.id, capabilities, context, fact.opens_in_reasoning),
        proof=proof,
        buckets=buckets,
        operations=operations,
        capabilities=capabilities | {"image_url"} if fetched else capabilities,
        context=context,
        apart=fact.apart,
        max_output=fact.max_output or listed.max_output or near.max_output,
        quality=rated.quality if rated else UNRATED,
        released=near.released or listed.released,
        policy=fact.data_policy or spec.data_policy,
        last_resort=provider.name == EMBEDDED,
        prompt_price=listed.prompt_price or 0.0,
        output_price=listed.output_price or 0.0,
        prompt_neurons=neurons[0] / 1e6,
        output_neurons=neurons[1] / 1e6,
        neurons_each=fact.neurons_each,
        neurons_a_minute=fact.neurons_a_minute,
        list_price=_list_price(rated, known),
    )


def _buckets(spec: ProviderSpec, model: str, proof: FreeProof) -> tuple[Bucket, ...]:
    """What a request to *model* debits; of a credit, only where that pays."""
    return tuple(one for one in buckets_of(spec, model) if one.unit != "dollars" or proof.kind == "credit")


def _operations(fact: ModelFact, listed: Listed) -> frozenset[Operation]:
    """What the model does: chat, unless configuration or the list says otherwise."""
    if fact.operations is not None:
        return frozenset(fact.operations)
    return listed.operations if listed.operations is not None else _CHAT


def _rating(model: str, rows: tuple[ModelQuality, ...]) -> ModelQuality | None:
    """The first row that fits *model*."""
    for row in rows:
        if any(fnmatchcase(model, pattern) for pattern in row.models):
            return row
    return None


def _list_price(rated: ModelQuality | None, known: Known) -> ListPrice | None:
    if rated is not None and rated.paid is not None:
        return ListPrice(rated.paid[0] / 1e6, rated.paid[1] / 1e6)
    return known.price


def _capabilities(spec: ProviderSpec, listed: Listed, fact: ModelFact, known: Known | None) -> frozenset[str]:
    """
    What the database does not know of (``n``, ``logprobs``) it cannot deny: that is added from what is said of the
    provider as a whole.
    """
    if fact.capabilities is not None:
        return frozenset(fact.capabilities)
    if listed.capabilities is not None:
        return listed.capabilities
    if known is not None:
        return known.capabilities | (frozenset(spec.capabilities) - _DATABASE_KNOWS)
    return frozenset(spec.capabilities)


_DATABASE_KNOWS = frozenset({"tools", "vision", "audio", "video_url", "file", "reasoning"})
