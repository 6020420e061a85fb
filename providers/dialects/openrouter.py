"""
OpenRouter: many upstreams behind one API, free ones among them.

Its models cost money unless the list says that every price is zero, so each request carries a ceiling of zero as well:
what has become paid since the list was read is refused there, not billed. Errors say where a limit lies
(``limit_source``) and, newer ones, what became of the model (``availability.code``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
from msgspec import Raw

from providers import errors
from providers import failures as f
from providers.chat import Message, raw
from providers.dialect import (
    Account,
    Discovery,
    HttpRequest,
    HttpResponse,
    Listed,
    Listing,
    Request,
    Standing,
    Target,
)
from providers.dialects.openai import OpenAI
from providers.lenient import dollars_of
from providers.listing import day_of, strings_of, tokens_of
from providers.observations import Observation, number_of, wait_of
from providers.spec import Operation
from providers.tool_names import ToolNames

FREE_ONLY = {"prompt": 0, "completion": 0, "request": 0, "image": 0, "audio": 0}
"""The ceiling of every request, in dollars (docs: provider selection, max price)."""

NO_PLUGINS = raw([{"id": "web", "enabled": False}])
"""An account can have plugins on by default, and a search of the web is charged whatever the model (docs: web search)."""

_PREFERENCES = frozenset(
    {
        "allow_fallbacks", "data_collection", "enforce_distillable_text", "preferred_max_latency",
        "preferred_min_throughput", "quantizations", "require_parameters", "sort", "zdr",
    }
)  # fmt: skip
"""
What is sent on of a caller's ``provider``. Its ``order``, ``only`` and ``ignore`` name our sources, which OpenRouter
would take for its own upstreams; ``max_price`` is ours to say.
"""

_MAX_PAGES = 20
_HARMLESS_CAP = 0.01
"""Dollars that a key may be able to spend without a remark."""

_CAPABILITIES = {
    "tools": ("tools",),
    "response_format": ("json_object",),
    "structured_outputs": ("json_schema",),
    "reasoning": ("reasoning",),
    "include_reasoning": ("reasoning",),
    "logprobs": ("logprobs",),
    "image": ("vision", "image_url"),  # inline and by address (docs: images and PDFs, 2026-08)
    "audio": ("audio",),
    "file": ("file",),
    "video": ("video_url",),
}
"""Supported parameters and input modalities, and what we call the capabilities."""


class OpenRouter(OpenAI):
    accepts = frozenset(
        {
            "include_reasoning", "min_p", "reasoning", "repetition_penalty", "top_a", "top_k", "usage", "verbosity",
        }
    )  # fmt: skip
    # Not among them: models and transforms (a fallback may be paid), plugins and web_search_options (they have prices).

    def adapt(self, fields: dict[str, Raw], target: Target, request: Request) -> None:  # noqa: ARG002 - for all models
        asked = _object(request.fields.get("provider"))
        preferences = {name: value for name, value in asked.items() if name in _PREFERENCES}
        if "tools" in fields or _object(fields.get("response_format")).get("type") == "json_schema":
            # Else these are wishes: a strict schema was answered with prose (provider selection page, 2026-09).
            preferences.setdefault("require_parameters", True)
        if request.no_train:  # endpoints that keep nothing, and train on nothing
            preferences |= {"data_collection": "deny", "zdr": True}
        fields["provider"] = raw({**preferences, "max_price": FREE_ONLY})
        fields["plugins"] = NO_PLUGINS

    def messages(self, target: Target, request: Request, names: ToolNames) -> list[Message]:
        """With what some upstreams want back of their own reasoning."""
        plain = super().messages(target, request, names)
        details = [message.reasoning_details for message in request.view.messages if message.role == "assistant"]
        for message, told in zip((one for one in plain if one.role == "assistant"), details, strict=True):
            message.reasoning_details = told
        return plain

    # ── failures ──

    def classify(self, account: Account, response: HttpResponse) -> f.ProviderFailure:
        body = _in_the_upstreams_words(errors.read_error(response.body))
        failure = (
            _from_limit_source(response, body)
            or _from_availability(response, body)
            or _from_upstream(response, body)
            or _from_error_type(response, body)
            or errors.classified(account, response, body)
        )
        if failure.retry_in is None and failure.until is None:
            failure.retry_in = wait_of(response.headers).retry_in
        return failure

    def in_band(self, account: Account, body: bytes) -> f.ProviderFailure:
        """Once an upstream was chosen, refused credentials and rates are its own affair, not our account's."""
        failure = super().in_band(account, body)
        ours = isinstance(failure, f.RateLimited) and failure.unit is not None
        if isinstance(failure, f.RateLimited | f.CredentialRejected | f.NotEntitled) and not ours:
            return f.Busy(failure.message, status=failure.status)
        return failure

    # ── the model list, and our quota ──

    def discover(self, account: Account) -> Discovery:
        listed, skipped = dict[str, Listed](), 0
        call: HttpRequest | None = self.get(account, account.spec.listed_at)
        for _ in range(_MAX_PAGES):
            if call is None:
                break
            response = yield call
            found, unread = self.list_models(account, response)
            listed |= {model.id: model for model in found}
            skipped += unread
            call = self._next_page(account, call, response)
        models = tuple(listed.values())
        if account.key is None:
            return Listing(models, skipped=skipped)
        response = yield self.get(account, "/key")
        if response.status in (401, 403):
            raise self.classify(account, response)
        if response.status != 200:
            return Listing(models, remarks=(f"GET /key: HTTP {response.status}",), skipped=skipped)
        state = _object(_object(response.body).get("data"))
        spent, standing = _spent(state), _standing(state)
        return Listing(models, tuple(_daily(state)), tuple(_remarks(state)), skipped, spent, standing)

    def _next_page(self, account: Account, call: HttpRequest, response: HttpResponse) -> HttpRequest | None:
        """The call for the page after this one: only at the same host, for it carries the key."""
        link = _object(_object(response.body).get("links")).get("next")
        if not isinstance(link, str) or not link:
            return None
        url = urljoin(call.url, link)
        if urlsplit(url)[:2] != urlsplit(call.url)[:2] or url == call.url:
            return None
        return HttpRequest("GET", url, self.headers(account))

    def list_model(self, entry: dict[str, Any]) -> Listed:
        top = _object(entry.get("top_provider"))
        architecture = _object(entry.get("architecture"))
        offered = (*strings_of(entry.get("supported_parameters")), *strings_of(architecture.get("input_modalities")))
        pricing = _object(entry.get("pricing"))
        prompt, output = _price(pricing.get("prompt")), _price(pricing.get("completion"))
        sizes = map(tokens_of, (entry.get("context_length"), top.get("context_length")))
        return Listed(
            id=entry["id"],
            operations=_operations(architecture.get("output_modalities")),
            capabilities=frozenset(ours for name in offered for ours in _CAPABILITIES.get(name, ())),
            context=min(filter(None, sizes), default=None),
            max_output=tokens_of(top.get("max_completion_tokens")),
            prompt_price=prompt,
            output_price=output,
            other_prices=prompt is None or output is None or any(_prices(pricing)),
            released=day_of(entry.get("created")),
            ends_at=_day_after(entry.get("expiration_date")),
        )


