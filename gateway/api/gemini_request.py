"""Requests of the Gemini API, from its words to the neutral ones ("Gemini API reference", https://ai.google.dev/api, 2026-11)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from gateway.api.neutral import CallIds, Number, effort_of, whole_number
from gateway.api.openai import decoded
from gateway.words import BadRequest
from providers.chat import encode


class _Blob(Struct, rename="camel"):
    data: str = ""
    mime_type: str = "application/octet-stream"


class _FileData(Struct, rename="camel"):
    file_uri: str
    mime_type: str = "image/png"


class _FunctionCall(Struct):
    name: str
    args: dict[str, Any] | None = None
    id: str | None = None


class _FunctionResponse(Struct):
    name: str | None = None
    response: Any = None
    id: str | None = None


class _Part(Struct, rename="camel"):
    """One part of a turn: one of these is there. Kinds that are unknown here are passed over."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: _Blob | None = None
    file_data: _FileData | None = None
    function_call: _FunctionCall | None = None
    function_response: _FunctionResponse | None = None


class _Content(Struct):
    parts: list[_Part] | None = None
    role: str | None = None


class _Declaration(Struct, rename="camel"):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | None = None


class _Tool(Struct, rename="camel"):
    function_declarations: list[_Declaration] | None = None


class _Calling(Struct, rename="camel"):
    mode: str = "AUTO"
    allowed_function_names: list[str] | None = None


class _ToolConfig(Struct, rename="camel"):
    function_calling_config: _Calling | None = None


class _Thinking(Struct, rename="camel"):
    include_thoughts: bool | None = None
    thinking_budget: Number = None
    thinking_level: str | None = None


class _Config(Struct, rename="camel"):
    max_output_tokens: Number = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Number = None
    candidate_count: Number = None
    seed: Number = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop_sequences: list[str] | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: Any = None
    thinking_config: _Thinking | None = None


class Generate(Struct, rename="camel"):
    """A request for an answer."""

    contents: list[_Content] | _Content | None = None
    system_instruction: _Content | str | None = None
    generation_config: _Config | None = None
    tools: list[_Tool] | None = None
    tool_config: _ToolConfig | None = None

    def turns(self) -> list[_Content]:
        return self.contents if isinstance(self.contents, list) else [self.contents] if self.contents else []

    def shows_thoughts(self) -> bool:
        """Whether thoughts are to be told; Gemini itself tells none unless it is asked to."""
        thinking = self.generation_config.thinking_config if self.generation_config else None
        return bool(thinking and thinking.include_thoughts)


class _Counted(Struct, rename="camel"):
    generate_content_request: Generate | None = None


class Embed(Struct, rename="camel"):
    content: _Content
    output_dimensionality: Number = None


class Embeds(Struct):
    requests: list[Embed]


# ── spelling ──

_FREE = {"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"}
"""Fields that hold the caller's own names, which are left alone."""

_UNDERSCORE = re.compile(r"_([a-z])")


def _camelled(value: Any) -> Any:
    """*value* with the names of its fields in camel case: protobuf's JSON may be spelled either way."""
    if isinstance(value, list):
        return [_camelled(one) for one in value]
    if not isinstance(value, dict):
        return value
    spelled = {}
    for name, one in value.items():
        camel = _UNDERSCORE.sub(lambda found: found[1].upper(), name)
        spelled[camel] = one if camel in _FREE else _camelled(one)
    return spelled


def _read(kind: Any, body: bytes) -> Any:
    return decoded(lambda raw: msgspec.convert(_camelled(msgspec.json.decode(raw)), kind), body)


def request_of(body: bytes) -> Generate:
    """*body*, understood. Raises BadRequest, naming the field."""
    request: Generate = _read(Generate, body)
    return request


def counted(body: bytes) -> Generate:
    """The request that is to be counted, which may come by itself or within another."""
    within: _Counted = _read(_Counted, body)
    return within.generate_content_request or request_of(body)


def embedded(body: bytes) -> tuple[list[str], Number]:
    """The text that is to be embedded, and in how many dimensions."""
    asked: Embed = _read(Embed, body)
    return [_text(asked.content)], whole_number(asked.output_dimensionality)


def embedded_at_once(body: bytes) -> tuple[list[str], Number]:
    """The same for several texts."""
    asked: Embeds = _read(Embeds, body)
    sizes = {whole_number(one.output_dimensionality) for one in asked.requests}
    if len(sizes) > 1:
        raise BadRequest("requests: several values of outputDimensionality: send a batch for each", param="requests")
    return [_text(one.content) for one in asked.requests], next(iter(sizes), None)


# ── meaning ──


def neutral(request: Generate) -> dict[str, Any]:
    """*request* as the fields of a neutral request, but for the model."""
    asked: dict[str, Any] = {"messages": [*_instructions(request), *_conversation(request.turns())]}
    return asked | _tools(request) | _config(request.generation_config or _Config())


def _instructions(request: Generate) -> Iterator[dict[str, Any]]:
    given = request.system_instruction
    text = given if isinstance(given, str) else _text(given) if given else ""
    if text:
        yield {"role": "system", "content": text}


def _text(content: _Content) -> str:
    return "\n\n".join(part.text for part in content.parts or () if part.text and not part.thought)


def _conversation(turns: list[_Content]) -> Iterator[dict[str, Any]]:
    ids = CallIds()
    for turn in turns:
        parts = turn.parts or []
        if turn.role == "model":
            yield _answered(parts, ids)
            continue
        for part in parts:
            if part.function_response is not None:
                result = part.function_response
                call = ids.answered(result.name, result.id)
                yield {"role": "tool", "tool_call_id": call, "content": _result(result.response)}
        said = [made for part in parts if (made := _part(part)) is not None]
        if said or not parts:
            plain = len(said) == 1 and said[0]["type"] == "text"
            yield {"role": "user", "content": said[0]["text"] if plain else said or ""}


