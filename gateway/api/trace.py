"""
The answer header ``x-freeway-trace``, for callers who ask for it: which deployments failed or were skipped on the way, and
why; and what the request waited for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from gateway.request.tried import Attempt, Wait
from gateway.words import Exclusion

LONGEST = 2048
"""Bytes. Servers and proxies bound a header, mostly to 8 KB for all of them."""

_LONGEST_REASON = 80
_MOST_AWAITED = 3  # deployments that are named of those that a request waited for


def trace(
    attempts: Iterable[Attempt],
    skipped: Iterable[Exclusion],
    waits: Iterable[Wait] = (),
    *,
    mended: Iterable[str] = (),
    stayed: bool = False,
    made_up: Iterable[str] = (),
) -> str:
    """
    ``{"failed": [...], "waited": [...], "skipped": [...], "mended": [...], "stayed": true, "made_up": [...],
    "left_out": n}`` as printable ASCII, bounded: of what does not fit, only the number is told. Failed attempts come first, then the waits in their order.
    *mended* is what was done to the answer (of a stream: to its beginning), *stayed* whether the conversation is where it was,
    *made_up* what its source cannot do; these are told only where there is something to tell.
    """
    entries = [
        ("failed", _entry(a.deployment.name, type(a.failure).__name__, a.failure.message, None)) for a in attempts
    ]
    entries += [("waited", _wait(wait)) for wait in waits]
    entries += [
        ("failed" if one.kind == "failed" else "skipped", _entry(one.deployment, one.kind, one.reason, one.until))
        for one in skipped
    ]
    shown: dict[str, Any] = {"failed": [], "waited": [], "skipped": []}
    if told := sorted(set(mended)):
        shown["mended"] = told
    if stayed:
        shown["stayed"] = True
    if told := list(made_up):
        shown["made_up"] = told
    room = LONGEST - len(_ascii({**shown, "left_out": len(entries)}))
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


def _wait(wait: Wait) -> dict[str, Any]:
    """*of* is how many deployments it waited for, of which the first are named."""
    return {
        "seconds": round(wait.seconds, 3),
        "behind": wait.behind,
        "for": list(wait.deployments[:_MOST_AWAITED]),
        "of": len(wait.deployments),
        "reason": wait.reason[:_LONGEST_REASON],
    }


def _ascii(value: object) -> str:
    """As JSON without blanks; it escapes whatever is not printable ASCII, but for DEL."""
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")
