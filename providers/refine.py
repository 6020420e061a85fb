"""
What a model wrote, made what its caller asked for, whatever dialect it came in: the one place for all of them.

    reasoning ─► in a field of its own      a call as text ─► a call      JSON a little off ─► JSON
    one call where one was asked for        no call, no JSON where that was promised ─► no answer

An answer that needs nothing of it passes as it is. Streams are in refined_stream.py.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from providers.call_finder import Called, CallFinder, Offered, call_of
from providers.chat import ChatRequest, Choice, Completion, Whole, encode
from providers.dialect import Request, Target
from providers.failures import NoAnswer
from providers.reasoning import UNOPENED, closes_alone, split_reasoning
from providers.repair import read_json
from providers.schemas import keeps_schema
from providers.tool_calls import stem_of

WRITTEN = "a call that was written as text"
REPAIRED = "JSON that was repaired"
SINGLE = "calls after the first were left out"
"""What is told of an answer that was mended."""


class Asked(Struct, frozen=True):
    """What of a request decides what its answer has to be."""

    view: ChatRequest
    target: Target
    offered: Offered | None

    @classmethod
    def of(cls, target: Target, request: Request) -> Asked:
        view = request.view
        tools = bool(view.tools) and view.tool_choice != "none" and bool(view.functions())
        return cls(view, target, Offered(view) if tools else None)

    def finder(self) -> CallFinder | None:
        """What finds calls in the text of one choice."""
        if self.offered is None:
            return None
        return CallFinder(self.offered, bare=self.view.shape is None)

    @property
    def single(self) -> bool:
        """Whether one call at a time was asked for."""
        return self.view.parallel_tool_calls is False

    @property
    def object_like(self) -> bool:
        """Whether the answer, as text, is an object or a list in any case."""
        return self.view.shape is not None and self.view.schema.get("type", "object") in ("object", "array")

    def keeps_shape(self, found: object) -> bool:
        """Whether *found* is the JSON that was asked for."""
        return (not self.object_like or isinstance(found, dict | list)) and keeps_schema(found, self.view.schema)

    def broken_shape(self) -> NoAnswer:
        return NoAnswer("the answer does not keep the schema that was asked for").breaking(self.view.shape or "")

    def no_call(self) -> NoAnswer:
        return NoAnswer("the tool that had to be called was not").breaking("tool_choice")

    def is_forced(self, name: str | None) -> bool:
        """Whether a call of the tool *name* is one that had to be made, as far as one had to be."""
        return self.view.forced_tool in (None, name)


def refined(target: Target, request: Request, whole: Whole) -> tuple[Whole, list[str]]:
    """
    *whole* as its caller asked for it, and what was mended for that.

    Raises NoAnswer for one that cannot be.
    """
    asked, mended = Asked.of(target, request), list[str]()
    edits = [_edit_of(choice, asked, mended) for choice in whole.completion.choices]
    if not any(edits):
        return whole, mended
    fields = msgspec.json.decode(whole.data)
    stem = stem_of(whole.completion.id, whole.data)
    for choice, edit in zip(fields["choices"], edits, strict=True):
        if edit is not None:
            edit.apply(choice, stem)
    data = encode(fields)
    return Whole(msgspec.json.decode(data, type=Completion), data), mended


class _Edit(Struct):
    """What becomes of one whole choice. None: that stays."""

    content: str | None = None
    reasoning: str | None = None
    called: list[Called] = []
    arguments: dict[int, str] = {}
    first_only: bool = False

    def apply(self, choice: dict[str, Any], stem: str) -> None:
        message = choice["message"]
        if self.content is not None:
            message["content"] = self.content
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.called:
            message["tool_calls"] = [call_of(place, stem, call) for place, call in enumerate(self.called)]
            if not (self.content or "").strip():
                message["content"] = None
            if choice["finish_reason"] == "stop":
                choice["finish_reason"] = "tool_calls"
        for place, arguments in self.arguments.items():
            message["tool_calls"][place]["function"]["arguments"] = arguments
        if self.first_only:
            del message["tool_calls"][1:]


def _edit_of(choice: Choice, asked: Asked, mended: list[str]) -> _Edit | None:
    message, edit = choice.message, _Edit()
    text, cut = message.content or "", choice.finish_reason == "length"
    if text and not message.reasoning_content:
        opens = asked.target.opens_in_reasoning or ("</think>" in text and "reasoning" in asked.target.capabilities)
        if opens and not asked.target.opens_in_reasoning and closes_alone(text):
            mended.append(UNOPENED)
        edit.reasoning, said = split_reasoning(text, opens, cut=cut)
        if said != text:
            edit.content = text = said
    if text and not message.tool_calls and (finder := asked.finder()) is not None:
        said, edit.called = finder.feed(text, last=True)
        if edit.called:
            edit.content = said
            mended.append(WRITTEN)
    calls = message.tool_calls or ()
    for place, call in enumerate(calls):
        if not cut and (mine := _object_of(call.function.name, call.function.arguments)) is not None:
            edit.arguments[place] = mine
            mended.append(REPAIRED)
    _see_promises(choice, edit, text, asked, mended)
    if asked.single and len(calls or edit.called) > 1:
        edit.first_only = True
        mended.append(SINGLE)
    return edit if edit != _Edit() else None


def _see_promises(choice: Choice, edit: _Edit, text: str, asked: Asked, mended: list[str]) -> None:
    """See that *choice*, with its *edit*, is what was promised, and repair JSON for that. Raises NoAnswer if it is not."""
    if choice.message.refusal or choice.finish_reason in ("length", "content_filter"):
        return
    called = [call.function.name for call in choice.message.tool_calls or ()] or [call.name for call in edit.called]
    if asked.view.must_call and not (called and all(map(asked.is_forced, called))):
        raise asked.no_call()
    if asked.view.shape is None or called:
        return
    found, repaired = read_json(text)
    if found is None or not asked.keeps_shape(found):
        raise asked.broken_shape()
    if repaired:
        edit.content = encode(found).decode()
        mended.append(REPAIRED)


def _object_of(name: str, arguments: str) -> str | None:
    """*arguments* of a call, repaired; None: there is nothing to repair. Raises NoAnswer if they are no JSON object."""
    found, repaired = read_json(arguments)
    if not isinstance(found, dict):
        raise NoAnswer(f"the arguments of a call of {name} are no JSON object")
    return encode(found).decode() if repaired else None
