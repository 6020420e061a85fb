"""
The Gemini API: ``models.generateContent``, ``streamGenerateContent``, ``countTokens``, ``embedContent`` and
``batchEmbedContents``, and the list of models, under ``/v1beta`` and under ``/v1``.

Source: "Gemini API reference" (https://ai.google.dev/api, 2026-11). What is asked of which model is in the path, whether an
answer is a stream of events or a JSON array in the query. Google's packages spell fields in camel case, its examples also
in snake case; both are read.
"""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import parse_qs

from litestar import HttpMethod, Request, Response, Router, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp

from gateway.api import gemini_request as read
from gateway.api.auth import Authenticator
from gateway.api.http import Host, Ready, Surface, serving
from gateway.api.neutral import (
    Abilities,
    StreamedAnswer,
    Unrendered,
    WholeCall,
    abilities_of,
    all_served,
    chat_of,
    embed_of,
    serving_as,
    vectors_of,
)
from gateway.api.openai import event
from gateway.api.options import Options
from gateway.api.turns import encoded
from gateway.request.engine import Engine
from gateway.words import BadRequest, Call, GatewayError, TooLong, UnknownModel
from providers.chat import AnswerMessage, Step, Usage, Whole, encode
from providers.embeddings import Embeddings

PREFIXES = ("/v1beta/models", "/v1/models")
_READ = [HttpMethod.GET, HttpMethod.HEAD]

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_FINISH = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}


def render_error(error: GatewayError) -> bytes:
    """``{error: {code, message, status}}``, with Google's ``RetryInfo`` where it is known when to come back."""
    message = error.message
    if isinstance(error, TooLong) and error.longest:
        message = (
            f"The input token count ({error.tokens}) exceeds the maximum number of tokens allowed ({error.longest})."
        )
    told: dict[str, Any] = {
        "code": error.status,
        "message": message,
        "status": _STATUS.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL"),
    }
    if error.retry_after is not None:
        delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{error.retry_after:.0f}s"}
        told["details"] = [delay]
    return encode({"error": told})


class _Surface(Unrendered):
    """What all verbs share."""

    path: ClassVar[str] = "/v1beta/models"
    expects: ClassVar[str] = "a request of the Gemini API"

    def __init__(self) -> None:
        self.stream_type, self.comment = "", b""
        self._model = ""

    def render_error(self, error: GatewayError) -> bytes:
        return render_error(error)

    def render_broken(self, error: GatewayError) -> bytes:
        return render_error(error)


class GenerateContent(_Surface):
    """One request, answered whole."""

    streams: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._id, self._thinks = "", False
        self._usage: Usage | None = None

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for. Raises BadRequest, naming the field."""
        request = read.request_of(body)
        self._id, self._model = options.id, model_of(options.address)
        self._thinks = request.shows_thoughts()
        asked = {"model": self._model, "stream": self.streams, **read.neutral(request)}
        return chat_of(asked, options, hides_reasoning=not self._thinks)

    def render_whole(self, whole: Whole) -> bytes:
        found = whole.completion
        self._model, self._usage = found.model or self._model, found.usage
        candidates = []
        for choice in found.choices:
            message = choice.message
            parts = self._parts(message.content or message.refusal, message.reasoning_content, _calls(message))
            finish = "SAFETY" if message.refusal else _FINISH.get(choice.finish_reason or "", "STOP")
            candidates.append(_candidate(choice.index, parts, finish))
        return encode(self._answer(candidates, last=True))

    def _parts(self, text: str | None, thought: str | None, calls: list[WholeCall]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        if thought and self._thinks:
            parts.append({"text": thought, "thought": True})
        if text:
            parts.append({"text": text})
        for call in calls:
            part: dict[str, Any] = {"functionCall": {"id": call.id, "name": call.name, "args": call.input()}}
            if signature := read.signature_in(call.extra):
                part["thoughtSignature"] = signature
            parts.append(part)
        return parts

    def _answer(self, candidates: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
        answer: dict[str, Any] = {"candidates": candidates, "modelVersion": self._model, "responseId": self._id}
        if last and self._usage is not None:
            answer["usageMetadata"] = _usage(self._usage)
        return answer


class StreamGenerateContent(GenerateContent):
    """The same as a stream: of events with ``alt=sse``, else of the members of a JSON array."""

    streams: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._sse, self._began = False, False
        self._calls = StreamedAnswer()
        self._finish: dict[int, str] = {}
        self.comment = b"\n"

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for. Raises BadRequest, naming the field."""
        self._sse = parse_qs(options.query).get("alt", [""])[-1] == "sse"
        self.stream_type = "text/event-stream; charset=utf-8" if self._sse else "application/json"
        self.comment = b": waiting\n\n" if self._sse else b"\n"
        return super().parse(body, options)

    def render_event(self, step: Step) -> bytes:
        chunk = step.chunk
        self._model, self._usage = chunk.model or self._model, chunk.usage or self._usage
        self._calls.add(chunk)
        candidates = []
        for choice in chunk.choices:
            delta = choice.delta
            if choice.finish_reason or delta.refusal:
                self._finish[choice.index] = (
                    "SAFETY" if delta.refusal else _FINISH.get(choice.finish_reason or "", "STOP")
                )
            if parts := self._parts(delta.content or delta.refusal, delta.reasoning_content, []):
                candidates.append(_candidate(choice.index, parts))
        return self._member(encode(self._answer(candidates, last=False))) if candidates else b""

    def render_end(self) -> bytes:
        """The calls, which are whole only now, the reason to finish and the usage; then the end."""
        candidates = [
            _candidate(index, self._parts(None, None, self._calls.take(index)) or [{"text": ""}], finish)
            for index, finish in sorted((self._finish or {0: "STOP"}).items())
        ]
        last = self._member(encode(self._answer(candidates, last=True)))
        return last if self._sse else last + b"]"

    def render_broken(self, error: GatewayError) -> bytes:
        """As the last member: no end is pretended."""
        told = self._member(render_error(error))
        return told if self._sse else told + b"]"

    def _member(self, data: bytes) -> bytes:
        if self._sse:
            return event(data)
        before = b",\r\n" if self._began else b"["
        self._began = True
        return before + data


