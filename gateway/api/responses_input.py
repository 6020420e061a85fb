"""
What a request of the Responses API says, as a chat request: items become messages, and nothing is sent from here.

    reasoning · assistant's message · function_call, in a row  →  one assistant message
    function_call_output                                       →  one tool message
    any other message                                          →  one message of its role

What no source takes is dropped and named (tools that are no functions, their traces in the history); what cannot be
understood without something that is not here is refused, naming the field.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Raw, Struct

from gateway.api.seal import unsealed
from gateway.words import BadRequest
from providers import chat
from providers.chat import FunctionCall, ImageUrl, InputAudio, Message, ToolCall

# ── as it is spelled ──


class Piece(Struct):
    """A part of a message, of a tool's result, or of a summary."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: str | ImageUrl | None = None
    detail: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None
    input_audio: InputAudio | None = None


class Item(Struct):
    """One item of an input, or of an output that is replayed. *type* decides which of the others is there."""

    type: str | None = None
    id: str | None = None
    role: str | None = None
    content: str | list[Piece] | None = None
    summary: list[Piece] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None  # of a custom tool's call
    output: str | list[Piece] | None = None


class Format(Struct):
    type: str = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Text(Struct):
    format: Format | None = None


class Reasoning(Struct):
    effort: str | None = None


class Function(Struct):
    """A tool. Only *type* counts if that is no function."""

    type: str = "function"
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    function: chat.FunctionSpec | None = None  # the spelling of chat completions

    def spec(self) -> chat.FunctionSpec | None:
        if self.type != "function":
            return None
        if self.function is not None:
            return self.function
        return chat.FunctionSpec(self.name, self.description, self.parameters, self.strict) if self.name else None


class Ask(Struct, kw_only=True):
    """The fields that this API spells in its own way."""

    input: str | list[Item] | None = None
    instructions: str | list[Item] | None = None
    tools: list[Function] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: float | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    store: bool | None = None
    model: str | None = None

    def items(self) -> list[Item]:
        return _items(self.input)

    def references(self) -> list[str]:
        """Ids of items that are meant and not sent."""
        return [item.id for item in self.items() if item.type == "item_reference" and item.id]


decode_ask = msgspec.json.Decoder(Ask).decode
decode_items = msgspec.json.Decoder(str | list[Item] | None).decode

_SAME = (
    "model", "models", "provider", "session_id", "prompt_cache_key", "stream", "temperature", "top_p", "top_k", "seed",
    "stop", "presence_penalty", "frequency_penalty", "user",
)  # fmt: skip
"""Fields that a chat request has under the same name."""


# ── as it is sent ──


class Understood(Struct):
    """
    A chat request's *fields*, the functions that were on offer, the *tool_choice* as this API spells it, and what was
    *dropped*, by its type.
    """

    fields: dict[str, Any]
    functions: list[chat.FunctionSpec]
    tool_choice: str | dict[str, Any]
    dropped: tuple[str, ...]


def understood(ask: Ask, fields: dict[str, Raw], items: Sequence[Item]) -> Understood:
    """
    What *ask* means, whose *fields* are as they were spelled and whose history and input together are *items*.

    Raises BadRequest, naming the field.
    """
    dropped = _unkept(ask, items)
    made: dict[str, Any] = {name: fields[name] for name in _SAME if name in fields}
    messages = _instructions(ask.instructions) + _messages(items, dropped)
    if not messages:
        raise _refused("input", "nothing in it is said to a model")
    made["messages"] = messages
    if ask.max_output_tokens is not None and ask.max_output_tokens >= 1:
        made["max_tokens"] = int(ask.max_output_tokens)
    if ask.reasoning is not None and ask.reasoning.effort is not None:
        made["reasoning_effort"] = ask.reasoning.effort
    if ask.text is not None and ask.text.format is not None:
        made["response_format"] = _response_format(ask.text.format)
    functions = _functions(ask.tools or (), dropped)
    if functions:
        made |= _tool_fields(ask.tool_choice, functions)
        if "parallel_tool_calls" in fields:
            made["parallel_tool_calls"] = fields["parallel_tool_calls"]
    return Understood(made, functions, _told_choice(ask.tool_choice), tuple(dict.fromkeys(dropped)))


