"""
An answer that ended before its end, continued: another source goes on from the text that the caller has.

    part ─► broke ───────────► plain text so far? ─► answer(what was asked, and the text so far) ─► joined to it ─► next part
          └ cut by our bound ─┘      │ no, or nothing else can: the caller hears that it broke, or where it was cut

What broke is continued where the caller wants that. What a bound of ours cut (bounds.py) is continued always: the caller
asked for more. Only text can be continued: not a tool call, not JSON that must hold together, not several answers at once.
Where nothing but thoughts came, there is nothing to continue: another source answers anew, whoever asked for whatever.
The first part is settled as any answer is, each further one is a request of its own within the deadline of the first.
Every chunk names the model that wrote it; their id stays that of the first.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct, field

from gateway.request.bounds import holds_together
from gateway.request.call import BYTES_PER_TOKEN
from gateway.request.engine import Answer, Engine
from gateway.request.joining import Join
from gateway.request.pipeline import answer
from gateway.request.stream import arrivals, whole
from gateway.request.tried import Attempt
from gateway.words import Call, GatewayError
from providers.chat import ChatRequest, Chunk, Completion, Message, Step, Usage, Whole, encode, raw
from providers.client import Made
from providers.dialect import Request
from providers.failures import Interrupted, NoAnswer

_GO_ON = (
    "Your last answer was cut off. Write what follows its very last character, and nothing else: no word of it again, no "
    "introduction, no remark about the interruption."
)

_BYTES_PER_TOKEN = 4
"""Of what was said, to keep a bound on the answer's length: an estimate, where its provider never came to count it."""


class StreamSession:
    """The way of one answer, through as many sources as it takes. *answer* is the part that is under way."""

    def __init__(self, found: Answer, engine: Engine) -> None:
        self.answer = found
        self._call, self._engine = found.call, engine
        self._said = _Said()
        self._parts_left = engine.limits.max_attempts - 1

    # ── in one piece ──

    async def whole(self) -> Made:
        """The answer in one piece, however many it took."""
        found = whole(self.answer, self._engine)
        while isinstance(found, Whole) and self._bounded_by_us() and _is_cut_text(found.completion):
            self._said.pieces = [found.completion.choices[0].message.content or ""]
            self._said.usage = found.usage
            if not await self._asked_again(self.answer.attempts):
                break
            more = whole(self.answer, self._engine)
            assert isinstance(more, Whole)  # a chat is continued by a chat
            found = joined(found, more)
        return found

    # ── as a stream ──

    def arrivals(self) -> AsyncGenerator[list[Step], None]:
        """
        The steps of the answer, as many at a time as arrived together.

        Raises Interrupted if it breaks for good. Close the iterator to leave early.
        """
        return self._parts() if _is_one_chat(self._call) else arrivals(self.answer, self._engine)

    async def _parts(self) -> AsyncGenerator[list[Step], None]:
        part = _Part(self._said, bounded_by_us=self._bounded_by_us())
        while True:
            broke: Interrupted | None = None
            try:
                async with aclosing(arrivals(self.answer, self._engine)) as coming:
                    async for steps in coming:
                        if passed := part.take(steps):
                            yield passed
            except Interrupted as failure:
                broke = failure
            if broke is None and not part.withheld:
                return
            if not await self._goes_on(broke, cut=bool(part.withheld)):
                yield self._ending(broke, part)
                return
            part = _Continuation(self._said, self._said.usage, bounded_by_us=self._bounded_by_us())

    async def _goes_on(self, broke: Interrupted | None, *, cut: bool) -> bool:
        """Whether another part has begun, after one that *broke*, or that our bound *cut*."""
        continues = self._said.plain and is_text(self._call) and (cut or self._call.resume)
        if self._said.spoke and not continues:
            return False
        failed = self.answer.attempts
        # Where nothing but reasoning was said, another may be more to the point.
        if broke is not None or not self._said.pieces:
            took = self._engine.clock.now() - self.answer.sent_at
            failed = (*failed, Attempt(self.answer.deployment, broke or NoAnswer(), took))
        return await self._asked_again(failed)

    def _ending(self, broke: Interrupted | None, part: _Part) -> list[Step]:
        """How the answer ends whose last *part* nothing continues: text where it was cut. Raises Interrupted for the rest."""
        if broke is not None:
            raise broke
        if not self._said.plain or holds_together(self._call):
            raise Interrupted("it is longer than the source that began it has room for, and cannot be continued")
        return part.withheld

    # ── both ──

    def _bounded_by_us(self) -> bool:
        """Whether the part under way ends at a bound that its caller did not set, and what is cut there can be seen to be."""
        sent = self.answer.slot.request
        return isinstance(sent, Request) and sent.bounded_by_us and (sent.view.n or 1) == 1 and not sent.view.logprobs

    async def _asked_again(self, failed: tuple[Attempt, ...]) -> bool:
        """Whether another part has begun, which goes on from what was said."""
        more = continued(self._call, self._said.text, self._said.usage)
        if more is None or not self._parts_left:
            return False
        self._parts_left -= 1
        try:
            self.answer = await answer(more, self._engine, failed)
        except GatewayError:
            return False
        return True


