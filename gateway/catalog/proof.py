"""Why a deployment is free: the first of the three locks against cost. Deny by default. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from gateway.words import FreeProof
from providers.dialect import Listed
from providers.spec import Free, ProviderSpec

LOCAL_FOR = 10 * 365 * 86_400.0
"""Seconds: hardware of our own stays our own."""


def prove(spec: ProviderSpec, listed: Listed, listed_at: float, lasts: float) -> FreeProof | None:
    """
    The proof that *listed*, read at *listed_at*, costs nothing, or None.

    It holds for *lasts* seconds from then: a list that is not refreshed proves nothing for long.
    """
    free = spec.free
    if not _named(free, listed.id) or not _holds(free, listed):
        return None
    until = listed_at + (LOCAL_FOR if free.kind == "local" else lasts)
    return FreeProof(free.kind, free.because or f"{spec.title}: {free.kind}", free.source, listed_at, until)


def _named(free: Free, model: str) -> bool:
    if any(fnmatchcase(model, pattern) for pattern in free.except_):
        return False
    return not free.models or any(fnmatchcase(model, pattern) for pattern in free.models)


def _holds(free: Free, listed: Listed) -> bool:
    priced = bool(listed.prompt_price or listed.output_price or listed.other_prices)
    match free.kind:
        case "prices":
            return not priced and listed.prompt_price is not None and listed.output_price is not None
        case "credit":
            return listed.prompt_price is not None and listed.output_price is not None and not listed.other_prices
        case "local":
            return listed.runs_at is None
        case "plan" | "trial":
            return listed.runs_at is None
