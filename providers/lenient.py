"""
Answers that mean what OpenAI's mean and are spelled a little off, made right.

Only what a strict reader refuses comes here, so that the common answer costs nothing. What is set right: nulls where a
value should be left out, numbers of the wrong kind, content that is a number (Cloudflare) or a list of parts (Mistral's
reasoning), tool arguments that are an object. What cannot be set right is refused as before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from providers.chat import encode

_T = TypeVar("_T")
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def decodable(data: bytes) -> bytes:
    """
    *data* as it is if it is UTF-8, else with U+FFFD for what is not.

    An answer that its bound cut within a character ends in half of one (unslothai/llama.cpp#202).
    """
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="replace").encode()
    return data


def decode_leniently(data: bytes, decode: Callable[[bytes], _T], kind: str) -> tuple[_T, bytes]:
    """
    *data* decoded, and its bytes, both set right if need be. *kind* is the ``object`` that it should be.

    Raises ``msgspec.DecodeError`` for what cannot be set right.
    """
    if not data.isascii():
        data = decodable(data)  # also where it is not looked at: it is sent on byte for byte
    try:
        return decode(data), data
    except msgspec.ValidationError:
        found = msgspec.json.decode(data)
        if not isinstance(found, dict):
            raise
        _fix(found, kind)
        data = encode(found)
        return decode(data), data


def _fix(answer: dict[str, Any], kind: str) -> None:
    for name in ("id", "model", "created"):
        if answer.get(name, "") is None:
            del answer[name]
    if "error" not in answer:
        answer["object"] = kind
    if isinstance(answer.get("created"), float | str):
        answer["created"] = whole_number(answer["created"])
    if isinstance(answer.get("usage"), dict):
        _fix_usage(answer["usage"])
    answer["choices"] = _objects(answer.get("choices"))
    for choice in answer["choices"]:
        _fix_choice(choice)


def _fix_choice(choice: dict[str, Any]) -> None:
    if choice.get("index", 0) is None:
        del choice["index"]
    for part in ("message", "delta"):
        if choice.get(part, {}) is None:
            choice[part] = {}
        if isinstance(choice.get(part), dict):
            _fix_message(choice[part])


def _fix_usage(usage: dict[str, Any]) -> None:
    for name in _COUNTS:
        if name in usage:
            usage[name] = whole_number(usage[name])
    if "cost" in usage:
        usage["cost"] = dollars_of(usage["cost"])
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if isinstance(usage.get(name), dict):
            usage[name] = {key: count for key, count in usage[name].items() if isinstance(count, int)}


def _fix_message(message: dict[str, Any]) -> None:
    content = message.get("content")
    if isinstance(content, list):
        message["content"] = "".join(_text(part) for part in content if not _is_thought(part))
        thought = "".join(_text(part) for part in content if _is_thought(part))
        if thought:
            message["reasoning_content"] = thought
    elif isinstance(content, int | float):
        message["content"] = msgspec.json.encode(content).decode()
    for call in _objects(message.get("tool_calls")):
        for name in ("id", "type"):
            if call.get(name, "") is None:
                del call[name]
        if isinstance(call.get("function"), dict):
            _fix_function(call["function"])


def _fix_function(function: dict[str, Any]) -> None:
    arguments = function.get("arguments", "")
    if arguments is None:
        function["arguments"] = ""
    elif not isinstance(arguments, str):
        function["arguments"] = encode(arguments).decode()


def _objects(found: object) -> list[dict[str, Any]]:
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _is_thought(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "thinking"


def _text(part: object) -> str:
    """The text of a part; a thought holds a list of them (``{"type": "thinking", "thinking": [{"text": …}]}``)."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    inner = part.get("thinking") if _is_thought(part) else part.get("text")
    if isinstance(inner, list):
        return "".join(_text(piece) for piece in inner)
    return inner if isinstance(inner, str) else ""


def dollars_of(value: object) -> float | None:
    """
    A cost, also one told as text (``"0.002"``, ``"$0.002"``). What is no number is no cost; what is too large to be one is
    still a cost: that money is spent must not be missed.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        cost = float(value.strip().lstrip("$") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return None if cost != cost or cost < 0 else min(cost, _MOST_DOLLARS)  # noqa: PLR0124 - NaN


_MOST_DOLLARS = 1e9


def whole_number(value: object) -> int:
    """A count, also one told as text or with a fraction; 0 for what is none: a truth value, nothing, more than can be."""
    if isinstance(value, bool):
        return 0
    try:
        count = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 0
    return int(count) if abs(count) < 2**53 else 0
