"""
JSON that keeps a schema, of a model that can only be told so: the schema goes into the instructions. Pure.

Whether the answer keeps it is looked at as with any other model (refine.py).
"""

from __future__ import annotations

from typing import Any

import msgspec

from providers.chat import ChatRequest, Message, Part, ResponseFormat, encode, raw
from providers.dialect import Request, Target

_TOLD = (
    "Answer with JSON alone: no text before or after it, no code fence. It must be valid against this JSON schema:\n"
)


def by_instruction(target: Target, request: Request) -> Request:
    """*request* as a *target* gets it that takes no JSON schema."""
    view: ChatRequest = request.view
    told = _TOLD + encode(view.schema).decode()
    first = view.messages[0]
    messages = view.messages
    spelled: list[Any] = msgspec.json.decode(request.fields["messages"], type=list[msgspec.Raw])
    if first.role in ("system", "developer"):  # one message of it: some models take no second one
        first = msgspec.structs.replace(first, content=_added(first.content, told))
        messages, spelled = [first, *messages[1:]], [first, *spelled[1:]]
    else:
        first = Message("system", told)
        messages, spelled = [first, *messages], [first, *spelled]
    form = ResponseFormat("json_object") if "json_object" in target.capabilities else None
    fields = {name: value for name, value in request.fields.items() if name != "response_format"}
    fields["messages"] = raw(spelled)
    if form is not None:
        fields["response_format"] = raw(form)
    view = msgspec.structs.replace(view, messages=messages, response_format=form)
    return msgspec.structs.replace(request, view=view, fields=fields)


def _added(content: str | list[Part] | None, told: str) -> str | list[Part]:
    if isinstance(content, list):
        return [*content, Part("text", text=told)]
    return f"{content}\n\n{told}" if content else told
