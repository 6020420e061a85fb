"""
Questions that find out what models can really do: lists promise, answers prove. And which of them to ask next. Pure.

``gateway/request/checks.py`` asks them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from gateway.catalog.catalog import Catalog
from gateway.quota.nouns import Cost
from gateway.words import Deployment
from providers.chat import Completion

PROMPT, OUTPUT = 400, 200
"""Tokens of a check, at most."""

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


def next_check(catalog: Catalog, provider: str, now: float) -> tuple[Deployment, CapabilityCheck] | None:
    """What to find out next at *provider*, if anything: what is believed of the best models first."""
    open_questions = [
        (check.capability not in d.capabilities, -d.quality, number, d, check)
        for d in catalog.serving(now)
        if d.provider.name == provider
        for number, check in enumerate(CHECKS)
        if catalog.learned.known(d.name, check.capability, now) is None
    ]
    if not open_questions:
        return None
    *_, deployment, check = min(open_questions, key=lambda question: question[:3])
    return deployment, check
