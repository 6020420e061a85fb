"""
Answers in OpenAI's shape, whole and streamed, as OpenAI itself would have spelled them.

What needs no change is passed on byte for byte; what is a little off is rewritten; what is no answer is a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from providers import failures as f
from providers.chat import Choice, Chunk, ChunkChoice, Completion, Step, Usage, Whole, encode
from providers.finish import OPENAI, AnswerBroke, openai_reason
from providers.lenient import decode_leniently
from providers.tool_calls import Placed, StreamedCalls, complete, put, stem_of
from providers.tool_names import ToolNames

SERVICE_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})
"""The tiers that OpenAI's SDKs accept in an answer."""

InBand = Callable[[bytes], f.ProviderFailure]
"""The failure that a body with status 200 tells of."""


class _WireChunk(Chunk, kw_only=True):
    """A chunk with the marks that tell whether it may pass as it is."""

    error: Any = UNSET
    service_tier: str | UnsetType | None = UNSET
    x_groq: Any = UNSET


class _WireCompletion(Completion, kw_only=True):
    error: Any = UNSET
    service_tier: str | UnsetType | None = UNSET


_decode_chunk = msgspec.json.Decoder(_WireChunk).decode
_decode_completion = msgspec.json.Decoder(_WireCompletion).decode


def is_credible(usage: Usage, *, said: bool) -> bool:
    """Whether *usage* can be true: no prompt has no tokens, and nothing is *said* with none."""
    return usage.prompt_tokens > 0 and (usage.completion_tokens > 0 or not said)


def _reason(choice: ChunkChoice | Choice, *, called: bool, in_band: Callable[[], f.ProviderFailure]) -> str | None:
    """Why *choice* ended, in OpenAI's words; raises a ProviderFailure if it broke."""
    try:
        return openai_reason(choice.finish_reason, called=called)
    except AnswerBroke as exc:
        if choice.finish_reason == "error":
            raise in_band() from exc
        raise f.Unreachable(f"it ended with {choice.finish_reason}") from exc


# ── whole answers ──


def read_completion(names: ToolNames, body: bytes, in_band: InBand) -> Whole:
    """A whole answer; raises a ProviderFailure if it is none."""
    try:
        found, body = decode_leniently(body, _decode_completion, "chat.completion")
    except msgspec.DecodeError as exc:
        raise f.Unreachable(f"the answer is not a chat completion: {exc}") from exc
    if (found.error is not UNSET and found.error is not None) or (not found.choices and _tells_of_an_error(body)):
        raise in_band(body)
    in_order = found.usage is None or is_credible(found.usage, said=found.says())
    tier = found.service_tier is UNSET or found.service_tier in SERVICE_TIERS
    if in_order and tier and all(_is_in_order(choice) for choice in found.choices):
        return Whole(found, body)
    edited = msgspec.json.decode(body)
    for choice, seen in zip(edited.get("choices") or (), found.choices, strict=True):
        _edit_choice(choice, seen, names, stem_of(found.id, body), partial(in_band, body))
    if not tier:
        del edited["service_tier"]
    if not in_order:
        del edited["usage"]
    body = encode(edited)
    return Whole(msgspec.json.decode(body, type=Completion), body)


def _is_in_order(choice: Choice) -> bool:
    """Whether *choice* needs no change. One that calls tools is looked at in any case."""
    message = choice.message
    plain = message.content is not None and not message.tool_calls and message.reasoning is None
    return plain and choice.finish_reason in OPENAI


def _edit_choice(
    choice: dict[str, Any], seen: Choice, names: ToolNames, stem: str, in_band: Callable[[], f.ProviderFailure]
) -> None:
    """Spell *choice* as OpenAI does; *seen* is the same, typed."""
    message = choice["message"]
    calls = message.get("tool_calls")
    if calls:
        complete(calls, names, stem)
    over = "tool_calls" if calls else "stop"  # the body came to its end, and so did the answer
    choice["finish_reason"] = _reason(seen, called=bool(calls), in_band=in_band) or over
    _rename_reasoning(message)
    if message.get("content") is None and not calls:
        message["content"] = ""


def _rename_reasoning(message: dict[str, Any]) -> None:
    """Reasoning has two names in the field; what we send on has one."""
    if "reasoning" in message:
        thought = message.pop("reasoning")
        if thought and not message.get("reasoning_content"):
            message["reasoning_content"] = thought


def _tells_of_an_error(body: bytes) -> bool:
    """Whether a body without choices is an error in another wrapping than ``error``."""
    found = msgspec.json.decode(body)
    if not isinstance(found, dict) or found.get("choices"):
        return False
    if "error" in (found.get("object"), found.get("type")):
        return True
    return bool(found.get("detail")) or (isinstance(found.get("message"), str) and not found.get("usage"))


# ── streams ──


class _ChoiceState(Struct):
    """What was read of one choice so far."""

    calls: StreamedCalls | None = None
    said: bool = False


