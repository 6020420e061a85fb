"""
The wire formats of chat, from the provider's side: how a request is read and how an answer is written.

Three families: OpenAI's chat completions (with each provider's own habits), Gemini's native one, Ollama's native one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, Protocol

from msgspec import Struct

from tests.world import truth

_BYTES_PER_TOKEN = 4
_IMAGE_TOKENS = 260


class Asked(Struct, kw_only=True):
    """A request to a model, whatever it came as. *said* is the beginning of the answer, where it is to be continued."""

    tag: str
    words: int
    model: str
    text: str
    stream: bool = False
    shown: str | None = None
    tools: bool = False
    schema: bool = False
    bound: int | None = None
    denies: bool = False
    requires: bool = False
    said: str = ""
    context: int | None = None

    @property
    def prompt_tokens(self) -> int:
        return len(self.text) // _BYTES_PER_TOKEN + 8 + (_IMAGE_TOKENS if self.shown is not None else 0)


class Part(Struct, frozen=True):
    """A piece of an answer: reasoning, text, or a whole tool call."""

    kind: Literal["reasoning", "text", "tool"]
    text: str


class Usage(Struct, frozen=True):
    prompt: int
    output: int
    reasoning: int


class Said(Struct, frozen=True):
    """A whole answer: its parts, why it ends, and what it counts."""

    parts: list[Part]
    end: str
    usage: Usage


class Format(Protocol):
    """One family."""

    content_type: str

    def read(self, body: dict[str, Any], model: str) -> Asked: ...

    def whole(self, asked: Asked, said: Said) -> bytes: ...

    def head(self, asked: Asked) -> bytes: ...

    def piece(self, asked: Asked, part: Part, usage: Usage) -> bytes: ...

    def end(self, asked: Asked, end: str, usage: Usage) -> bytes: ...


def joined(parts: list[Part], kind: str) -> str:
    return "".join(part.text for part in parts if part.kind == kind)


# ── OpenAI's ──


class OpenAI:
    """
    OpenAI's chat completions. *reasoning* names the field that reasoning is in. *usage_at* says where a stream's usage is:
    in a chunk without choices if asked for (``asked``), in every last chunk (``always``), or Groq's own place (``x_groq``).
    """

    content_type = "text/event-stream"

    def __init__(self, reasoning: str = "reasoning", usage_at: str = "asked", comments: bool = False) -> None:
        self._reasoning, self._usage_at, self._comments = reasoning, usage_at, comments

    def read(self, body: dict[str, Any], model: str) -> Asked:
        texts, said, shown = list[str](), "", None
        for message in body["messages"]:
            content = message.get("content") or ""
            if isinstance(content, list):
                for part in content:
                    if part.get("type") == "image_url":
                        shown = truth.shown_by(part["image_url"]["url"].partition("base64,")[2])
                content = "".join(part.get("text", "") for part in content if part.get("type") == "text")
            if message["role"] == "assistant":
                said = content
            texts.append(content)
        tag, words = truth.found_in("\n".join(texts))
        wanted = body.get("response_format") or {}
        provider = body.get("provider") or {}
        return Asked(
            tag=tag,
            words=words,
            model=model or body["model"],
            text="\n".join(texts),
            stream=bool(body.get("stream")),
            shown=shown,
            tools=bool(body.get("tools")),
            schema=wanted.get("type") == "json_schema",
            bound=body.get("max_completion_tokens") or body.get("max_tokens"),
            denies=provider.get("data_collection") == "deny" or bool(provider.get("zdr")),
            requires=bool(provider.get("require_parameters")),
            said=said,
        )

    def whole(self, asked: Asked, said: Said) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": joined(said.parts, "text") or None}
        if thought := joined(said.parts, "reasoning"):
            message[self._reasoning] = thought
        if calls := [_call(part, n) for n, part in enumerate(p for p in said.parts if p.kind == "tool")]:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else said.end}
        return _encoded(self._frame(asked, "chat.completion", [choice]) | {"usage": _usage(said.usage)})

    def head(self, asked: Asked) -> bytes:
        comment = b": OPENROUTER PROCESSING\n\n" if self._comments else b""
        return comment + self._chunk(asked, {"role": "assistant", "content": ""})

    def piece(self, asked: Asked, part: Part, usage: Usage) -> bytes:
        if part.kind == "tool":
            return self._chunk(asked, {"tool_calls": [{"index": 0, **_call(part, 0)}]})
        return self._chunk(asked, {self._reasoning if part.kind == "reasoning" else "content": part.text})

    def end(self, asked: Asked, end: str, usage: Usage) -> bytes:
        last = self._frame(asked, "chat.completion.chunk", [{"index": 0, "delta": {}, "finish_reason": end}])
        if self._usage_at == "x_groq":
            last["x_groq"] = {"usage": _usage(usage)}
        counted = self._frame(asked, "chat.completion.chunk", []) | {"usage": _usage(usage)}
        return b"".join((_event(last), _event(counted), b"data: [DONE]\n\n"))

    def _chunk(self, asked: Asked, delta: dict[str, Any]) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return _event(self._frame(asked, "chat.completion.chunk", [choice]))

    @staticmethod
    def _frame(asked: Asked, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {"id": f"gen-{asked.tag}", "object": kind, "created": 1, "model": asked.model, "choices": choices}


def _call(part: Part, number: int) -> dict[str, Any]:
    return {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": truth.FUNCTION, "arguments": part.text},
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _event(value: Any) -> bytes:
    return b"data: " + _encoded(value) + b"\n\n"


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


# ── Gemini's ──


class Gemini:
    """Gemini's native generateContent."""

    content_type = "text/event-stream"

    def read(self, body: dict[str, Any], model: str) -> Asked:
        config = body.get("generationConfig") or {}
        texts, said, shown = list[str](), "", None
        for content in [body.get("systemInstruction") or {}, *body["contents"]]:
            parts: list[dict[str, Any]] = content.get("parts") or []
            text = "".join(part.get("text", "") for part in parts)
            texts.append(text)
            if content.get("role") == "model":
                said = text
            for part in parts:
                if "inlineData" in part:
                    shown = truth.shown_by(part["inlineData"]["data"])
        tag, words = truth.found_in("\n".join(texts))
        return Asked(
            tag=tag,
            words=words,
            model=model,
            text="\n".join(texts),
            shown=shown,
            tools=bool(body.get("tools")),
            schema=bool(config.get("responseJsonSchema") or config.get("responseSchema")),
            bound=config.get("maxOutputTokens"),
            said=said,
        )

    def whole(self, asked: Asked, said: Said) -> bytes:
        return _encoded(self._frame(asked, [_gemini_part(part) for part in said.parts], said.usage, said.end))

    def head(self, asked: Asked) -> bytes:
        return b""

    def piece(self, asked: Asked, part: Part, usage: Usage) -> bytes:
        return _event(self._frame(asked, [_gemini_part(part)], usage))

    def end(self, asked: Asked, end: str, usage: Usage) -> bytes:
        return _event(self._frame(asked, [{"text": ""}], usage, end))

    @staticmethod
    def _frame(asked: Asked, parts: list[Any], usage: Usage, end: str | None = None) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if end is not None:
            candidate["finishReason"] = "MAX_TOKENS" if end == "length" else "STOP"
        counts = {
            "promptTokenCount": usage.prompt,
            "candidatesTokenCount": usage.output - usage.reasoning,
            "thoughtsTokenCount": usage.reasoning,
            "totalTokenCount": usage.prompt + usage.output,
        }
        return {
            "candidates": [candidate],
            "usageMetadata": counts,
            "modelVersion": asked.model,
            "responseId": asked.tag,
        }