def _operations(outputs: object) -> frozenset[Operation]:
    """What a model with these output modalities is asked to do; one of which none are told makes text."""
    made = strings_of(outputs) or ("text",)
    found: dict[str, Operation] = {"text": "chat", "embeddings": "embed"}
    return frozenset(found[name] for name in made if name in found)


def _day_after(date: object) -> float | None:
    """The end of *date* (``2026-12-01``), after which a model may be gone, in unix seconds."""
    try:
        return datetime.fromisoformat(f"{date}T00:00:00+00:00").timestamp() + 86_400.0
    except ValueError:
        return None


def _price(value: object) -> float | None:
    """Dollars for one token. None where it is missing, no number, or negative, which stands for a changing price."""
    return number_of(str(value))


def _prices(pricing: dict[str, Any]) -> Iterator[bool]:
    """For each thing that is neither prompt nor completion, also under conditions, whether it may cost anything."""
    for name, value in pricing.items():
        if name == "overrides":
            for override in value or ():
                yield not isinstance(override, dict) or any(
                    _price(amount) != 0 for key, amount in override.items() if not key.startswith(("min_", "utc_"))
                )
        elif name not in ("prompt", "completion", "discount"):
            yield _price(value) != 0


def _object(found: object) -> dict[str, Any]:
    """*found*, decoded if it is JSON, as an object; an empty one if it is none."""
    if isinstance(found, bytes | Raw):
        try:
            found = msgspec.json.decode(found)
        except msgspec.DecodeError:
            return {}
    return found if isinstance(found, dict) else {}


