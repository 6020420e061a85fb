"""
``POST /v1/embeddings``: texts in, vectors out, always of one model.

Vectors of two models do not fit into one index, and nothing in them tells which model made them. So a call never fails over
to another model, only to another provider of the same one; what it means by ``auto`` stays the same for its client.
"""

from __future__ import annotations

from base64 import b64encode
from typing import ClassVar

from gateway.api.openai import OpenAISurface, decoded, embed_call, routing_of
from gateway.api.options import Options
from gateway.words import Call
from providers import embeddings as neutral
from providers.chat import Step, decode_fields, encode
from providers.embeddings import decode_embedding_request, spelled


class Embeddings(OpenAISurface):
    """One request."""

    path: ClassVar[str] = "/v1/embeddings"
    expects: ClassVar[str] = "an embeddings request"

    def __init__(self) -> None:
        self._base64 = False

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for, to be served as *options* say. Raises BadRequest, naming the field."""
        view, fields = decoded(decode_embedding_request, body), decoded(decode_fields, body)
        self._base64 = view.encoding_format == "base64"
        return embed_call(view, fields, routing_of(body), options)

    def render_whole(self, whole: neutral.Embeddings) -> bytes:
        """The vectors as numbers, or as their bytes, as they were asked for."""
        tokens = whole.usage.prompt_tokens if whole.usage is not None else 0
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": b64encode(vector).decode() if self._base64 else spelled(vector),
            }
            for index, vector in enumerate(whole.vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return encode({"object": "list", "data": data, "model": whole.model, "usage": usage})

    def render_event(self, step: Step) -> bytes:
        """Vectors do not come as a stream."""
        raise NotImplementedError
