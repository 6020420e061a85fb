"""
Calls that a model wrote as text, found in it as it comes, and turned into what its caller understands.

    text ─► a mark that calls begin with ─► held until the mark that ends it ─► a call of a tool that was offered, or text
                                                                            └► such a call, unreadable: no answer

Only where tools are offered. What is fenced, or is bare JSON, is a call only if it fits a tool exactly: an answer may show
JSON to people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from providers.chat import ChatRequest, FunctionSpec, encode
from providers.failures import NoAnswer
from providers.reasoning import beginning_at_the_end
from providers.repair import read_json
from providers.schemas import arguments_from, lacking
from providers.tool_names import ToolNames
from providers.written_calls import OPENINGS, Written, calls_in, of_json

LONGEST = 400_000
"""Characters that are held back for a call; one that is longer is text."""

_OPENING = re.compile("|".join(re.escape(mark) for mark in sorted(OPENINGS, key=len, reverse=True)))
_MARKS = tuple(OPENINGS)
_FENCE = "```"
_FENCED = re.compile(r"```[\w-]*\s*(?:[\[{].*)?\Z", re.DOTALL)
_BARE = "{"
_BARE_BEGINS = re.compile(r"\{\s*(?:\"?(?P<key>[^\"]*)(?P<whole>\")?.*)?\Z", re.DOTALL)


class Called(Struct, frozen=True):
    """A call of a tool that was offered: its own name, and arguments as JSON."""

    name: str
    arguments: str


class Offered:
    """The tools of one request, as calls of them are read."""

    def __init__(self, view: ChatRequest) -> None:
        self._functions = {function.name: function for function in view.functions()}
        self._names = ToolNames(self._functions)
        self.forced = self._forced(view)

    def _forced(self, view: ChatRequest) -> FunctionSpec | None:
        """The one tool that has to be called, if there is one."""
        if not view.must_call:
            return None
        named = view.forced_tool
        if named is not None:
            return self._functions.get(named)
        return next(iter(self._functions.values())) if len(self._functions) == 1 else None

    def keys(self) -> tuple[str, ...]:
        """What an object begins with that may be bare arguments of the tool that has to be called."""
        properties = (self.forced.parameters or {}).get("properties") if self.forced else None
        return tuple(properties) if isinstance(properties, dict) else ()

    def called(self, found: Iterable[Written], *, exactly: bool) -> list[Called] | None:
        """
        The calls that *found* is; None: it is text.

        Raises NoAnswer for a call that can only be meant as one and is of no use, unless it has to fit *exactly*.
        """
        calls = []
        for written in found:
            function = self._functions.get(self._names.called(written.name))
            if function is None:
                return None
            arguments = written.arguments
            if arguments is not None and written.texts:
                arguments = arguments_from(arguments, function.parameters)
            if arguments is None or lacking(arguments, function.parameters):
                if exactly:
                    return None
                raise NoAnswer(
                    f"a call of {function.name} was written as text, with arguments that do not fit"
                ).misfitting()
            calls.append(Called(function.name, encode(arguments).decode()))
        return calls or None

    def bare(self, text: str) -> list[Called] | None:
        """The calls that *text*, which is JSON and nothing else, is."""
        found, _ = read_json(text)
        calls = self.called(of_json(found), exactly=True)
        if calls is None and self.forced is not None and isinstance(found, dict):
            calls = self.called([Written(self.forced.name, found)], exactly=True)
        return calls


class CallFinder:
    """The calls in the text of one choice."""

    def __init__(self, offered: Offered, *, bare: bool) -> None:
        """*bare*: the answer may be JSON that is a call, for no JSON was asked for."""
        self._offered, self._bare = offered, bare
        self._held = ""
        self._began = False  # something was not blank

    def concerned(self, content: str | None) -> bool:
        """Whether the next piece may have to be looked at; the common answer is no."""
        if self._held or not self._began:
            return bool(content) or bool(self._held)
        return content is not None and any(mark in content for mark in "<[`")

    def feed(self, content: str, *, last: bool = False) -> tuple[str, list[Called]]:
        """
        One piece as (said, called). With *last*, nothing is held back.

        Raises NoAnswer for a call that can only be meant as one and is of no use.
        """
        text, self._held = self._held + content, ""
        said, called = list[str](), list[Called]()
        while text:
            before, opening, text = self._split(text, last=last)
            said.append(before)
            if opening is None:
                self._held = text
                break
            taken, calls = self._read(opening, text, last=last)
            if not taken:
                self._held = text
                break
            self._began = True
            called += calls
            if not calls:
                said.append(text[:taken])
            text = text[taken:].lstrip() if calls else text[taken:]
        return "".join(said), called

    def _split(self, text: str, *, last: bool) -> tuple[str, str | None, str]:
        """*text* as what goes before a mark that calls begin with, the mark, and all from there; None: there is none."""
        start = text.lstrip()
        if not self._began and self._bare and start.startswith(_BARE):
            return "", _BARE, text
        found = _OPENING.search(text)
        if found is not None:
            return text[: found.start()], found[0], text[found.start() :]
        kept = len(text) if last else len(text) - beginning_at_the_end(text, _MARKS)
        self._began = self._began or bool(text[:kept].strip())
        return text[:kept], None, text[kept:]

    def _read(self, opening: str, text: str, *, last: bool) -> tuple[int, list[Called]]:
        """How much of *text*, which begins with *opening*, is a call or is none, and the calls; 0: that is not known yet."""
        if not self._may_be(opening, text) or len(text) > LONGEST:
            return text.find(opening) + len(opening), []
        closing = OPENINGS.get(opening, "")
        at = text.find(closing, len(opening)) if closing else -1
        end = len(text) if at < 0 else at + len(closing)
        rest = text[end:].lstrip()
        if not last and (at < 0 or (opening == _FENCE and not rest)):  # what follows a fence shows what it is
            return 0, []
        if opening == _BARE:
            return end, self._offered.bare(text) or []
        if opening == _FENCE:
            shown = bool(rest) and not rest.startswith(_FENCE)
            return end, [] if shown else self._offered.called(calls_in(text[:end]), exactly=True) or []
        return end, self._offered.called(calls_in(text[:end]), exactly=False) or []

    def _may_be(self, opening: str, text: str) -> bool:
        """Whether *text* may still be a call, as far as it has come."""
        if opening == _FENCE:
            return _FENCED.match(text.split("\n```", maxsplit=1)[0]) is not None
        if opening != _BARE:
            return True
        begins = _BARE_BEGINS.match(text.lstrip())
        key = (begins and begins["key"]) or ""
        if begins is None or not key:
            return begins is not None
        known = (*_CALL_KEYS, *self._offered.keys())
        return key in known if begins["whole"] else any(one.startswith(key) for one in known)


_CALL_KEYS: Sequence[str] = (
    "name", "tool_name", "tool", "function_name", "function", "type", "id", "tool_calls", "arguments", "parameters",
    "recipient_name",
)  # fmt: skip


def call_of(place: int, stem: str, call: Called) -> dict[str, Any]:
    """*call* as OpenAI spells one, with an id of its own."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{stem}_{place}", "type": "function", "function": function}
