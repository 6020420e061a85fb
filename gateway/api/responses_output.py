"""
An answer as the Responses API tells it: a response with items, and the events by which it grows.

    created · in_progress · ( item added · its parts and pieces · item done )* · completed | incomplete | failed

A whole answer is written by the same hand, and its events are thrown away: streamed or not, the items are the same.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.api.seal import sealed
from gateway.words import GatewayError, TooLong
from providers.chat import AnswerMessage, Delta, FunctionDelta, ToolCallDelta, Usage, encode

Json = dict[str, Any]

_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Reasons to finish that leave a response incomplete, and what it says of it."""


class Writer:
    """
    Writes one response. *resource* is what the response says before anything was answered, its ``id`` included; *rid* is
    in the id of each of its items. Unless it *streams*, there are no events.
    """

    def __init__(self, resource: Json, rid: str, *, streams: bool) -> None:
        self.resource, self._rid, self._streams = resource, rid, streams
        self._output: list[Json] = []
        self._open: _Item | None = None  # reasoning or a message: what is under way is at the end
        self._calls: dict[int, _Call] = {}  # by the provider's index
        self._count = 0  # of events
        self._events: list[bytes] = []
        self.began = False

    # ── the frame ──

    def begin(self, model: str) -> None:
        """The first events, once."""
        if not self.began:
            self.began = True
            if model:
                self.resource["model"] = model
            self.emit("response.created", response=self.resource)
            self.emit("response.in_progress", response=self.resource)

    def end(self, finish: str | None, usage: Usage | None, completed_at: int) -> None:
        """Close what is open; the response is complete, or was cut. ``tell_end`` tells it."""
        cut = _CUT.get(finish or "")
        self._close("incomplete" if cut else "completed")
        for call in self._calls.values():
            call.close("incomplete" if cut else "completed")
        self.resource |= {
            "status": "incomplete" if cut else "completed",
            "completed_at": None if cut else completed_at,
            "incomplete_details": {"reason": cut} if cut else None,
            "output": self._output,
            "usage": _usage(usage),
        }

    def tell_end(self) -> None:
        """The last event of a response that has ended."""
        self.emit(f"response.{self.resource['status']}", response=self.resource)

    def fail(self, error: GatewayError) -> None:
        """The last event of a response that could not be completed."""
        self.resource |= {"status": "failed", "output": self._output}
        self.resource["error"] = {"code": _failure_code(error), "message": error.message}
        self.emit("response.failed", response=self.resource)

    def emit(self, name: str, /, **fields: Any) -> None:
        if not self._streams:
            return
        told = encode({"type": name, "sequence_number": self._count, **fields})
        self._events.append(b"event: %b\ndata: %b\n\n" % (name.encode(), told))
        self._count += 1

    def grow(self, growth: _Growth, text: str) -> None:
        """One more piece of what *growth* is the events of: this runs for every token."""
        if self._streams:
            self._events.append(b"%b%d%b%b}\n\n" % (growth.head, self._count, growth.rest, encode(text)))
            self._count += 1

    def events(self) -> list[bytes]:
        """Those since the last look."""
        events, self._events = self._events, []
        return events

    # ── what is answered ──

    def take(self, delta: Delta, details: list[Any]) -> None:
        """A piece of the answer, and what its provider wants back of its reasoning."""
        if reasoning := delta.reasoning_content or delta.reasoning:
            self._reasoning().say(reasoning)
        if details:
            self._reasoning().details += details
        if delta.content:
            self._message().say("output_text", delta.content)
        if delta.refusal:
            self._message().say("refusal", delta.refusal)
        for call in delta.tool_calls or ():
            self._called(call)

    def _reasoning(self) -> _Reasoning:
        if not isinstance(self._open, _Reasoning):
            self._close("completed")
            self._open = _Reasoning(self, f"rs_{self._rid}_{len(self._output)}")
        return self._open

    def _message(self) -> _Message:
        if not isinstance(self._open, _Message):
            self._close("completed")
            self._open = _Message(self, f"msg_{self._rid}_{len(self._output)}")
        return self._open

    def _called(self, piece: ToolCallDelta) -> None:
        index = piece.index if isinstance(piece.index, int) else len(self._calls)
        function = piece.function or FunctionDelta()
        call = self._calls.get(index)
        if call is None:
            for other in self._calls.values():
                if other.is_whole():
                    other.close("completed")
            given = piece.id or f"call_{self._rid}_{len(self._output)}"
            if piece.extra_content is not None:
                self._reasoning().calls[given] = piece.extra_content
            self._close("completed")
            call = _Call(self, f"fc_{self._rid}_{len(self._output)}", given, function.name or "")
            self._calls[index] = call
        if function.arguments:
            call.say(function.arguments)

    def _close(self, status: str) -> None:
        if self._open is not None:
            self._open.close(status)
            self._open = None

    def add(self, item: Json) -> int:
        """One more item; its index."""
        self._output.append(item)
        self.emit("response.output_item.added", output_index=len(self._output) - 1, item=item)
        return len(self._output) - 1


class _Growth:
    """Events that differ in their number and their ``delta`` alone, encoded but for these."""

    def __init__(self, name: str, **fields: Any) -> None:
        kind = name.encode()
        self.head = b'event: %b\ndata: {"type":"%b","sequence_number":' % (kind, kind)
        self.rest = b"," + encode(fields)[1:-1] + b',"delta":'


