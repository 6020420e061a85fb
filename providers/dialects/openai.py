"""
Chat completions as OpenAI spells them: what most providers speak, what is spoken inside, and the base of most others.

A chunk is sent on byte for byte where nothing in it must change; only those with another spelling are rewritten.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from providers import errors
from providers import failures as f
from providers.chat import AnswerMessage, Choice, Chunk, Completion, Message, Step, ToolCall, Whole, encode, raw
from providers.dialect import Account, Discovery, HttpRequest, HttpResponse, Listed, Listing, Operation, Request, Target
from providers.embeddings import Embeddings, EmbedRequest, decode_embeddings
from providers.lenient import decodable, decode_leniently
from providers.listing import first_tokens_of, object_of, read_entries, strings_of, tokens_of
from providers.observations import Headers, Observation, from_headers
from providers.reasoning import ReasoningSplitter, split_reasoning

PASSED = frozenset(
    {
        "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "n",
        "parallel_tool_calls", "presence_penalty", "reasoning_effort", "response_format", "seed", "stop",
        "temperature", "tool_choice", "top_logprobs", "top_p",
    }
)  # fmt: skip
"""Fields that mean the same to every provider. What else a caller sends stays here: an unknown field is never a 400."""

EMBED_PASSED = frozenset({"dimensions", "encoding_format", "input", "user"})
"""What of a request for embeddings is sent on; what a provider refuses of it is dropped by its configuration."""

SERVICE_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})
"""The tiers that OpenAI's SDKs accept in an answer."""


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