def _daily(state: dict[str, Any]) -> Iterator[Observation]:
    """What is left of the day's free requests. Older servers do not tell; more may be used than there are."""
    daily = _object(state.get("free_model_daily_requests"))
    limit, remaining = number_of(str(daily.get("limit"))), daily.get("remaining")
    try:
        left = float(remaining)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return
    if limit is not None and math.isfinite(left):
        yield Observation("requests", "day", limit, max(0.0, left), by="GET /key")


def _cap(state: dict[str, Any]) -> float | None:
    """Dollars that the key may spend; None: it has no limit."""
    cap = state.get("limit")
    return None if cap is None else number_of(str(cap)) if not isinstance(cap, bool) else math.inf


def _standing(state: dict[str, Any]) -> Standing:
    """Whether money is behind the key: a cap of next to nothing says no, bought credits say yes."""
    cap = _cap(state)
    if cap is not None and cap <= _HARMLESS_CAP:
        return Standing(False, f"the key may spend {cap:g} dollars in all")
    if state.get("is_free_tier") is False:
        return Standing(
            True, "credits were bought, and the key may spend them: nothing but the locks here keeps requests free"
        )
    if state.get("is_free_tier") is True:
        return Standing(False, "no credits were ever bought")
    return Standing(None, "the key does not tell whether credits were bought")


def _spent(state: dict[str, Any]) -> float | None:
    """Dollars that the key has spent so far, those of keys of one's own at other providers included."""
    told = [dollars_of(state.get(name)) for name in ("usage", "byok_usage")]
    return None if told[0] is None else sum(amount or 0.0 for amount in told)


def _remarks(state: dict[str, Any]) -> Iterator[str]:
    """What the key's owner should know. A cap on spending does not stop free models, so a tiny one is a safe lock."""
    cap, spent = _cap(state), number_of(str(state.get("usage", "")))
    if cap is None:
        yield "the key has no spending limit: make one with a limit of next to 0 dollars (0.001); free models keep working"
    elif cap > _HARMLESS_CAP:
        yield f"the key may spend up to {cap:g} dollars: make one with 0.001; free models keep working"
    if spent:
        yield f"the key has spent {spent:g} dollars so far"
    if state.get("is_management_key") or state.get("is_provisioning_key"):
        yield "this is a management key: use an ordinary one"
    if state.get("expires_at"):
        yield f"the key expires at {state['expires_at']}"


# ── what errors mean ──

_FREE_TIER = {
    "openrouter_free_tier_per_minute": "minute",
    "openrouter_free_tier_daily": "day",
}
_FREE_TIER_TEXT = {"free-models-per-min": "minute", "free-models-per-day": "day"}

_AVAILABILITY: dict[str, type[f.ProviderFailure]] = {
    "capacity_exhausted": f.Busy,
    "temporarily_unavailable": f.Busy,
    "free_variant_ended": f.ModelGone,
    "model_deprecated": f.ModelGone,
    "model_not_found": f.ModelGone,
    "model_unavailable_upstream": f.ModelGone,
    "no_endpoints": f.ModelGone,
    "wrong_endpoint": f.ModelGone,
    "privacy_restricted": f.NotEntitled,
    "region_restricted": f.NotEntitled,
    "constraint_filtered": f.Unsupported,
}
"""docs: errors and debugging, availability codes."""

_ERROR_TYPE: dict[str, type[f.ProviderFailure]] = {
    "context_length_exceeded": f.ContextTooLong,
    "max_tokens_exceeded": f.ContextTooLong,
    "token_limit_exceeded": f.ContextTooLong,
    "string_too_long": f.ContextTooLong,
    "content_policy_violation": f.ContentRefused,
    "refusal": f.ContentRefused,
    "provider_overloaded": f.Busy,
}
"""docs: errors and debugging, error types; for those that are missing here the status says the same."""

