"""Reading aloud as providers spell it: OpenAI (Groq), the Gemini API, Cloudflare."""

from __future__ import annotations

import re
import struct
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from providers import failures as f
from providers.chat import Usage
from providers.dialect import HttpRequest, HttpResponse, Target
from providers.operations.codec import post
from providers.sound import SpeakRequest, Speech

RATE = 24_000
"""Numbers a second of Gemini's voices, where an answer does not say it (Gemini API, speech generation page, 2026-11)."""

_RATE = re.compile(r"rate=(\d{4,6})")


class OpenAISpeech:
    """``POST /audio/speech``. Groq's voices come as WAV alone (Groq console, text to speech, 2026-09)."""

    def build(self, target: Target, request: SpeakRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        body: dict[str, Any] = {"model": target.model, "input": request.view.input, "response_format": "wav"}
        return post(url, headers, body | {"voice": _voice(target, request)})

    def read(self, target: Target, request: SpeakRequest, response: HttpResponse) -> Speech:  # noqa: ARG002
        if response.body[:4] != b"RIFF":
            raise msgspec.DecodeError("the answer is no WAV file")
        return Speech(response.body, "wav", target.model)


class _Data(Struct, rename="camel"):
    data: str
    mime_type: str = ""


class _Part(Struct, rename="camel"):
    inline_data: _Data | None = None


class _Content(Struct, frozen=True):
    parts: tuple[_Part, ...] = ()


class _Candidate(Struct):
    content: _Content = _Content()


class _Counts(Struct, frozen=True, rename="camel"):
    prompt_token_count: int = 0
    candidates_token_count: int = 0


class _GoogleBody(Struct, rename="camel"):
    candidates: list[_Candidate]
    usage_metadata: _Counts = _Counts()


class GoogleSpeech:
    """``:generateContent`` with ``AUDIO``: numbers of 16 bits (Gemini API, speech generation page, 2026-11)."""

    def build(self, target: Target, request: SpeakRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        view = request.view
        said = f"{view.instructions}: {view.input}" if view.instructions else view.input
        voice = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": _voice(target, request)}}}
        body = {
            "contents": [{"role": "user", "parts": [{"text": said}]}],
            "generationConfig": {"responseModalities": ["AUDIO"], "speechConfig": voice},
        }
        return post(url, headers, body)

    def read(self, target: Target, request: SpeakRequest, response: HttpResponse) -> Speech:  # noqa: ARG002
        found = msgspec.json.decode(response.body, type=_GoogleBody)
        parts = [part.inline_data for one in found.candidates for part in one.content.parts if part.inline_data]
        samples = b"".join(b64decode(part.data, validate=True) for part in parts)
        if not samples:
            raise f.NoAnswer("an answer without sound")
        told = _RATE.search(parts[0].mime_type)
        counts = found.usage_metadata
        usage = Usage(prompt_tokens=counts.prompt_token_count, completion_tokens=counts.candidates_token_count)
        return Speech(wav(samples, int(told[1]) if told else RATE), "wav", target.model, usage)


def _voice(target: Target, request: SpeakRequest) -> str:
    """The source's own name of the voice that is asked for. Raises Unsupported where it has none such."""
    voices = target.account.spec.operation["speak"].voices
    wanted = request.view.voice
    if not wanted or not voices:
        return wanted or next(iter(voices.values()), "")
    known = {own.lower(): own for own in voices.values()} | {name.lower(): own for name, own in voices.items()}
    if wanted.lower() not in known:
        raise f.Unsupported(f"there is no voice {wanted!r}, but {', '.join(sorted(known))}").of("voice")
    return known[wanted.lower()]


def wav(samples: bytes, rate: int) -> bytes:
    """A WAV file of *samples*: one channel, numbers of 16 bits, *rate* a second."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data
