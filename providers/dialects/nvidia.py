"""
NVIDIA's API catalog: OpenAI's spelling in front of many kinds of inference servers.

How a model is told to reason differs by its family, and errors come in half a dozen shapes: both are configuration.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from providers.chat import Fields, encode
from providers.dialect import HttpRequest, Target
from providers.dialects.openai import OpenAI
from providers.embeddings import EmbedRequest


class Nvidia(OpenAI):
    accepts = frozenset({"chat_template_kwargs"})
    fetches_images: bool = False

    def build_embed(self, target: Target, request: EmbedRequest) -> HttpRequest:
        """Models that tell questions from passages must be told which it is (``input_type``): unless said, a question."""
        built = super().build_embed(target, request)
        fields = msgspec.json.decode(built.body or b"{}", type=Fields)
        fields["input_type"] = request.fields.get("input_type", Raw(b'"query"'))
        return msgspec.structs.replace(built, body=encode(fields))
