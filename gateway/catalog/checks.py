"""
Questions that find out what models can really do: lists promise, answers prove. And which of them to ask next, out of what
quota: only what no request will have taken by its next reset. Pure.

``gateway/request/checks.py`` asks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from gateway.catalog.catalog import Catalog
from gateway.quota import buckets as b
from gateway.quota.buckets import Bucket
from gateway.quota.nouns import Cost, LevelView
from gateway.words import Deployment
from providers.chat import Completion

PROMPT, OUTPUT = 400, 200
"""Tokens of a check, at most."""

MOST_A_DAY = 5
"""Checks of one account in a day."""

SHORT = 120.0
"""Seconds of a window whose reset is never far: half of it, if that is there, is left over."""

ENDS_SOON = 3600.0
"""Seconds before the end of a longer window from which on what will not be used by then can be told."""

LEFT_OVER = 0.1
"""The part of its limit that has to be left at the end, if all goes on as it did so far."""

HARDLY_USED = 0.05
"""The part of a long window that flows back all the time up to which more flows in than is taken."""

_RED = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAJ0lEQVR42u3NsQkAAAjAsP7/tF7hIASy"
    "p6lTCQQCgUAgEAgEgi/BAjLD/C5w/SM9AAAAAElFTkSuQmCC"
)
"""A red square of 32 by 32 pixels."""

_SCHEMA = {
    "type": "object",
    "properties": {"planet": {"type": "string"}, "moons": {"type": "integer"}},
    "required": ["planet", "moons"],
    "additionalProperties": False,
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class _Planet(Struct, forbid_unknown_fields=True):
    planet: str
    moons: int


class CapabilityCheck(Struct, frozen=True):
    """A question about a capability, and what its answer shows: True, False, or None if it shows nothing."""

    capability: str
    fields: dict[str, Any]
    shows: Callable[[Completion], bool | None]


def _calls(completion: Completion) -> bool | None:
    return bool(completion.choices[0].message.tool_calls)


def _conforms(completion: Completion) -> bool | None:
    try:
        msgspec.json.decode(completion.choices[0].message.content or "", type=_Planet)
    except msgspec.DecodeError:
        return None if completion.choices[0].finish_reason == "length" else False
    return True


def _sees(completion: Completion) -> bool | None:
    return True if "red" in (completion.choices[0].message.content or "").lower() else None


def _said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


CHECKS = (
    CapabilityCheck(
        "tools",
        {"messages": _said("What is the weather in Rome?"), "tools": [_TOOL], "tool_choice": "required"},
        _calls,
    ),
    CapabilityCheck(
        "json_schema",
        {
            "messages": _said("Mars and its moons, as JSON."),
            "response_format": {"type": "json_schema", "json_schema": {"name": "planet", "schema": _SCHEMA}},
        },
        _conforms,
    ),
    CapabilityCheck(
        "vision",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Which colour is this? One word."},
                        {"type": "image_url", "image_url": {"url": _RED}},
                    ],
                }
            ]
        },
        _sees,
    ),
    CapabilityCheck("stream", {"messages": _said("Say: yes"), "stream": True}, lambda _: True),
)


def cost_of(deployment: Deployment) -> Cost:
    """What a check of *deployment* takes at most."""
    return deployment.cost(PROMPT, OUTPUT)


def spare(deployment: Deployment, levels: Mapping[str, LevelView], now: float) -> bool:
    """Whether a check of *deployment* takes nothing but what its next reset would take, by the *levels* of *now*."""
    if not any(bucket.window != "in-flight" for bucket in deployment.buckets):
        return False  # nothing is reset: it is hardware of our own
    return all(_left_over(bucket, levels[bucket.key], now) for bucket in deployment.buckets)


def _left_over(bucket: Bucket, level: LevelView, now: float) -> bool:
    if bucket.unit in ("dollars", "neurons") or level.closed_until is not None:
        return False
    used, limit = level.used, level.limit
    if bucket.window == "in-flight":
        return used == 0
    if 0 < bucket.period <= SHORT:
        return used <= limit / 2
    if bucket.window in ("clock", "calendar"):
        gone, left = now - b.window_start(bucket, now), b.window_end(bucket, now) - now
        return left <= ENDS_SOON and used * (gone + left) / gone <= (1 - LEFT_OVER) * limit
    return used <= HARDLY_USED * limit


def next_check(
    catalog: Catalog, provider: str, levels: Mapping[str, LevelView], now: float
) -> tuple[Deployment, CapabilityCheck] | None:
    """What to find out next at *provider*, if anything, out of what is left over: what is believed of the best models first."""
    open_questions = [
        (check.capability not in d.capabilities, -d.quality, number, d, check)
        for d in catalog.serving(now)
        if d.provider.name == provider and "chat" in d.operations and spare(d, levels, now)
        for number, check in enumerate(CHECKS)
        if catalog.learned.known(d.name, check.capability, now) is None
    ]
    if not open_questions:
        return None
    *_, deployment, check = min(open_questions, key=lambda question: question[:3])
    return deployment, check
