"""Embeddings as providers spell them: OpenAI, NVIDIA, Hugging Face, Gemini's and Ollama's own API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from providers import failures as f
from providers.chat import Usage, encode, raw
from providers.dialect import HttpRequest, HttpResponse, Target
from providers.embeddings import Embeddings, EmbedRequest, asked_for, decode_embeddings, packed
from providers.operations.codec import post


class OpenAIEmbeddings:
    """``POST /embeddings``."""

    def build(self, target: Target, request: EmbedRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        """A number of dimensions that cannot be had is refused: vectors of another length cannot be compared."""
        dropped = target.account.spec.drop
        if request.view.dimensions is not None and "dimensions" in dropped:
            raise f.Unsupported("the number of dimensions cannot be chosen here").of("dimensions")
        fields = {"model": raw(target.model), "input": asked_for(request), "encoding_format": raw("float")}
        if request.view.dimensions is not None:
            fields["dimensions"] = raw(request.view.dimensions)
        self.adapt(fields, request)
        for name in dropped:
            fields.pop(name, None)
        return HttpRequest("POST", url, dict(headers), encode(fields))

    def adapt(self, fields: dict[str, msgspec.Raw], request: EmbedRequest) -> None:
        """Change *fields* to what this provider wants."""

    def read(self, target: Target, request: EmbedRequest, response: HttpResponse) -> Embeddings:
        found = decode_embeddings(response.body)
        return _whole(request, found.vectors(), found.model or target.model, found.usage)


class NvidiaEmbeddings(OpenAIEmbeddings):
    """Models that tell questions from passages must be told which it is: unless said, a question."""

    def adapt(self, fields: dict[str, msgspec.Raw], request: EmbedRequest) -> None:
        fields["input_type"] = raw(request.view.input_type or "query")


class _Values(Struct):
    values: list[float]


class _GoogleBody(Struct):
    embeddings: list[_Values]


class GoogleEmbeddings:
    """``:batchEmbedContents`` of the Gemini API, which counts no tokens (Google AI documentation, 2026-11)."""

    def build(self, target: Target, request: EmbedRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        name = f"models/{target.model}"
        size: dict[str, Any] = (
            {} if request.view.dimensions is None else {"outputDimensionality": request.view.dimensions}
        )
        asked = [{"model": name, "content": {"parts": [{"text": text}]}, **size} for text in request.texts()]
        return post(url, headers, {"requests": asked})

    def read(self, target: Target, request: EmbedRequest, response: HttpResponse) -> Embeddings:
        found = msgspec.json.decode(response.body, type=_GoogleBody)
        return _whole(request, [packed(one.values) for one in found.embeddings], target.model, None)


class _OllamaBody(Struct):
    embeddings: list[list[float]]
    model: str = ""
    prompt_eval_count: int | None = None


class OllamaEmbeddings:
    """``POST /api/embed`` (``api/types.go`` of Ollama, 2026-08). A text that is too long is refused and not cut."""

    def build(self, target: Target, request: EmbedRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        body: dict[str, Any] = {"model": target.model, "input": request.texts(), "truncate": False}
        if request.view.dimensions is not None:
            body["dimensions"] = request.view.dimensions
        return post(url, headers, body)

    def read(self, target: Target, request: EmbedRequest, response: HttpResponse) -> Embeddings:
        found = msgspec.json.decode(response.body, type=_OllamaBody)
        count = found.prompt_eval_count
        usage = None if count is None else Usage(prompt_tokens=count, total_tokens=count)
        return _whole(request, [packed(one) for one in found.embeddings], found.model or target.model, usage)


class HuggingFaceEmbeddings:
    """
    ``feature-extraction`` of hf-inference: a vector for each text, and nothing else (huggingface.js, tasks, 2026-11). Token by
    token, as some models answer, they are no vectors of texts. A text that is too long is refused and not cut.
    """

    def build(self, target: Target, request: EmbedRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:  # noqa: ARG002
        if request.view.dimensions is not None:
            raise f.Unsupported("the number of dimensions cannot be chosen here").of("dimensions")
        return post(url, headers, {"inputs": request.texts(), "normalize": True, "truncate": False})

    def read(self, target: Target, request: EmbedRequest, response: HttpResponse) -> Embeddings:
        found = msgspec.json.decode(response.body, type=list[list[float]])
        return _whole(request, [packed(one) for one in found], target.model, None)


def _whole(request: EmbedRequest, vectors: Sequence[bytes], model: str, usage: Usage | None) -> Embeddings:
    """All that *request* asked for. Raises NoAnswer if some are missing, or of another length than it wanted."""
    if len(vectors) != len(request.items):
        raise f.NoAnswer(f"{len(vectors)} vectors for {len(request.items)} texts")
    lengths = {len(vector) // 4 for vector in vectors}
    if len(lengths) > 1 or not lengths <= {request.view.dimensions or min(lengths)}:
        raise f.NoAnswer(
            f"vectors of {sorted(lengths)} numbers, where {request.view.dimensions or 'one length'} was asked for"
        )
    return Embeddings(list(vectors), model, usage)
