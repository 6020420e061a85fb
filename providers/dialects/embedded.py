"""
The small model on this machine, behind llama.cpp's server: OpenAI's spelling, for a model that is too small to stop in time.

It is told to be brief where its caller gives no instructions, and an answer that repeats itself ends there.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from providers.chat import ChunkChoice, Completion, Message, Step, Whole, encode
from providers.dialect import Request, StreamReader, Target
from providers.dialects.openai import OpenAI
from providers.loops import LONGEST, TIMES, turn_of, until_loop
from providers.tool_names import ToolNames

INSTRUCTION = "You are a helpful assistant. Answer in one or two short sentences."


class Embedded(OpenAI):
    def messages(self, target: Target, request: Request, names: ToolNames) -> list[Message]:
        given = super().messages(target, request, names)
        if request.view.shape is not None or not all(map(_is_talk, given)):
            return given
        return [Message("system", INSTRUCTION), *given]

    def read(self, target: Target, request: Request, body: bytes) -> Whole:
        whole = super().read(target, request, body)
        texts = {place: choice.message.content or "" for place, choice in enumerate(whole.completion.choices)}
        cut = {place: short for place, text in texts.items() if (short := until_loop(text)) != text}
        return _shortened(whole.completion, cut) if cut else whole

    def reader(self, target: Target, request: Request) -> StreamReader:  # type: ignore[override]
        return _Unlooped(super().reader(target, request))


def _is_talk(message: Message) -> bool:
    """Whether *message* is plain text of one who asks or answers: no instruction, no tool, no file."""
    return message.role in ("user", "assistant") and isinstance(message.content, str) and not message.tool_calls


def _shortened(completion: Completion, texts: Mapping[int, str]) -> Whole:
    for place, text in texts.items():
        completion.choices[place].message.content = text
        completion.choices[place].finish_reason = "stop"
    return Whole(completion, encode(completion))


class _Unlooped:
    """*reader*, whose answer ends where it begins to repeat itself."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader, self._tails, self._over = reader, dict[int, str](), False

    def finished(self) -> bool:
        return self._over or self._reader.finished()

    def ended(self) -> bool:
        return self._over or self._reader.ended()

    def feed(self, event: bytes) -> list[Step]:
        if self._over:
            return []
        steps = self._reader.feed(event)
        for place, step in enumerate(steps):
            if self._loops(step):
                self._over = True
                return [*steps[: place + 1], _end_after(step)]
        return steps

    def _loops(self, step: Step) -> bool:
        """Whether a choice of *step* repeats itself by now."""
        for choice in step.chunk.choices:
            tail = self._tails.get(choice.index, "") + (choice.delta.content or "")
            tail = self._tails[choice.index] = tail[-TIMES * LONGEST :]
            if choice.finish_reason is None and turn_of(tail):
                return True
        return False


def _end_after(step: Step) -> Step:
    """What says that the answer of *step* is over."""
    ends = [ChunkChoice(index=choice.index, finish_reason="stop") for choice in step.chunk.choices]
    chunk = msgspec.structs.replace(step.chunk, choices=ends)
    return Step(chunk, encode(chunk))