class OpenAI:
    """The lingua franca. Subclasses override what differs, usually ``adapt``, ``classify`` and ``list_model``."""

    framing: Literal["sse", "lines"] = "sse"
    operations: frozenset[Operation] = frozenset({"chat", "embed"})
    accepts: frozenset[str] = frozenset()  # fields beyond PASSED that this provider understands

    def headers(self, account: Account) -> dict[str, str]:
        headers = {"content-type": "application/json", **account.spec.headers}
        if account.key:
            headers["authorization"] = f"Bearer {account.key}"
        return headers

    def build(self, target: Target, request: Request) -> HttpRequest:
        spec, view = target.account.spec, request.view
        fields = {k: v for k, v in request.fields.items() if k in PASSED or k in self.accepts}
        for old, new in spec.rename.items():
            if old in fields:
                value = fields.pop(old)
                fields.setdefault(new, value)
        fields["model"] = raw(target.model)
        fields["messages"] = raw([self.message(message) for message in view.messages])
        functions = view.functions()
        if functions:
            fields["tools"] = raw([{"type": "function", "function": function} for function in functions])
        else:
            for name in ("tool_choice", "parallel_tool_calls"):
                fields.pop(name, None)
        if view.stream:
            fields["stream"] = Raw(b"true")
            fields["stream_options"] = Raw(b'{"include_usage":true}')
        for name in spec.drop:
            fields.pop(name, None)
        for name, value in spec.defaults.items():
            if name not in fields:
                fields[name] = raw(value)
        self.adapt(fields, target, request)
        url = f"{target.account.base_url}/chat/completions"
        return HttpRequest("POST", url, self.headers(target.account), encode(fields))

    def message(self, message: Message) -> Message:
        """*message* with only what every provider takes: clients replay fields that strict ones refuse."""
        role: Any = "system" if message.role == "developer" else message.role
        calls = [ToolCall(call.function, call.id) for call in message.tool_calls or ()] or None
        return Message(role, message.content, message.name, calls, message.tool_call_id)

    def adapt(self, fields: dict[str, Raw], target: Target, request: Request) -> None:
        """Change *fields* to what this provider wants."""

    # ── embeddings ──

    def build_embed(self, target: Target, request: EmbedRequest) -> HttpRequest:
        """A number of dimensions that cannot be had is refused: vectors of another length cannot be compared."""
        dropped = target.account.spec.drop
        if request.view.dimensions is not None and "dimensions" in dropped:
            raise f.Unsupported("the number of dimensions cannot be chosen here").of("dimensions")
        fields = {
            name: value
            for name, value in request.fields.items()
            if name in EMBED_PASSED and name not in dropped and bytes(value) != b"null"
        }
        fields["model"] = raw(target.model)
        url = f"{target.account.base_url}/embeddings"
        return HttpRequest("POST", url, self.headers(target.account), encode(fields))

    def read_embed(self, target: Target, request: EmbedRequest, body: bytes) -> Embeddings:
        try:
            found = decode_embeddings(body)
        except msgspec.DecodeError as exc:
            told = errors.read_error(body)
            if told.error.get("error") or told.codes:
                raise self.in_band(target.account, body) from exc
            raise f.Unreachable(f"the answer is not a list of embeddings: {exc}") from exc
        if len(found.data) != request.view.count():
            raise f.NoAnswer(f"{len(found.data)} vectors for {request.view.count()} texts")
        return Embeddings(body, len(found.data), found.model or target.model, found.usage)

    # ── answers ──

    def read(self, target: Target, request: Request, body: bytes) -> Whole:  # noqa: ARG002
        try:
            found, body = decode_leniently(body, _decode_completion, "chat.completion")
        except msgspec.DecodeError as exc:
            raise f.Unreachable(f"the answer is not a chat completion: {exc}") from exc
        if found.error is not UNSET and found.error is not None:
            raise self.in_band(target.account, body)
        for choice in found.choices:
            if choice.finish_reason == "error":
                raise self.in_band(target.account, body)
        splits = any(_has_inline_reasoning(target, choice.message) for choice in found.choices)
        renamed = any(choice.message.reasoning is not None for choice in found.choices)
        foreign_tier = found.service_tier is not UNSET and found.service_tier not in SERVICE_TIERS
        unfinished = any(not choice.finish_reason for choice in found.choices)
        if not (splits or renamed or foreign_tier or unfinished):
            return Whole(found, body)
        edited = msgspec.json.decode(body)
        for choice, seen in zip(edited["choices"], found.choices, strict=True):
            _edit(choice, seen, target)
        if foreign_tier:
            del edited["service_tier"]
        body = encode(edited)
        return Whole(msgspec.json.decode(body, type=Completion), body)

    def reader(self, target: Target, request: Request) -> OpenAIReader:  # noqa: ARG002
        return OpenAIReader(self, target)

    def in_band(self, account: Account, body: bytes) -> f.ProviderFailure:
        """The failure in a body that came with status 200: its own code is the status, where it has one."""
        answer = msgspec.json.decode(body)
        error = answer.get("error") or next((c["error"] for c in answer.get("choices") or () if c.get("error")), None)
        code = str(error.get("code")) if isinstance(error, dict) else ""
        status = int(code) if code.isdigit() and 400 <= int(code) < 600 else 502
        return self.classify(
            account, HttpResponse(status, {}, encode({"error": error or "the provider gave up midway"}))
        )

    def classify(self, account: Account, response: HttpResponse) -> f.ProviderFailure:
        return errors.classify(account, response)

    def observe(self, account: Account, headers: Headers) -> tuple[Observation, ...]:
        return from_headers(account.spec.limit_headers, headers)

    # ── the model list ──

    def discover(self, account: Account) -> Discovery:
        spec, listed, skipped = account.spec, tuple[Listed, ...](), 0
        if spec.listed_at:
            listed, skipped = self.list_models(account, (yield self.get(account, spec.listed_at)))
        known = {model.id for model in listed}
        static = tuple(Listed(id=model) for model in spec.static_models if model not in known)
        return Listing((*listed, *static), skipped=skipped)

    def get(self, account: Account, path: str) -> HttpRequest:
        return HttpRequest("GET", f"{account.base_url}{path}", self.headers(account))

    def list_models(self, account: Account, response: HttpResponse) -> tuple[tuple[Listed, ...], int]:
        """
        The entries of a list, without aliases of one another, and how many cannot be read.

        Raises a ProviderFailure if it is no list.
        """
        if response.status >= 400:
            raise self.classify(account, response)
        try:
            found = msgspec.json.decode(decodable(response.body))
        except (msgspec.DecodeError, RecursionError) as exc:
            raise f.Unreachable(f"the model list cannot be read: {exc!r}") from exc
        aliases: set[str] = set()  # a model under another name, whose quota is the same one

        def read(entry: dict[str, Any]) -> Listed | None:
            if entry["id"] in aliases:
                return None
            model = self.list_model(entry)
            if model is not None:
                aliases.update(strings_of(entry.get("aliases")))
            return model

        return read_entries(object_of(found).get("data"), read)

    def list_model(self, entry: dict[str, Any]) -> Listed | None:
        """
        One entry; None leaves it out. Many providers add the sizes under one of these names.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` for one that cannot be read.
        """
        sizes = (entry.get(name) for name in ("context_window", "context_length", "max_context_length"))
        return Listed(
            id=entry["id"], context=first_tokens_of(*sizes), max_output=tokens_of(entry.get("max_completion_tokens"))
        )