def _calls(message: AnswerMessage) -> list[WholeCall]:
    return [
        WholeCall(call.id, call.function.name, call.function.arguments, call.extra_content)
        for call in message.tool_calls or ()
    ]


def _candidate(index: int, parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": index}
    return candidate if finish is None else {**candidate, "finishReason": finish}


def _usage(usage: Usage) -> dict[str, int]:
    """Tokens in Google's words, where those of thoughts are counted apart."""
    thought = usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else None
    cached = usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None
    thought = min(thought or 0, usage.completion_tokens)
    told = {
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": usage.completion_tokens - thought,
        "totalTokenCount": usage.total_tokens,
    }
    return (
        told
        | ({"thoughtsTokenCount": thought} if thought else {})
        | ({"cachedContentTokenCount": cached} if cached else {})
    )


class CountTokens(_Surface):
    """How long a request is: an upper estimate, for each model counts otherwise."""

    def parse(self, body: bytes, options: Options) -> Ready:
        """The count itself."""
        asked = {"model": model_of(options.address), **read.neutral(read.counted(body))}
        return Ready(encode({"totalTokens": chat_of(asked, options).prompt_tokens}))


class EmbedContent(_Surface):
    """One text, one vector."""

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for. Raises BadRequest, naming the field."""
        texts, dimensions = read.embedded(body)
        return embed_of(model_of(options.address), texts, dimensions, options)

    def render_whole(self, whole: Any) -> bytes:
        found: Embeddings = whole
        return encode({"embedding": {"values": vectors_of(found)[0]}})


class BatchEmbedContents(_Surface):
    """A vector for each text."""

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for. Raises BadRequest, naming the field."""
        texts, dimensions = read.embedded_at_once(body)
        return embed_of(model_of(options.address), texts, dimensions, options)

    def render_whole(self, whole: Any) -> bytes:
        found: Embeddings = whole
        return encode({"embeddings": [{"values": vector} for vector in vectors_of(found)]})


class _NoVerb(_Surface):
    """An address that ends in no verb that is served."""

    def parse(self, body: bytes, options: Options) -> Call:  # noqa: ARG002 - one signature for all
        """Nothing."""
        error = BadRequest(f"there is no POST …/{options.address[:200]} here; the verbs are {', '.join(_VERBS)}")
        error.status = 404
        raise error


_VERBS: dict[str, type[Surface]] = {
    "generateContent": GenerateContent,
    "streamGenerateContent": StreamGenerateContent,
    "countTokens": CountTokens,
    "embedContent": EmbedContent,
    "batchEmbedContents": BatchEmbedContents,
}


def model_of(address: str) -> str:
    """The model in *address*, which is what follows ``models/``: ``NAME:verb``, where a name may hold colons, too."""
    return address.rpartition(":")[0]


# ── the list of models ──


def _entry(name: str, found: Abilities) -> dict[str, Any]:
    methods = (["generateContent", "streamGenerateContent", "countTokens"] if "chat" in found.operations else []) + (
        ["embedContent", "batchEmbedContents"] if "embed" in found.operations else []
    )
    entry: dict[str, Any] = {
        "name": f"models/{name}",
        "version": "1",
        "displayName": name,
        "supportedGenerationMethods": methods,
        "thinking": "reasoning" in found.capabilities,
    }
    sizes = {"inputTokenLimit": found.context, "outputTokenLimit": found.max_output}
    return entry | {key: size for key, size in sizes.items() if size is not None}


@route(PREFIXES[0], http_method=_READ)
async def models(
    request: Request[Any, Any, Any], engine: NamedDependency[Engine], authenticator: NamedDependency[Authenticator]
) -> Response[bytes]:
    """Every model that can be asked for now."""
    client = authenticator.admit(request.scope["headers"], request.scope["query_string"])
    served = await all_served(engine, client)
    rows = (_entry(name, abilities_of(deployments)) for name, deployments in served.items())
    return Response(await encoded("models", rows), media_type="application/json")


@route(PREFIXES[0] + "/{model:path}", http_method=_READ)
async def model(
    request: Request[Any, Any, Any],
    engine: NamedDependency[Engine],
    authenticator: NamedDependency[Authenticator],
    model: FromPath[str],
) -> dict[str, Any]:
    """One of them."""
    client = authenticator.admit(request.scope["headers"], request.scope["query_string"])
    name = model.removeprefix("/")
    served = serving_as(name, engine, client)
    if not served:
        raise UnknownModel(f"models/{name} is not found", param="model")
    return _entry(name, abilities_of(served))


def router(host: Host) -> Router:
    """The routes. What is asked of a model shares its path with the list of models, which is read by other methods."""
    answers = {verb: serving(surface, host) for verb, surface in _VERBS.items()}
    none = serving(_NoVerb, host)

    async def by_verb(scope: Any, receive: Any, send: Any) -> None:
        verb = str(scope["path_params"]["asked"]).rpartition(":")[2]
        await answers.get(verb, none)(scope, receive, send)

    @post([f"{prefix}/{{asked:path}}" for prefix in PREFIXES])
    async def ask() -> ASGIApp:
        return by_verb

    return Router("/", route_handlers=[models, model, ask])
