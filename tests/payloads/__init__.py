"""Recorded and documented answers of providers, one folder each, as the tests read them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from providers.dialect import Account, HttpResponse
from providers.spec import load

FOLDER = Path(__file__).parent
SPECS = load(FOLDER.parents[1] / "config" / "providers")


def account(provider: str, key: str | None = "key") -> Account:
    spec = SPECS[provider]
    return Account(spec, spec.base_url, key)


def body(name: str) -> bytes:
    """The bytes of a payload; *name* is ``<provider>/<file>``."""
    return (FOLDER / name).read_bytes()


def answer(name: str) -> HttpResponse:
    """A payload that holds status, headers and body."""
    envelope = msgspec.json.decode(body(name))
    return HttpResponse(envelope["status"], envelope["headers"], msgspec.json.encode(envelope["body"]))


def is_envelope(name: str) -> bool:
    found = msgspec.json.decode(body(name)) if name.endswith(".json") else None
    return isinstance(found, dict) and {"status", "headers", "body"} <= found.keys()
