"""
What the fake providers say, byte for byte, and what is asked of them: written to a folder that ``upstream.c`` plays.

Every piece of a stream has a number, so that whoever receives it can tell whether anything was lost, added or moved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

encode = msgspec.json.encode

ANSWER = ("The fake provider answers always the same, in plain words that no encoder has to touch. " * 8)[:560]
"""Makes a chat completion of 0.9 KB."""

PIECE = " w0000"
"""One piece of a stream; the zeros become its number."""

PROMPT_TOKENS, ANSWER_TOKENS = 20, 120

MODEL = "openai/gpt-oss-120b"
_AT = 1_795_441_234  # no four zeros: they are where a piece's number goes
_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": ANSWER_TOKENS,
    "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
}
_JSON, _SSE, _NDJSON = "application/json", "text/event-stream", "application/x-ndjson"
_PLENTY = 10**9

GROQ_HEADERS = "".join(
    f"x-ratelimit-{what}: {value}\r\n"
    for what, value in {
        "limit-requests": _PLENTY,
        "limit-tokens": _PLENTY,
        "remaining-requests": _PLENTY - 1,
        "remaining-tokens": _PLENTY - 1,
        "reset-requests": "1ms",
        "reset-tokens": "1ms",
    }.items()
)


def request(model: str, *, size: int = 0, stream: int = 0) -> bytes:
    """
    The body of a chat request: with *size* bytes of prompt (a short question if 0), answered in one piece or as a
    stream of *stream* pieces.
    """
    question = "Say what you have to say."
    text = question if not size else ("Line of a longer prompt, as a program would send it.\n" * size)[:size]
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 256}
    if stream:
        body |= {"max_tokens": stream, "stream": True, "stream_options": {"include_usage": True}}
    return encode(body)


def write(folder: Path) -> None:
    """Write all that ``upstream.c`` needs to *folder*."""
    _Files(folder).write()


class _Files:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.routes: list[str] = []

    def write(self) -> None:
        self._lists()
        self._openai("/groq", "groq", GROQ_HEADERS)
        self._gemini()
        self._ollama()
        self._openai("/", "openai")
        (self.folder / "routes").write_text("\n".join(self.routes) + "\n", "utf-8")

    def _lists(self) -> None:
        for prefix, suffix, content in (
            ("/openrouter", "/models", {"data": [_openrouter_model(name) for name in _OPENROUTER]}),
            ("/openrouter", "/key", {"data": _OPENROUTER_KEY}),
            ("/groq", "/models", {"object": "list", "data": [_groq_model(name) for name in (MODEL, "qwen/qwen3-32b")]}),
            ("/nvidia", "/models", {"object": "list", "data": [_openai_model(name) for name in _NVIDIA]}),
            ("/hf", "/models", {"object": "list", "data": [_hf_model(name) for name in (MODEL, "Qwen/Qwen3-32B")]}),
            ("/gemini", "/models", {"models": [_gemini_model(name) for name in _GEMINI]}),
            ("/ollama", "/api/tags", {"models": [_ollama_model(name) for name in _OLLAMA]}),
            ("/ollama", "/api/ps", {"models": []}),
            ("/ollama", "/api/version", {"version": "0.15.2"}),
            ("/", "/models", {"object": "list", "data": [_openai_model("bench")]}),
        ):
            self._route("GET", prefix, suffix, f"{prefix}-{suffix}".replace("/", ""))
            self._put(f"{prefix}-{suffix}".replace("/", ""), "answer", _whole(encode(content)))
        self._route("POST", "/ollama", "/api/show", "ollama-show")
        self._put("ollama-show", "answer", _whole(encode(_OLLAMA_SHOW)))

    def _openai(self, prefix: str, name: str, headers: str = "") -> None:
        completion = {
            "id": "chatcmpl-0123456789abcdef",
            "object": "chat.completion",
            "created": _AT,
            "model": MODEL,
            "choices": [{"index": 0, "message": _said(ANSWER), "logprobs": None, "finish_reason": "stop"}],
            "usage": _USAGE,
        }
        self._route("POST", prefix, "/chat/completions", name)
        self._put(name, "answer", _whole(encode(completion), headers))
        self._put(name, "open", _head(_SSE, headers) + _event(_chunk({"role": "assistant", "content": ""})))
        self._put(name, "piece", _event(_chunk({"content": PIECE})))
        self._put(name, "close", _event(_chunk({}, finish="stop")))
        self._put(name, "usage", _event(_chunk(usage=_USAGE)))
        self._put(name, "end", _framed(b"data: [DONE]\n\n") + _framed(b""))

    def _gemini(self) -> None:
        self._route("POST", "/gemini", ":generateContent", "gemini")
        self._put("gemini", "answer", _whole(encode(_gemini_answer(ANSWER, "STOP", ANSWER_TOKENS))))
        self._route("POST", "/gemini", ":streamGenerateContent", "gemini-stream")
        self._put("gemini-stream", "open", _head(_SSE))
        self._put("gemini-stream", "piece", _event(_gemini_answer(PIECE, None, 1)))
        self._put("gemini-stream", "close", _event(_gemini_answer("", "STOP", ANSWER_TOKENS)))
        self._put("gemini-stream", "end", _framed(b""))

    def _ollama(self) -> None:
        self._route("POST", "/ollama", "/api/chat", "ollama")
        self._put("ollama", "answer", _whole(encode(_ollama_line(ANSWER, done=True))))
        self._put("ollama", "open", _head(_NDJSON))
        self._put("ollama", "piece", _framed(encode(_ollama_line(PIECE, done=False)) + b"\n"))
        self._put("ollama", "close", _framed(encode(_ollama_line("", done=True)) + b"\n"))
        self._put("ollama", "end", _framed(b""))

    def _route(self, method: str, prefix: str, suffix: str, name: str) -> None:
        self.routes.append(f"{method} {prefix} {suffix} {name}")

    def _put(self, name: str, part: str, content: bytes) -> None:
        (self.folder / f"{name}.{part}").write_bytes(content)


# ── HTTP ──


def _whole(body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {_JSON}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


def _head(content_type: str, headers: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode()


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _event(content: Any) -> bytes:
    return _framed(b"data: " + encode(content) + b"\n\n")


# ── answers ──


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _chunk(delta: dict[str, str] | None = None, finish: str | None = None, usage: Any = None) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": _AT,
        "model": MODEL,
        "choices": choices,
    }
    return chunk if usage is None else chunk | {"usage": usage}


def _gemini_answer(text: str, finish: str | None, tokens: int) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    return {
        "candidates": [candidate if finish is None else candidate | {"finishReason": finish}],
        "usageMetadata": {
            "promptTokenCount": PROMPT_TOKENS,
            "candidatesTokenCount": tokens,
            "totalTokenCount": PROMPT_TOKENS + tokens,
        },
        "modelVersion": _GEMINI[0],
        "responseId": "bench",
    }


def _ollama_line(text: str, *, done: bool) -> dict[str, Any]:
    line = {"model": _OLLAMA[0], "created_at": "2026-11-23T14:00:00.0Z", "message": _said(text), "done": done}
    counts = {
        "done_reason": "stop",
        "total_duration": 1_883_583_583,
        "prompt_eval_count": PROMPT_TOKENS,
        "prompt_eval_duration": 342_546_000,
        "eval_count": ANSWER_TOKENS,
        "eval_duration": 1_410_000_000,
    }
    return line | counts if done else line


# ── model lists ──

_OPENROUTER = ("nvidia/nemotron-3-super-120b-a12b", "openai/gpt-oss-120b", "z-ai/glm-4.5-air")
_NVIDIA = ("nvidia/nemotron-3-super-120b-a12b", "openai/gpt-oss-120b", "meta/llama-3.3-70b-instruct")
_GEMINI = ("gemini-3.5-flash", "gemini-3.5-flash-lite", "gemini-3.1-flash-lite")
_OLLAMA = ("qwen3:8b", "gemma3:12b")

_OPENROUTER_KEY = {
    "label": "sk-or-v1-0a1...9f8",
    "limit": None,
    "limit_remaining": None,
    "usage": 0,
    "is_free_tier": True,
    "free_model_daily_requests": {"limit": _PLENTY, "remaining": _PLENTY, "used": 0},
    "rate_limit": {"requests": -1, "interval": "10s", "note": "deprecated"},
}

_OLLAMA_DETAILS = {"format": "gguf", "family": "qwen3", "parameter_size": "8.2B", "quantization_level": "Q4_K_M"}
_OLLAMA_SHOW = {
    "details": _OLLAMA_DETAILS,
    "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 131_072},
    "capabilities": ["completion", "tools"],
}


def _openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _AT, "owned_by": name.partition("/")[0]}


def _groq_model(name: str) -> dict[str, Any]:
    return _openai_model(name) | {"active": True, "context_window": 131_072, "max_completion_tokens": 65_536}


def _openrouter_model(name: str) -> dict[str, Any]:
    return {
        "id": f"{name}:free",
        "canonical_slug": name,
        "name": f"{name} (free)",
        "created": _AT,
        "context_length": 131_072,
        "architecture": {"modality": "text->text", "input_modalities": ["text"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0", "completion": "0"},
        "top_provider": {"context_length": 131_072, "max_completion_tokens": 65_536, "is_moderated": False},
        "supported_parameters": ["max_tokens", "temperature", "top_p", "stop", "tools", "tool_choice"],
    }


def _hf_model(name: str) -> dict[str, Any]:
    source = {
        "provider": "groq",
        "status": "live",
        "context_length": 131_072,
        "pricing": {"input": 0.15, "output": 0.6},
        "supports_tools": True,
        "supports_structured_output": True,
    }
    architecture = {"input_modalities": ["text"], "output_modalities": ["text"]}
    return _openai_model(name) | {"architecture": architecture, "providers": [source]}


def _gemini_model(name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def _ollama_model(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": "2026-11-20T10:11:12Z",
        "size": 5_200_000_000,
        "digest": "0" * 64,
        "details": _OLLAMA_DETAILS | {"context_length": 131_072},
        "capabilities": ["completion", "tools"],
    }
