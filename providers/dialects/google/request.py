"""
Requests as the Gemini API spells them (``models.generateContent``; Google AI documentation, 2026-11).

An assistant is a ``model``, what a tool said comes from the ``user``, and turns alternate.
"""

from __future__ import annotations

import mimetypes
import re
from typing import Any
from urllib.parse import urlsplit

from providers.chat import ChatRequest, FunctionSpec, Message, Part, ToolCall
from providers.dialect import Request, Target
from providers.failures import CallersFault
from providers.parameters import EFFORTS, nearest, reasoning_of
from providers.tool_names import ToolNames
from providers.translation import arguments_of, image_of, not_carried, stops_of

NO_SIGNATURE = "skip_thought_signature_validator"
"""
What stands for the thought signature of a call that has none, because another model made it or the caller lost it.

Gemini 3 refuses a step whose first call has no signature; this value is documented for such history ("Thought
signatures", https://ai.google.dev/gemini-api/docs/thought-signatures, frequently asked questions, 2026-08).
"""

BLANK = " "
"""A turn that says nothing: an empty text is refused, and a turn left out changes whose the next one is."""

TAKEN = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}\Z")
"""Names of functions that Gemini takes (its refusal of others says so; 21st-dev/magic-mcp#34)."""

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
"""Several candidates are asked for no more: newer models refuse candidateCount (CodeBoarding/CodeBoarding#485, 2026-08)."""

_SEEDS = 0x7FFF_FFFF  # a seed is an int32 there

_BUDGETS = {
    "none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576,
}  # fmt: skip
"""
What ``reasoning_effort`` means before Gemini 3: a budget in tokens ("OpenAI compatibility",
https://ai.google.dev/gemini-api/docs/openai, 2026-09). Since then there are levels, which differ by model: configuration.
"""


def body_of(target: Target, request: Request) -> dict[str, Any]:
    """
    The body that asks *target* for *request*.

    Raises Unsupported for content that cannot be sent, CallersFault for a conversation that makes no sense.
    """
    view, names = request.view, names_of(request)
    instruction = "\n\n".join(filter(None, (m.text() for m in view.messages if _instructs(m))))
    contents = _contents(target.model, view.messages, names)
    body: dict[str, Any] = {"contents": contents}
    if instruction and (not contents or target.model.startswith("gemma-3")):
        # Nothing else is asked, or the model takes no instruction ("Developer instruction is not enabled").
        _add(contents, "user", [{"text": instruction}], first=True)
    elif instruction:
        body["systemInstruction"] = {"parts": [{"text": instruction}]}
    if not contents:
        raise CallersFault("the conversation is empty")
    if contents[0]["role"] == "model":  # a call, say, must come after a turn of the user's
        _add(contents, "user", [{"text": BLANK}], first=True)
    _add_tools(body, view, names)
    config = _generation_config(target, request)
    if config:
        body["generationConfig"] = config
    return body


# ── the conversation ──


def _instructs(message: Message) -> bool:
    return message.role in ("system", "developer")


def names_of(request: Request) -> ToolNames:
    """The names of *request*'s tools as Gemini takes them."""
    return ToolNames((function.name for function in request.view.functions()), TAKEN)


def _contents(model: str, messages: list[Message], tools: ToolNames) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # of the functions called so far, by the call's id
    for message in messages:
        if _instructs(message):
            continue
        if message.role == "assistant":
            parts = [_part(part) for part in message.parts() if part.text != ""]
            calls = message.tool_calls or []
            names.update({call.id: tools.sent(call.function.name) for call in calls})
            _add(contents, "model", parts + [_call(model, call, place, tools) for place, call in enumerate(calls)])
        elif message.role in ("tool", "function"):
            _add(contents, "user", _result(message, names, tools))
        else:
            parts = [_part(part) for part in message.parts() if part.text != ""]
            _add(contents, "user", parts or [{"text": BLANK}])
    return contents


def _add(contents: list[dict[str, Any]], role: str, parts: list[dict[str, Any]], *, first: bool = False) -> None:
    """Add a turn, or its parts to its neighbour's of the same role: turns alternate, and none is empty."""
    if not parts:
        return
    neighbour = contents[0 if first else -1] if contents else None
    if neighbour is None or neighbour["role"] != role:
        contents.insert(0 if first else len(contents), {"role": role, "parts": parts})
    elif first:
        neighbour["parts"] = parts + neighbour["parts"]
    else:
        neighbour["parts"] += parts


def _part(part: Part) -> dict[str, Any]:
    if part.type in ("text", "refusal"):
        return {"text": part.text or part.refusal or ""}
    if part.type == "image_url" and part.image_url is not None:
        return _media(part.image_url if isinstance(part.image_url, str) else part.image_url.url)
    if part.type == "input_audio" and part.input_audio is not None:
        return {"inlineData": {"mimeType": f"audio/{part.input_audio.format}", "data": part.input_audio.data}}
    if part.type == "file" and part.file is not None and isinstance(part.file.get("file_data"), str):
        return _media(part.file["file_data"])
    if part.type == "video_url" and isinstance(part.video_url, dict) and isinstance(part.video_url.get("url"), str):
        return _media(part.video_url["url"])
    raise not_carried(part)


