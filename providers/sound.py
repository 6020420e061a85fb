"""
The neutral requests and answers of sound: OpenAI's.

A recording stays in its file: it is sent from there, and never held whole.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct

from providers.chat import Fields, Usage
from providers.embeddings import BYTES_PER_TOKEN

Shape = Literal["json", "text", "srt", "vtt", "verbose_json"]


class Recording(Struct, frozen=True):
    """A file with sound. *seconds* is how long it plays, or an upper estimate where its format does not tell."""

    path: Path
    name: str
    media_type: str
    size: int
    seconds: float


class TranscriptionRequest(Struct, kw_only=True):
    """The fields of ``POST /v1/audio/transcriptions`` and ``/v1/audio/translations`` beside the file."""

    model: str = "auto"
    language: str | None = None  # ISO 639-1: what is spoken
    prompt: str | None = None
    response_format: Shape = "json"
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    timestamp_granularities: tuple[Literal["word", "segment"], ...] = ()


class TranscribeRequest(Struct, frozen=True):
    """A *recording* to be written down, or, if *translates*, to be written down in English."""

    operation: ClassVar[Literal["transcribe"]] = "transcribe"

    view: TranscriptionRequest
    recording: Recording
    translates: bool = False
    fields: Fields = {}  # none beside the form's
    prompt_tokens: int = 0
    output_tokens: int = 0  # sound is counted in seconds

    @property
    def streams(self) -> bool:
        return False

    @property
    def prompts(self) -> list[str]:
        """The caller's own words, which must not be repeated in an error."""
        return [self.view.prompt] if self.view.prompt else []


class Piece(Struct):
    """What was said between two moments, in seconds from the beginning."""

    start: float
    end: float
    text: str = ""
    word: str = ""

    def said(self) -> str:
        return (self.text or self.word).strip()


class Transcript(Struct):
    """What was said. *language* and *pieces* are there where the source tells them."""

    text: str
    language: str = ""
    duration: float = 0.0
    segments: list[Piece] = []
    words: list[Piece] = []
    model: str = ""
    usage: Usage | None = None


class SpeechRequest(Struct, kw_only=True):
    """``POST /v1/audio/speech``."""

    input: Annotated[str, Meta(min_length=1, max_length=20_000)]
    model: str = "auto"
    voice: str | None = None
    instructions: str | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None


class SpeakRequest(Struct, frozen=True):
    """A request to read a text aloud, understood, and as it was spelled. *prompt_tokens* is an estimate."""

    operation: ClassVar[Literal["speak"]] = "speak"

    view: SpeechRequest
    fields: Fields
    prompt_tokens: int = 0
    output_tokens: int = 0  # sound is not made of them

    @classmethod
    def of(cls, view: SpeechRequest, fields: Fields) -> SpeakRequest:
        return cls(view, fields, math.ceil(len(view.input.encode()) / BYTES_PER_TOKEN))

    @property
    def streams(self) -> bool:
        return False

    @property
    def prompts(self) -> list[str]:
        """The caller's own words, which must not be repeated in an error."""
        return [self.view.input, *([self.view.instructions] if self.view.instructions else [])]


class Speech(Struct):
    """Sound: a file in *format*."""

    data: bytes
    format: str
    model: str = ""
    usage: Usage | None = None


decode_speech_request = msgspec.json.Decoder(SpeechRequest).decode
