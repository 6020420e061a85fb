"""What a source would give, for who has no key of it yet: how much a day, for what, and what to know before. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.catalog.standing import prompts_of
from gateway.quota.buckets import Bucket
from gateway.quota.configured import buckets_of
from providers.spec import ProviderSpec

_WORDS = {
    "chat": "chat",
    "embed": "vectors",
    "rerank": "rankings",
    "transcribe": "transcripts",
    "speak": "speech",
    "image": "pictures",
    "moderate": "moderation",
}
_SHOWN = ("vision", "tools", "reasoning")
_UNITS = {
    "requests": "",
    "prompt": " tokens",
    "tokens": " tokens",
    "audio-seconds": " s of sound",
    "dollars": " dollars",
}
_ANY = "any model"
"""Stands for a model that no row of the quotas names."""


def gives(spec: ProviderSpec) -> str:
    """
    What an account gives, by capability, such as ``chat (vision, tools): 1,000 a day for each model``.

    Longer windows say more than shorter ones of the same unit, which are left out.
    """
    examples = {"chat": _ANY} | {
        operation: next(
            (fact.ids[0].replace("*", "x") for fact in spec.models if operation in (fact.operations or ())), _ANY
        )
        for operation in spec.operation
    }
    return "; ".join(_of(spec, operation, model) for operation, model in examples.items())


def _of(spec: ProviderSpec, operation: str, model: str) -> str:
    abilities = {*spec.capabilities, *(one for fact in spec.models for one in fact.capabilities or ())}
    able = [name for name in _SHOWN if name in abilities] if operation == "chat" else []
    found = buckets_of(spec, model)
    told = [said for bucket in found if (said := _amount(bucket, found)) is not None]
    title = f"{_WORDS[operation]} ({', '.join(able)})" if able else _WORDS[operation]
    return f"{title}: {', '.join(told) or 'no limit is known'}"


def _amount(bucket: Bucket, among: Iterable[Bucket]) -> str | None:
    """The limit in words, of the longest window of its unit; None: another one says more."""
    if bucket.unit == "in-flight" or any(one.unit == bucket.unit and one.period > bucket.period for one in among):
        return None
    whose = "" if bucket.scope == "account" else " for each model"
    unit = _UNITS.get(bucket.unit, f" {bucket.unit}")
    amount = f"{bucket.limit:,.0f}" if bucket.limit >= 1 else f"{bucket.limit:g}"
    return f"{amount}{unit} {'an' if bucket.window_name == 'hour' else 'a'} {bucket.window_name}{whose}"


def trains(spec: ProviderSpec) -> str:
    """What becomes of prompts there."""
    return "; ".join(filter(None, (prompts_of(spec.data_policy), spec.data_policy.note)))


def could_cost(spec: ProviderSpec) -> str:
    """What could make a call there cost something, how that is noticed, and what it takes where it is off."""
    allowed = "" if spec.enabled else f"it is off: {spec.how_to_have()}"
    faith = spec.free.faith and f"left to faith: {spec.free.faith}"
    return "; ".join(filter(None, (allowed, spec.free.terms, faith, spec.free.because)))