_LACKS = re.compile(r"no endpoints found that support ([a-z ]+)")
_LACKING = {"tool use": "tools", "image input": "vision", "input audio": "audio", "audio input": "audio"}


def _from_limit_source(response: HttpResponse, body: errors.ErrorBody) -> f.ProviderFailure | None:
    """Whose limit it is. The strings are OpenRouter's own and not documented; older bodies have only the text."""
    metadata = _object(body.error.get("metadata"))
    source = metadata.get("limit_source")
    window = _FREE_TIER.get(str(source)) or next((w for t, w in _FREE_TIER_TEXT.items() if t in body.message), None)
    status = response.status
    if window is not None:
        stated = {**response.headers, **{k.lower(): v for k, v in _object(metadata.get("headers")).items()}}
        reset, limit = number_of(stated.get("x-ratelimit-reset")), number_of(stated.get("x-ratelimit-limit"))
        until = reset / 1000 if reset else None  # unix milliseconds
        limited = f.RateLimited(body.message, status=status, until=until, account_wide=True)
        return limited.of("requests", window, limit, remaining=0.0)
    match source:
        case "upstream_provider_shared_pool":
            return f.Busy(body.message, status=status)
        case "openrouter_credits" | "openrouter_key_limit":
            return f.WouldCost(body.message, status=status, account_wide=True)
        case "openrouter_in_flight_budget":  # only what is paid for has one
            return f.WouldCost(body.message, status=status)
    if status == 403 and "key limit exceeded" in body.message.lower():
        return f.WouldCost(body.message, status=status, account_wide=True)
    return None


def _from_availability(response: HttpResponse, body: errors.ErrorBody) -> f.ProviderFailure | None:
    """What became of the model: the newer bodies have a code for it, the older ones a sentence."""
    availability = _object(body.error.get("availability"))
    failure = _AVAILABILITY.get(str(availability.get("code")))
    if failure is not None:
        return failure(body.message, status=response.status, retry_in=number_of(str(availability.get("retry_after"))))
    text = body.message.lower()
    if response.status != 404 or not text.startswith("no endpoints found"):
        return None
    if lacks := _LACKS.match(text):
        unsupported = f.Unsupported(body.message, status=404)
        return unsupported.of(_LACKING[lacks[1]]) if lacks[1] in _LACKING else unsupported
    if "data policy" in text:
        return f.NotEntitled(body.message, status=404)
    if text.startswith("no endpoints found for"):
        return f.ModelGone(body.message, status=404)
    return f.Unsupported(body.message, status=404)  # of what this one request asked for


def _in_the_upstreams_words(body: errors.ErrorBody) -> errors.ErrorBody:
    """*body* with the sentence that "Provider returned error" stands for, and the codes that came with it."""
    told = _object(body.error.get("metadata")).get("raw")
    if not isinstance(told, str | dict):
        return body
    upstream = errors.read_error(told.encode() if isinstance(told, str) else msgspec.json.encode(told))
    codes = body.codes | (upstream.codes - {str(code) for code in range(400, 600)})
    return errors.ErrorBody(upstream.message or body.message, codes, body.error)


def _from_upstream(response: HttpResponse, body: errors.ErrorBody) -> f.ProviderFailure | None:
    """What an upstream refused. Its credentials, rates and models are not ours."""
    metadata = _object(body.error.get("metadata"))
    status = response.status
    if status == 403:
        if "flagged_input" in metadata or "reasons" in metadata:
            return f.ContentRefused(body.message, status=status)
        if metadata.get("raw"):
            return f.Busy(body.message, status=status)
        return None
    if status in (401, 404, 429) and (metadata.get("raw") or body.message == "Provider returned error"):
        return f.Busy(body.message, status=status)
    return None


def _from_error_type(response: HttpResponse, body: errors.ErrorBody) -> f.ProviderFailure | None:
    kind = body.error.get("error_type") or _object(body.error.get("metadata")).get("error_type")
    failure = _ERROR_TYPE.get(str(kind))
    if failure is not None:
        return failure(body.message, status=response.status)
    if response.status == 429:
        return f.RateLimited(body.message, status=429, account_wide=True)
    return None