def _gemini_part(part: Part) -> dict[str, Any]:
    match part.kind:
        case "tool":
            return {"functionCall": {"name": truth.FUNCTION, "args": json.loads(part.text)}, "thoughtSignature": "c2ln"}
        case "reasoning":
            return {"text": part.text, "thought": True}
        case _:
            return {"text": part.text}


# ── Ollama's ──


class Ollama:
    """Ollama's native chat: lines of JSON."""

    content_type = "application/x-ndjson"

    def read(self, body: dict[str, Any], model: str) -> Asked:
        messages = body["messages"]
        text = "\n".join(message.get("content") or "" for message in messages)
        pictures = [picture for message in messages for picture in message.get("images") or ()]
        said = [message.get("content") or "" for message in messages if message["role"] == "assistant"]
        tag, words = truth.found_in(text)
        options = body.get("options") or {}
        return Asked(
            tag=tag,
            words=words,
            model=model or body["model"],
            text=text,
            stream=body.get("stream", True),
            shown=truth.shown_by(pictures[-1]) if pictures else None,
            tools=bool(body.get("tools")),
            schema=isinstance(body.get("format"), dict),
            bound=options.get("num_predict"),
            said=said[-1] if said else "",
            context=options.get("num_ctx"),
        )

    def whole(self, asked: Asked, said: Said) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": joined(said.parts, "text")}
        if thought := joined(said.parts, "reasoning"):
            message["thinking"] = thought
        if calls := [_ollama_call(part) for part in said.parts if part.kind == "tool"]:
            message["tool_calls"] = calls
        return _encoded(self._line(asked, message) | _done(said.end, said.usage))

    def head(self, asked: Asked) -> bytes:
        return b""

    def piece(self, asked: Asked, part: Part, usage: Usage) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": part.text if part.kind == "text" else ""}
        if part.kind == "reasoning":
            message["thinking"] = part.text
        if part.kind == "tool":
            message["tool_calls"] = [_ollama_call(part)]
        return _encoded(self._line(asked, message) | {"done": False}) + b"\n"

    def end(self, asked: Asked, end: str, usage: Usage) -> bytes:
        return _encoded(self._line(asked, {"role": "assistant", "content": ""}) | _done(end, usage)) + b"\n"

    @staticmethod
    def _line(asked: Asked, message: dict[str, Any]) -> dict[str, Any]:
        return {"model": asked.model, "created_at": "2026-11-23T14:00:00.0Z", "message": message}


def _ollama_call(part: Part) -> dict[str, Any]:
    return {"id": "call_1", "function": {"index": 0, "name": truth.FUNCTION, "arguments": json.loads(part.text)}}


def _done(end: str, usage: Usage) -> dict[str, Any]:
    return {
        "done": True,
        "done_reason": end,
        "total_duration": 1_000_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": usage.prompt,
        "prompt_eval_duration": 100_000_000,
        "eval_count": usage.output,
        "eval_duration": 900_000_000,
    }


def lines(body: bytes) -> Iterator[Any]:
    """The values of a body that is server-sent events, without the end."""
    for line in body.split(b"\n"):
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            yield json.loads(line[6:])