class _Item:
    """An item that grows. *at* says in each of its events which it is."""

    def __init__(self, writer: Writer, item: Json) -> None:
        self.item, self._emit, self._grow = item, writer.emit, writer.grow
        self.at = {"item_id": item["id"], "output_index": writer.add(item)}

    def close(self, status: str) -> None:
        self.item["status"] = status
        self._emit("response.output_item.done", output_index=self.at["output_index"], item=self.item)


class _Reasoning(_Item):
    """What the model thought, as one summary; *details* and *calls* are sealed into it."""

    def __init__(self, writer: Writer, name: str) -> None:
        super().__init__(writer, {"id": name, "type": "reasoning", "summary": [], "status": "in_progress"})
        self._said: list[str] = []
        self.details: list[Any] = []
        self.calls: Json = {}

    def say(self, text: str) -> None:
        if not self._said:
            at = {**self.at, "summary_index": 0}
            self._emit("response.reasoning_summary_part.added", **at, part=_summary(""))
            self._growth = _Growth("response.reasoning_summary_text.delta", **at)
        self._said.append(text)
        self._grow(self._growth, text)

    def close(self, status: str) -> None:
        if self._said:
            text, at = "".join(self._said), {**self.at, "summary_index": 0}
            self._emit("response.reasoning_summary_text.done", **at, text=text)
            self._emit("response.reasoning_summary_part.done", **at, part=_summary(text))
            self.item["summary"] = [_summary(text)]
        if secret := sealed(self.details, self.calls):
            self.item["encrypted_content"] = secret
        super().close(status)


class _Message(_Item):
    """What the model says: texts and refusals, a part each for as long as their kind is the same."""

    def __init__(self, writer: Writer, name: str) -> None:
        item = {"id": name, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        super().__init__(writer, item)
        self._kind, self._said = "", list[str]()
        self._parts: list[Json] = []

    def say(self, kind: str, text: str) -> None:
        if kind != self._kind:
            self._close_part()
            self._kind, self._said = kind, []
            self._emit("response.content_part.added", **self._place(), part=_part(kind, ""))
            extra: Json = {"logprobs": []} if kind == "output_text" else {}
            self._growth = _Growth(f"response.{kind}.delta", **self._place(), **extra)
        self._said.append(text)
        self._grow(self._growth, text)

    def close(self, status: str) -> None:
        self._close_part()
        self.item["content"] = self._parts
        super().close(status)

    def _close_part(self) -> None:
        if self._kind:
            text, place, part = "".join(self._said), self._place(), _part(self._kind, "".join(self._said))
            if self._kind == "output_text":
                self._emit("response.output_text.done", **place, text=text, logprobs=[])
            else:
                self._emit("response.refusal.done", **place, refusal=text)
            self._emit("response.content_part.done", **place, part=part)
            self._parts.append(part)

    def _place(self) -> Json:
        return {**self.at, "content_index": len(self._parts)}


class _Call(_Item):
    """A function that the model calls."""

    def __init__(self, writer: Writer, name: str, call: str, function: str) -> None:
        item = {"id": name, "type": "function_call", "call_id": call, "name": function, "arguments": ""}
        super().__init__(writer, item | {"status": "in_progress"})
        self._said: list[str] = []
        self._growth = _Growth("response.function_call_arguments.delta", **self.at)
        self._closed = False

    def say(self, arguments: str) -> None:
        if not self._closed:
            self._said.append(arguments)
            self._grow(self._growth, arguments)

    def is_whole(self) -> bool:
        """Whether nothing can follow: pieces of calls made at once may come mixed."""
        try:
            msgspec.json.decode("".join(self._said))
        except (msgspec.DecodeError, RecursionError):
            return False
        return True

    def close(self, status: str) -> None:
        if not self._closed:
            self._closed = True
            self.item["arguments"] = arguments = "".join(self._said)
            named = {"name": self.item["name"], "arguments": arguments}
            self._emit("response.function_call_arguments.done", **self.at, **named)
            super().close(status)


def delta_of(message: AnswerMessage) -> Delta:
    """A whole answer as the one piece of a stream."""
    calls = [
        ToolCallDelta(
            n,
            call.id,
            function=FunctionDelta(call.function.name, call.function.arguments),
            extra_content=call.extra_content,
        )
        for n, call in enumerate(message.tool_calls or ())
    ]
    return Delta(
        content=message.content,
        reasoning_content=message.reasoning_content or message.reasoning,
        refusal=message.refusal,
        tool_calls=calls or None,
    )


def _summary(text: str) -> Json:
    return {"type": "summary_text", "text": text}


def _part(kind: str, text: str) -> Json:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(found: Usage | None) -> Json | None:
    if found is None:
        return None
    cached = found.prompt_tokens_details.cached_tokens if found.prompt_tokens_details else None
    reasoned = found.completion_tokens_details.reasoning_tokens if found.completion_tokens_details else None
    return {
        "input_tokens": found.prompt_tokens,
        "input_tokens_details": {"cached_tokens": cached or 0, "cache_write_tokens": 0},
        "output_tokens": found.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoned or 0},
        "total_tokens": found.total_tokens,
    }


def _failure_code(error: GatewayError) -> str:
    """In the words of the API: agents look for them, to condense their history or to come back later."""
    if isinstance(error, TooLong):
        return "context_length_exceeded"
    if error.status == 429:
        return "rate_limit_exceeded"
    return "server_error" if error.status >= 500 else "invalid_prompt"
