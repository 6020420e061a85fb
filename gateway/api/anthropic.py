"""
Anthropic's Messages API: ``POST /v1/messages``, streamed and whole, and ``POST /v1/messages/count_tokens``.

Source: "Messages", "Streaming messages", "Errors" (https://docs.anthropic.com/en/api, 2026-11). What a provider wants back is
the signature of a thought, or a field of a tool's call (``extra_content``); Anthropic's packages replay both untouched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import msgspec
from msgspec import Raw, Struct

from gateway.api.anthropic_stream import EventWriter, event, signature_of, stop_reason, usage_of
from gateway.api.http import Ready
from gateway.api.neutral import Number, Unrendered, WholeCall, chat_of, effort_of, whole_number
from gateway.api.openai import decoded
from gateway.api.options import Options
from gateway.api.seal import details_in, unsealed
from gateway.words import Call, GatewayError, TooLong
from providers.chat import AnswerMessage, Step, Whole, encode

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""What Anthropic calls an error with a status; any other is an ``api_error``."""

# ── read ──


class _Source(Struct):
    type: str = ""
    media_type: str = ""
    data: str = ""
    url: str = ""


class _Block(Struct):
    """One part of a message. *type* decides which of the others is there; those that are unknown here are passed over."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""  # of a thought that is not shown
    source: Any = None
    title: str | None = None
    id: str = ""
    name: str = ""
    input: Raw = msgspec.field(default_factory=lambda: Raw(b"{}"))
    extra_content: Any = None
    tool_use_id: str = ""
    content: Any = None
    is_error: bool | None = None


Content = str | list[_Block] | None


class _Message(Struct):
    role: str
    content: Content = None


class _Tool(Struct):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class _Choice(Struct):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Thinking(Struct):
    type: str
    budget_tokens: Number = None


class _Format(Struct):
    type: str = ""
    schema: dict[str, Any] | None = None


class _Output(Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(Struct):
    user_id: str | None = None


_NULL = Raw(b"null")


class Asked(Struct):
    """The fields that mean something here; those that OpenAI spells alike are passed on as they are."""

    messages: list[_Message]
    model: Raw = msgspec.field(default_factory=lambda: _NULL)
    models: Raw = msgspec.field(default_factory=lambda: _NULL)
    provider: Raw = msgspec.field(default_factory=lambda: _NULL)
    stream: Raw = msgspec.field(default_factory=lambda: _NULL)
    temperature: Raw = msgspec.field(default_factory=lambda: _NULL)
    top_p: Raw = msgspec.field(default_factory=lambda: _NULL)
    max_tokens: Number = None
    top_k: Number = None
    system: Content = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    thinking: _Thinking | None = None
    stop_sequences: list[str] | None = None
    metadata: _Metadata | None = None
    output_config: _Output | None = None
    output_format: _Format | None = None


_decode = msgspec.json.Decoder(Asked).decode
_SAME = ("model", "models", "provider", "stream", "temperature", "top_p")


def _asked(body: bytes) -> tuple[Asked, dict[str, Any]]:
    """*body*, understood, and as a neutral request. Raises BadRequest, naming the field."""
    request = decoded(_decode, body)
    same = {name: getattr(request, name) for name in _SAME}
    asked: dict[str, Any] = {name: value for name, value in same.items() if bytes(value) != b"null"}
    asked["messages"] = [*_system(request.system), *(one for message in request.messages for one in _turns(message))]
    asked |= {"max_tokens": whole_number(request.max_tokens), "top_k": whole_number(request.top_k)}
    if request.stop_sequences:
        asked["stop"] = request.stop_sequences
    if request.metadata is not None and request.metadata.user_id:
        asked["session_id"] = request.metadata.user_id
    asked |= _tools(request.tools or [], request.tool_choice) | _effort(request) | _schema(request)
    return request, asked


def _system(content: Content) -> list[dict[str, Any]]:
    text = _text(content)
    return [{"role": "system", "content": text}] if text else []


def _text(content: Content) -> str:
    if isinstance(content, list):
        return "\n\n".join(block.text for block in content if block.text)
    return content or ""


def _turns(message: _Message) -> Iterator[dict[str, Any]]:
    """The neutral messages of one turn: what tools said comes before what the user adds to it."""
    if message.role in ("system", "developer"):
        yield from _system(message.content)
    elif message.role == "assistant":
        yield _answered(message.content)
    elif not isinstance(message.content, list):
        yield {"role": message.role, "content": message.content or ""}
    else:
        parts: list[dict[str, Any]] = []
        for block in message.content:
            if block.type == "tool_result":
                text, media = _result(block)
                yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": text}
                parts += media
            else:
                parts += _part(block)
        if parts or not any(block.type == "tool_result" for block in message.content):
            yield {"role": message.role, "content": _plain(parts)}


def _plain(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """*parts* as a text if they are one: some providers take nothing else."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts or ""


