"""
The neutral requests and answers of sound: OpenAI's.

A recording stays in its file: it is sent from there, and never held whole.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from providers.chat import Fields, Usage, summed
from providers.embeddings import BYTES_PER_TOKEN

Shape = Literal["json", "text", "srt", "vtt", "verbose_json"]


HEADER = 44
"""Bytes of a WAV file before its numbers, as it is written here."""


class Waves(Struct, frozen=True):
    """
    The frames *start* to *end* of a WAV file that has *frames* of *frame* bytes, *rate* a second; and the *cuts*: frames at which
    it may be cut, ascending, and how *loud* it is there.
    """

    rate: int
    frame: int
    frames: int
    start: int
    end: int
    cuts: tuple[int, ...]
    loud: tuple[float, ...]

    def is_whole(self) -> bool:
        return self.end - self.start == self.frames

    def first(self, count: int) -> Waves:
        """
        The part from its beginning that has *count* frames at most, and half of them at least, and ends at the quietest cut; the
        longest that ends at a cut where there is none such, and all of it where there is none at all.
        """
        if self.end - self.start <= count:
            return self
        least, most = (bisect_right(self.cuts, self.start + frames) for frames in (count // 2, count))
        places = range(least, most) or range(bisect_right(self.cuts, self.start), most)[-1:]
        if not places:
            return self
        return replace(self, end=self.cuts[min(places, key=lambda place: (self.loud[place], -place))])


class Recording(Struct, frozen=True):
    """
    A file with sound. *seconds* is how long it plays, or an upper estimate where its format does not tell. With *waves* it can be
    cut, and may be a part of its file.
    """

    path: Path
    name: str
    media_type: str
    size: int
    seconds: float
    waves: Waves | None = None

    def first(self, most: float, seconds: float) -> Recording:
        """A part from its beginning that has *most* bytes and *seconds* at most; all of it if it cannot be cut so."""
        waves = self.waves
        if waves is None or (self.size <= most and self.seconds <= seconds):
            return self
        return self._part(waves.first(int(min((most - HEADER) / waves.frame, seconds * waves.rate, waves.frames))))

    def after(self, sent: Recording) -> Recording | None:
        """What is left once *sent*, the first of it, was sent; None: nothing."""
        waves, done = self.waves, sent.waves
        if waves is None or done is None or done.end >= waves.end:
            return None
        return self._part(replace(waves, start=done.end))

    def _part(self, waves: Waves) -> Recording:
        if waves == self.waves:
            return self
        count = waves.end - waves.start
        return replace(self, size=HEADER + count * waves.frame, seconds=count / waves.rate, waves=waves)


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

    def of(self, recording: Recording) -> TranscribeRequest:
        """The same for *recording*."""
        return replace(self, recording=recording)

    def after(self, sent: TranscribeRequest) -> TranscribeRequest | None:
        """What is left once *sent*, the first of it, has been answered."""
        left = self.recording.after(sent.recording)
        return None if left is None else self.of(left)

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

    def within(self, offset: float, length: float) -> Piece:
        """The same in a recording of which its own, *length* seconds long, begins at *offset*: some sources tell of more than there is."""
        start = min(max(self.start, 0.0), length)
        return Piece(offset + start, offset + min(max(self.end, start), length), self.text, self.word)


class Transcript(Struct):
    """What was said. *language* and *pieces* are there where the source tells them."""

    text: str
    language: str = ""
    duration: float = 0.0
    segments: list[Piece] = []
    words: list[Piece] = []
    model: str = ""
    usage: Usage | None = None

    def timed(self, length: float) -> list[Piece]:
        """What was said when; all of it as one, *length* seconds long, where the source does not tell."""
        return self.segments or ([Piece(0.0, length, self.text)] if self.text else [])

    @classmethod
    def joined(cls, parts: Sequence[tuple[TranscribeRequest, Transcript]]) -> Transcript:
        """What was said in several parts of one recording, by the moments of the whole."""
        if len(parts) == 1:
            return parts[0][1]
        whole = cls("", next((made.language for _, made in parts if made.language), ""), model=parts[-1][1].model)
        for sent, made in parts:
            length = sent.recording.seconds
            whole.segments += [one.within(whole.duration, length) for one in made.timed(length)]
            whole.words += [one.within(whole.duration, length) for one in made.words]
            whole.duration += length
        whole.text = " ".join(made.text for _, made in parts if made.text)
        whole.usage = summed(made.usage for _, made in parts)
        return whole


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
