"""
The neutral request and answer of embeddings: OpenAI's question, and vectors of 32-bit numbers.

Vectors of two models do not fit together, and nothing in them tells who made them. So a source may be asked for some fixed
texts along with the caller's: what it makes of these tells whether it serves the model that it says.
"""

from __future__ import annotations

import math
import sys
from array import array
from base64 import b64decode
from collections.abc import Sequence
from itertools import accumulate, takewhile
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from providers import failures as f
from providers.chat import Fields, Usage, encode

CONTROLS = (
    "The harbour master counted seven boats before the fog came in.",
    "def area(radius): return 3.14159 * radius ** 2",
    "Wie spät fährt der letzte Zug nach Basel?",
)
"""Texts that tell models apart: prose, code, and another language."""

BYTES_PER_TOKEN = 3.0
"""Below what tokenizers reach on prose, code and CJK alike (about 4, 3.5 and 3), so that the estimate errs upward."""


class EmbeddingRequest(Struct, kw_only=True):
    """``POST /v1/embeddings``. *input* is a text, several, or the same as token numbers."""

    input: str | list[str | int | list[int]]
    model: str = "auto"
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    input_type: str | None = None  # NVIDIA's: whether it is a query or a passage
    user: str | None = None

    def __post_init__(self) -> None:
        kinds = {type(item) for item in self.input}
        if not kinds:
            raise ValueError("input: expected a text or a list of them, got nothing")
        if len(kinds) > 1:
            raise ValueError("input: expected texts, numbers or lists of numbers, got several kinds")

    def items(self) -> list[str | list[int]]:
        """What is to be embedded, one item for each vector: texts, or token numbers."""
        if isinstance(self.input, str):
            return [self.input]
        numbers = [item for item in self.input if isinstance(item, int)]
        return [numbers] if numbers else [item for item in self.input if not isinstance(item, int)]


class EmbedRequest(Struct, frozen=True):
    """
    A request for embeddings: understood, and as it was spelled. *prompt_tokens* is an estimate.

    *items* are those that one HTTP request asks for; *controlled*: the last of them are ``CONTROLS``.
    """

    operation: ClassVar[Literal["embed"]] = "embed"

    view: EmbeddingRequest
    fields: Fields
    items: tuple[str | list[int], ...]
    prompt_tokens: int = 0
    output_tokens: int = 0  # none are made
    controlled: bool = False

    @classmethod
    def of(cls, view: EmbeddingRequest, fields: Fields, items: Sequence[str | list[int]]) -> EmbedRequest:
        """The request for *items* that is otherwise spelled as *view* and *fields*."""
        return cls(view, fields, tuple(items), sum(map(tokens_of, items)))

    @property
    def streams(self) -> bool:
        return False

    @property
    def prompts(self) -> list[str]:
        """The caller's own words, which must not be repeated in an error."""
        return [item for item in self.items if isinstance(item, str)]

    def texts(self) -> list[str]:
        """What is to be embedded, where all of it is text. Raises Unsupported for token numbers."""
        texts = self.prompts
        if len(texts) < len(self.items):
            raise f.Unsupported("token numbers are not taken here, only texts").of("token_ids")
        return texts

    def first(self, count: int, tokens: float = math.inf) -> EmbedRequest:
        """The request for the first *count* items, or for fewer that have no more than so many *tokens*, but one at least."""
        sums = accumulate(map(tokens_of, self.items[:count]))
        fitting = max(1, sum(1 for _ in takewhile(lambda sum_: sum_ <= tokens, sums)))
        return self if fitting == len(self.items) else EmbedRequest.of(self.view, self.fields, self.items[:fitting])

    def with_controls(self) -> EmbedRequest:
        """The same, and ``CONTROLS``."""
        more = EmbedRequest.of(self.view, self.fields, (*self.items, *CONTROLS))
        return msgspec.structs.replace(more, controlled=True)


def tokens_of(item: str | list[int]) -> int:
    """An upper estimate from its size."""
    return len(item) if isinstance(item, list) else math.ceil(1 + len(item.encode()) / BYTES_PER_TOKEN)


CONTROL_TOKENS = sum(map(tokens_of, CONTROLS))
"""What the control texts take on top of a caller's."""


class Embeddings(Struct):
    """*vectors* are numbers of 32 bits, the least significant byte first; *model* is called as its provider calls it."""

    vectors: list[bytes]
    model: str = ""
    usage: Usage | None = None


# ── vectors ──


def packed(numbers: Sequence[float]) -> bytes:
    """A vector of *numbers*. Raises NoAnswer for one that has none, or no finite ones."""
    vector = array("f", numbers)
    if not vector or not all(map(math.isfinite, vector)):
        raise f.NoAnswer("a vector without numbers")
    if sys.byteorder == "big":
        vector.byteswap()
    return vector.tobytes()


def numbers(vector: bytes) -> list[float]:
    """The numbers of *vector*."""
    found = array("f", vector)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tolist()


def likeness(one: bytes, other: bytes) -> float:
    """The cosine between two vectors; 0 if they have not the same length, or one has none."""
    if len(one) != len(other):
        return 0.0
    left, right = numbers(one), numbers(other)
    length = math.sqrt(math.fsum(a * a for a in left) * math.fsum(b * b for b in right))
    return math.fsum(a * b for a, b in zip(left, right, strict=True)) / length if length else 0.0


def spelled(vector: bytes) -> Raw:
    """*vector* as a JSON list. Nine digits are what a number of 32 bits needs."""
    return Raw(b"[" + ",".join([f"{number:.9g}" for number in numbers(vector)]).encode() + b"]")


# ── OpenAI's spelling ──


class Vector(Struct):
    """One entry of an answer: numbers, or their bytes in base64."""

    embedding: list[float] | str
    index: int | None = None

    def packed(self) -> bytes:
        """The vector. Raises NoAnswer if it cannot be read."""
        if isinstance(self.embedding, list):
            return packed(self.embedding)
        try:
            return packed(numbers(b64decode(self.embedding, validate=True)))
        except ValueError as exc:
            raise f.NoAnswer(f"a vector that cannot be read: {exc}") from exc


class EmbeddingsBody(Struct, kw_only=True):
    """An answer as it comes over the wire."""

    data: list[Vector]
    model: str = ""
    usage: Usage | None = None

    def vectors(self) -> list[bytes]:
        """In the order of what was asked for, whatever the order that they came in. Raises NoAnswer if some are missing."""
        at = {place if one.index is None else one.index: one for place, one in enumerate(self.data)}
        if set(at) != set(range(len(self.data))):
            raise f.NoAnswer("the indexes of the vectors do not fit")
        return [at[place].packed() for place in range(len(self.data))]


decode_embedding_request = msgspec.json.Decoder(EmbeddingRequest).decode
decode_embeddings = msgspec.json.Decoder(EmbeddingsBody).decode


def asked_for(request: EmbedRequest) -> Raw:
    """What *request* asks for, as the field ``input``."""
    return Raw(encode(list(request.items)))
