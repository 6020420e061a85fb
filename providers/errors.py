"""What an error body says, however it is wrapped, and the classes that follow from signs, codes, words and statuses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from providers import failures as f
from providers.dialect import Account, HttpResponse
from providers.lenient import decodable
from providers.observations import Wait, exhausted, wait_in, wait_of
from providers.spec import ErrorSign
from providers.words import meaning_of

_PARAMETER = re.compile(r"\(parameter=([a-z_.]+)")
_SHOWN = 600  # characters of a message that are kept


class ErrorBody(Struct, frozen=True):
    """The message for people, every code and type as text, and the innermost error object for those who know it."""

    message: str
    codes: frozenset[str]
    error: dict[str, Any]


def read_error(body: bytes) -> ErrorBody:
    """
    Read any of the wrappings in use: ``{error: {…}}``, ``{error: "…"}``, ``[{error: …}]``, ``{message, code}``,
    ``{errors: [{…}]}``, ``{errors: {…}}``, ``{detail}``, ``{status, title}``, or no JSON at all.
    """
    try:
        found = msgspec.json.decode(decodable(body))
    except (msgspec.DecodeError, RecursionError):
        return ErrorBody(body[:_SHOWN].decode(errors="replace").strip(), frozenset(), {})
    if isinstance(found, list) and found:
        found = found[0]
    outer = found if isinstance(found, dict) else {}
    inner = outer.get("error") or outer.get("errors") or outer
    if isinstance(inner, list) and inner:
        inner = inner[0]
    if isinstance(inner, str):
        return ErrorBody(inner[:_SHOWN], frozenset(), outer)
    if not isinstance(inner, dict):
        inner = outer
    message = inner.get("message") or inner.get("detail") or inner.get("title") or ""
    if isinstance(message, list):  # FastAPI's list of what is wrong with each field
        message = "; ".join(str(item.get("msg", item)) if isinstance(item, dict) else str(item) for item in message)
    codes = {str(inner[key]) for key in ("code", "type", "status", "error_type") if inner.get(key) is not None}
    return ErrorBody(str(message)[:_SHOWN], frozenset(codes), inner)


def from_signs(signs: Iterable[ErrorSign], response: HttpResponse, body: ErrorBody) -> f.ProviderFailure | None:
    """The failure that the first fitting sign of the provider's configuration means, or None."""
    for sign in signs:
        if sign.status is not None and sign.status != response.status:
            continue
        if sign.code is not None and sign.code not in body.codes:
            continue
        if sign.text is not None and sign.text.lower() not in body.message.lower():
            continue
        wait = wait_of(response.headers) if sign.retry_in is None else Wait(sign.retry_in)
        failure = f.BY_NAME[sign.means](
            body.message or f"HTTP {response.status}",
            status=response.status,
            retry_in=wait.retry_in,
            until=wait.until,
            account_wide=sign.account_wide,
        )
        if isinstance(failure, f.RateLimited):
            failure.of(sign.unit, sign.window)
        if isinstance(failure, f.Busy):
            failure.of_places = sign.unit == "in-flight"
        if isinstance(failure, f.Unsupported) and sign.capability:
            failure.of(sign.capability)
        if isinstance(failure, f.RefusedHere):
            failure.of(sign.capability, parameter_of(body))
        return failure
    return None


_BY_STATUS: dict[int, type[f.ProviderFailure]] = {
    400: f.RefusedHere,
    401: f.CredentialRejected,
    402: f.WouldCost,
    403: f.NotEntitled,
    404: f.ModelGone,
    410: f.ModelGone,
    413: f.TooLarge,
    415: f.RefusedHere,
    422: f.RefusedHere,
    429: f.RateLimited,
    498: f.Busy,
    503: f.Busy,
    529: f.Busy,
}
_BY_CODE: dict[str, type[f.ProviderFailure]] = {
    "context_length_exceeded": f.ContextTooLong,
    "content_filter": f.ContentRefused,
    "content_policy_violation": f.ContentRefused,
    "model_not_found": f.ModelGone,
    "model_decommissioned": f.ModelGone,
    "model_archived": f.ModelGone,
    "invalid_model": f.ModelGone,
}
"""Codes of OpenAI's own and others that several have taken over."""

_SHUT = frozenset(
    {
        "account_deactivated", "account_disabled", "account_suspended", "billing_not_active", "invalid_api_key",
        "organization_deactivated", "organization_restricted", "organization_suspended",
    }
)  # fmt: skip
"""Codes that are about the account, whatever their status: Groq tells of a shut one with 400 (songquanpeng/one-api#1764)."""

_ACCOUNT_WIDE = (401, 402)


def from_status(response: HttpResponse, body: ErrorBody) -> f.ProviderFailure:
    """What codes, words and the HTTP status say where configuration knows nothing more particular."""
    status = response.status
    if _SHUT & body.codes:
        return f.CredentialRejected(body.message, status=status, account_wide=True)
    for code, failure in _BY_CODE.items():
        if code in body.codes:
            return failure(body.message, status=status)
    told = meaning_of(body.message, status)
    if told is not None:
        return told
    if status == 403 and _is_page(response):
        return f.NotEntitled(f"a page, not an answer: {body.message[:100]}", status=status, account_wide=True)
    wait = wait_of(response.headers)
    found = _BY_STATUS.get(status, f.Unreachable)(
        body.message or f"HTTP {status}",
        status=status,
        retry_in=wait.retry_in,
        until=wait.until,
        account_wide=status in _ACCOUNT_WIDE,
    )
    return found.of(parameter=parameter_of(body)) if isinstance(found, f.RefusedHere) else found


def _is_page(response: HttpResponse) -> bool:
    """Whether the answer is a web page, which a proxy before the provider gives: it knows no models."""
    return "html" in response.headers.get("content-type", "") or response.body.lstrip()[:1] == b"<"


def parameter_of(body: ErrorBody) -> str | None:
    """The request's field that an error is about, where it names one: OpenAI's ``param``, or vLLM's in words."""
    named = body.error.get("param")
    if isinstance(named, str) and named:
        return named
    in_words = _PARAMETER.search(body.message)
    return in_words[1] if in_words else None


def classify(account: Account, response: HttpResponse) -> f.ProviderFailure:
    """Which failure *response* is, by ``classified``."""
    return classified(account, response, read_error(response.body))


def classified(account: Account, response: HttpResponse, body: ErrorBody) -> f.ProviderFailure:
    """
    Signs of the provider's configuration first, then the status. When to come back is read in the message where no header
    tells it.

    A refused rate whose bucket the body does not name is that of the headers that are used up. One that never holds
    anything is no quota: the account may not use the model.
    """
    failure = from_signs(account.spec.errors, response, body) or from_status(response, body)
    if isinstance(failure, f.RateLimited | f.Busy) and failure.retry_in is None and failure.until is None:
        failure.retry_in = wait_in(body.message)
    if not isinstance(failure, f.RateLimited) or failure.unit is not None:
        return failure
    empty = exhausted(account.spec.limit_headers, response.headers)
    if empty is None:
        return failure
    if empty.limit == 0:
        return f.NotEntitled(f"the quota here is 0: {failure.message}", status=response.status)
    if failure.retry_in is None and failure.until is None:
        failure.retry_in = empty.resets_in
    return failure.of(empty.unit, empty.window, empty.limit)
