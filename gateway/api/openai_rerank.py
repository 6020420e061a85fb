"""``POST /v1/rerank``: which of some documents answer a question best, in the shape that Cohere and Jina share."""

from __future__ import annotations

from typing import Any, ClassVar

from gateway.api.neutral import Unrendered
from gateway.api.openai import OpenAISurface, decoded, other_call, routing_of
from gateway.api.options import Options
from gateway.words import Call
from providers.chat import decode_fields, encode
from providers.reranking import Ranking, RerankRequest, decode_ranking_request


class Rerank(OpenAISurface, Unrendered):
    """One request."""

    path: ClassVar[str] = "/v1/rerank"
    expects: ClassVar[str] = "a rerank request"

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for. Raises BadRequest, naming the field."""
        view, fields = decoded(decode_ranking_request, body), decoded(decode_fields, body)
        self._id = options.id
        self._documents = view.texts() if view.return_documents else None
        return other_call(RerankRequest.of(view, fields), routing_of(body), options)

    def render_whole(self, whole: Ranking) -> bytes:
        """The documents, best first, by their index."""
        results: list[dict[str, Any]] = [
            {"index": one.index, "relevance_score": one.relevance_score} for one in whole.results
        ]
        if self._documents is not None:
            results = [one | {"document": {"text": self._documents[one["index"]]}} for one in results]
        return encode(
            {"id": self._id, "model": whole.model, "results": results, "meta": {"api_version": {"version": "2"}}}
        )


class RerankV2(Rerank):
    """The same at Cohere's newer address."""

    path: ClassVar[str] = "/v2/rerank"
