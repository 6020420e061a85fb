"""
``POST /v1/embeddings``: texts in, vectors out, always of the one model that was named.

Vectors of two models do not fit into one index, and nothing in them tells which model made them. So a name that may mean
several models is refused, and a call never fails over to another model, only to another provider of the same one.
"""

from __future__ import annotations

from typing import ClassVar

from gateway.api.openai import OpenAISurface, decoded, embed_call, routing_of
from gateway.api.options import Options
from gateway.words import Call
from providers import embeddings as neutral
from providers.chat import Step, decode_fields
from providers.embeddings import decode_embedding_request


class Embeddings(OpenAISurface):
    """One request."""

    path: ClassVar[str] = "/v1/embeddings"
    expects: ClassVar[str] = "an embeddings request"

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for, to be served as *options* say. Raises BadRequest, naming the field."""
        view, fields = decoded(decode_embedding_request, body), decoded(decode_fields, body)
        return embed_call(view, fields, routing_of(body), options)

    def render_whole(self, whole: neutral.Embeddings) -> bytes:
        """As it came: the vectors are never taken apart."""
        return whole.data

    def render_event(self, step: Step) -> bytes:
        """Vectors do not come as a stream."""
        raise NotImplementedError
