"""Requests as Ollama's API spells them."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw

from providers.chat import ChatRequest, FunctionSpec, Message, ToolCall
from providers.dialect import Request, Target
from providers.history import system_first
from providers.parameters import OFF, nearest
from providers.tool_names import ToolNames
from providers.translation import arguments_of, image_of, not_carried, stops_of

SMALLEST_CONTEXT = 4096
OUTPUT_ALLOWANCE = 4096
"""Tokens kept for an answer whose length the caller did not bound."""

_OPTIONS = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")
_RAW_OPTIONS = ("min_p", "repeat_penalty")  # passed as the caller spelled them
_ANY_NAME = re.compile(r".*\Z", re.DOTALL)
_WORDS = ("low", "medium", "high")
"""
What ``think`` may be for gpt-oss, which ignores anything else. Other models are only told whether to: servers older than
2026-08 refuse words for them (Ollama documentation, thinking, 2026-08).
"""


def think(model: str, effort: str) -> str | bool:
    """How much to think. What merely stands for *none* turns it off where it can be."""
    if "gpt-oss" in model:
        return nearest(effort, _WORDS) or "medium"
    return effort not in OFF


def messages_of(messages: list[Message]) -> list[dict[str, Any]]:
    spelled = []
    names: dict[str, str] = {}  # of the functions called so far, by the call's id
    for message in system_first(messages):
        role: str = {"developer": "system", "function": "tool"}.get(message.role, message.role)
        made: dict[str, Any] = {"role": role, "content": message.text()}
        images = _images(message)
        if images:
            made["images"] = images
        if message.role == "assistant":
            if message.reasoning_content:
                made["thinking"] = message.reasoning_content
            if message.tool_calls:
                names.update({call.id: call.function.name for call in message.tool_calls})
                made["tool_calls"] = [_call(call) for call in message.tool_calls]
        elif role == "tool":
            name = names.get(message.tool_call_id or "") or message.name
            if name:
                made["tool_name"] = name
            if message.tool_call_id:
                made["tool_call_id"] = message.tool_call_id
        spelled.append(made)
    return spelled


def _images(message: Message) -> list[str]:
    images = []
    for part in message.parts():
        if part.type == "image_url" and part.image_url is not None:
            images.append(image_of(part.image_url).data)
        elif part.type not in ("text", "refusal"):
            raise not_carried(part)
    return images


def _call(call: ToolCall) -> dict[str, Any]:
    made: dict[str, Any] = {"function": {"name": call.function.name, "arguments": arguments_of(call.function)}}
    return {"id": call.id, **made} if call.id else made


def options_of(target: Target, request: Request) -> dict[str, Any]:
    view = request.view
    options: dict[str, Any] = dict(target.account.spec.defaults)
    options["num_ctx"] = context_for(target, request)
    for name in _OPTIONS:
        value = getattr(view, name)
        if value is not None:
            options[name] = value
    options.update(
        {
            name: request.fields[name]
            for name in _RAW_OPTIONS
            if bytes(request.fields.get(name, Raw(b"null"))) != b"null"
        }
    )
    if view.output_tokens is not None:
        options["num_predict"] = view.output_tokens
    if view.stop:
        options["stop"] = stops_of(view.stop)
    return options


def context_for(target: Target, request: Request) -> int:
    """
    The context to load the model with: enough for the prompt and the answer, else all that the model has.

    In coarse steps, and no less than it is loaded with, since another size loads the model anew.
    """
    needed = request.prompt_tokens + (request.view.output_tokens or OUTPUT_ALLOWANCE)
    size = max(SMALLEST_CONTEXT, request.least_context)
    while size < needed:
        size *= 2
    return size if target.context is None else min(size, target.context)


def offered(view: ChatRequest) -> list[FunctionSpec]:
    """
    The tools to offer. There is no choice among them in Ollama's API: where one has to be called, it is the only one.

    What is written then has the form of its arguments, which providers/refine.py understands as a call; where any of several
    has to be called, it sees to it that one is.
    """
    if view.tool_choice == "none":
        return []
    forced = view.forced_tool
    return [function for function in view.functions() if forced in (None, function.name)]


def names_of(request: Request) -> ToolNames:
    """The names of *request*'s tools: Ollama takes any."""
    return ToolNames((function.name for function in request.view.functions()), _ANY_NAME)
