"""
What the fake provider says, byte for byte, and what is asked of it: written to a folder that ``upstream.c`` plays.

Every piece of a stream has a number, so that its receiver can tell whether anything was lost, added or moved.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from providers.embeddings import CONTROLS
from providers.simulator.world import World

encode = msgspec.json.encode

ANSWER = ("The fake provider answers always the same, in plain words that no encoder has to touch. " * 8)[:560]
"""Makes a chat completion of 0.9 KB."""

PIECE = " w0000"
"""One piece of a stream; the zeros become its number."""

PROMPT_TOKENS, ANSWER_TOKENS = 20, 120

SIX = World(names=("openrouter", "google", "groq", "nvidia", "huggingface", "ollama"))
"""The providers that freeway is configured with: their model lists are the simulator's, their answers are ours."""

_LISTS = {name: "/api/tags" if name == "ollama" else "/models" for name in SIX.providers}
_AT = 1_795_441_234  # no four zeros: they are where a piece's number goes
_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": ANSWER_TOKENS,
    "total_tokens": PROMPT_TOKENS + ANSWER_TOKENS,
}
_GROQ_HEADERS = (
    "x-ratelimit-limit-requests: 1000000000\r\nx-ratelimit-limit-tokens: 1000000000\r\n"
    "x-ratelimit-remaining-requests: 999999999\r\nx-ratelimit-remaining-tokens: 999999999\r\n"
    "x-ratelimit-reset-requests: 1ms\r\nx-ratelimit-reset-tokens: 1ms\r\n"
)


def prompt(size: int) -> str:
    """A prompt of *size* bytes, or a short question."""
    return ("Line of a longer prompt, as a program would send it.\n" * size)[:size] or "Say what you have to say."


def request(model: str, *, size: int = 0, stream: bool = False) -> bytes:
    """The body of a chat request: with *size* bytes of prompt, or a short question."""
    messages = [{"role": "user", "content": prompt(size)}]
    body: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": 256}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return encode(body)


NUMBER = b"00000000"
"""Becomes another number in each request: of a text that is known, nobody is asked for the vector."""

VECTOR = [round(math.sin(place), 6) for place in range(1024)]
"""As long as those of nv-embedqa-e5-v5, and of bge-m3."""


def embedding(model: str, *, size: int = 0) -> bytes:
    """The body of a request for one vector."""
    return encode({"model": model, "input": f"{NUMBER.decode()} {prompt(size)}", "encoding_format": "float"})


async def write(folder: Path) -> None:
    """Write all that ``upstream.c`` needs to *folder*."""
    routes: list[str] = []

    def play(route: str, **parts: bytes) -> None:
        name = f"route-{len(routes)}"
        routes.append(f"{route} {name}\n")
        for part, content in parts.items():
            (folder / f"{name}.{part}").write_bytes(content)

    for name, path in _LISTS.items():
        play(f"GET /{name}*{path}", answer=_whole(await _simulated("GET", name, path)))
    described = await _simulated("POST", "ollama", "/api/show", encode({"model": "llama2:latest"}))
    play("GET /ollama/api/version", answer=_whole(b'{"version":"0.15.2"}'))
    play("POST /ollama/api/show", answer=_whole(described))
    play("POST /google/*:generateContent", answer=_whole(encode(_gemini(ANSWER, ANSWER_TOKENS, "STOP"))))
    play(
        "POST /google/*:streamGenerateContent",
        open=_head("text/event-stream"),
        piece=_event(_gemini(PIECE, 1)),
        end=_event(_gemini("", ANSWER_TOKENS, "STOP")) + _framed(b""),
    )
    play(
        "POST /ollama/api/chat",
        answer=_whole(encode(_ollama(ANSWER, done=True))),
        open=_head("application/x-ndjson"),
        piece=_framed(encode(_ollama(PIECE, done=False)) + b"\n"),
        end=_framed(encode(_ollama("", done=True)) + b"\n") + _framed(b""),
    )
    for pattern, headers in (("/groq/*", _GROQ_HEADERS), ("*", "")):
        play(
            f"POST {pattern}/chat/completions",
            answer=_whole(encode(_completion()), headers),
            open=_head("text/event-stream", headers) + _event(_chunk({"role": "assistant", "content": ""})),
            piece=_event(_chunk({"content": PIECE})),
            end=_event(_chunk({}, "stop")) + _event(_chunk(usage=_USAGE)) + _framed(b"data: [DONE]\n\n") + _framed(b""),
        )
    play(
        "POST /nvidia/*/embeddings",
        answer=_whole(encode(_vectors(1))),
        mark=CONTROLS[0].encode(),
        marked=_whole(encode(_vectors(1 + len(CONTROLS)))),
    )
    (folder / "routes").write_text("".join(routes), "utf-8")


async def _simulated(method: str, name: str, path: str, body: bytes = b"") -> bytes:
    """What the simulated provider *name* answers."""
    sent: list[dict[str, Any]] = []
    provider = SIX.providers[name]
    header = ("x-goog-api-key", provider.key) if name == "google" else ("authorization", f"Bearer {provider.key}")
    scope = {
        "type": "http",
        "method": method,
        "path": SIX.base_urls("")[name] + path,
        "query_string": b"",
        "headers": [(header[0].encode(), str(header[1]).encode())],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await SIX.app(scope, receive, send)
    assert sent[0]["status"] == 200, sent
    return b"".join(message.get("body", b"") for message in sent)


# ── HTTP ──


def _whole(body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _head(content_type: str, headers: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode()


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _event(content: Any) -> bytes:
    return _framed(b"data: " + encode(content) + b"\n\n")


# ── answers ──


def _said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _completion() -> dict[str, Any]:
    choice = {"index": 0, "message": _said(ANSWER), "logprobs": None, "finish_reason": "stop"}
    return _shared("chat.completion") | {"choices": [choice], "usage": _USAGE}


def _vectors(count: int) -> dict[str, Any]:
    """So many: the control texts are asked for along with the first text."""
    data = [{"object": "embedding", "index": place, "embedding": VECTOR} for place in range(count)]
    usage = {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS}
    return {"object": "list", "data": data, "model": "nvidia/nv-embedqa-e5-v5", "usage": usage}


def _chunk(delta: dict[str, str] | None = None, finish: str | None = None, usage: Any = None) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    chunk = _shared("chat.completion.chunk") | {"choices": choices}
    return chunk if usage is None else chunk | {"usage": usage}


def _shared(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-0123456789abcdef", "object": kind, "created": _AT, "model": "openai/gpt-oss-120b"}


def _gemini(text: str, tokens: int, finish: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    return {
        "candidates": [candidate if finish is None else candidate | {"finishReason": finish}],
        "usageMetadata": {
            "promptTokenCount": PROMPT_TOKENS,
            "candidatesTokenCount": tokens,
            "totalTokenCount": PROMPT_TOKENS + tokens,
        },
        "modelVersion": "gemini-3.5-flash",
        "responseId": "bench",
    }


def _ollama(text: str, *, done: bool) -> dict[str, Any]:
    line = {"model": "qwen3.8:8b", "created_at": "2026-11-23T14:00:00.0Z", "message": _said(text), "done": done}
    counts = {
        "done_reason": "stop",
        "total_duration": 1_883_583_583,
        "prompt_eval_count": PROMPT_TOKENS,
        "prompt_eval_duration": 342_546_000,
        "eval_count": ANSWER_TOKENS,
        "eval_duration": 1_410_000_000,
    }
    return line | counts if done else line
