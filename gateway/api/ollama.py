"""
What Ollama's API has a model do: ``POST /api/chat``, ``/api/generate``, ``/api/embed`` and ``/api/embeddings``.

Source: ``docs/api.md`` of Ollama, 2026-11. A stream is a line of JSON for each step, and a tool's call comes whole.
``options.num_ctx`` and ``keep_alive`` are habits of client programs: they are taken, and nothing is routed by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from msgspec import Raw, Struct

from gateway.api.http import Ready
from gateway.api.neutral import (
    CallIds,
    Number,
    StreamedAnswer,
    WholeCall,
    chat_of,
    embed_of,
    untagged,
    vectors_of,
    whole_number,
)
from gateway.api.openai import decoded, filling
from gateway.api.options import Options
from gateway.words import BadRequest, Call, GatewayError
from providers.chat import AnswerMessage, Step, Usage, Whole, encode, raw
from providers.embeddings import Embeddings

# ── read ──


class _Function(Struct):
    name: str
    arguments: Any = None


class _ToolCall(Struct):
    function: _Function
    id: str | None = None


class _Message(Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_name: str | None = None
    name: str | None = None
    tool_call_id: str | None = None


class _Asked(Struct, kw_only=True):
    """The fields of both ways to ask."""

    model: str | None = None
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    think: bool | str | None = None
    options: dict[str, Any] | None = None
    keep_alive: Any = None


class AskedChat(_Asked, kw_only=True):
    messages: list[_Message] | None = None
    tools: list[Raw] | None = None


class AskedGenerate(_Asked, kw_only=True):
    prompt: str | None = None
    system: str | None = None
    suffix: str | None = None
    images: list[str] | None = None
    raw: bool | None = None
    template: str | None = None
    context: Any = None


class AskedEmbed(Struct):
    model: str | None = None
    input: str | list[str] | None = None
    prompt: str | None = None
    dimensions: Number = None


_decode_chat = msgspec.json.Decoder(AskedChat).decode
_decode_generate = msgspec.json.Decoder(AskedGenerate).decode
_decode_embed = msgspec.json.Decoder(AskedEmbed).decode

_OPTIONS = (
    "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty", "frequency_penalty", "repeat_penalty",
)  # fmt: skip
_TEMPLATED = re.compile(r"<[|\uff5c]\w+[|\uff5c]>|\[/?INST\]|<(?:start|end)_of_turn>|<fim_\w+>|<PRE>")
"""Marks of the templates of Qwen, Llama, DeepSeek, Mistral, Gemma, StarCoder and Code Llama: each means something to one family."""

_MAGIC = {"/9j/": "image/jpeg", "R0lG": "image/gif", "UklG": "image/webp"}
"""How the bytes of an image begin, as base64; whatever else is sent is most likely a PNG."""


def _neutral(asked: _Asked) -> dict[str, Any]:
    """What both ways have in common, as the fields of a neutral request."""
    fields: dict[str, Any] = {"model": untagged(asked.model or ""), "stream": asked.stream is not False}
    options = asked.options or {}
    for name in _OPTIONS:
        value = options.get(name)
        if value is not None:
            fields[name] = whole_number(value)
    bound = options.get("num_predict")
    if isinstance(bound, int | float) and bound > 0:  # else: no bound
        fields["max_tokens"] = int(bound)
    if isinstance(asked.think, str):
        fields["reasoning_effort"] = asked.think
    elif asked.think is not None:
        fields["reasoning_effort"] = "medium" if asked.think else "none"
    if isinstance(asked.format, dict):
        fields["response_format"] = {"type": "json_schema", "json_schema": {"name": "output", "schema": asked.format}}
    elif asked.format:
        fields["response_format"] = {"type": "json_object"}
    return fields


def _content(text: str | None, images: list[str] | None) -> str | list[dict[str, Any]]:
    if not images:
        return text or ""
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    for image in images:
        url = image if image.startswith("data:") else f"data:{_MAGIC.get(image[:4], 'image/png')};base64,{image}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return parts


def _turns(messages: list[_Message]) -> Iterator[dict[str, Any]]:
    """The neutral messages. Calls may have no ids here, and results say whose they are by the function's name."""
    ids = CallIds()
    for message in messages:
        made: dict[str, Any] = {"role": message.role, "content": _content(message.content, message.images)}
        if message.thinking:
            made["reasoning_content"] = message.thinking
        if message.role == "tool":
            made["tool_call_id"] = ids.answered(message.tool_name or message.name, message.tool_call_id)
        if message.tool_calls:
            made["tool_calls"] = [
                {
                    "id": ids.called(call.function.name, call.id),
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": _arguments(call.function.arguments)},
                }
                for call in message.tool_calls
            ]
        yield made


