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


def respelled(view: ChatRequest, fields: Fields, body: bytes) -> bytes | None:
    """
    *body* in today's spelling; None: it is in it already, as nearly all are.

    Raises BadRequest, naming the path, for content of an unknown kind.
    """
    if not (_has_other_parts(view) or _has_flat_tools(view) or "functions" in fields or _has_other_choice(view)):
        return None
    found: dict[str, Any] = msgspec.json.decode(body)
    for place, message in enumerate(found["messages"]):
        content = message.get("content")
        if isinstance(content, list):
            message["content"] = [
                _part(part, f"messages[{place}].content[{number}]") for number, part in enumerate(content)
            ]
    if isinstance(found.get("tools"), list):
        found["tools"] = [_tool(tool) for tool in found["tools"]]
    if "functions" in found:
        _take_over_functions(found)
    if found.get("tool_choice") is not None:
        _respell_choice(found)
    return encode(found)


def _has_other_parts(view: ChatRequest) -> bool:
    for message in view.messages:
        if isinstance(message.content, list) and any(part.type not in KINDS for part in message.content):
            return True
    return False


def _has_flat_tools(view: ChatRequest) -> bool:
    return any(tool.type == "function" and tool.function is None for tool in view.tools or ())


def _has_other_choice(view: ChatRequest) -> bool:
    return view.tool_choice == "any" or (isinstance(view.tool_choice, dict) and view.forced_tool is None)


def _part(part: dict[str, Any], path: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in KINDS:
        return part
    if kind in _TEXTS:
        return {**part, "type": "text"}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
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