def _is_one_chat(call: Call) -> bool:
    """Whether one answer of a chat is asked for."""
    return isinstance(call.request, Request) and (call.request.view.n or 1) == 1


def is_text(call: Call) -> bool:
    """Whether the answer to *call* is one text, as long as no tool is called."""
    if not isinstance(call.request, Request):
        return False
    view = call.request.view
    shaped = view.response_format is not None and view.response_format.type != "text"
    return not (shaped or view.logprobs or call.request.suffix) and (view.n or 1) == 1


def resumable(call: Call) -> bool:
    """Whether the answer to *call* may be continued by another source than began it."""
    return call.resume and is_text(call)


def continued(call: Call, text: str, usage: Usage | None = None) -> Call | None:
    """*call*, which is a chat, for what follows *text*, which took so much *usage*; None: its caller asked for no more."""
    asked = call.request
    if not isinstance(asked, Request):
        return None
    if not text:
        return call
    size = len(text.encode("utf-8", "replace"))
    fields = dict(asked.fields)
    messages = [*asked.view.messages, Message("assistant", text), Message("user", _GO_ON)]
    changes: dict[str, Any] = {"messages": messages}
    # The caller's own messages stay as they were spelled.
    fields["messages"] = raw([*msgspec.json.decode(fields["messages"], type=list[msgspec.Raw]), *messages[-2:]])
    spent = usage.completion_tokens if usage is not None else size // _BYTES_PER_TOKEN
    for name in ("max_tokens", "max_completion_tokens"):
        bound = getattr(asked.view, name)
        if bound is not None:
            if usage is not None and bound <= spent:
                return None
            changes[name] = max(1, bound - spent)
            fields[name] = raw(changes[name])
    view: ChatRequest = msgspec.structs.replace(asked.view, **changes)
    prompt = call.prompt_tokens + math.ceil((size + len(_GO_ON)) / BYTES_PER_TOKEN)
    request = msgspec.structs.replace(asked, view=view, fields=fields, prompt_tokens=prompt)
    return msgspec.structs.replace(call, request=request, prompt_tokens=prompt)


class _Said(Struct):
    """What the caller has of an answer: *pieces* of its text, its id, what was counted; *plain* if nothing but text."""

    pieces: list[str] = field(default_factory=list)
    plain: bool = True
    id: str = ""
    created: int = 0
    usage: Usage | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def spoke(self) -> bool:
        """Whether there was more than thoughts."""
        return bool(self.pieces) or not self.plain


