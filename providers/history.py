"""
A conversation as nearly every chat template takes it, made from one as OpenAI's API takes it.

Clients replay what some model wrote at some source, and another source reads it strictly: text in parts, a system
message that is not the first, ids and arguments that it would not have made. None of it changes what is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from providers.chat import FunctionCall, Message, Part, ToolCall, encode
from providers.tool_names import ToolNames
from providers.translation import arguments_of, fingerprint, not_carried

CARRIED = frozenset({"text", "refusal", "image_url", "input_audio", "file", "video_url"})
"""Kinds of parts that are sent as they came. Of another kind it is not known what would be left of it."""

_IN_JSON = "Answer in JSON."

_ANY_ID = re.compile(r"\S{1,64}\Z")


def plain_messages(
    messages: Iterable[Message], names: ToolNames, *, ids: str = "", instructions_first: bool = True
) -> list[Message]:
    """
    *messages* with only what every provider takes.

    *ids* is the pattern of the ids that calls may have; empty: any. *instructions_first*: all instructions go into one message
    at the beginning, in their order, as most chat templates want it.

    Raises Unsupported for content of an unknown kind.
    """
    named = CallIds(ids)
    plain = [_plain(message, names, named) for message in messages]
    return system_first(plain) if instructions_first else plain


def in_json(messages: list[Message]) -> list[Message]:
    """*messages* that say that JSON is wanted: where none does, some models write blanks without end."""
    if any("json" in message.text().lower() for message in messages):
        return messages
    if messages and messages[0].role == "system":
        first = msgspec.structs.replace(messages[0], content=f"{messages[0].text()}\n\n{_IN_JSON}")
        return [first, *messages[1:]]
    return [Message("system", _IN_JSON), *messages]


def _plain(message: Message, names: ToolNames, ids: CallIds) -> Message:
    role: Any = "system" if message.role == "developer" else message.role
    calls = [
        ToolCall(FunctionCall(names.sent(call.function.name), object_text(call.function)), ids.of_call(call.id))
        for call in message.tool_calls or ()
    ]
    answers = ids.of_result(message.tool_call_id) if message.role == "tool" else message.tool_call_id
    name = names.sent(message.name) if message.role in ("tool", "function") and message.name else message.name
    return Message(role, _content(message), name, calls or None, answers)


def _content(message: Message) -> str | list[Part]:
    """Text alone as one text, which all take; null as an empty one, for some refuse both null and nothing."""
    for part in message.parts():
        if part.type not in CARRIED:
            raise not_carried(part)
    if isinstance(message.content, list) and any(part.type != "text" for part in message.content):
        return message.content
    return message.text()


def system_first(messages: list[Message]) -> list[Message]:
    """*messages* with one system message at the beginning, if there is any. Alone, it is what the user asks."""
    instructions = [message for message in messages if message.role in ("system", "developer")]
    if not instructions or (len(instructions) == 1 and messages[0] is instructions[0] and len(messages) > 1):
        return messages
    text = "\n\n".join(filter(None, (message.text() for message in instructions)))
    others = [message for message in messages if message.role not in ("system", "developer")]
    if not others:
        return [Message("user", text)]
    return [Message("system", text), *others] if text else others


def object_text(call: FunctionCall) -> str:
    """A call's arguments as the JSON object that servers parse them as; what is one already is left as it is."""
    try:
        if isinstance(msgspec.json.decode(call.arguments), dict):
            return call.arguments
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    return encode(arguments_of(call)).decode()


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{pattern})\Z")


class CallIds:
    """
    Ids of calls and of their results, as a source takes them: an id says only which result belongs to which call.

    Where ids are missing, results belong to calls in their order.
    """

    def __init__(self, pattern: str = "") -> None:
        self._takes = _compiled(pattern) if pattern else _ANY_ID
        self._made: dict[str, str] = {}
        self._unnamed: list[str] = []  # calls without an id whose result has not come
        self._count = 0

    def of_call(self, given: str) -> str:
        if given:
            return self._taken(given)
        self._count += 1
        made = self._taken(f"call without an id {self._count}")
        self._unnamed.append(made)
        return made

    def of_result(self, given: str | None) -> str | None:
        if given:
            return self._taken(given)
        return self._unnamed.pop(0) if self._unnamed else given

    def _taken(self, given: str) -> str:
        if self._takes.match(given):
            return given
        made = self._made.get(given)
        if made is None:
            made = fingerprint(given.encode())[:9]  # nine letters and digits, the least that any source asks for
            while made in self._made.values():
                made = fingerprint(made.encode())[:9]
            self._made[given] = made
        return made
