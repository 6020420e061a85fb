"""
Other ways to spell a chat request that programs use, brought into OpenAI's own of today. Pure.

Legacy ``functions``, flat tools and parts of a content as the Responses and Messages APIs spell them mean something that we
serve. Kinds of content are a closed set: an unknown one is refused by its path, for a source that ignored it would
answer as if it had never been sent.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.words import BadRequest
from providers.chat import ChatRequest, Fields, encode

KINDS = frozenset({"text", "refusal", "image_url", "input_audio", "file", "video_url"})
"""Kinds of content that some source takes."""

_TEXTS = frozenset({"input_text", "output_text"})
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})  # as Anthropic's API replays them

_WHOLE = ("max_tokens", "max_completion_tokens", "n", "seed", "top_k", "top_logprobs")
_BOUNDS = ("max_tokens", "max_completion_tokens")
_REAL = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_NAMES = ("user", "session_id", "prompt_cache_key")
_SORTS = ("price", "throughput", "latency")


def is_otherwise(view: ChatRequest, fields: Fields) -> bool:
    """Whether a request is not in today's spelling, as nearly all are."""
    return _has_other_parts(view) or _has_flat_tools(view) or "functions" in fields or _has_other_choice(view)


def respelled(body: bytes) -> bytes:
    """*body* in today's spelling. Raises BadRequest, naming the path, for content of an unknown kind."""
    try:
        found: dict[str, Any] = msgspec.json.decode(body)
    except UnicodeDecodeError as exc:  # in a field that is not looked at otherwise
        raise BadRequest(f"the body is not JSON: {exc}") from exc
    for place, message in enumerate(found["messages"]):
        content = message.get("content")
        if isinstance(content, list):
            message["content"] = _parts(message, f"messages[{place}]")
    if isinstance(found.get("tools"), list):
        found["tools"] = [_tool(tool) for tool in found["tools"]]
    if "functions" in found:
        _take_over_functions(found)
    if found.get("tool_choice") is not None:
        _respell_choice(found)
    return encode(found)


def harmless(body: bytes) -> bytes | None:
    """
    *body*, which cannot be read as it is, without oddities that mean no harm: integers written ``100.0``, numbers as text and
    texts as numbers, ``max_tokens: -1`` for no bound (LM Studio's habit), ``model: null``, calls of custom tools in a history,
    an object where OpenRouter sorts. None: it is no object.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    found = {name: _harmless(name, value) for name, value in found.items()}
    found = {name: value for name, value in found.items() if value is not None}
    _plain_sort(found.get("provider"))
    messages = found.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            _plain_calls(message)
    return encode(found)


def _harmless(name: str, value: Any) -> Any:
    """A field's *value*; None leaves it out."""
    if name in _WHOLE or name in _REAL:
        value = _number(value, whole=name in _WHOLE)
        return None if name in _BOUNDS and isinstance(value, int) and value < 0 else value
    return str(value) if name in _NAMES and isinstance(value, int | float) else value


def _number(value: Any, *, whole: bool) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    return int(value) if whole and isinstance(value, float) and value.is_integer() else value


def _plain_sort(provider: Any) -> None:
    if not isinstance(provider, dict) or "sort" not in provider:
        return
    sort = provider["sort"]
    if isinstance(sort, dict):
        by = sort.get("by")
        provider["sort"] = by if isinstance(by, str) and by in _SORTS else None


def _plain_calls(message: dict[str, Any]) -> None:
    """Calls in a history as functions, with arguments that are text."""
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        custom = call.pop("custom", None) if isinstance(call, dict) else None
        if isinstance(custom, dict):
            call["type"] = "function"
            call["function"] = {"name": custom.get("name"), "arguments": {"input": custom.get("input")}}
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
            function["arguments"] = encode(function["arguments"]).decode()


def _has_other_parts(view: ChatRequest) -> bool:
    for message in view.messages:
        if isinstance(message.content, list) and any(part.type not in KINDS for part in message.content):
            return True
    return False


def _has_flat_tools(view: ChatRequest) -> bool:
    return any(tool.type == "function" and tool.function is None for tool in view.tools or ())


def _has_other_choice(view: ChatRequest) -> bool:
    return view.tool_choice == "any" or (isinstance(view.tool_choice, dict) and view.forced_tool is None)


def _parts(message: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The parts of *message*'s content. Thoughts of an earlier answer are its reasoning, and no content."""
    thoughts = [part for part in message["content"] if part.get("type") in _THOUGHTS]
    said = "".join(text for part in thoughts if isinstance(text := part.get("thinking"), str))
    if said and not message.get("reasoning_content"):
        message["reasoning_content"] = said
    return [
        _part(part, f"{path}.content[{number}]")
        for number, part in enumerate(message["content"])
        if part.get("type") not in _THOUGHTS
    ]


def _part(part: dict[str, Any], path: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in KINDS:
        return part
    if kind in _TEXTS:
        return {**part, "type": "text"}
    if kind == "input_image" and isinstance(url := part.get("image_url"), str | dict):
        return {"type": "image_url", "image_url": url if isinstance(url, dict) else {"url": url}}
    if kind == "input_file":
        return {"type": "file", "file": {name: part[name] for name in ("filename", "file_data") if name in part}}
    source = part.get("source")
    if kind in ("image", "document") and isinstance(source, dict):
        url = source.get("url")
        if source.get("type") == "base64":
            url = f"data:{source.get('media_type')};base64,{source.get('data')}"
        if isinstance(url, str):
            name = {"filename": part.get("title") or "document.pdf", "file_data": url}
            return (
                {"type": "image_url", "image_url": {"url": url}} if kind == "image" else {"type": "file", "file": name}
            )
    raise BadRequest(
        f"{path}.type: no kind of content that is known here: expected one of {', '.join(sorted(KINDS))}",
        param=f"{path}.type",
    )


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """A flat tool, as the Responses API has it, with what it is about below ``function``."""
    if tool.get("type", "function") != "function" or tool.get("function") is not None or "name" not in tool:
        return tool
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _take_over_functions(found: dict[str, Any]) -> None:
    """``functions`` and ``function_call``, before there were tools."""
    functions, choice = found.pop("functions"), found.pop("function_call", None)
    if not found.get("tools") and isinstance(functions, list) and functions:
        found["tools"] = [{"type": "function", "function": function} for function in functions]
        if choice is not None:
            named = isinstance(choice, dict)
            found["tool_choice"] = {"type": "function", "function": choice} if named else choice


def _respell_choice(found: dict[str, Any]) -> None:
    """
    ``tool_choice`` as a word, or as the function that it names: other APIs have an object for each word and flat names, and
    OpenAI has ``allowed_tools``, which are then those on offer. One that means nothing here leaves the choice free.
    """
    choice = found["tool_choice"]
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        told = choice["allowed_tools"] if isinstance(choice.get("allowed_tools"), dict) else choice
        allowed = told.get("tools")
        names = {_name_of(tool) for tool in allowed if isinstance(tool, dict)} if isinstance(allowed, list) else set()
        found["tools"] = [tool for tool in found.get("tools") or () if _name_of(tool) in names]
        choice = told.get("mode") or "auto"
    if isinstance(choice, dict):
        name = _name_of(choice)
        choice = {"type": "function", "function": {"name": name}} if name else choice.get("type")
    words = {"any": "required", "required": "required", "none": "none"}
    found["tool_choice"] = choice if isinstance(choice, dict) else words.get(str(choice), "auto")


def _name_of(tool: dict[str, Any]) -> str | None:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else tool.get("name")
    return name if isinstance(name, str) else None