def _unkept(ask: Ask, items: Sequence[Item]) -> list[str]:
    """
    What *ask* names that is not kept here, and that it can be understood without; else raises BadRequest. There is
    something to answer.
    """
    unkept = []
    if ask.conversation is not None:
        if ask.previous_response_id is None:
            raise _refused("conversation", "none is kept here: send previous_response_id, or all of the input")
        unkept.append("conversation")
    if ask.prompt is not None:
        if not items:
            raise _refused("prompt", "templates are not kept here: send the text as instructions and input")
        unkept.append("prompt")
    if not items:
        raise _refused("input", "expected a text, or a list with at least one item")
    return unkept


def _functions(tools: Iterable[Function], dropped: list[str]) -> list[chat.FunctionSpec]:
    functions = []
    for tool in tools:
        if (spec := tool.spec()) is not None:
            functions.append(spec)
        else:
            dropped.append(tool.type)
    return functions


def _tool_fields(choice: str | dict[str, Any] | None, functions: list[chat.FunctionSpec]) -> dict[str, Any]:
    """The tools, and which of them may or must be called."""
    offered, said = functions, choice
    if isinstance(choice, dict):
        kind, name = choice.get("type"), choice.get("name")
        nested = choice.get("function")
        if kind == "allowed_tools":
            tools = choice.get("tools")
            names = {tool.get("name") for tool in tools if isinstance(tool, dict)} if isinstance(tools, list) else set()
            offered = [spec for spec in functions if spec.name in names] or functions
            said = "required" if choice.get("mode") == "required" else "auto"
        elif kind == "function" and (isinstance(name, str) or isinstance(nested, dict)):
            said = {"type": "function", "function": nested if isinstance(nested, dict) else {"name": name}}
        elif kind in ("auto", "none", "required", "any"):
            said = str(kind)
        else:
            said = None  # a tool that was dropped
    if said == "any":
        said = "required"
    fields: dict[str, Any] = {"tools": [{"type": "function", "function": spec} for spec in offered]}
    return fields if said is None else {**fields, "tool_choice": said}


def _told_choice(given: str | dict[str, Any] | None) -> str | dict[str, Any]:
    """The choice among tools, as far as there was one."""
    if isinstance(given, dict):
        return given if given.get("type") in ("function", "allowed_tools") else "auto"
    return "required" if given == "any" else given or "auto"


def _response_format(asked: Format) -> dict[str, Any]:
    if asked.type != "json_schema":
        return {"type": asked.type}
    schema: dict[str, Any] = {"name": asked.name or "output", "schema": asked.schema or {}}
    if asked.strict is not None:
        schema["strict"] = asked.strict
    return {"type": "json_schema", "json_schema": schema}


def _instructions(given: str | list[Item] | None) -> list[Message]:
    if not given:
        return []
    if isinstance(given, str):
        return [Message("system", given)]
    return _messages(given, [])


def _items(given: str | list[Item] | None) -> list[Item]:
    if isinstance(given, str):
        return [Item("message", role="user", content=given)] if given else []
    return given or []


def items_of(given: bytes) -> list[Item]:
    """The items of an ``input`` as it was spelled."""
    return _items(decode_items(given))


# ── items ──


def _messages(items: Iterable[Item], dropped: list[str]) -> list[Message]:
    """The conversation that *items* are. Raises BadRequest, naming the item."""
    messages = _Messages()
    for place, item in enumerate(items):
        kind = item.type or "message"
        if kind == "message" and item.role != "assistant":
            messages.add(Message(_role(item.role, place), _content(item.content, f"input[{place}].content")))
        elif kind == "message":
            messages.say(_spoken(item.content))
        elif kind == "reasoning":
            messages.think(item)
        elif kind in ("function_call", "custom_tool_call"):
            messages.call(item)
        elif kind in ("function_call_output", "custom_tool_call_output"):
            result = _content(item.output, f"input[{place}].output")
            messages.add(Message("tool", result if result is not None else "", tool_call_id=item.call_id))
        else:
            dropped.append(kind)
    return messages.made


