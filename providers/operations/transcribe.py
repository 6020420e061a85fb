"""Writing down what is said, as providers spell it: OpenAI (Groq, OVHcloud, Mistral), Cohere, Cloudflare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from providers import failures as f
from providers.chat import encode
from providers.dialect import HttpRequest, HttpResponse, Target
from providers.sound import Piece, TranscribeRequest, Transcript


class OpenAITranscripts:
    """``POST /audio/transcriptions`` and ``/audio/translations``, as a form with the file last."""

    def build(self, target: Target, request: TranscribeRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        view = request.view
        fields = [("model", target.model), ("response_format", "verbose_json")]
        fields += [("timestamp_granularities[]", one) for one in view.timestamp_granularities]
        fields += [
            (name, value)
            for name, value in (("language", view.language), ("prompt", view.prompt))
            if value and not (request.translates and name == "language")
        ]
        if view.temperature is not None:
            fields.append(("temperature", f"{view.temperature:g}"))
        if request.translates:
            url = url.replace("/audio/transcriptions", "/audio/translations")
        form = {name: value for name, value in headers.items() if name != "content-type"}
        return HttpRequest("POST", url, form, form=tuple(fields), file=request.recording)

    def read(self, target: Target, request: TranscribeRequest, response: HttpResponse) -> Transcript:
        found = msgspec.json.decode(response.body, type=_OpenAIBody)
        return Transcript(
            found.text.strip(),
            found.language or "",
            found.duration or request.recording.seconds,
            found.segments or [],
            found.words or [],
            target.model,
        )


class _OpenAIBody(Struct):
    text: str
    language: str | None = None
    duration: float | None = None
    segments: list[Piece] | None = None
    words: list[Piece] | None = None


class CohereTranscripts(OpenAITranscripts):
    """The same with a language that must be named, and nothing but a text (Cohere's API reference, 2026-09)."""

    def build(self, target: Target, request: TranscribeRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:
        if request.translates or request.view.timestamp_granularities:
            raise f.Unsupported("only what was said is written down here").of("timestamps")
        form = {name: value for name, value in headers.items() if name != "content-type"}
        fields = (("model", target.model), ("language", request.view.language or "en"))
        return HttpRequest("POST", url, form, form=fields, file=request.recording)


class _Info(Struct):
    language: str | None = None
    duration: float | None = None


class _Result(Struct):
    text: str
    transcription_info: _Info | None = None
    segments: list[Piece] | None = None


class _CloudflareBody(Struct):
    result: _Result


class CloudflareTranscripts:
    """``/ai/run`` with whisper-large-v3-turbo, which takes a file as base64 within JSON (Workers AI model page, 2026-09)."""

    def build(self, target: Target, request: TranscribeRequest, url: str, headers: Mapping[str, str]) -> HttpRequest:  # noqa: ARG002
        body: dict[str, Any] = {"task": "translate" if request.translates else "transcribe"}
        if request.view.language:
            body["language"] = request.view.language
        if request.view.prompt:
            body["initial_prompt"] = request.view.prompt
        return HttpRequest("POST", url, dict(headers), encode(body), file=request.recording, within="audio")

    def read(self, target: Target, request: TranscribeRequest, response: HttpResponse) -> Transcript:
        found = msgspec.json.decode(response.body, type=_CloudflareBody).result
        info = found.transcription_info or _Info()
        seconds = info.duration or request.recording.seconds
        return Transcript(found.text.strip(), info.language or "", seconds, found.segments or [], [], target.model)