class OpenAIReader:
    """Reads one stream of chunks."""

    def __init__(self, dialect: OpenAI, target: Target) -> None:
        self._dialect = dialect
        self._target = target
        self._ended = False
        self._open: set[int] = set()
        self._closed: set[int] = set()
        self._calls: dict[tuple[int, str], int] = {}
        self._splitters: dict[int, ReasoningSplitter] = {}

    def finished(self) -> bool:
        return bool(self._closed) and self._open <= self._closed

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
            raise self._dialect.in_band(self._target.account, event)
        if isinstance(chunk.x_groq, dict) and chunk.x_groq.get("error"):
            raise f.Unreachable(str(chunk.x_groq["error"]))
        for choice in chunk.choices:
            self._open.add(choice.index)
            if choice.finish_reason == "error":
                raise self._dialect.in_band(self._target.account, event)
            if choice.finish_reason:  # some write "" where OpenAI writes null: no reason yet
                self._closed.add(choice.index)
        if self._may_pass(chunk):
            return [Step(chunk, event)]
        return self._rewritten(event)

    def _may_pass(self, chunk: _WireChunk) -> bool:
        passes = chunk.service_tier is UNSET or chunk.service_tier in SERVICE_TIERS
        for choice in chunk.choices:
            delta = choice.delta
            splitter = self._splitter_of(choice.index)
            if delta.reasoning or delta.reasoning_content:
                splitter.comes_apart()
            unplaced = any(not isinstance(call.index, int) for call in delta.tool_calls or ())
            if (
                unplaced
                or delta.reasoning is not None
                or choice.finish_reason == ""
                or splitter.concerned(delta.content)
            ):
                passes = False
        return passes

    def _splitter_of(self, choice: int) -> ReasoningSplitter:
        splitter = self._splitters.get(choice)
        if splitter is None:
            splitter = self._splitters[choice] = ReasoningSplitter(self._target.opens_in_reasoning)
        return splitter

    def _rewritten(self, event: bytes) -> list[Step]:
        edited = msgspec.json.decode(event)
        if edited.get("service_tier") not in SERVICE_TIERS:
            edited.pop("service_tier", None)
        for choice in edited.get("choices", ()):
            delta = choice.get("delta") or {}
            choice["finish_reason"] = choice.get("finish_reason") or None
            _rename_reasoning(delta)
            self._split(choice.get("index", 0), delta, choice.get("finish_reason"))
            for call in delta.get("tool_calls") or ():
                if call.get("index") is None:
                    call["index"] = self._index_of(choice.get("index", 0), call)
        data = encode(edited)
        return [Step(msgspec.json.decode(data, type=Chunk), data)]

    def _split(self, choice: int, delta: dict[str, Any], finish: str | None) -> None:
        """Take the thought out of what *delta* says."""
        splitter = self._splitter_of(choice)
        if not splitter.concerned(delta.get("content")):
            return
        thought, said = splitter.feed(delta.get("content") or "", last=finish is not None, cut=finish == "length")
        delta["content"] = said
        if thought:
            delta["reasoning_content"] = thought

    def _index_of(self, choice: int, call: dict[str, Any]) -> int:
        """A tool call's place, for those who leave it out: a new id is a new call."""
        key = (choice, call.get("id") or "")
        if not key[1] and self._calls:
            return max(place for (of, _), place in self._calls.items() if of == choice)
        return self._calls.setdefault(key, sum(1 for of, _ in self._calls if of == choice))


def _edit(choice: dict[str, Any], seen: Choice, target: Target) -> None:
    """Spell *choice* as OpenAI does; *seen* is the same, typed."""
    message = choice["message"]
    if not seen.finish_reason:  # the body came to its end, and so did the answer
        choice["finish_reason"] = "tool_calls" if seen.message.tool_calls else "stop"
    _rename_reasoning(message)
    if _has_inline_reasoning(target, seen.message):
        thought, message["content"] = split_reasoning(
            message["content"], "</think>" in message["content"] or target.opens_in_reasoning,
            cut=seen.finish_reason == "length",
        )  # fmt: skip
        if thought:
            message["reasoning_content"] = thought


def _has_inline_reasoning(target: Target, message: AnswerMessage) -> bool:
    """Whether the content holds a thought. A model that merely writes about the tag is left alone."""
    content = message.content
    if not content or message.reasoning_content or message.reasoning:
        return False
    if target.opens_in_reasoning or content.lstrip().startswith("<think>"):
        return True
    return "</think>" in content and "reasoning" in target.capabilities


def _rename_reasoning(message: dict[str, Any]) -> None:
    """Reasoning has two names in the field; what we send on has one."""
    if "reasoning" in message:
        thought = message.pop("reasoning")
        if thought and not message.get("reasoning_content"):
            message["reasoning_content"] = thought
