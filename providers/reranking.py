"""The neutral request and answer of reranking: Cohere's and Jina's, which Open WebUI speaks."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from providers.chat import Fields, Usage
from providers.embeddings import BYTES_PER_TOKEN


class Document(Struct):
    """A text in an object, as some clients send it."""

    text: str


class RankingRequest(Struct, kw_only=True):
    """``POST /v1/rerank``: the *documents*, of which the *top_n* that answer *query* best are wanted; None: all."""

    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[str | Document], Meta(min_length=1)]
    model: str = "auto"
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None

    def texts(self) -> list[str]:
        """The documents as texts."""
        return [one if isinstance(one, str) else one.text for one in self.documents]


class RerankRequest(Struct, frozen=True):
    """A request for a ranking, understood, and as it was spelled. *prompt_tokens* is an estimate."""

    operation: ClassVar[Literal["rerank"]] = "rerank"

    view: RankingRequest
    fields: Fields
    prompt_tokens: int = 0
    output_tokens: int = 0  # none are made

    @classmethod
    def of(cls, view: RankingRequest, fields: Fields) -> RerankRequest:
        """The query is read anew with each document."""
        texts = view.texts()
        size = sum(len(text.encode()) for text in texts) + len(texts) * len(view.query.encode())
        return cls(view, fields, math.ceil(size / BYTES_PER_TOKEN))

    @property
    def streams(self) -> bool:
        return False

    @property
    def prompts(self) -> list[str]:
        """The caller's own words, which must not be repeated in an error."""
        return [self.view.query, *self.view.texts()]


class Ranked(Struct):
    """A document, by its index in the request, and how well it answers: higher is better."""

    index: int
    relevance_score: float


class Ranking(Struct):
    """The documents, best first."""

    results: list[Ranked]
    model: str = ""
    usage: Usage | None = None


decode_ranking_request = msgspec.json.Decoder(RankingRequest).decode
