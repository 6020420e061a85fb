"""
A neutral stream as the events of Anthropic's Messages API: blocks that follow each other, each begun and ended.

Source: "Streaming messages" (https://docs.anthropic.com/en/api/messages-streaming, 2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from gateway.api.seal import sealed
from providers.chat import Chunk, Delta, ToolCallDelta, Usage, encode
from providers.translation import fingerprint

_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use", "content_filter": "refusal"}
"""No provider tells by which of the stop sequences an answer ended, so that one that did is an ``end_turn``."""

_NO_DETAILS = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}


def event(name: str, data: bytes) -> bytes:
    """*data* as the server-sent event *name*."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def stop_reason(finish: str | None) -> str:
    """Why an answer ended, in Anthropic's words."""
    return _REASONS.get(finish or "", "end_turn")


def usage_of(usage: Usage | None) -> dict[str, int]:
    """Tokens in Anthropic's words, where those of the prompt that came from a cache are counted apart."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0, **_NO_DETAILS}
    details = usage.prompt_tokens_details
    cached = min((details.cached_tokens or 0) if details else 0, usage.prompt_tokens)
    return {
        "input_tokens": usage.prompt_tokens - cached,
        "output_tokens": usage.completion_tokens,
        **_NO_DETAILS,
        "cache_read_input_tokens": cached,
    }


def signature_of(thought: str, details: list[Any]) -> str:
    """The signature of a *thought* whose provider wants *details* back."""
    return sealed(details, {}) or fingerprint(thought.encode())


class _Call(Struct):
    """A call, and the pieces of its arguments that were not sent yet."""

    id: str = ""
    name: str = ""
    extra: Any = None
    waiting: list[str] = []
    arguments: list[str] = []

    def is_whole(self) -> bool:
        try:
            msgspec.json.decode("".join(self.arguments))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False
        return True


class EventWriter:
    """
    Writes one stream. *thinks*: thoughts are shown.

    Only one block is open at a time. Pieces of several calls may come mixed: those of a later call are held back until the
    arguments of the one before are whole.
    """

    def __init__(self, message: str, *, thinks: bool) -> None:
        self.id = message
        self._thinks = thinks
        self._began = False
        self._index = 0
        self._open = ""  # the type of the block that is open
        self._thought: list[str] = []
        self._details: list[Any] = []  # that a provider wants back of the thought
        self._calls: dict[int, _Call] = {}  # that are not closed yet
        self._calling: int | None = None  # which of them is open
        self._closed: set[int] = set()
        self._finish: str | None = None
        self._refused = False
        self._usage: Usage | None = None
        self._out: list[bytes] = []

    def write(self, chunk: Chunk, details: list[Any]) -> bytes:
        """The events of *chunk*; its provider wants *details* back."""
        self._details += details
        self._usage = chunk.usage or self._usage
        if not self._began:
            self._begin(chunk.model)
        for choice in chunk.choices[:1]:
            self._delta(choice.delta)
            self._finish = choice.finish_reason or self._finish
        return self._written()

    def end(self) -> bytes:
        """What is left, why it ended, and the end."""
        if not self._began:
            self._begin("")
        self._flush()
        if self._details:
            self._redacted()
        reason = "refusal" if self._refused else stop_reason(self._finish)
        self._put("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage_of(self._usage))
        self._put("message_stop")
        return self._written()

    def _written(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _put(self, name: str, **fields: Any) -> None:
        self._out.append(event(name, encode({"type": name, **fields})))

    def _begin(self, model: str) -> None:
        self._began = True
        message: dict[str, Any] = {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(None),  # the provider's own numbers come at the end
        }
        self._put("message_start", message=message)
        self._put("ping")

    # ── blocks ──

    def _delta(self, delta: Delta) -> None:
        if delta.reasoning_content and self._thinks:
            self._enter("thinking", {"thinking": "", "signature": ""})
            self._thought.append(delta.reasoning_content)
            self._grow("thinking_delta", thinking=delta.reasoning_content)
        if text := delta.content or delta.refusal:
            self._refused = self._refused or bool(delta.refusal)
            self._enter("text", {"text": ""})
            self._grow("text_delta", text=text)
        for place, piece in enumerate(delta.tool_calls or ()):
            self._call(piece.index if isinstance(piece.index, int) else place, piece)

    def _enter(self, kind: str, block: dict[str, Any]) -> None:
        """Have a block of *kind* open; *block* is how it begins."""
        if self._open == kind:
            return
        self._flush()
        self._start(kind, block)

    def _start(self, kind: str, block: dict[str, Any]) -> None:
        if self._details and kind != "thinking":
            self._redacted()
        self._open = kind
        self._put("content_block_start", index=self._index, content_block={"type": kind, **block})

    def _redacted(self) -> None:
        """A thought of which there is nothing but what its provider wants back."""
        block = {"type": "redacted_thinking", "data": signature_of("", self._details)}
        self._details.clear()
        self._put("content_block_start", index=self._index, content_block=block)
        self._put("content_block_stop", index=self._index)
        self._index += 1

    def _grow(self, kind: str, **fields: str) -> None:
        self._put("content_block_delta", index=self._index, delta={"type": kind, **fields})

    def _close(self) -> None:
        if not self._open:
            return
        if self._open == "thinking":
            self._grow("signature_delta", signature=signature_of("".join(self._thought), self._details))
            self._thought.clear()
            self._details.clear()
        self._put("content_block_stop", index=self._index)
        self._open = ""
        self._index += 1

    # ── calls ──

    def _call(self, index: int, piece: ToolCallDelta) -> None:
        if index in self._closed:
            return
        call = self._calls.setdefault(index, _Call())
        call.id, call.extra = call.id or piece.id or "", call.extra or piece.extra_content
        if piece.function is not None:
            call.name += piece.function.name or ""
            if piece.function.arguments:
                call.waiting.append(piece.function.arguments)
                call.arguments.append(piece.function.arguments)
        if self._calling is None:
            self._open_call(index)
        elif index == self._calling:
            self._send()
        while len(self._calls) > 1 and self._calling is not None and self._calls[self._calling].is_whole():
            self._next()

    def _open_call(self, index: int) -> None:
        self._close()
        call, self._calling = self._calls[index], index
        block: dict[str, Any] = {"id": call.id, "name": call.name, "input": {}}
        self._start("tool_use", block if call.extra is None else {**block, "extra_content": call.extra})
        self._send()

    def _send(self) -> None:
        assert self._calling is not None
        call = self._calls[self._calling]
        for text in call.waiting:
            self._grow("input_json_delta", partial_json=text)
        call.waiting.clear()

    def _next(self) -> None:
        """Close the call that is open, and open the one that has waited longest."""
        assert self._calling is not None
        self._closed.add(self._calling)
        del self._calls[self._calling]
        self._calling = None
        self._close()
        if self._calls:
            self._open_call(next(iter(self._calls)))

    def _flush(self) -> None:
        """Close what is open, and send the calls that wait."""
        while self._calling is not None:
            self._next()
        self._close()
