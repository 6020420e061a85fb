"""What a source lacks that refused what another took. A refusal that says no more teaches by that."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.events import Changed
from gateway.request.call import TOKENS_PER_IMAGE
from gateway.request.engine import Engine, Slot
from gateway.request.tried import Attempt
from gateway.words import Call
from providers import failures as f
from providers.chat import Fields
from providers.dialect import Request

_BY_VALUE = frozenset(
    {"frequency_penalty", "presence_penalty", "seed", "temperature", "top_k", "top_logprobs", "top_p"}
)
"""Parameters of which mostly a value is refused, and not the parameter."""


def compare(attempts: Iterable[Attempt], slot: Slot, engine: Engine) -> None:
    """
    Learn from the answer of *slot* what those lack that refused the same request before, and did not say why: what is in it
    beyond plain text, or the one thing that they named. Of several things it is known that they do not take them together.
    """
    now = engine.clock.now()
    for attempt in attempts:
        failure, refused = attempt.failure, attempt.deployment
        if not isinstance(failure, f.RefusedHere | f.Unsupported) or failure.capability is not None:
            continue
        lacks = lacking(slot.call, failure.parameter if isinstance(failure, f.RefusedHere) else None)
        if not lacks or refused.provider.name == slot.deployment.provider.name:
            continue
        engine.view.catalog.learned.learn_together(refused.name, lacks, now)
        told = f"{' with '.join(sorted(lacks))}, which {slot.deployment.name} took"
        engine.tell(Changed("capability lost", refused.name, told, now))


def lacking(call: Call, named: str | None) -> frozenset[str]:
    """
    What a source lacks, or does not take together, that refused *call*, and *named* a field or none; none: that cannot be
    told. A value that every source takes is no suspect, and where one is that not every source takes, it is the likelier.
    """
    request = call.request
    if not isinstance(request, Request):
        return frozenset()
    special = (call.wants.capabilities - {"stream"}) | call.wants.parameters
    if named is not None:
        special &= _OF_FIELD.get(named, {named})
    elif any(message.tool_calls or message.role == "tool" for message in request.view.messages):
        return frozenset()  # their order may be what is refused
    odd = {name for name in special & _BY_VALUE if not _is_harmless(name, request.fields)}
    if odd or call.media_tokens > TOKENS_PER_IMAGE:  # or how many pictures
        return frozenset()
    return special - _BY_VALUE


def _is_harmless(name: str, fields: Fields) -> bool:
    """Whether the value of the parameter *name* is one that every source takes that takes the parameter."""
    least, most = _HARMLESS.get(name, (1.0, 0.0))
    try:
        return least <= msgspec.json.decode(fields[name], type=float) <= most
    except (KeyError, msgspec.DecodeError):
        return False


_HARMLESS = {
    "frequency_penalty": (0.0, 0.0),
    "presence_penalty": (0.0, 0.0),
    "seed": (0.0, 2.0**31),
    "temperature": (0.0, 1.0),
    "top_p": (0.01, 1.0),
}


_OF_FIELD = {
    "tools": {"tools"},
    "response_format": {"json_object", "json_schema"},
    "messages": {"vision", "audio", "file", "video_url"},
}
"""The capabilities that a field of a request needs."""
