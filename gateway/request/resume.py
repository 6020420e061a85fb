"""
A streamed answer that broke, continued elsewhere: another source goes on from the text that its caller has.

    part → broke → plain text so far? → answer(what was asked, and the text so far) → joined to it → next part
                          │ no, or nobody else can: the caller hears that it broke

Only text can be continued: not a tool call, not JSON that must hold together, not several answers at once. The first part
is settled as any broken answer is, each further one is a request of its own within the attempts and the deadline of the
first. Every chunk names the model that wrote it; their id stays that of the first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct

from gateway.request.engine import Answer, Engine
from gateway.request.joining import Join
from gateway.request.pipeline import answer
from gateway.request.plan import Attempt
from gateway.request.stream import arrivals
from gateway.words import Call, GatewayError
from providers.chat import ChatRequest, Chunk, Message, Step, Usage, encode, raw
from providers.dialect import Request
from providers.failures import Interrupted

_GO_ON = (
    "Your last answer was cut off. Write what follows its very last character, and nothing else: no word of it again, no "
    "introduction, no remark about the interruption."
)

_BYTES_PER_TOKEN = 4
"""Of what was said, to keep a bound on the answer's length: an estimate, for its provider never came to count it."""


class StreamSession:
    """The way of one streamed answer, through as many sources as it takes. *answer* is the part that is under way."""

    def __init__(self, found: Answer, engine: Engine) -> None:
        self.answer = found
        self._call, self._engine = found.call, engine
        self._said = _Said()

    def arrivals(self) -> AsyncGenerator[list[Step], None]:
        """
        The steps of the answer, as many at a time as arrived together.

        Raises Interrupted if it breaks for good. Close the iterator to leave early.
        """
        return self._parts() if resumable(self._call) else arrivals(self.answer, self._engine)

    async def _parts(self) -> AsyncGenerator[list[Step], None]:
        part = _Part(self._said)
        while True:
            broke: Interrupted
            try:
                async with aclosing(arrivals(self.answer, self._engine)) as coming:
                    async for steps in coming:
                        if passed := part.take(steps):
                            yield passed
            except Interrupted as failure:
                broke = failure
            else:
                return
            await self._go_on(broke)
            part = _Continuation(self._said, self._said.usage)

    async def _go_on(self, broke: Interrupted) -> None:
        """Find another source; raises *broke* if there is none, or nothing that it could continue."""
        if not self._said.plain:
            raise broke
        failed = (
            *self.answer.attempts,
            Attempt(self.answer.deployment, broke, self._engine.clock.now() - self.answer.sent_at),
        )
        try:
            self.answer = await answer(continued(self._call, self._said.text), self._engine, failed)
        except GatewayError:
            raise broke from None


def resumable(call: Call) -> bool:
    """Whether the answer to *call* may be continued by another source than began it."""
    if not isinstance(call.request, Request):
        return False
    view = call.request.view
    shaped = view.response_format is not None and view.response_format.type != "text"
    return call.resume and not shaped and not view.logprobs and (view.n or 1) == 1


def continued(call: Call, text: str) -> Call:
    """*call*, which is a chat, for what follows *text*."""
    asked = call.request
    if not text or not isinstance(asked, Request):
        return call
    fields = dict(asked.fields)
    messages = [*asked.view.messages, Message("assistant", text), Message("user", _GO_ON)]
    changes: dict[str, Any] = {"messages": messages}
    # The caller's own messages stay as they were spelled.
    fields["messages"] = raw([*msgspec.json.decode(fields["messages"], type=list[msgspec.Raw]), *messages[-2:]])
    for name in ("max_tokens", "max_completion_tokens"):
        bound = getattr(asked.view, name)
        if bound is not None:
            changes[name] = max(1, bound - len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)
            fields[name] = raw(changes[name])
    view: ChatRequest = msgspec.structs.replace(asked.view, **changes)
    return msgspec.structs.replace(call, request=msgspec.structs.replace(asked, view=view, fields=fields))


class _Said(Struct):
    """What the caller has of an answer: its *text*, its id, what was counted; *plain* if nothing but text."""

    text: str = ""
    plain: bool = True
    id: str = ""
    created: int = 0
    usage: Usage | None = None


class _Part:
    """The first part: passed on as it is."""

    def __init__(self, said: _Said) -> None:
        self._said = said

    def take(self, steps: list[Step]) -> list[Step]:
        """What the caller gets of *steps*."""
        for step in steps:
            self._note(step.chunk)
        return steps

    def _note(self, chunk: Chunk) -> None:
        said = self._said
        said.id, said.created = said.id or chunk.id, said.created or chunk.created
        said.usage = chunk.usage or said.usage
        for choice in chunk.choices:
            said.text += choice.delta.content or ""
            if choice.delta.tool_calls or choice.delta.refusal or choice.finish_reason is not None:
                said.plain = False


class _Continuation(_Part):
    """A further part: joined to the text before it, without the thought that led to it, and with its tokens added."""

    def __init__(self, said: _Said, before: Usage | None) -> None:
        super().__init__(said)
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


def total(before: Usage | None, now: Usage) -> Usage:
    """What both parts took, as far as their providers said."""
    if before is None:
        return now
    cost = None if before.cost is None and now.cost is None else (before.cost or 0.0) + (now.cost or 0.0)
    return Usage(before.prompt_tokens + now.prompt_tokens, before.completion_tokens + now.completion_tokens, cost=cost)
