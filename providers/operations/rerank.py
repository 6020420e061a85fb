"""Reranking as providers spell it: Cohere, NVIDIA, Cloudflare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from providers import failures as f
from providers.dialect import HttpRequest, HttpResponse, Target
from providers.operations.codec import post
from providers.reranking import Ranked, Ranking, RerankRequest


class _CohereBody(Struct):
    results: list[Ranked]


class CohereRanking:
    """``POST /v2/rerank`` (Cohere's API reference, 2026-08)."""

    def build(self, target: Target, request: RerankRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        body: dict[str, Any] = {"model": target.model, "query": request.view.query, "documents": request.view.texts()}
        return post(url, headers, body)

    def read(self, target: Target, request: RerankRequest, response: HttpResponse) -> Ranking:
        return _whole(target, request, msgspec.json.decode(response.body, type=_CohereBody).results)


class _Logit(Struct):
    index: int
    logit: float


class _NvidiaBody(Struct):
    rankings: list[_Logit]


class NvidiaRanking:
    """NVIDIA's ``reranking``, which answers with logits (langchain-nvidia-ai-endpoints 1.5.0, 2026-10)."""

    def build(self, target: Target, request: RerankRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        passages = [{"text": text} for text in request.view.texts()]
        body = {"model": target.model, "query": {"text": request.view.query}, "passages": passages, "truncate": "END"}
        return post(url, headers, body)

    def read(self, target: Target, request: RerankRequest, response: HttpResponse) -> Ranking:
        found = msgspec.json.decode(response.body, type=_NvidiaBody).rankings
        return _whole(target, request, [Ranked(one.index, _sigmoid(one.logit)) for one in found])


class _Scored(Struct):
    id: int
    score: float


class _Response(Struct):
    response: list[_Scored]


class _CloudflareBody(Struct):
    result: _Response


class CloudflareRanking:
    """``/ai/run`` with a reranker (Workers AI model pages, 2026-09)."""

    def build(self, target: Target, request: RerankRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:  # noqa: ARG002
        contexts = [{"text": text} for text in request.view.texts()]
        return post(url, headers, {"query": request.view.query, "contexts": contexts})

    def read(self, target: Target, request: RerankRequest, response: HttpResponse) -> Ranking:
        found = msgspec.json.decode(response.body, type=_CloudflareBody).result.response
        return _whole(target, request, [Ranked(one.id, one.score) for one in found])


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))


def _whole(target: Target, request: RerankRequest, found: Iterable[Ranked]) -> Ranking:
    """All documents, best first, as many as are wanted. Raises NoAnswer if some are missing, or a score is no number."""
    ranked = sorted(found, key=lambda one: (-one.relevance_score, one.index))
    count = len(request.view.documents)
    if {one.index for one in ranked} != set(range(count)) or not all(
        math.isfinite(one.relevance_score) for one in ranked
    ):
        raise f.NoAnswer(f"a ranking of {len(ranked)} documents, where {count} were given")
    return Ranking(ranked[: request.view.top_n], target.model)
