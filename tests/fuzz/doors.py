"""
Bent requests at every door of the whole gateway, and bent answers behind it: what comes out is an answer, or an error that is
documented. One case is one request.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Self
from unittest.mock import patch

import httpx

from gateway import settings as s
from gateway.app import create_app
from gateway.cli import shipped_config
from providers.dialect import HttpRequest
from tests.clock import FakeClock
from tests.fuzz import bend
from tests.fuzz.answers import Answers, Bent, Wrong
from tests.fuzz.requests import EXAMPLE

CASES = 25
"""Requests to one gateway: after that it has learned so much of its broken sources that it asks none."""

_KEYS = {
    "OPENROUTER_API_KEY": "k",
    "GEMINI_API_KEY": "k",
    "GROQ_API_KEY": "k",
    "MISTRAL_API_KEY": "k",
    "CEREBRAS_API_KEY": "k",
}
_HOSTS = {
    "openrouter": "openrouter",
    "googleapis": "google",
    "groq": "groq",
    "mistral": "mistral",
    "cerebras": "cerebras",
}
_MODEL = {
    "id": "openai/gpt-oss-120b",
    "object": "model",
    "active": True,
    "context_window": 131072,
    "max_context_length": 131072,
}
_LISTS: dict[str, Any] = {
    "google": {"models": [{"name": "models/gemini-3.5-flash", "supportedGenerationMethods": ["generateContent"]}]},
    "openrouter": {
        "data": [{
            "id": "acme/model:free", "context_length": 131072, "pricing": {"prompt": "0", "completion": "0"},
            "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
            "supported_parameters": ["tools", "response_format", "structured_outputs"],
        }],
    },
    "mistral": {"data": [{**_MODEL, "id": "mistral-small-latest", "capabilities": {"completion_chat": True, "function_calling": True}}]},
}  # fmt: skip
_TEXT = {"role": "user", "content": "hi"}
_FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
DOORS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": EXAMPLE,
    "/v1/completions": {"model": "auto", "prompt": "Once upon", "max_tokens": 5, "stream": True},
    "/v1/embeddings": {"model": "auto", "input": ["a", "b"], "encoding_format": "float"},
    "/v1/responses": {
        "model": "auto", "stream": True, "instructions": "Be brief.", "max_output_tokens": 100, "store": True,
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "12"},
        ],
        "tools": [{"type": "function", **_FUNCTION, "strict": True}], "tool_choice": "auto", "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}},
    },
    "/v1/messages": {
        "model": "claude-sonnet-4", "max_tokens": 100, "stream": True, "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": "b"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "12"}]},
        ],
        "tools": [{"name": "f", "input_schema": _FUNCTION["parameters"]}], "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    },
    "/v1/messages/count_tokens": {"model": "claude-sonnet-4", "messages": [_TEXT]},
    "/api/chat": {
        "model": "auto", "stream": True, "messages": [_TEXT, {"role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "f", "arguments": {"a": 1}}}]}, {"role": "tool", "tool_name": "f", "content": "12"}],
        "tools": [{"type": "function", "function": _FUNCTION}], "format": "json", "options": {"num_predict": 50, "temperature": 0.5},
        "think": False, "keep_alive": "5m",
    },
    "/api/generate": {"model": "auto", "prompt": "hi", "system": "Be brief.", "stream": False, "images": [], "options": {}},
    "/api/embed": {"model": "auto", "input": ["a"]},
    "/api/show": {"model": "auto", "name": "auto"},
    "/v1beta/models/auto:generateContent": {
        "contents": [{"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]}, "tools": [{"functionDeclarations": [_FUNCTION]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {"maxOutputTokens": 100, "temperature": 0.5, "candidateCount": 1, "responseMimeType": "text/plain"},
    },
    "/v1beta/models/auto:countTokens": {"contents": [{"parts": [{"text": "hi"}]}]},
    "/v1/moderations": {"model": "auto", "input": ["a", "b"]},
    "/v1/images/generations": {"model": "auto", "prompt": "fog", "n": 2, "size": "1024x1024"},
    "/v1/route/explain": EXAMPLE,
}  # fmt: skip
DOORS["/v1beta/models/auto:streamGenerateContent?alt=sse"] = DOORS["/v1beta/models/auto:generateContent"]
_DOCUMENTED = frozenset({502, 503})
"""What a gateway may answer of the fives: that an answer broke off, and that every source failed or none has room."""


class Behind:
    """The wire: lists as they should be, answers as *answers* bends them, by *chance*."""

    def __init__(self, answers: Answers) -> None:
        self._answers, self.chance = answers, Random(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def send(self, request: HttpRequest, timeouts: Any) -> Any:
        provider = next((name for part, name in _HOSTS.items() if part in request.url.split("/")[2]), "groq")
        headers = {"content-type": "application/json"}
        if request.method == "GET":
            return Bent(200, headers, [json.dumps(_LISTS.get(provider, {"data": [_MODEL]})).encode()])
        asked = json.loads(request.body or b"{}")
        return self._answers.bent(provider, bool(asked.get("stream")) or "stream" in request.url, self.chance)

    async def aclose(self) -> None: ...


class Doors:
    """Makes cases, and looks at what comes out of each."""

    def __init__(self) -> None:
        self._answers = Answers(shipped_config())
        self._loop = asyncio.new_event_loop()
        self._wire = Behind(self._answers)
        self._tried = CASES
        self._running: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._client: httpx.AsyncClient | None = None

    def try_one(self, chance: Random) -> None:
        """One case; raises what comes out of it that should not."""
        self._loop.run_until_complete(self._one(chance))

    def close(self) -> None:
        """The gateway ends."""
        self._loop.run_until_complete(self._shut())
        self._loop.close()

    async def _one(self, chance: Random) -> None:
        if self._tried >= CASES:
            await self._shut()
            await self._begin()
        self._tried += 1
        self._wire.chance = chance
        door, example = chance.choice(list(DOORS.items()))
        body = json.dumps(example).encode()
        if chance.random() < 0.5:
            body = bend.document(body, chance)
        assert self._client is not None
        headers = {"content-type": "application/json", "x-freeway-max-wait": "0", "x-freeway-trace": "true"}
        try:
            async with asyncio.timeout(30):
                told = await self._client.post(door, content=body, headers=headers)
        except TimeoutError as exc:
            raise Wrong(f"{door}: the request has no end") from exc
        self._check(door, told)

    def _check(self, door: str, told: httpx.Response) -> None:
        if told.status_code >= 500 and told.status_code not in _DOCUMENTED:
            raise Wrong(f"{door} answers {told.status_code}: {told.text[:200]}")
        if b"internal_error" in told.content:
            raise Wrong(f"{door} tells of an error of its own: {told.text[:200]}")
        kind = told.headers.get("content-type", "")
        if kind.startswith("application/json"):
            json.loads(told.content)
        elif "event-stream" in kind:
            events = [line[5:].strip() for line in told.text.splitlines() if line.startswith("data:")]
            for event in events:
                if event != "[DONE]":
                    json.loads(event)
            if not events or not (_ends(events[-1]) or "error" in events[-1]):
                raise Wrong(f"{door}: a stream neither ends nor breaks: {told.text[-200:]}")

    async def _begin(self) -> None:
        self._over, begun, self._tried = asyncio.Event(), asyncio.Event(), 0
        self._running = asyncio.create_task(self._run(begun, self._over))
        await asyncio.wait([self._running, waiting := asyncio.create_task(begun.wait())], return_when="FIRST_COMPLETED")
        if not waiting.done():
            self._running.result()

    async def _run(self, begun: asyncio.Event, over: asyncio.Event) -> None:
        """A gateway, in a task of its own: it is opened and closed in the same one."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            stack.enter_context(patch("gateway.app.HttpWire", lambda user_agent: self._wire))
            environ = {
                **_KEYS,
                "FREEWAY_STATE_DIR": str(folder),
                "MODELS_DEV_URL": "",
                "OLLAMA_HOST": "http://unused.example:1",
            }
            app = create_app(s.load(shipped_config(), environ, folder), clock=FakeClock())
            await stack.enter_async_context(app.lifespan())
            transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
            self._client = await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url="http://localhost:8000")
            )
            for _ in range(200):
                if len((await self._client.get("/v1/models")).json()["data"]) > len(_HOSTS):
                    break
                await asyncio.sleep(0.01)
            begun.set()
            await over.wait()

    async def _shut(self) -> None:
        if self._running is not None:
            self._over.set()
            await self._running
            self._running = None


def _ends(event: str) -> bool:
    """Whether the last *event* of a stream says, in any API, that the answer is whole."""
    if event == "[DONE]":
        return True
    found = json.loads(event)
    if not isinstance(found, dict):
        return False
    if found.get("type") in ("message_stop", "response.completed", "response.incomplete", "response.failed"):
        return True
    return any(candidate.get("finishReason") for candidate in found.get("candidates") or ())
