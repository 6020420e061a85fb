"""Where one simulated provider is asked, in this process and without a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

import httpx
import pytest
from msgspec import Struct

from providers.simulator.world import World
from tests.clock import FakeClock, eventually

FREE = {
    "openrouter": "google/gemma-4-31b-it:free",
    "google": "gemini-3.8-flash",
    "groq": "openai/gpt-oss-120b",
    "nvidia": "nvidia/nemotron-3-super-120b-a12b",
    "huggingface": "Qwen/Qwen3.8-27B",
    "ollama": "gemma4:12b",
    "mistral": "mistral-small-latest",
    "cerebras": "gpt-oss-120b",
    "cloudflare": "@cf/qwen/qwen3.8-27b",
    "cohere": "command-a-03-2025",
    "zai": "glm-4.7-flash",
    "ovhcloud": "gpt-oss-120b",
}


class Desk(Struct):
    """Where one provider is asked, in this process."""

    name: str
    other: Any
    clock: FakeClock
    http: httpx.AsyncClient

    async def ask(self, model: str = "", said: str = "hello", key: str = "", **more: Any) -> httpx.Response:
        """One question. *said* takes a token for four letters."""
        model, key = model or FREE[self.name], key or self.other.key or ""
        body: dict[str, Any]
        if self.name == "google":
            body = {"contents": [{"role": "user", "parts": [{"text": said}]}]}
            return await self.http.post(f"models/{model}:generateContent", json=body, headers={"x-goog-api-key": key})
        body = {"model": model, "messages": [{"role": "user", "content": said}], "stream": False, **more}
        path = "api/chat" if self.name == "ollama" else "chat/completions"
        return await self.http.post(path, json=body, headers={"authorization": f"Bearer {key}"} if key else {})

    async def answers(self, times: int, model: str = "", **more: Any) -> list[int]:
        """The statuses of so many questions, one after another."""
        return [(await self.ask(model, **more)).status_code for _ in range(times)]

    def until(self, text: str, zone: str = "UTC") -> None:
        """Let time pass, or go back, until the moment *text*."""
        self.clock.advance(moment(text, zone) - self.clock())

    @asynccontextmanager
    async def occupied(self, times: int) -> AsyncIterator[None]:
        """So many questions are under way and are not answered."""
        self.other.fail("hang", times=times)
        tasks = [asyncio.create_task(self.ask()) for _ in range(times)]
        await eventually(lambda: self.other.in_flight >= times)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def moment(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def at(*names: str) -> pytest.MarkDecorator:
    """Run a test at these providers."""
    return pytest.mark.parametrize("desk", names, indirect=True)


@asynccontextmanager
async def opened(name: str, clock: FakeClock) -> AsyncIterator[Desk]:
    """The desk of the provider called *name*."""
    world = World(clock, names=[name])
    base = world.base_urls("http://sim")[name]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=cast(Any, world.app)), base_url=base) as http:
        yield Desk(name, world.providers[name], clock, http)
