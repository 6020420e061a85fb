"""
The neutral request and answer of embeddings: OpenAI's, typed as far as anybody here looks.

The vectors themselves are never taken apart: they are passed on as bytes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from providers.chat import Fields, Usage


class EmbeddingRequest(Struct, kw_only=True):
    """``POST /v1/embeddings``. *input* is a text, several, or the same as token numbers."""

    input: str | list[str | int | list[int]]
    model: str = "auto"
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None

    def __post_init__(self) -> None:
        kinds = {type(item) for item in self.input}
        if not kinds:
            raise ValueError("input: expected a text or a list of them, got nothing")
        if len(kinds) > 1:
            raise ValueError("input: expected texts, numbers or lists of numbers, got several kinds")

    def texts(self) -> list[str]:
        """What is to be embedded, as far as it is text."""
        if isinstance(self.input, str):
            return [self.input]
        return [item for item in self.input if isinstance(item, str)]

    def count(self) -> int:
        """How many vectors are asked for."""
        if isinstance(self.input, str) or (self.input and isinstance(self.input[0], int)):
            return 1
        return len(self.input)


class EmbedRequest(Struct, frozen=True):
    """A request for embeddings: understood, and as it was spelled. *prompt_tokens* is an estimate."""

    operation: ClassVar[Literal["embed"]] = "embed"

    view: EmbeddingRequest
    fields: Fields
    prompt_tokens: int = 0
    output_tokens: int = 0  # none are made

    @property
    def streams(self) -> bool:
        return False

    @property
    def prompts(self) -> list[str]:
        """The caller's own words, which must not be repeated in an error."""
        return self.view.texts()


class Embeddings(Struct):
    """The answer as bytes in OpenAI's shape, ready to be sent on; how many *vectors* it holds, and who made them."""

    data: bytes
    vectors: int
    model: str = ""
    usage: Usage | None = None


class Vector(Struct):
    """One entry of an answer. The numbers are looked at only as far as to see that they are there."""

    embedding: Raw
    index: int = 0


class EmbeddingsBody(Struct, kw_only=True):
    """An answer as it comes over the wire."""

    data: list[Vector]
    model: str = ""
    usage: Usage | None = None


decode_embedding_request = msgspec.json.Decoder(EmbeddingRequest).decode
decode_embeddings = msgspec.json.Decoder(EmbeddingsBody).decode
