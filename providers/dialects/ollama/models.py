"""Ollama's list of models: what a row says, and what a model's own description adds."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import msgspec
import ollama
from pydantic import ValidationError

from providers.chat import encode
from providers.dialect import FILLS, Account, HttpRequest, HttpResponse, Listed
from providers.listing import object_of, strings_of, tokens_of
from providers.spec import Operation

_CLOUD = re.compile(r"[-:]cloud$")
_PARAMETERS = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*([kmbtKMBT])")
_UNITS = {"K": 1e-6, "M": 1e-3, "B": 1.0, "T": 1e3}
_GIVES = {"tools": ("tools",), "vision": ("vision",), "thinking": ("reasoning",), "insert": (FILLS,)}
_COMPLETES = ("json_object", "json_schema", "logprobs")
"""What any model can do: a grammar holds it to a schema, and servers since 0.12.11 tell probabilities."""


def described(
    account: Account, headers: dict[str, str], model: Listed, row: dict[str, Any]
) -> Generator[HttpRequest, HttpResponse, Listed]:
    """*model* with what its description adds to its *row*."""
    told = row.get("capabilities")
    capabilities = strings_of(told) if isinstance(told, list) else None
    context = model.context
    if capabilities is None or (context is None and model.runs_at is None and "completion" in capabilities):
        body = encode({"model": model.id})
        response = yield HttpRequest("POST", f"{account.base_url}/api/show", headers, body)
        shown = _shown(response)
        if shown is not None:
            capabilities = tuple(shown.capabilities or ()) if capabilities is None else capabilities
            context = context or _context_of(shown)
    if capabilities is None:
        return msgspec.structs.replace(model, context=context)
    gives = {ours for theirs in capabilities for ours in _GIVES.get(theirs, ())}
    chats = "completion" in capabilities
    does: dict[str, Operation] = {"completion": "chat", "embedding": "embed"}
    operations = frozenset(operation for told, operation in does.items() if told in capabilities)
    return msgspec.structs.replace(
        model,
        operations=operations,
        capabilities=frozenset(gives.union(_COMPLETES) if chats else gives),
        context=context,
    )


def entry_of(row: dict[str, Any]) -> Listed:
    """One row of the list. Newer servers tell the context in it, and where a model runs that is not here."""
    name = row.get("model") or row["name"]
    elsewhere = row.get("remote_host") or ("ollama.com" if row.get("remote_model") or _CLOUD.search(name) else None)
    details = object_of(row.get("details"))
    return Listed(
        id=name,
        context=tokens_of(details.get("context_length")),
        runs_at=None if elsewhere is None else str(elsewhere),
        parameters=_billions(details.get("parameter_size")),
        family=details["family"] if isinstance(details.get("family"), str) else None,
    )


def _billions(told: object) -> float | None:
    """``8.2B``, ``494.03M`` or ``1T`` parameters, in billions."""
    found = _PARAMETERS.fullmatch(told.strip()) if isinstance(told, str) else None
    return None if found is None else float(found[1]) * _UNITS[found[2].upper()]


def _shown(response: HttpResponse) -> ollama.ShowResponse | None:
    """What a model is, or None if it cannot be told: one that cannot be read keeps no other from being listed."""
    if response.status != 200:
        return None
    try:
        return ollama.ShowResponse.model_validate_json(response.body)
    except ValidationError:
        return None


def _context_of(shown: ollama.ShowResponse) -> int | None:
    facts = object_of(shown.modelinfo)
    return tokens_of(facts.get(f"{facts.get('general.architecture')}.context_length"))
