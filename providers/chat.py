"""
The neutral request and answer: OpenAI's chat completions, typed as far as anybody here looks.

A request is held twice: as typed values, to be understood, and as raw top-level fields, so that what is only passed
through is never taken apart. Unknown fields are ignored in the first and kept in the second.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

# ── the request ──────────────────────────────────────────────────────────────────────────────────────────────────


class ImageUrl(Struct, omit_defaults=True):
    url: str
    detail: str | None = None


class InputAudio(Struct):
    data: str
    format: str = "wav"


class Part(Struct, omit_defaults=True):
    """One part of a message's content. *type* decides which of the others is there."""

    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: InputAudio | None = None
    refusal: str | None = None
    file: dict[str, Any] | None = None  # these two go out as they came
    video_url: Any = None


class FunctionCall(Struct):
    name: str
    arguments: str = ""


class ToolCall(Struct, omit_defaults=True):
    """A call that the assistant made. *extra_content* carries what a provider wants back (thought signatures)."""

    function: FunctionCall
    id: str = ""
    type: str = msgspec.field(default_factory=lambda: "function")  # never left out: strict providers ask for it
    extra_content: Any = None


class Message(Struct, omit_defaults=True):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning_details: Any = None  # OpenRouter's, which wants them back as they came

    def text(self) -> str:
        """All text of the message, parts joined by line ends."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text is not None)
        return self.content or ""

    def parts(self) -> list[Part]:
        """The content as parts, whichever way it was written."""
        if isinstance(self.content, list):
            return self.content
        return [Part("text", text=self.content)] if self.content else []


class FunctionSpec(Struct, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, omit_defaults=True):
    """A tool on offer. Kinds other than functions (``custom``, …) have no *function*."""

    type: str = "function"
    function: FunctionSpec | None = None


class JsonSchema(Struct, omit_defaults=True):
    name: str = "output"
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(Struct, omit_defaults=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StreamOptions(Struct):
    include_usage: bool | None = None


Tokens = Annotated[int, Meta(ge=-(2**63), le=100_000_000)]
"""No model has more; what is larger is a slip of the keyboard, and arithmetic need not bear it. 0 and less: no bound."""

Answers = Annotated[int, Meta(ge=1, le=128)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class ChatRequest(Struct, kw_only=True):
    """``POST /v1/chat/completions``. Narrow ranges are left to the provider, which knows its own; types are ours."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: str = "auto"
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Int64 | None = None
    n: Answers | None = None
    stop: str | list[str] | None = None
    seed: Int64 | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: Int64 | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    user: str | None = None

    @property
    def output_tokens(self) -> int | None:
        """The caller's bound on the answer's length, in tokens, under either of its names."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def must_call(self) -> bool:
        """Whether an answer without a call of a tool is none."""
        return bool(self.functions()) and (self.tool_choice == "required" or self.forced_tool is not None)

    @property
    def forced_tool(self) -> str | None:
        """The name of the tool that has to be called, if one is named."""
        choice = self.tool_choice
        function = choice.get("function") if isinstance(choice, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        return name if isinstance(name, str) else None

    @property
    def shape(self) -> Literal["json_object", "json_schema"] | None:
        """The kind of JSON that the answer has to be, if it has to."""
        wanted = self.response_format
        return None if wanted is None or wanted.type == "text" else wanted.type

    @property
    def schema(self) -> dict[str, Any]:
        """The schema that JSON has to keep; one without content if none was given."""
        given = self.response_format.json_schema if self.response_format is not None else None
        return (given.schema if given is not None else None) or {}

    def functions(self) -> list[FunctionSpec]:
        """The tools that are functions; other kinds mean nothing to most providers."""
        return [tool.function for tool in self.tools or () if tool.function is not None]


Fields = dict[str, Raw]
"""The request's top-level fields as the caller spelled them."""

decode_request = msgspec.json.Decoder(ChatRequest).decode
decode_fields = msgspec.json.Decoder(Fields).decode
encode = msgspec.json.Encoder().encode


def raw(value: object) -> Raw:
    """*value* as a field of a request."""
    return Raw(encode(value))


# ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────


class PromptDetails(Struct, omit_defaults=True):
    cached_tokens: int | None = None


class CompletionDetails(Struct, omit_defaults=True):
    reasoning_tokens: int | None = None


_MOST = 10**9
"""Tokens beyond which a count is no count any more: it would break what is reckoned with it."""


class Usage(Struct, omit_defaults=True):
    """Token counts, the provider's own. *cost* (US dollars) is there only where the provider states one."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    cost: float | None = None
    estimated_cost: Any = None  # what some behind Hugging Face's router call it

    def __post_init__(self) -> None:
        self.prompt_tokens, self.completion_tokens = min(self.prompt_tokens, _MOST), min(self.completion_tokens, _MOST)
        if not 0 < self.total_tokens < _MOST:
            self.total_tokens = self.prompt_tokens + self.completion_tokens


def summed(usages: Iterable[Usage | None]) -> Usage | None:
    """What several requests took together, as far as it was told; None: of none it was."""
    known = [one for one in usages if one is not None]
    costs = [one.cost for one in known if one.cost is not None]
    if not known:
        return None
    return Usage(
        prompt_tokens=sum(one.prompt_tokens for one in known),
        completion_tokens=sum(one.completion_tokens for one in known),
        cost=sum(costs) if costs else None,
    )


class FunctionDelta(Struct, omit_defaults=True):
    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(Struct, omit_defaults=True):
    index: int | UnsetType | None = UNSET
    id: str | None = None
    type: str | None = None
    function: FunctionDelta | None = None
    extra_content: Any = None


class Delta(Struct, omit_defaults=True):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # the other spelling; never sent on
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(Struct):
    index: int = 0
    delta: Delta = msgspec.field(default_factory=Delta)
    finish_reason: str | None = None


class Chunk(Struct, omit_defaults=True, kw_only=True):
    """One ``chat.completion.chunk``."""

    id: str = ""
    object: Literal["chat.completion.chunk"] | UnsetType = UNSET
    created: int = 0
    model: str = ""
    choices: list[ChunkChoice] = []
    usage: Usage | None = None

    def speaks(self) -> bool:
        """Whether the caller would see something of it: text, reasoning, refusal or a tool call."""
        for choice in self.choices:
            delta = choice.delta
            if delta.content or delta.reasoning_content or delta.reasoning or delta.refusal or delta.tool_calls:
                return True
        return False

    def says(self) -> bool:
        """Whether something of it is an answer: reasoning alone is none."""
        return any(choice.delta.content or choice.delta.tool_calls or choice.delta.refusal for choice in self.choices)

    def ends(self) -> bool:
        """Whether it tells that an answer ended."""
        return any(choice.finish_reason is not None for choice in self.choices)

    def is_cut(self) -> bool:
        """Whether it tells that the answer ended at a bound on its length."""
        return any(choice.finish_reason == "length" for choice in self.choices)


class Step(Struct):
    """A chunk, and the same as bytes in OpenAI's shape, ready to be sent on."""

    chunk: Chunk
    data: bytes


class AnswerMessage(Struct, omit_defaults=True):
    role: str = msgspec.field(default_factory=lambda: "assistant")  # never left out, nor is the next
    content: str | None = msgspec.field(default_factory=lambda: None)
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(Struct):
    message: AnswerMessage
    index: int = 0
    finish_reason: str | None = None


class Completion(Struct, kw_only=True):
    """One ``chat.completion``."""

    id: str = ""
    object: Literal["chat.completion"] = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[Choice] = []
    usage: Usage | None = None

    def says(self) -> bool:
        """Whether it is an answer at all: reasoning alone is none."""
        return any(
            choice.message.content or choice.message.tool_calls or choice.message.refusal for choice in self.choices
        )

    def is_cut(self) -> bool:
        """Whether it ended at a bound on its length."""
        return any(choice.finish_reason == "length" for choice in self.choices)


class Whole(Struct):
    """A completion, and the same as bytes in OpenAI's shape, ready to be sent on."""

    completion: Completion
    data: bytes

    @property
    def usage(self) -> Usage | None:
        return self.completion.usage
