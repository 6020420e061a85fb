"""
Calls of tools in answers, told apart and made whole: each has a place, an id and arguments of its own.

Clients put a streamed call together by its place, tell its result by its id, and read its arguments as JSON. Servers get
all three wrong, each in its own way; what OpenAI's own would have sent goes on.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

import msgspec
from msgspec import Struct

from providers.chat import ToolCallDelta
from providers.tool_names import ToolNames
from providers.translation import fingerprint

_BY_CHANCE = re.compile(r"(?=[a-zA-Z]*[0-9])[a-zA-Z0-9]{8}")
"""What is in an id that a server drew by chance, mostly; what only looks counted is made another, which harms nothing."""


def call_id(given: str | None, stem: str, place: int | str, taken: Container[str | None] = ()) -> str:
    """
    The id of a call at *place* in the answer whose *stem* is given: no other call has it, in this conversation or another.

    Some servers begin to count anew with each answer (``call_0``, ``functions.look:0``). Programs know a call by its id for
    as long as they run, and pass over one that they have had (Claude Code 2.1, Qwen Code 0.24).
    """
    if not given or given in taken:
        return f"call_{stem}_{place}"
    return given if _BY_CHANCE.search(given) else f"{given}_{stem}"


class _Call(Struct):
    """One call of a stream so far. *given_id* is the server's, *id* what the caller knows it by."""

    place: int
    given_id: str
    id: str
    name: str
    arguments: list[str]

    def is_open(self) -> bool:
        """Whether its arguments have begun and are no whole JSON yet."""
        text = "".join(self.arguments)
        return bool(text.strip()) and not _is_json(text)

    def named(self, name: str) -> str | None:
        """What *name*, in a later piece, adds to what the caller was told: nothing, if it says the same again."""
        if self.arguments[:-1] != [""] * (len(self.arguments) - 1) or name == self.name:
            return None
        self.name += name
        return name


class Placed(Struct):
    """Where a piece belongs. *id* is there in the first piece of a call only, *name* where it is new."""

    place: int
    id: str | None = None
    name: str | None = None
    fits: bool = True  # the piece says so itself


class StreamedCalls:
    """The calls of one choice."""

    def __init__(self, names: ToolNames, stem: str) -> None:
        self._names, self._stem = names, stem
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}  # by the server's index, the last one there

    def __bool__(self) -> bool:
        return bool(self._calls)

    def place(self, piece: ToolCallDelta) -> Placed:
        """Where *piece* belongs."""
        index = piece.index if isinstance(piece.index, int) else None
        name = (piece.function.name if piece.function else None) or ""
        arguments = (piece.function.arguments if piece.function else None) or ""
        call = self._goes_on(index, piece.id or "", name)
        first = call is None
        if call is None:
            call = self._new(piece.id or "", name)
        if index is not None:
            self._at[index] = call
        call.arguments.append(arguments)
        if first:
            fits = (index, piece.id, name) == (call.place, call.id, call.name) and piece.type == "function"
            return Placed(call.place, call.id, call.name, fits)
        more = call.named(name) if name else None
        fits = index == call.place and piece.id in (None, call.id) and (piece.function is None or name == (more or ""))
        return Placed(call.place, None, more, fits)

    def without_arguments(self) -> list[int]:
        """The places of calls that got none: to OpenAI's clients, those are ``{}``."""
        return [call.place for call in self._calls if not "".join(call.arguments).strip()]

    def _goes_on(self, index: int | None, given_id: str, name: str) -> _Call | None:
        """
        The call that a piece goes on with; None: it begins one.

        A piece without a name goes on, whatever its id. One with a name begins a call if its id is another, unless the
        last one of that name is still in the middle of its arguments: some make up an id for each piece.
        """
        last = self._calls[-1] if self._calls else None
        known = self._at.get(index) if index is not None else None
        begins = index is not None and known is None  # at a place that none had before
        by_id = next((call for call in self._calls if given_id and call.given_id == given_id), None)
        if by_id is not None and not (begins and name):
            return by_id
        if not name:
            return None if begins and given_id else known or last
        before = None if begins else known or last
        if before is None or not before.name:
            return before
        if before.name != self._names.called(name):
            return None
        if given_id:
            return before if before.is_open() else None
        return None if _is_json("".join(before.arguments)) else before

    def _new(self, given_id: str, name: str) -> _Call:
        place = len(self._calls)
        taken = {call.given_id for call in self._calls}
        call = _Call(place, given_id, call_id(given_id, self._stem, place, taken), self._names.called(name), [])
        self._calls.append(call)
        return call


def put(call: dict[str, Any], placed: Placed) -> None:
    """Spell the piece *call* as *placed* says."""
    call["index"] = placed.place
    function = call.get("function")
    if not isinstance(function, dict):
        function = call["function"] = {}
    if placed.id is None:
        for name in ("id", "type"):
            call.pop(name, None)
        function.pop("name", None)
        if placed.name is not None:
            function["name"] = placed.name
        return
    call["id"], call["type"] = placed.id, "function"
    function["name"] = placed.name
    function["arguments"] = function.get("arguments") or ""


def complete(calls: list[dict[str, Any]], names: ToolNames, stem: str) -> None:
    """Give the calls of a whole answer what they lack."""
    taken = set[str | None]()
    for place, call in enumerate(calls):
        function = call["function"]
        arguments = function.get("arguments")
        given = call.get("id")
        call["id"] = call_id(given, stem, place, taken)
        call["type"] = "function"
        function["name"] = names.called(function["name"])
        function["arguments"] = arguments if isinstance(arguments, str) and arguments.strip() else "{}"
        taken.add(given)


def stem_of(answer_id: str, data: bytes) -> str:
    """What tells the calls of an answer from those of others: the same each time. Some give each answer the same id."""
    return fingerprint(answer_id.encode() + data)[:12]


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