def _media(url: str) -> dict[str, Any]:
    """
    What is at *url*: inline, or at a public address, which Google fetches itself (File input methods page, 2026-09).

    Raises Unsupported for an address that is not encrypted.
    """
    if url[:8].lower() == "https://":
        mime, _ = mimetypes.guess_type(urlsplit(url).path)
        return {"fileData": {"fileUri": url, **({"mimeType": mime} if mime else {})}}
    inline = image_of(url)
    return {"inlineData": {"mimeType": inline.mime, "data": inline.data}}


def _call(model: str, call: ToolCall, place: int, tools: ToolNames) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tools.sent(call.function.name), "args": arguments_of(call.function)}
    if call.id:
        function["id"] = call.id
    part: dict[str, Any] = {"functionCall": function}
    signature = signature_of(call)
    if signature is None and place == 0 and _wants_signatures(model):
        signature = NO_SIGNATURE  # of calls made at once, only the first has one
    if signature is not None:
        part["thoughtSignature"] = signature
    return part


def signature_of(call: ToolCall) -> str | None:
    """The thought signature that a replayed call carries."""
    google = call.extra_content.get("google") if isinstance(call.extra_content, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def _wants_signatures(model: str) -> bool:
    return model.startswith("gemini-") and not model.startswith(("gemini-1", "gemini-2"))


def _result(message: Message, names: dict[str, str], tools: ToolNames) -> list[dict[str, Any]]:
    """
    What a tool said, under ``output``, as Google's SDK names it.

    It stays the text that it is, also where it looks like JSON: as structure some of it would mean something else to
    Gemini (``$ref`` is a picture beside it; vercel/ai#14369).
    """
    name = names.get(message.tool_call_id or "") or (tools.sent(message.name) if message.name else None)
    if not name:
        raise CallersFault("a tool message answers no call of this conversation")
    response: dict[str, Any] = {"name": name, "response": {"output": message.text()}}
    if message.tool_call_id:
        response["id"] = message.tool_call_id
    media = [_part(part) for part in message.parts() if part.type != "text"]
    return [{"functionResponse": response}, *media]


# ── tools ──


def _add_tools(body: dict[str, Any], view: ChatRequest, names: ToolNames) -> None:
    functions = view.functions()
    if not functions:
        return
    declarations = []
    for name, function in _once(functions, names).items():
        declaration: dict[str, Any] = {"name": name}
        if function.description:
            declaration["description"] = function.description
        if function.parameters:
            declaration["parametersJsonSchema"] = _schema(function.parameters)
        declarations.append(declaration)
    body["tools"] = [{"functionDeclarations": declarations}]
    choice = _tool_choice(view.tool_choice, names)
    if choice is not None:
        body["toolConfig"] = {"functionCallingConfig": choice}


def _once(functions: list[FunctionSpec], names: ToolNames) -> dict[str, FunctionSpec]:
    """Each function under the name that it is sent by, which must be there once."""
    found: dict[str, FunctionSpec] = {}
    for function in functions:
        found.setdefault(names.sent(function.name), function)
    return found


def _tool_choice(choice: str | dict[str, Any] | None, names: ToolNames) -> dict[str, Any] | None:
    modes = {"none": "NONE", "auto": "AUTO", "required": "ANY"}
    if choice is None or isinstance(choice, str):
        return {"mode": modes[choice]} if choice in modes else None
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise CallersFault("tool_choice names no function")
    return {"mode": "ANY", "allowedFunctionNames": [names.sent(name)]}


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """*schema* without the mark of its draft, which Google refuses."""
    return {key: value for key, value in schema.items() if key != "$schema"}


# ── how to answer ──


def _generation_config(target: Target, request: Request) -> dict[str, Any]:
    view, spec = request.view, target.account.spec
    config: dict[str, Any] = {}
    for name, theirs in _SAMPLING.items():
        value = getattr(view, name)
        if value is not None and name not in spec.dropped(target.model):
            config[theirs] = value
    if view.output_tokens is not None:
        config["maxOutputTokens"] = view.output_tokens
    if view.seed is not None:
        config["seed"] = view.seed & _SEEDS
    stops = [stop for stop in stops_of(view.stop) if stop]
    if stops:
        config["stopSequences"] = stops
    wanted = view.response_format
    if wanted is not None and wanted.type != "text":
        config["responseMimeType"] = "application/json"
        if wanted.json_schema is not None and wanted.json_schema.schema is not None:
            config["responseJsonSchema"] = _schema(wanted.json_schema.schema)
    thinking = _thinking(target, view.reasoning_effort)
    if thinking:
        config["thinkingConfig"] = thinking
    for name, value in spec.defaults.items():
        config.setdefault(name, value)
    return config


def _thinking(target: Target, effort: str | None) -> dict[str, Any]:
    if "reasoning" not in target.capabilities:
        return {}
    thinking: dict[str, Any] = {"includeThoughts": True}
    if target.model.startswith("gemini-2"):
        if effort in _BUDGETS:
            thinking["thinkingBudget"] = _BUDGETS[effort]
            thinking["includeThoughts"] = effort != "none"
    elif effort in EFFORTS and (level := nearest(effort, reasoning_of(target).efforts)):
        thinking["thinkingLevel"] = level.upper()
    return thinking
