"""Every spelling of every operation that is not chat, by what configuration calls it."""

from __future__ import annotations

from collections.abc import Mapping
from posixpath import normpath
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from msgspec import Struct

from providers.dialect import HttpRequest, HttpResponse, OtherRequest, Target
from providers.embeddings import EmbedRequest
from providers.failures import TooLarge
from providers.moderation import ModerateRequest
from providers.operations.codec import Codec
from providers.operations.embed import (
    GoogleEmbeddings,
    HuggingFaceEmbeddings,
    NvidiaEmbeddings,
    OllamaEmbeddings,
    OpenAIEmbeddings,
)
from providers.operations.image import CloudflareImages, OpenAIImages, PollinationsImages
from providers.operations.moderate import (
    CloudflareModerations,
    GuardModerations,
    MistralModerations,
    PolicyModerations,
)
from providers.operations.rerank import CloudflareRanking, CohereRanking, NvidiaRanking
from providers.operations.speak import GoogleSpeech, OpenAISpeech
from providers.operations.transcribe import CloudflareTranscripts, CohereTranscripts, OpenAITranscripts
from providers.reranking import RerankRequest
from providers.sound import TranscribeRequest
from providers.spec import Operation, OperationSpelling, ProviderSpec

CODECS: Mapping[tuple[Operation, str], Codec] = {
    ("embed", "openai"): OpenAIEmbeddings(),
    ("embed", "nvidia"): NvidiaEmbeddings(),
    ("embed", "google"): GoogleEmbeddings(),
    ("embed", "huggingface"): HuggingFaceEmbeddings(),
    ("embed", "ollama"): OllamaEmbeddings(),
    ("rerank", "cohere"): CohereRanking(),
    ("rerank", "nvidia"): NvidiaRanking(),
    ("rerank", "cloudflare"): CloudflareRanking(),
    ("image", "openai"): OpenAIImages(),
    ("image", "cloudflare"): CloudflareImages(),
    ("image", "pollinations"): PollinationsImages(),
    ("transcribe", "openai"): OpenAITranscripts(),
    ("transcribe", "cohere"): CohereTranscripts(),
    ("transcribe", "cloudflare"): CloudflareTranscripts(),
    ("speak", "openai"): OpenAISpeech(),
    ("speak", "google"): GoogleSpeech(),
    ("moderate", "mistral"): MistralModerations(),
    ("moderate", "guard"): GuardModerations(),
    ("moderate", "cloudflare"): CloudflareModerations(),
    ("moderate", "policy"): PolicyModerations(),
}


class Spoken(Struct, frozen=True):
    """An operation as one provider spells it, and where; one request takes *most* items, or bytes of a recording."""

    codec: Codec
    at: str
    most: int | None = None

    def build(self, target: Target, request: OtherRequest, headers: Mapping[str, str]) -> HttpRequest:
        """See ``Codec.build``. Raises TooLarge, too, for more than one request takes."""
        amount = _amount(request)
        if self.most is not None and amount > self.most:
            raise TooLarge(f"{amount}, where one request takes {self.most} (items, or bytes of a recording)")
        return self.codec.build(target, request, self.at.replace("{model}", quote(target.model, safe="@/")), headers)

    def read(self, target: Target, request: OtherRequest, response: HttpResponse) -> Any:
        """See ``Codec.read``."""
        return self.codec.read(target, request, response)


def _amount(request: OtherRequest) -> int:
    """Of what a source takes only so much at a time: texts, documents, or bytes of a recording."""
    if isinstance(request, EmbedRequest):
        return len(request.items)
    if isinstance(request, ModerateRequest):
        return len(request.texts)
    if isinstance(request, RerankRequest):
        return len(request.view.documents)
    return request.recording.size if isinstance(request, TranscribeRequest) else 0


def spoken(spec: ProviderSpec, base_url: str) -> dict[Operation, Spoken]:
    """What the provider of *spec* can be asked for beside chat. Raises ValueError for a spelling that there is not."""
    found: dict[Operation, Spoken] = {}
    for operation, row in spec.operation.items():
        codec = CODECS.get((operation, row.style))
        if codec is None:
            known = ", ".join(style for kind, style in CODECS if kind == operation) or "none"
            raise ValueError(f"operation.{operation}.style: expected one of {known}, got {row.style!r}")
        found[operation] = Spoken(codec, _at(base_url, row), row.most)
    return found


def _at(base_url: str, row: OperationSpelling) -> str:
    """Where *row* says, below *base_url*, or, from ``../`` on, beside it."""
    parts = urlsplit(base_url)
    host = row.hosts.get(parts.netloc, parts.netloc)
    return urlunsplit(parts._replace(netloc=host, path=normpath(f"{parts.path}/{row.at.lstrip('/')}")))