def _arguments(told: Any) -> str:
    """Arguments as a text of JSON; some programs send one already."""
    return told if isinstance(told, str) else encode({} if told is None else told).decode()


# ── written ──


def render_error(error: GatewayError) -> bytes:
    """``{error: "text"}``."""
    return encode({"error": error.message})


class _Surface:
    """What both ways to ask share."""

    whole_type: str = "application/json"
    stream_type: ClassVar[str] = "application/x-ndjson"

    def __init__(self) -> None:
        self._model, self._came_at = "", ""
        self._thinks = True
        self._calls, self._usage = StreamedAnswer(), Usage()
        self._finish: str | None = None

    @property
    def comment(self) -> bytes:
        """A line that says nothing: Ollama's programs read each line as JSON, also an empty one."""
        return self._line({})

    def render_error(self, error: GatewayError) -> bytes:
        return render_error(error)

    def render_broken(self, error: GatewayError) -> bytes:
        return render_error(error) + b"\n"

    def render_whole(self, whole: Whole) -> bytes:
        found = whole.completion
        message = found.choices[0].message if found.choices else AnswerMessage()
        self._model, self._usage = found.model or self._model, found.usage or Usage()
        self._finish = found.choices[0].finish_reason if found.choices else None
        calls = [
            WholeCall(call.id, call.function.name, call.function.arguments, call.extra_content)
            for call in message.tool_calls or ()
        ]
        return encode(self._last(self._said(message.content or message.refusal, message.reasoning_content, calls)))

    def render_event(self, step: Step) -> bytes:
        chunk = step.chunk
        self._model, self._usage = chunk.model or self._model, chunk.usage or self._usage
        self._calls.add(chunk)
        lines = []
        for choice in chunk.choices[:1]:
            delta = choice.delta
            self._finish = choice.finish_reason or self._finish
            said = self._said(delta.content or delta.refusal, delta.reasoning_content, [])
            if said:
                lines.append(self._line(said))
        return b"".join(lines)

    def render_end(self) -> bytes:
        """The calls, which are whole only now; then the last line."""
        calls = self._calls.take(0)
        before = self._line(self._said(None, None, calls)) if calls else b""
        return before + encode(self._last({})) + b"\n"

    def _begin(self, asked: _Asked, options: Options) -> None:
        self._model, self._thinks = asked.model or "", asked.think is not False
        self._came_at = datetime.fromtimestamp(options.now, UTC).isoformat().replace("+00:00", "Z")

    def _loaded(self, asked: _Asked) -> Ready:
        """The answer to a request that says nothing: a model is to be loaded, or to be let go."""
        reason = "unload" if asked.keep_alive in (0, "0", "0s") else "load"
        return Ready(encode({**self._fields({}), "done": True, "done_reason": reason}))

    def _said(self, text: str | None, thought: str | None, calls: list[WholeCall]) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if text:
            said["content"] = text
        if thought and self._thinks:
            said["thinking"] = thought
        if calls:
            said["tool_calls"] = [
                {"id": call.id, "function": {"index": place, "name": call.name, "arguments": call.input()}}
                for place, call in enumerate(calls)
            ]
        return said

    def _last(self, said: dict[str, Any]) -> dict[str, Any]:
        return {
            **self._fields(said),
            "done": True,
            "done_reason": "length" if self._finish == "length" else "stop",
            "prompt_eval_count": self._usage.prompt_tokens,
            "eval_count": self._usage.completion_tokens,
        }

    def _line(self, said: dict[str, Any]) -> bytes:
        return encode({**self._fields(said), "done": False}) + b"\n"

    def _fields(self, said: dict[str, Any]) -> dict[str, Any]:
        return {"model": self._model, "created_at": self._came_at, **self._spelled(said)}

    def _spelled(self, said: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError


class Chat(_Surface):
    """One request of ``/api/chat``."""

    path: ClassVar[str] = "/api/chat"
    expects: ClassVar[str] = "a chat request"

    def parse(self, body: bytes, options: Options) -> Call | Ready:
        """What *body* asks for. Raises BadRequest, naming the field."""
        asked = decoded(_decode_chat, body)
        self._begin(asked, options)
        if not asked.messages:
            return self._loaded(asked)
        fields = _neutral(asked) | {
            "messages": list(_turns(asked.messages)),
            "tools": raw(asked.tools) if asked.tools else None,
        }
        return chat_of(fields, options, hides_reasoning=not self._thinks)

    def _spelled(self, said: dict[str, Any]) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": "", **said}}


class Generate(_Surface):
    """One request of ``/api/generate``: a prompt in, text out. It becomes the one message of a chat."""

    path: ClassVar[str] = "/api/generate"
    expects: ClassVar[str] = "a generate request"

    def parse(self, body: bytes, options: Options) -> Call | Ready:
        """What *body* asks for. Raises BadRequest, naming the field."""
        asked = decoded(_decode_generate, body)
        self._begin(asked, options)
        if not asked.prompt and not asked.images:
            return self._loaded(asked)
        messages: list[dict[str, Any]] = [{"role": "user", "content": _content(asked.prompt, asked.images)}]
        if asked.system:
            messages.insert(0, {"role": "system", "content": asked.system})
        call = chat_of(_neutral(asked) | {"messages": messages}, options, hides_reasoning=not self._thinks)
        return msgspec.structs.replace(filling(call, asked.suffix), dropped=_without(asked))

    def _spelled(self, said: dict[str, Any]) -> dict[str, Any]:
        return {"response": said.get("content", ""), **{k: v for k, v in said.items() if k == "thinking"}}


def _without(asked: AskedGenerate) -> tuple[str, ...]:
    """
    What no source takes, and what *asked* is served without: a prompt past the template of its model, another template, and
    the tokens of an earlier answer (``context``). Raises BadRequest, naming the field, where that would not be what is meant.
    """
    others = tuple(name for name in ("template", "context") if getattr(asked, name))
    if not asked.raw:
        return others
    if others or asked.system:  # Ollama's own rule, too (server/routes.go)
        raise BadRequest("raw: with it there is no system, template or context", param="raw")
    if asked.suffix:  # a model that fills gaps is asked as it wants to be
        return ()
    if _TEMPLATED.search(asked.prompt or ""):
        raise BadRequest(
            "raw: this prompt has the marks of one model's template, and no source here takes a prompt past its template: send "
            "the text without them, messages to /api/chat, or, for what stands between two texts, prompt and suffix",
            param="raw",
        )
    return ("raw",)


class Embed(_Surface):
    """One request of ``/api/embed``: one vector for each text, by the one model that was named."""

    path: ClassVar[str] = "/api/embed"
    expects: ClassVar[str] = "an embed request"

    def parse(self, body: bytes, options: Options) -> Call | Ready:
        """What *body* asks for. Raises BadRequest, naming the field."""
        asked = decoded(_decode_embed, body)
        self._model = asked.model or ""
        given = asked.prompt if asked.input is None else asked.input
        texts = [given] if isinstance(given, str) and given else list(given or ())
        if not texts:
            return Ready(encode(self._answered([], None)))
        return embed_of(untagged(asked.model or ""), texts, whole_number(asked.dimensions), options)

    def render_whole(self, whole: Any) -> bytes:
        found: Embeddings = whole
        self._model = found.model or self._model
        return encode(self._answered(vectors_of(found), found.usage))

    def _answered(self, vectors: list[Raw], usage: Usage | None, /) -> dict[str, Any]:
        return {"model": self._model, "embeddings": vectors, "prompt_eval_count": usage.prompt_tokens if usage else 0}


class OldEmbed(Embed):
    """One request of ``/api/embeddings``, the older way: one text, one vector."""

    path: ClassVar[str] = "/api/embeddings"
    expects: ClassVar[str] = "an embeddings request"

    def _answered(self, vectors: list[Raw], _: Usage | None, /) -> dict[str, Any]:
        return {"embedding": vectors[0] if vectors else []}


SURFACES = (Chat, Generate, Embed, OldEmbed)