class _Part:
    """
    The first part: passed on as it is. Where it is *bounded_by_us*, its end is *withheld* if that is a cut, until it is
    known whether the answer goes on.
    """

    def __init__(self, said: _Said, *, bounded_by_us: bool) -> None:
        self._said, self._bounded_by_us = said, bounded_by_us
        self.withheld: list[Step] = []

    def take(self, steps: list[Step]) -> list[Step]:
        """What the caller gets of *steps*."""
        if self._bounded_by_us and (self.withheld or any(step.chunk.is_cut() for step in steps)):
            steps = self._before_the_end(steps)
        for step in steps:
            self._note(step.chunk)
        return steps

    def _before_the_end(self, steps: list[Step]) -> list[Step]:
        """Those of *steps* that say something, without the end."""
        passed = []
        for step in steps:
            self._said.usage = step.chunk.usage or self._said.usage
            if not self.withheld and not step.chunk.is_cut():
                passed.append(step)
            elif step.chunk.speaks():
                passed.append(_edited(step, finish_reason=None))
                self.withheld.append(_edited(step, delta={}))
            else:
                self.withheld.append(step)
        return passed

    def _note(self, chunk: Chunk) -> None:
        said = self._said
        said.id, said.created = said.id or chunk.id, said.created or chunk.created
        said.usage = chunk.usage or said.usage
        for choice in chunk.choices:
            if choice.delta.content:
                said.pieces.append(choice.delta.content)
            if choice.delta.tool_calls or choice.delta.refusal or choice.finish_reason is not None:
                said.plain = False


class _Continuation(_Part):
    """
    A further part: joined to the text before it, and with its tokens added. The thought that leads to it is told where no
    text was.
    """

    def __init__(self, said: _Said, before: Usage | None, *, bounded_by_us: bool) -> None:
        super().__init__(said, bounded_by_us=bounded_by_us)
        self._before = before
        self._join = Join(said.text)

    def take(self, steps: list[Step]) -> list[Step]:
        taken = [taken for step in steps if (taken := self._joined(step)) is not None]
        return super().take(taken)

    def _joined(self, step: Step) -> Step | None:
        fields: dict[str, Any] = msgspec.json.decode(step.data)
        fields["id"], fields["created"] = self._said.id, self._said.created
        shows = False
        for choice, seen in zip(fields.get("choices", ()), step.chunk.choices, strict=True):
            delta = choice.setdefault("delta", {})
            delta.pop("role", None)
            if self._said.pieces:
                delta.pop("reasoning_content", None)
            content = self._join.feed(seen.delta.content or "")
            ends = seen.finish_reason is not None
            if ends or seen.delta.tool_calls or seen.delta.refusal:
                content += self._join.end()
            delta["content"] = content
            if not content:
                del delta["content"]
            shows = shows or bool(delta) or ends
        if step.chunk.usage is not None:
            fields["usage"] = msgspec.to_builtins(total(self._before, step.chunk.usage))
            shows = True
        if not shows:
            return None
        data = encode(fields)
        return Step(msgspec.json.decode(data, type=Chunk), data)


def _edited(step: Step, **changes: object) -> Step:
    """*step* whose choices have other values for some fields, and without usage, which is told at the end."""
    fields: dict[str, Any] = msgspec.json.decode(step.data)
    if "finish_reason" in changes:
        fields.pop("usage", None)
    for choice in fields["choices"]:
        choice.update(changes)
    data = encode(fields)
    return Step(msgspec.json.decode(data, type=Chunk), data)


def _is_cut_text(found: Completion) -> bool:
    """Whether *found* is one text that was cut."""
    return found.is_cut() and not any(choice.message.tool_calls or choice.message.refusal for choice in found.choices)


def joined(first: Whole, more: Whole) -> Whole:
    """One answer of *first*, which was cut, and of what *more* adds to it."""
    fields: dict[str, Any] = msgspec.json.decode(first.data)
    added, last = fields["choices"][0], more.completion.choices[0]
    text = first.completion.choices[0].message.content or ""
    join = Join(text)
    new = join.feed(last.message.content or "")
    added["message"]["content"] = text + new + join.end()
    added["finish_reason"] = last.finish_reason
    if last.message.tool_calls:
        added["message"]["tool_calls"] = last.message.tool_calls
    fields.pop("usage", None)
    if more.usage is not None:
        fields["usage"] = total(first.usage, more.usage)
    data = encode(fields)
    return Whole(msgspec.json.decode(data, type=Completion), data)


def total(before: Usage | None, now: Usage) -> Usage:
    """What both parts took, as far as their providers said."""
    if before is None:
        return now
    cost = None if before.cost is None and now.cost is None else (before.cost or 0.0) + (now.cost or 0.0)
    return Usage(before.prompt_tokens + now.prompt_tokens, before.completion_tokens + now.completion_tokens, cost=cost)