def _answered(content: Content) -> dict[str, Any]:
    """A turn of the model's, as it is replayed."""
    if not isinstance(content, list):
        return {"role": "assistant", "content": content or ""}
    said = [block.text for block in content if block.type == "text" and block.text]
    made: dict[str, Any] = {"role": "assistant", "content": "\n".join(said)}
    thought = "\n".join(block.thinking for block in content if block.thinking)
    if thought:
        made["reasoning_content"] = thought
    details = [one for block in content for one in _wanted_back(block)]
    if details:
        made["reasoning_details"] = details
    calls = [
        {"id": block.id, "function": {"name": block.name, "arguments": bytes(block.input).decode()}}
        | ({} if block.extra_content is None else {"extra_content": block.extra_content})
        for block in content
        if block.type == "tool_use"
    ]
    if calls:
        made["tool_calls"] = [{"type": "function", **call} for call in calls]
    return made


def _wanted_back(block: _Block) -> list[Any]:
    """What the provider of a thought wants back, if it was sealed here; another maker's signature means nothing."""
    found = unsealed({"thinking": block.signature, "redacted_thinking": block.data}.get(block.type)).get("details")
    return found if isinstance(found, list) else []


def _result(block: _Block) -> tuple[str, list[dict[str, Any]]]:
    """What a tool said: its text, and what else it showed, which no provider takes in a tool's message."""
    content = decoded(_decode_content, encode(block.content))
    parts = [part for one in content for part in _part(one)] if isinstance(content, list) else []
    media = [part for part in parts if part["type"] != "text"]
    text = (
        content or "" if not isinstance(content, list) else "\n".join(p["text"] for p in parts if p["type"] == "text")
    )
    return (f"Error: {text}" if block.is_error else text), media


_decode_content = msgspec.json.Decoder(Content).decode


def _part(block: _Block) -> list[dict[str, Any]]:
    """A block of the user's, or of a tool's, as parts of a neutral message; none for what has no meaning here."""
    if block.type not in ("image", "document") or block.source is None:
        return [{"type": "text", "text": block.text}] if block.text else []
    source = decoded(_decode_source, encode(block.source))
    if source.type == "text":
        return [{"type": "text", "text": source.data}]
    url = source.url or f"data:{source.media_type};base64,{source.data}"
    if block.type == "image":
        return [{"type": "image_url", "image_url": {"url": url}}]
    return [{"type": "file", "file": {"filename": block.title or "document", "file_data": url}}]


_decode_source = msgspec.json.Decoder(_Source).decode


def _tools(tools: Iterable[_Tool], choice: _Choice | None) -> dict[str, Any]:
    """The tools that are functions: those that run at Anthropic's exist nowhere else."""
    functions = [
        {"name": tool.name, "parameters": tool.input_schema}
        | ({"description": tool.description} if tool.description else {})
        for tool in tools
        if tool.input_schema is not None
    ]
    if not functions:
        return {}
    asked: dict[str, Any] = {"tools": [{"type": "function", "function": function} for function in functions]}
    if choice is None:
        return asked
    named = {"type": "function", "function": {"name": choice.name}}
    asked["tool_choice"] = {"any": "required", "none": "none", "tool": named}.get(choice.type, "auto")
    if choice.disable_parallel_tool_use:
        asked["parallel_tool_calls"] = False
    return asked


