"""
``POST /v1/audio/transcriptions``, ``/v1/audio/translations`` and ``/v1/audio/speech``: what is said becomes text, and text is
read aloud.

A source gives what it knows; how it is told (text, subtitles, JSON) is made here.
"""

from __future__ import annotations

import shutil
import subprocess
from asyncio import to_thread
from typing import Any, ClassVar

import msgspec

from gateway.api.form import Form
from gateway.api.neutral import Unrendered
from gateway.api.openai import OpenAISurface, decoded, other_call, routing_of
from gateway.api.options import Options
from gateway.words import BadRequest, Call
from providers.chat import decode_fields, encode
from providers.sound import (
    Shape,
    SpeakRequest,
    Speech,
    TranscribeRequest,
    Transcript,
    TranscriptionRequest,
    decode_speech_request,
)

_TYPES: dict[str, str] = {
    "mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav",
    "pcm": "audio/pcm",
}  # fmt: skip
_FFMPEG = {"mp3": "mp3", "opus": "opus", "aac": "adts", "flac": "flac", "pcm": "s16le"}
_PLAIN = "text/plain; charset=utf-8"


class _Audio(OpenAISurface, Unrendered):
    """What the three have in common."""

    def __init__(self) -> None:
        self.whole_type = "application/json"


class Transcriptions(_Audio):
    """One request: a form with a file."""

    path: ClassVar[str] = "/v1/audio/transcriptions"
    expects: ClassVar[str] = "a form with a recording"
    translates: ClassVar[bool] = False

    def parse(self, body: bytes, options: Options) -> Call:
        """It comes as a form."""
        raise NotImplementedError

    def parse_form(self, form: Form, options: Options) -> Call:
        """What *form* asks for. Raises BadRequest, naming the field."""
        told: dict[str, Any] = dict(form.fields)
        if "temperature" in told:
            told["temperature"] = _number(told["temperature"])
        view = decoded(msgspec.json.Decoder(TranscriptionRequest).decode, encode(told))
        self._shape: Shape = view.response_format
        self.whole_type = _PLAIN if self._shape in ("text", "srt", "vtt") else "application/json"
        request = TranscribeRequest(view, form.file, translates=self.translates)
        return other_call(request, routing_of(encode({"model": view.model})), options)

    def render_whole(self, whole: Transcript) -> bytes:
        """As it was asked for."""
        match self._shape:
            case "text":
                return f"{whole.text}\n".encode()
            case "srt":
                return subtitles(whole, web=False).encode()
            case "vtt":
                return subtitles(whole, web=True).encode()
            case "verbose_json":
                return encode(self._verbose(whole))
            case _:
                return encode({"text": whole.text})

    def _verbose(self, whole: Transcript) -> dict[str, Any]:
        told: dict[str, Any] = {
            "task": "translate" if self.translates else "transcribe",
            "language": whole.language,
            "duration": whole.duration,
            "text": whole.text,
            "segments": [
                {"id": place, "start": one.start, "end": one.end, "text": one.text}
                for place, one in enumerate(whole.timed(whole.duration))
            ],
        }
        if whole.words:
            told["words"] = [{"word": one.said(), "start": one.start, "end": one.end} for one in whole.words]
        return told


class Translations(Transcriptions):
    """The same in English."""

    path: ClassVar[str] = "/v1/audio/translations"
    translates: ClassVar[bool] = True


class SpeechSurface(_Audio):
    """One request."""

    path: ClassVar[str] = "/v1/audio/speech"
    expects: ClassVar[str] = "a speech request"

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for. Raises BadRequest, naming the field."""
        view, fields = decoded(decode_speech_request, body), decoded(decode_fields, body)
        self._format = view.response_format
        if self._format != "wav" and shutil.which("ffmpeg") is None:
            raise BadRequest(
                f"response_format: sources give WAV, and ffmpeg, which makes {self._format} of it, is not on this machine: "
                f"ask for wav, or install ffmpeg",
                param="response_format",
            )
        self.whole_type = _TYPES[self._format]
        call = other_call(SpeakRequest.of(view, fields), routing_of(body), options)
        return call if view.speed in (None, 1) else msgspec.structs.replace(call, dropped=("speed",))

    async def render_whole(self, whole: Speech) -> bytes:
        """The sound, in the format that was asked for."""
        return whole.data if whole.format == self._format else await to_thread(_converted, whole.data, self._format)


def subtitles(found: Transcript, *, web: bool) -> str:
    """*found* as WebVTT, or as SubRip."""
    blocks = []
    for number, one in enumerate(found.timed(found.duration), 1):
        span = f"{_moment(one.start, web=web)} --> {_moment(one.end, web=web)}"
        blocks.append(f"{span}\n{one.said()}\n" if web else f"{number}\n{span}\n{one.said()}\n")
    return "\n".join(["WEBVTT\n", *blocks] if web else blocks)


def _moment(seconds: float, *, web: bool) -> str:
    milliseconds = round(max(0.0, seconds) * 1000)
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{'.' if web else ','}{rest:03d}"


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError) as exc:
        raise BadRequest(f"temperature: expected a number, got {text!r}", param="temperature") from exc


def _converted(data: bytes, form: str) -> bytes:
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-i", "pipe:0", "-f", _FFMPEG[form], "pipe:1"]
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout  # noqa: S603 - nothing in it is a caller's


SURFACES = (Transcriptions, Translations, SpeechSurface)
