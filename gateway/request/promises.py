"""
What a whole answer has to keep for its caller to have asked for it: that it is all there, the schema, a call that had to be
made. Pure.

A source that takes such a request and does not keep it is asked for the like no more: another may keep it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.request.bounds import holds_together
from gateway.request.engine import Slot
from providers.chat import ChatRequest, Choice, Whole
from providers.dialect import Request
from providers.embeddings import Embeddings
from providers.failures import NoAnswer


def verify(slot: Slot, found: Whole | Embeddings) -> None:
    """
    See whether *found*, a whole answer of *slot*, is what was asked for.

    Raises NoAnswer if our bound cut it where a part is of no use, or if it breaks what its caller was promised.
    """
    sent = slot.request
    if not isinstance(found, Whole) or not isinstance(sent, Request):
        return
    for choice in found.completion.choices:
        if choice.finish_reason != "length":
            _verify_promises(sent.view, choice)
        elif sent.bounded_by_us and (holds_together(slot.call) or choice.message.tool_calls):
            raise NoAnswer(f"longer than the {sent.output_tokens} tokens that it has room for").by_our_bound()


def _verify_promises(view: ChatRequest, choice: Choice) -> None:
    message = choice.message
    if message.refusal or choice.finish_reason == "content_filter":
        return
    if view.tools and must_call(view) and not message.tool_calls:
        raise NoAnswer("no tool was called, though one had to be").breaking("tool_choice")
    asked = view.response_format
    if asked is not None and asked.type == "json_schema" and not message.tool_calls:
        schema = asked.json_schema.schema if asked.json_schema is not None else None
        if not keeps_schema(message.content or "", schema or {}):
            raise NoAnswer("the answer does not keep the schema that was asked for").breaking("json_schema")


def must_call(view: ChatRequest) -> bool:
    """Whether an answer without a call of a tool is none."""
    return view.tool_choice in ("required", "any") or isinstance(view.tool_choice, dict)


def keeps_schema(text: str, schema: dict[str, Any]) -> bool:
    """Whether *text* is JSON, of the outermost type that *schema* has, with what it requires. No deeper."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    if schema.get("type") == "array":
        return isinstance(found, list)
    if schema.get("type") != "object":
        return True
    required = schema.get("required")
    return isinstance(found, dict) and (not isinstance(required, list) or all(name in found for name in required))