def _answered(parts: list[_Part], ids: CallIds) -> dict[str, Any]:
    """A turn of the model's, as it is replayed, with the signatures of its calls."""
    made: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(part.text for part in parts if part.text and not part.thought),
    }
    if thought := "".join(part.text for part in parts if part.text and part.thought):
        made["reasoning_content"] = thought
    calls = []
    for part in parts:
        if part.function_call is None:
            continue
        function = part.function_call
        call: dict[str, Any] = {
            "id": ids.called(function.name, function.id),
            "type": "function",
            "function": {"name": function.name, "arguments": encode(function.args or {}).decode()},
        }
        if part.thought_signature:
            call["extra_content"] = {"google": {"thought_signature": _standard(part.thought_signature)}}
        calls.append(call)
    return {**made, "tool_calls": calls} if calls else made


def signature_in(extra: Any) -> str | None:
    """The thought signature that a provider gave with a call."""
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def _result(response: Any) -> str:
    """What a function said: the text under the one name that Google's package gives it, else all as JSON."""
    if isinstance(response, dict) and len(response) == 1:
        (name, said), *_ = response.items()
        if isinstance(said, str):
            return f"Error: {said}" if name == "error" else said
    return response if isinstance(response, str) else encode(response).decode()


def _part(part: _Part) -> dict[str, Any] | None:
    """A part of a user's turn; None for one that is something else."""
    if part.inline_data is not None:
        mime, data = part.inline_data.mime_type, _standard(part.inline_data.data)
        kind, _, form = mime.partition("/")
        if kind == "audio":
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
        url = f"data:{mime};base64,{data}"
        if kind == "image":
            return {"type": "image_url", "image_url": {"url": url}}
        return {"type": "file", "file": {"filename": "file", "file_data": url}}
    if part.file_data is not None:
        return {"type": "image_url", "image_url": {"url": part.file_data.file_uri}}
    return {"type": "text", "text": part.text} if part.text and not part.thought else None


def _standard(data: str) -> str:
    """base64 as it is usual: Google's package writes it for addresses, and without padding."""
    data = data.replace("-", "+").replace("_", "/").rstrip("=")
    return data + "=" * (-len(data) % 4)


# ── tools and how to answer ──


def _tools(request: Generate) -> dict[str, Any]:
    """The functions; tools that run at Google exist nowhere else."""
    declared = [one for tool in request.tools or () for one in tool.function_declarations or ()]
    calling = request.tool_config.function_calling_config if request.tool_config else None
    allowed = (calling.allowed_function_names if calling else None) or []
    if allowed:
        declared = [one for one in declared if one.name in allowed]
    if not declared:
        return {}
    functions: list[dict[str, Any]] = []
    for one in declared:
        schema = one.parameters_json_schema or (json_schema(one.parameters) if one.parameters else None)
        function: dict[str, Any] = {"name": one.name, "parameters": schema or {"type": "object", "properties": {}}}
        functions.append(function if one.description is None else {**function, "description": one.description})
    asked: dict[str, Any] = {"tools": [{"type": "function", "function": function} for function in functions]}
    mode = calling.mode.upper() if calling else "AUTO"
    if mode == "ANY":
        named = {"type": "function", "function": {"name": allowed[0]}} if len(allowed) == 1 else None
        asked["tool_choice"] = named or "required"
    elif calling is not None:
        asked["tool_choice"] = "none" if mode == "NONE" else "auto"
    return asked


_COUNTS = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
_SCHEMAS = {"items", "additionalProperties"}


def json_schema(schema: Any) -> Any:
    """
    A schema of Google's own kind as JSON Schema: types in capitals, ``nullable``, and counts that are texts, since
    protobuf's JSON writes large numbers so.
    """
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "type" and isinstance(value, str):
            made[name] = value.lower()
        elif name == "properties" and isinstance(value, dict):
            made[name] = {key: json_schema(one) for key, one in value.items()}
        elif name == "anyOf" and isinstance(value, list):
            made[name] = [json_schema(one) for one in value]
        elif name in _SCHEMAS:
            made[name] = json_schema(value)
        elif name in _COUNTS and isinstance(value, str) and value.isdecimal():
            made[name] = int(value)
        elif name not in ("nullable", "propertyOrdering"):
            made[name] = value
    if schema.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


def _config(config: _Config) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "max_tokens": whole_number(config.max_output_tokens),
        "temperature": config.temperature,
        "top_p": config.top_p,
        "top_k": whole_number(config.top_k),
        "n": whole_number(config.candidate_count) if (config.candidate_count or 1) > 1 else None,
        "seed": whole_number(config.seed),
        "presence_penalty": config.presence_penalty,
        "frequency_penalty": config.frequency_penalty,
        "stop": config.stop_sequences or None,
        "reasoning_effort": _effort(config.thinking_config),
        "response_format": _format(config),
    }
    return {name: value for name, value in asked.items() if value is not None}


def _effort(thinking: _Thinking | None) -> str | None:
    if thinking is None:
        return None
    if thinking.thinking_level:
        level = thinking.thinking_level.lower()
        return None if level == "thinking_level_unspecified" else level
    budget = thinking.thinking_budget
    return None if budget is None or budget < 0 else effort_of(budget)  # below: as the model sees fit


def _format(config: _Config) -> dict[str, Any] | None:
    if config.response_json_schema is not None or config.response_schema is not None:
        schema = config.response_json_schema or json_schema(config.response_schema)
        return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}
    return {"type": "json_object"} if config.response_mime_type == "application/json" else None