class _Messages:
    """Messages as they grow: what an assistant does in a row is one."""

    def __init__(self) -> None:
        self.made: list[Message] = []
        self._signatures: dict[str, Any] = {}

    def add(self, message: Message) -> None:
        self.made.append(message)

    def say(self, text: str) -> None:
        message = self._assistant()
        message.content = f"{message.content}\n{text}" if message.content else text

    def think(self, item: Item) -> None:
        text = "\n\n".join(filter(None, (piece.text for piece in item.summary or ())))
        if not text and isinstance(item.content, list):
            text = "\n\n".join(filter(None, (piece.text for piece in item.content)))
        carried = unsealed(item.encrypted_content)
        if not text and not carried:
            return  # another maker's secret means nothing here
        message = self._assistant()
        if text:
            message.reasoning_content = f"{message.reasoning_content}\n\n{text}" if message.reasoning_content else text
        if isinstance(details := carried.get("details"), list):
            message.reasoning_details = [*(message.reasoning_details or ()), *details]
        if isinstance(signatures := carried.get("calls"), dict):
            self._signatures |= signatures

    def call(self, item: Item) -> None:
        arguments = item.arguments
        if arguments is None:
            arguments = chat.encode({"input": item.input or ""}).decode() if item.type == "custom_tool_call" else "{}"
        given = item.call_id or item.id or ""
        call = ToolCall(FunctionCall(item.name or "", arguments), given, extra_content=self._signatures.get(given))
        message = self._assistant()
        message.tool_calls = [*(message.tool_calls or ()), call]

    def _assistant(self) -> Message:
        if not self.made or self.made[-1].role != "assistant":
            self.made.append(Message("assistant"))
        return self.made[-1]


def _role(given: str | None, place: int) -> Any:
    if given in ("system", "developer", "user"):
        return given
    if given in ("critic", "discriminator", "unknown"):  # in the schema, and nothing says what they mean
        return "user"
    raise _refused(f"input[{place}].role", f"expected user, assistant, system or developer, got {given!r}")


def _spoken(content: str | list[Piece] | None) -> str:
    """What the assistant said, refusals included."""
    if isinstance(content, list):
        return "".join(piece.text or piece.refusal or "" for piece in content)
    return content or ""


def _content(content: str | list[Piece] | None, where: str) -> str | list[chat.Part] | None:
    """As a message has it: text alone as one text."""
    if not isinstance(content, list):
        return content
    parts = [_part(piece, where) for piece in content]
    if all(part.type == "text" for part in parts):
        return "\n".join(part.text or "" for part in parts)
    return parts


def _part(piece: Piece, where: str) -> chat.Part:
    kind = piece.type or "input_text"
    if kind in ("input_image", "image_url", "image"):
        return _image(piece, where)
    if kind in ("input_file", "file"):
        return _file(piece, where)
    if kind == "input_audio":
        if piece.input_audio is None:
            raise _refused(where, "a part 'input_audio' has no input_audio")
        return chat.Part("input_audio", input_audio=piece.input_audio)
    text = piece.text if piece.text is not None else piece.refusal
    if text is None:
        raise _refused(where, f"a part of type {kind!r} means nothing here: send input_text, input_image or input_file")
    return chat.Part("text", text=text)


def _image(piece: Piece, where: str) -> chat.Part:
    given = piece.image_url
    if given is None or not (url := given if isinstance(given, str) else given.url):
        raise _refused(where, "an image comes as image_url, a data URL or an address; files are not kept here")
    detail = piece.detail if piece.detail in ("low", "high", "auto") else None
    return chat.Part("image_url", image_url=ImageUrl(url, detail))


def _file(piece: Piece, where: str) -> chat.Part:
    """A file that is text as text, which every model reads; another as it is, for the models that take files."""
    if not piece.file_data:
        raise _refused(where, "a file comes as file_data; files are not kept here, and none is fetched by its address")
    name = piece.filename or "file"
    text = _text_of(piece.file_data)
    if text is not None:
        return chat.Part("text", text=f"File {name}:\n\n{text}")
    return chat.Part("file", file={"filename": name, "file_data": piece.file_data})


def _text_of(data: str) -> str | None:
    """The text that *data* holds, which is a data URL or base64; None if it is none."""
    head, comma, body = data.partition(",")
    encoded = head.endswith(";base64") if comma and head.startswith("data:") else True
    body = body if comma and head.startswith("data:") else data
    try:
        found = base64.b64decode(body, validate=True) if encoded else unquote_to_bytes(body)
        text = found.decode()
    except (binascii.Error, ValueError):
        return None
    return None if "\0" in text or text.startswith("%PDF-") else text


def _refused(field: str, why: str) -> BadRequest:
    return BadRequest(f"{field}: {why}", param=field)
