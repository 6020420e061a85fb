"""
How long an answer may be at one deployment: what is said to it, and what is reserved. Pure.

Agents ask for 32 000 tokens and mean that they want no cut. What is sent is the least of that, of the model's longest
answer, and of what the context and the buckets hold beside the prompt; what is reserved is what such answers take, or all
of it where the provider charges that at admission. An answer that ends at a bound of ours is continued (resume.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from gateway.quota.buckets import Bucket
from gateway.routing.calibration import Calibration
from gateway.routing.latency import TYPICAL, Pace
from gateway.words import Call, Deployment
from providers.chat import ChatRequest, raw
from providers.dialect import Request
from providers.parameters import can_stop_reasoning

SMALL = 200
"""Tokens. A bound below this leaves no room for reasoning before the answer."""

_SHAPES = frozenset({"json_object", "json_schema"})

Limit = Callable[[Bucket], float]
"""The limit of a bucket that is in force, as far as is known."""


class Bound(Struct, frozen=True):
    """
    *sent* is the bound on each choice that the deployment is told; None: none. *reserved* are the tokens that are held for
    all choices, *most* those that may come. *ours*: the bound is tighter than the caller's.
    """

    sent: int | None
    reserved: int
    most: int
    ours: bool = False


def choices_of(call: Call) -> int:
    """How many answers *call* asks for."""
    return (call.request.view.n or 1) if isinstance(call.request, Request) else 1


def learned(call: Call, model: str, calibration: Calibration) -> int:
    """Tokens that nearly all answers of *model* to the like of *call* stay below, as far as its caller allows; 0: not known."""
    length = calibration.length(model, tools="tools" in call.wants.capabilities)
    if not length or not isinstance(call.request, Request):
        return 0
    bound = call.request.view.output_tokens
    return (length if bound is None else min(length, bound)) * choices_of(call)


def expected(call: Call, model: str, calibration: Calibration) -> int:
    """Tokens to be held for an answer of *model* to *call*, all choices together: never more than its caller allows."""
    return max(call.output_tokens, learned(call, model, calibration))


def answers_in(
    call: Call, deployment: Deployment, calibration: Calibration, pace: Pace | None, *, whole: bool
) -> float:
    """
    Seconds after which *deployment*, of such a *pace*, has answered the like of *call*: all of it if it is to be *whole*,
    else so much that its caller sees something; 0: that is not known.
    """
    first = None if pace is None else pace.first_content
    if pace is None or first is None:
        return 0.0
    return first + pace.a_token * typical(call, deployment.model, calibration) if whole else first


def typical(call: Call, model: str, calibration: Calibration) -> float:
    """Tokens of a typical answer of *model* to the like of *call*, all choices together."""
    if not isinstance(call.request, Request):
        return 0.0
    bound = call.request.view.output_tokens
    tokens = calibration.typical(model, tools="tools" in call.wants.capabilities) or TYPICAL
    return min(tokens, math.inf if bound is None else bound) * choices_of(call)


def bound_of(deployment: Deployment, call: Call, prompt: int, likely: int, limit: Limit) -> Bound:
    """The bound of *call*, whose prompt has so many tokens and whose answer *likely* so many, at *deployment*."""
    if not isinstance(call.request, Request):
        return Bound(None, call.output_tokens, call.output_tokens)
    choices, asked = call.request.view.n or 1, call.request.view.output_tokens
    room = min(_beside(deployment, call, prompt, likely), _room(deployment, prompt, limit))
    if asked is None and room >= likely:
        return Bound(None, likely, likely)
    most = min(math.inf if asked is None else asked, deployment.max_output or math.inf, room / choices)
    sent = max(1, int(most))
    charged = any(bucket.keeps_output for bucket in deployment.buckets)  # at admission, whatever comes
    reserved = sent * choices if charged else min(sent * choices, likely)
    return Bound(sent, reserved, sent * choices, ours=asked is None or sent < asked)


def is_cramped(deployment: Deployment, call: Call, likely: int) -> bool:
    """Whether an answer of *likely* tokens may have no room at *deployment* beside the prompt."""
    return call.prompt_tokens + likely > deployment.most_tokens or likely > (deployment.max_output or math.inf)


def has_no_room(deployment: Deployment, call: Call, likely: int) -> bool:
    """Whether it surely has none: what a context holds is counted in true tokens, what a bucket holds in ours."""
    held = min((bucket.limit for bucket in deployment.buckets if bucket.unit == "tokens"), default=math.inf)
    if call.prompt_tokens + likely > held or likely > (deployment.max_output or math.inf):
        return True
    return deployment.context is not None and call.least_tokens + likely > deployment.context


def is_small(call: Call) -> bool:
    """Whether the caller's bound leaves no room for reasoning."""
    return isinstance(call.request, Request) and 0 < (call.request.view.output_tokens or 0) < SMALL


def holds_together(call: Call) -> bool:
    """Whether the answer to *call* is of no use unless it is whole: JSON that was promised."""
    return not call.wants.capabilities.isdisjoint(_SHAPES)


def reasons_anyway(deployment: Deployment) -> bool:
    """Whether the model of *deployment* reasons, and cannot be told not to."""
    return "reasoning" in deployment.capabilities and not can_stop_reasoning(deployment.target)


def as_sent(deployment: Deployment, call: Call, request: Request, bound: Bound) -> Request:
    """The *request* of *call* as *deployment* gets it."""
    changes: dict[str, Any] = {}
    if bound.ours:
        named = "max_completion_tokens" if request.view.max_completion_tokens else "max_tokens"
        changes[named] = bound.sent
    reasons = is_small(call) and request.view.reasoning_effort is None and "reasoning" in deployment.capabilities
    if reasons and can_stop_reasoning(deployment.target):
        changes["reasoning_effort"] = "none"
    if not changes and request.output_tokens == bound.most:
        return request
    view: ChatRequest = msgspec.structs.replace(request.view, **changes) if changes else request.view
    fields = {**request.fields, **{name: raw(value) for name, value in changes.items()}}
    return msgspec.structs.replace(
        request,
        view=view,
        fields=fields,
        output_tokens=bound.most,
        bounded_by_caller=request.bounded_by_caller and not bound.ours,
        bounded_by_us=bound.ours,
    )


def _beside(deployment: Deployment, call: Call, prompt: int, likely: int) -> float:
    """
    Tokens that an answer may have in the context. *prompt* errs upward: where it leaves less than an answer *likely* takes,
    that much is asked for if it may be there, and the provider tells if it is not.
    """
    if not deployment.context:
        return math.inf
    return max(deployment.context - prompt, min(likely, deployment.context - call.least_tokens), 0)


def _room(deployment: Deployment, prompt: int, limit: Limit) -> float:
    """Tokens that an answer may have in the buckets beside a prompt of so many, whatever is used now."""
    room = math.inf
    for bucket in deployment.buckets:
        match bucket.unit:
            case "tokens":
                room = min(room, limit(bucket) - prompt)
            case "neurons" if deployment.output_neurons:
                room = min(room, (limit(bucket) - prompt * deployment.prompt_neurons) / deployment.output_neurons)
            case "dollars" if deployment.output_price:
                room = min(room, (limit(bucket) - prompt * deployment.prompt_price) / deployment.output_price)
    return max(0.0, room)
