"""What the Gemini API's refusals mean (bodies as returned from 2026-07 to 2026-10)."""

from __future__ import annotations

import re
from typing import Any

from providers import errors
from providers import failures as f
from providers.dialect import Account, HttpResponse
from providers.errors import ErrorBody, read_error
from providers.observations import number_of, seconds

_RETRY_IN = re.compile(r"Please retry in (\d+(?:\.\d+)?)s\.")
_BAD_KEY = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED"})


def classify(account: Account, response: HttpResponse) -> f.ProviderFailure:
    """
    Which failure an error answer is.

    What concerns the project comes first: a bad key is a 400 there, and one sent the wrong way a 401 or a 403.
    """
    body = read_error(response.body)
    text, status = body.message.lower(), response.status
    kind: type[f.ProviderFailure] | None = None
    if status in (401, 403) or (status == 400 and _reasons(body) & _BAD_KEY):
        kind = f.CredentialRejected
    elif status == 400 and ("location is not supported" in text or "FAILED_PRECONDITION" in body.codes):
        kind = f.NotEntitled  # the free tier is not to be had here, or the project lacks something
    elif status == 429 and "prepayment" in text:
        kind = f.WouldCost
    if kind is not None:
        return kind(body.message or f"HTTP {status}", status=status, account_wide=True)
    if status == 400 and "token count" in text and "exceed" in text:
        return f.ContextTooLong(body.message, status=status)
    if status == 400 and "thought_signature" in text:
        return f.RefusedHere(body.message, status=status)  # this history is one that another source takes
    if status == 429:
        return _used_up(account, response, body)
    return errors.classify(account, response)


def _details(body: ErrorBody, kind: str) -> list[dict[str, Any]]:
    """The details of one kind (``google.rpc.QuotaFailure``, …) in an error."""
    details = body.error.get("details")
    found = details if isinstance(details, list) else []
    return [one for one in found if isinstance(one, dict) and str(one.get("@type", "")).endswith(kind)]


def _reasons(body: ErrorBody) -> set[str]:
    return {str(info.get("reason")) for info in _details(body, "google.rpc.ErrorInfo")}


def _used_up(account: Account, response: HttpResponse, body: ErrorBody) -> f.ProviderFailure:
    """
    Which quota is used up.

    A model that is not free has quotas of 0, whatever wait comes with them. Of several that are used up at once, that
    of a day counts; its wait is left out, for it is not the day's end.
    """
    violations: list[dict[str, Any]] = []
    for detail in _details(body, "google.rpc.QuotaFailure"):
        listed = detail.get("violations")
        violations += [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    limits = [number_of(str(one.get("quotaValue", ""))) for one in violations]
    if 0 in limits or any(line.rstrip(", ").endswith("limit: 0") for line in _clauses(body.message)):
        return f.NotEntitled(body.message, status=429)
    told = [info.get("retryDelay") for info in _details(body, "google.rpc.RetryInfo")]
    retry_in = seconds(str(told[0])) if told else None
    if exact := _RETRY_IN.search(body.message):  # the delay may be this, cut to whole seconds
        retry_in = max(retry_in or 0.0, float(exact[1]))
    if not violations:
        unnamed = errors.classify(account, response)
        unnamed.retry_in = unnamed.retry_in if retry_in is None else retry_in
        return unnamed
    ids = [str(one.get("quotaId", "")) for one in violations]
    if any(quota and not quota.endswith("-FreeTier") for quota in ids):
        return f.WouldCost(
            f"this project has billing: its quota {ids[0]} is not that of the free tier. Use a key of a project without",
            status=429,
            account_wide=True,
        )
    place = next((place for place, quota in enumerate(ids) if "PerDay" in quota), 0)
    what = f"{ids[place]} {violations[place].get('quotaMetric', '')}".lower()
    unit = "prompt" if "token" in what else "requests"
    window = "day" if "perday" in what else "minute" if "perminute" in what else None
    limited = f.RateLimited(body.message, status=429, retry_in=None if window == "day" else retry_in)
    return limited.of(unit, window, limits[place], remaining=0.0 if window == "day" else None)


def _clauses(message: str) -> list[str]:
    """The message cut at its commas: ``…, limit: 0, model: …``."""
    return [clause for line in message.splitlines() for clause in line.split(",")]
