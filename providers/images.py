"""The neutral request and answer of making pictures: OpenAI's, as far as free sources go."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from providers.chat import Fields, Usage
from providers.embeddings import BYTES_PER_TOKEN

_SIZE = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})")
USUAL = 1024
"""Pixels of a side, where the caller says nothing."""


class PictureRequest(Struct, kw_only=True):
    """``POST /v1/images/generations``. *size* is ``WIDTHxHEIGHT`` in pixels, or ``auto``."""

    prompt: Annotated[str, Meta(min_length=1)]
    model: str = "auto"
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    user: str | None = None

    def __post_init__(self) -> None:
        if self.size not in (None, "auto") and not _SIZE.fullmatch(self.size or ""):
            raise ValueError(f"size: expected WIDTHxHEIGHT, like 1024x1024, got {self.size!r}")

    def pixels(self) -> tuple[int, int]:
        """Width and height."""
        found = _SIZE.fullmatch(self.size or "")
        return (int(found[1]), int(found[2])) if found else (USUAL, USUAL)


class ImageRequest(Struct, frozen=True):
    """A request for *count* pictures, one at a time, understood, and as it was spelled. *prompt_tokens* is an estimate."""

    operation: ClassVar[Literal["image"]] = "image"

    view: PictureRequest
    fields: Fields
    count: int = 1
    prompt_tokens: int = 0
    output_tokens: int = 0  # a picture is not made of them

    @classmethod
    def of(cls, view: PictureRequest, fields: Fields) -> ImageRequest:
        return cls(view, fields, view.n or 1, math.ceil(len(view.prompt.encode()) / BYTES_PER_TOKEN))

    @property
    def streams(self) -> bool:
        return False

    def after(self, sent: ImageRequest) -> ImageRequest | None:  # noqa: ARG002 - whoever made one made one
        """What is left once one picture was made."""
        return replace(self, count=self.count - 1) if self.count > 1 else None

    @property
    def prompts(self) -> list[str]:
        """The caller's own words, which must not be repeated in an error."""
        return [self.view.prompt]


class Pictures(Struct):
    """Pictures, each as the base64 text of its file."""

    base64: list[str]
    model: str = ""
    usage: Usage | None = None

    @classmethod
    def joined(cls, parts: Sequence[tuple[ImageRequest, Pictures]]) -> Pictures:
        """Those of several requests, one after another."""
        return cls([one for _, made in parts for one in made.base64], parts[-1][1].model)


decode_picture_request = msgspec.json.Decoder(PictureRequest).decode
