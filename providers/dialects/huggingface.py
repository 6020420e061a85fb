"""
Hugging Face's router: one model, several providers behind it, a monthly credit that pays them.

A request names the provider it goes to (``owner/name:provider``), so that the price that was reserved is the price
that is charged, and the capabilities are those of the one that really answers.
"""

from __future__ import annotations

from typing import Any

import msgspec

from providers import failures as f
from providers.dialect import Account, Discovery, HttpRequest, HttpResponse, Listed, Standing
from providers.dialects.openai import OpenAI
from providers.lenient import decodable
from providers.listing import is_model_id, object_of, strings_of, tokens_of
from providers.observations import number_of

_MILLION = 1e6
_PROMPT_SHARE = 3
"""Prompt tokens for each token of an answer, to compare prices by: chats are mostly prompt."""


class HuggingFace(OpenAI):
    accepts = frozenset({"repetition_penalty", "top_k"})

    def discover(self, account: Account) -> Discovery:
        """The list, and whether the account can pay. A hub that cannot be asked has not said so."""
        listing = yield from super().discover(account)
        if account.key is None or not account.spec.hub:
            return listing
        try:
            told = yield HttpRequest("GET", f"{account.spec.hub}/api/whoami-v2", self.headers(account))
        except f.ProviderFailure as failure:
            return msgspec.structs.replace(
                listing, standing=Standing(None, f"the hub cannot be asked: {failure.message}")
            )
        return msgspec.structs.replace(listing, standing=_standing(told))

    def list_model(self, entry: dict[str, Any]) -> Listed | None:
        if not is_model_id(entry["id"]):
            raise ValueError("an id that names no model")
        found = entry.get("providers")
        offers = [offer for offer in found if _usable(offer)] if isinstance(found, list) else []
        if not offers:
            return None
        best = min(offers, key=_preference)
        prompt, output = _prices(best)
        architecture = object_of(entry.get("architecture"))
        chats = "text" in (strings_of(architecture.get("output_modalities")) or ("text",))
        return Listed(
            id=f"{entry['id']}:{best['provider']}",
            operations=frozenset({"chat"}) if chats else frozenset(),
            capabilities=frozenset(_capabilities(best, strings_of(architecture.get("input_modalities")))),
            context=tokens_of(best.get("context_length")),
            prompt_price=prompt,
            output_price=output,
        )


def _standing(told: HttpResponse) -> Standing:
    """
    What ``whoami-v2`` says of the account: ``canPay`` tells of a card or a prepaid balance (huggingface.js, WhoAmIUser,
    2026-11). Whatever is neither true nor false says nothing.
    """
    if told.status != 200:
        return Standing(None, f"the hub does not say whether the account can pay: HTTP {told.status}")
    try:
        who = object_of(msgspec.json.decode(decodable(told.body)))
    except (msgspec.DecodeError, RecursionError):
        return Standing(None, "the hub's answer cannot be read")
    match str(who.get("canPay")).lower():
        case "true" | "1":
            return Standing(True, "the account has a card or a prepaid balance: what exceeds its credit is charged")
        case "false" | "0":
            return Standing(False, "the account can pay nothing: beyond its credit it is refused")
    return Standing(None, "the hub does not say whether the account can pay")


def _usable(offer: object) -> bool:
    """Whether it answers now, and what it costs is known."""
    if not isinstance(offer, dict) or offer.get("status") != "live" or not isinstance(offer.get("provider"), str):
        return False
    pricing = object_of(offer.get("pricing"))
    return offer.get("is_free") is True or all(_is_price(pricing.get(name)) for name in ("input", "output"))


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def _prices(offer: dict[str, Any]) -> tuple[float, float]:
    """Dollars for a token of the prompt and of the answer. What a provider gives away takes nothing of the credit."""
    if offer.get("is_free") is True:
        return 0.0, 0.0
    return offer["pricing"]["input"] / _MILLION, offer["pricing"]["output"] / _MILLION


def _preference(offer: dict[str, Any]) -> tuple[bool, float, float]:
    """The cheapest of those with tools, the faster of equals."""
    prompt, output = _prices(offer)
    return (
        not offer.get("supports_tools"),
        _PROMPT_SHARE * prompt + output,
        -(number_of(str(offer.get("throughput"))) or 0.0),
    )


def _capabilities(offer: dict[str, Any], inputs: Any) -> set[str]:
    found = set()
    if offer.get("supports_tools"):
        found.add("tools")
    if offer.get("supports_structured_output"):
        found |= {"json_object", "json_schema"}
    if "image" in inputs:
        found.add("vision")
    if "audio" in inputs:
        found.add("audio")
    return found