def _effort(request: Asked) -> dict[str, Any]:
    """How much to think: as *output_config* says it, else by the budget. Where neither does, the model's default holds."""
    thinking, effort = request.thinking, request.output_config.effort if request.output_config else None
    if thinking is not None and thinking.type == "disabled":
        effort = "none"
    elif effort is None and thinking is not None and thinking.budget_tokens is not None:
        effort = effort_of(thinking.budget_tokens)
    return {} if effort is None else {"reasoning_effort": effort}


def _schema(request: Asked) -> dict[str, Any]:
    wanted = (request.output_config.format if request.output_config else None) or request.output_format
    if wanted is None or wanted.type != "json_schema":
        return {}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": wanted.schema}}}


# ── written ──


def render_error(error: GatewayError) -> bytes:
    """
    ``{type: "error", error: {type, message}}``. A request that is too long is told in the words by which agents know to
    shorten it.
    """
    message = error.message
    if isinstance(error, TooLong):
        measured = f"{error.tokens} tokens > {error.longest} maximum" if error.longest else message
        message = f"prompt is too long: {measured}"
    kind = _TYPES.get(error.status, "api_error")
    return encode({"type": "error", "error": {"type": kind, "message": message}})


class _Errors:
    """How both addresses tell of what went wrong."""

    whole_type: str = "application/json"

    def render_error(self, error: GatewayError) -> bytes:
        return render_error(error)

    def render_broken(self, error: GatewayError) -> bytes:
        return event("error", render_error(error))


class Messages(_Errors):
    """One request."""

    path: ClassVar[str] = "/v1/messages"
    expects: ClassVar[str] = "a message request"
    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    comment: ClassVar[bytes] = event("ping", b'{"type":"ping"}')

    def __init__(self) -> None:
        self._events = EventWriter("", thinks=False)
        self._thinks = False

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for. Who did not ask for thoughts sees none: many take the first block for the answer."""
        request, asked = _asked(body)
        self._thinks = request.thinking is not None and request.thinking.type != "disabled"
        self._events = EventWriter(f"msg_{options.id}", thinks=self._thinks)
        dropped = dict.fromkeys(tool.type or tool.name for tool in request.tools or () if tool.input_schema is None)
        call = chat_of(asked, options, hides_reasoning=not self._thinks)
        return msgspec.structs.replace(call, dropped=tuple(dropped))

    def render_whole(self, whole: Whole) -> bytes:
        found = whole.completion
        message = found.choices[0].message if found.choices else AnswerMessage()
        reason = found.choices[0].finish_reason if found.choices else None
        return encode(
            {
                "id": self._events.id,
                "type": "message",
                "role": "assistant",
                "model": found.model,
                "content": _blocks(message, details_in(whole.data) if self._thinks else [], thinks=self._thinks),
                "stop_reason": "refusal" if message.refusal else stop_reason(reason),
                "stop_sequence": None,
                "usage": usage_of(found.usage),
            }
        )

    def render_event(self, step: Step) -> bytes:
        return self._events.write(step.chunk, details_in(step.data) if self._thinks else [])

    def render_end(self) -> bytes:
        return self._events.end()


def _blocks(message: AnswerMessage, details: list[Any], *, thinks: bool) -> list[dict[str, Any]]:
    """A whole answer as blocks; its provider wants *details* back."""
    blocks: list[dict[str, Any]] = []
    if message.reasoning_content and thinks:
        signature = signature_of(message.reasoning_content, details)
        blocks.append({"type": "thinking", "thinking": message.reasoning_content, "signature": signature})
    elif details:
        blocks.append({"type": "redacted_thinking", "data": signature_of("", details)})
    if text := message.content or message.refusal:
        blocks.append({"type": "text", "text": text})
    for call in message.tool_calls or ():
        arguments = WholeCall(arguments=call.function.arguments).input()
        block = {"type": "tool_use", "id": call.id, "name": call.function.name, "input": arguments}
        blocks.append(block if call.extra_content is None else {**block, "extra_content": call.extra_content})
    return blocks


class CountTokens(_Errors, Unrendered):
    """How long a message request is: an upper estimate, for each model counts otherwise."""

    path: ClassVar[str] = "/v1/messages/count_tokens"
    expects: ClassVar[str] = "a message request"

    def parse(self, body: bytes, options: Options) -> Ready:
        """The count itself."""
        _, asked = _asked(body)
        return Ready(encode({"input_tokens": chat_of(asked, options).prompt_tokens}))
