"""
Values of parameters, as the models of one provider take them: data of configuration, applied.

A value that a model refuses is a 400 at some and a silent change at others, so the nearest that it takes is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import Raw

from providers.chat import raw
from providers.dialect import Target
from providers.failures import Unsupported
from providers.spec import ProviderSpec, Reasoning

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Of the least to the most; what OpenAI's clients send."""

OFF = ("none", "minimal")

_COMMON = Reasoning(efforts=("low", "medium", "high"))
"""For a model that reasons and of which nothing more is known: these are taken by nearly all, others by few."""

_PLACES = {**{effort: place for place, effort in enumerate(EFFORTS)}, "default": EFFORTS.index("medium")}


def reasoning_of(target: Target) -> Reasoning:
    """How *target* is told to reason."""
    for row in target.account.spec.reasoning:
        if any(fnmatchcase(target.model, pattern) for pattern in row.ids):
            return row
    reasons = not target.capabilities or "reasoning" in target.capabilities
    return _COMMON if reasons else Reasoning()


def can_stop_reasoning(target: Target) -> bool:
    """Whether *target*, which reasons, can be told not to, or hardly."""
    row = reasoning_of(target)
    return bool(row.off) or any(effort in row.efforts for effort in OFF)


def nearest(effort: str, accepted: Sequence[str]) -> str | None:
    """The accepted effort that is nearest to *effort*, of two as near the higher one; None: none is accepted."""
    if effort in accepted or not accepted:
        return effort if accepted else None
    wanted = _PLACES.get(effort, _PLACES["medium"])
    return min(accepted, key=lambda one: (abs(_PLACES.get(one, wanted) - wanted), -_PLACES.get(one, wanted)))


def adapt_reasoning(fields: dict[str, Raw], target: Target, effort: str | None) -> None:
    """Say in *fields* how much to reason, the way the model is told it. A caller's own switch is left as it is."""
    if effort is None and not any(row.always for row in target.account.spec.reasoning):
        return
    row = reasoning_of(target)
    if effort is not None:
        fields.pop("reasoning_effort", None)
        sent = nearest(effort, row.efforts)
        if sent is not None:
            fields["reasoning_effort"] = raw(sent)
    elif not row.always:
        return
    switch = row.off if effort in OFF else row.on
    for name, value in switch.items():
        given = msgspec.json.decode(fields[name]) if name in fields else None
        fields[name] = raw({**value, **given} if isinstance(given, dict) and isinstance(value, dict) else value)


def limit_stops(fields: dict[str, Raw], spec: ProviderSpec) -> None:
    """
    Spell the stop sequences in *fields* as the list that the provider takes.

    Raises Unsupported for more than it takes: an answer that goes on where it should end is another one.
    """
    if not spec.most_stops or "stop" not in fields:
        return
    stops: Any = msgspec.json.decode(fields["stop"])
    stops = [stops] if isinstance(stops, str) else stops
    if len(stops) > spec.most_stops:
        raise Unsupported(f"takes {spec.most_stops} stop sequences at most").of("stop")
    fields["stop"] = raw(stops)


def clamp(fields: dict[str, Raw], spec: ProviderSpec) -> None:
    """Bring numbers in *fields* into the ranges that the provider takes."""
    for name, (least, most) in spec.ranges.items():
        value: Any = msgspec.json.decode(fields[name]) if name in fields else None
        if isinstance(value, int | float) and not isinstance(value, bool) and not least <= value <= most:
            fields[name] = raw(min(max(value, least), most))
