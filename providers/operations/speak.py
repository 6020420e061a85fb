"""Reading aloud as providers spell it: OpenAI (Groq), the Gemini API, Cloudflare."""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from providers import failures as f
from providers.dialect import HttpRequest, HttpResponse, Target
from providers.operations.codec import post
from providers.sound import SpeakRequest, Speech


class OpenAISpeech:
    """``POST /audio/speech``. Groq's voices come as WAV alone (Groq console, text to speech, 2026-09)."""

    def build(self, target: Target, request: SpeakRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        body: dict[str, Any] = {"model": target.model, "input": request.view.input, "response_format": "wav"}
        return post(url, headers, body | {"voice": request.view.voice or "hannah"})

    def read(self, target: Target, request: SpeakRequest, response: HttpResponse) -> Speech:  # noqa: ARG002
        if response.body[:4] != b"RIFF":
            raise msgspec.DecodeError("the answer is no WAV file")
        return Speech(response.body, "wav", target.model)


class _Data(Struct, rename="camel"):
    data: str
    mime_type: str = ""


class _Part(Struct, rename="camel"):
    inline_data: _Data | None = None


class _Content(Struct):
    parts: list[_Part] = []


class _Candidate(Struct):
    content: _Content


class _GoogleBody(Struct):
    candidates: list[_Candidate]


class GoogleSpeech:
    """``:generateContent`` with ``AUDIO``: numbers of 16 bits, 24 000 a second (Google AI documentation, 2026-11)."""

    def build(self, target: Target, request: SpeakRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:  # noqa: ARG002
        view = request.view
        said = f"{view.instructions}: {view.input}" if view.instructions else view.input
        voice = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": view.voice or "Kore"}}}
        body = {
            "contents": [{"role": "user", "parts": [{"text": said}]}],
            "generationConfig": {"responseModalities": ["AUDIO"], "speechConfig": voice},
        }
        return post(url, headers, body)

    def read(self, target: Target, request: SpeakRequest, response: HttpResponse) -> Speech:  # noqa: ARG002
        found = msgspec.json.decode(response.body, type=_GoogleBody).candidates
        parts = [part.inline_data for one in found for part in one.content.parts if part.inline_data is not None]
        if not parts:
            raise f.NoAnswer("an answer without sound")
        return Speech(wav(b"".join(b64decode(part.data) for part in parts), 24_000), "wav", target.model)


def wav(samples: bytes, rate: int) -> bytes:
    """A WAV file of *samples*: one channel, numbers of 16 bits, *rate* a second."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data