class ChunkReader:
    """Reads one stream of chunks."""

    def __init__(self, names: ToolNames, in_band: InBand) -> None:
        self._names, self._in_band = names, in_band
        self._ended = False
        self._stem = ""
        self._open: dict[int, _ChoiceState] = {}
        self._closed: set[int] = set()

    def finished(self) -> bool:
        return bool(self._closed) and self._open.keys() <= self._closed

    def ended(self) -> bool:
        return self._ended

    def feed(self, event: bytes) -> list[Step]:
        if event == b"[DONE]":
            self._ended = True
            return []
        try:
            chunk, event = decode_leniently(event, _decode_chunk, "chat.completion.chunk")
        except msgspec.DecodeError as exc:
            raise f.Unreachable(f"an event is not a chat completion chunk: {exc}") from exc
        if chunk.error is not UNSET and chunk.error is not None:
            raise self._in_band(event)
        if isinstance(chunk.x_groq, dict) and chunk.x_groq.get("error"):
            raise f.Unreachable(str(chunk.x_groq["error"]))
        if not chunk.choices:
            return self._without_choices(chunk, event)
        edits = [None if self._is_plain(choice) else self._edit_of(choice, chunk, event) for choice in chunk.choices]
        tier = chunk.service_tier is UNSET or chunk.service_tier in SERVICE_TIERS
        usage = chunk.usage is None or is_credible(chunk.usage, said=self._said())
        if tier and usage and chunk.object is not UNSET and not any(edits):
            return [Step(chunk, event)]
        return [self._rewritten(event, edits, keeps_usage=usage)]

    def _said(self) -> bool:
        return any(state.said for state in self._open.values())

    def _without_choices(self, chunk: _WireChunk, event: bytes) -> list[Step]:
        """Usage at the end, an error in another wrapping, or something that says nothing, which is left out."""
        if _tells_of_an_error(event):
            raise self._in_band(event)
        if chunk.usage is None or not is_credible(chunk.usage, said=self._said()):
            return []
        if b'"choices"' in event and chunk.object is not UNSET and chunk.service_tier is UNSET:
            return [Step(chunk, event)]
        return [self._rewritten(event, [], keeps_usage=True)]

    def _is_plain(self, choice: ChunkChoice) -> bool:
        """Whether *choice* goes on with text and nothing else, as nearly all do."""
        delta, state = choice.delta, self._open.get(choice.index)
        if state is None or not state.said or choice.finish_reason is not None or delta.tool_calls:
            return False
        return delta.reasoning is None

    def _edit_of(self, choice: ChunkChoice, chunk: _WireChunk, event: bytes) -> _Edit | None:
        """What must be changed in *choice*; None: nothing."""
        state = self._open.get(choice.index)
        if state is None:
            state = self._open[choice.index] = _ChoiceState()
        delta = choice.delta
        edit: _Edit | None = None
        if delta.reasoning is not None:
            edit = _Edit()
        if delta.content or delta.reasoning_content or delta.reasoning:
            state.said = True
        if delta.tool_calls:
            state.said = True
            if state.calls is None:
                self._stem = self._stem or stem_of(chunk.id, event)
                stem = f"{self._stem}_{choice.index}" if choice.index else self._stem
                state.calls = StreamedCalls(self._names, stem)
            placed = [state.calls.place(call) for call in delta.tool_calls]
            if edit or not all(one.fits for one in placed):
                edit = edit or _Edit()
                edit.placed = placed
        if choice.finish_reason is not None:
            edit = self._closing(choice, state, event, edit)
        return edit

    def _closing(self, choice: ChunkChoice, state: _ChoiceState, event: bytes, edit: _Edit | None) -> _Edit | None:
        """The same for a choice with a reason to finish. Some write "" where OpenAI writes null: that is none."""
        reason = _reason(choice, called=bool(state.calls), in_band=lambda: self._in_band(event))
        bare = state.calls.without_arguments() if reason and state.calls and choice.index not in self._closed else []
        if reason:
            self._closed.add(choice.index)
        if edit is None and reason == choice.finish_reason and not bare:
            return None
        edit = edit or _Edit()
        edit.reason, edit.bare = reason, bare
        return edit

    def _rewritten(self, event: bytes, edits: list[_Edit | None], *, keeps_usage: bool) -> Step:
        edited = msgspec.json.decode(event)
        edited["object"] = "chat.completion.chunk"
        if not isinstance(edited.get("choices"), list):
            edited["choices"] = []
        if edited.get("service_tier") not in SERVICE_TIERS:
            edited.pop("service_tier", None)
        if not keeps_usage:
            edited.pop("usage", None)
        for choice, edit in zip(edited["choices"], edits, strict=True):
            if edit is not None:
                edit.apply(choice)
        data = encode(edited)
        return Step(msgspec.json.decode(data, type=Chunk), data)


class _Edit(Struct):
    """What must be changed in one choice of a chunk."""

    placed: list[Placed] = []
    reason: str | None = None
    bare: list[int] = []  # calls that had no arguments

    def apply(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice["delta"] = {}
        choice["finish_reason"] = self.reason
        _rename_reasoning(delta)
        for call, placed in zip(delta.get("tool_calls") or (), self.placed, strict=False):
            put(call, placed)
        if self.bare:
            delta["tool_calls"] = [
                *(delta.get("tool_calls") or ()),
                *({"index": place, "function": {"arguments": "{}"}} for place in self.bare),
            ]
