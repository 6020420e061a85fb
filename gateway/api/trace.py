"""The answer header ``x-freeway-trace``, for callers who ask for it: who was skipped or failed on the way, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from gateway.request.plan import Attempt
from gateway.words import Exclusion

LONGEST = 2048
"""Bytes. Servers and proxies bound a header, mostly to 8 KB for all of them."""

_LONGEST_REASON = 80


def trace(attempts: Iterable[Attempt], skipped: Iterable[Exclusion]) -> str:
    """
    ``{"failed": [...], "skipped": [...], "left_out": n}`` as printable ASCII, bounded: of what does not fit, only the
    number is told. Failed attempts come first.
    """
    entries: list[tuple[str, dict[str, Any]]] = [
        ("failed", _entry(a.deployment.name, type(a.failure).__name__, a.failure.message, None)) for a in attempts
    ]
    entries += [
        ("failed" if one.kind == "failed" else "skipped", _entry(one.deployment, one.kind, one.reason, one.until))
        for one in skipped
    ]
    room = LONGEST - len(_ascii({"failed": [], "skipped": [], "left_out": len(entries)}))
    shown: dict[str, Any] = {"failed": [], "skipped": []}
    left_out = 0
    for where, entry in entries:
        size = len(_ascii(entry)) + 1
        if size > room:
            left_out += 1
            continue
        room -= size
        shown[where].append(entry)
    return _ascii({**shown, "left_out": left_out} if left_out else shown)


def _entry(deployment: str, kind: str, reason: str, until: float | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"deployment": deployment, "kind": kind, "reason": reason[:_LONGEST_REASON]}
    return entry if until is None else {**entry, "until": int(until) + 1}


def _ascii(value: object) -> str:
    """As JSON without blanks; it escapes whatever is not printable ASCII, but for DEL."""
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")
