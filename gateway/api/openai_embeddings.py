"""
``POST /v1/embeddings``: texts in, vectors out, always of the one model that was named.

Vectors of two models do not fit into one index, and nothing in them tells which model made them. So a name that may mean
several models is refused, and a call never fails over to another model, only to another provider of the same one.
"""

from __future__ import annotations

import math
from typing import ClassVar

from gateway.api.openai import OpenAISurface, Routing, decoded, routing_of, wants_of
from gateway.api.options import Options
from gateway.catalog.catalog import AUTO
from gateway.request.call import BYTES_PER_TOKEN
from gateway.words import BadRequest, Call
from providers import embeddings as neutral
from providers.chat import Step, decode_fields
from providers.embeddings import EmbedRequest, decode_embedding_request


class Embeddings(OpenAISurface):
    """One request."""

    path: ClassVar[str] = "/v1/embeddings"
    expects: ClassVar[str] = "an embeddings request"

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for, to be served as *options* say. Raises BadRequest, naming the field."""
        view, fields = decoded(decode_embedding_request, body), decoded(decode_fields, body)
        routing = routing_of(body)
        _check_model(routing)
        tokens = math.ceil(len(bytes(fields["input"])) / BYTES_PER_TOKEN)
        return Call(
            id=options.id,
            wants=wants_of(routing, options, operation="embed"),
            request=EmbedRequest(view, fields, tokens),
            prompt_tokens=tokens,
            output_tokens=0,
            deadline=options.deadline,
            client=options.caller,
            priority=options.priority,
            traced=options.traced,
        )

    def render_whole(self, whole: neutral.Embeddings) -> bytes:
        """As it came: the vectors are never taken apart."""
        return whole.data

    def render_event(self, step: Step) -> bytes:
        """Vectors do not come as a stream."""
        raise NotImplementedError


def _check_model(routing: Routing) -> None:
    if routing.models:
        raise BadRequest(
            "models: embeddings are made by one model, for vectors of two do not fit together; name it in 'model'",
            param="models",
        )
    if not routing.model or routing.model == AUTO or routing.model.startswith(f"{AUTO}:"):
        raise BadRequest(
            f"model: {routing.model!r} does not name one model, and vectors of two models do not fit together; name a model that embeds (GET /v1/models lists them), and stay with it for the whole index",
            param="model",
        )
