"""
All simulated providers behind one ASGI application: the first part of a path says which.

There is a control plane that meets no faults: ``GET /_sim/report`` and ``POST /_sim/NAME/fault``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from providers.simulator.base import Call, Exchange, Receive, Send, Simulated
from providers.simulator.google import Google
from providers.simulator.groq import Groq
from providers.simulator.huggingface import HuggingFace
from providers.simulator.nvidia import Nvidia
from providers.simulator.ollama import Ollama
from providers.simulator.openrouter import OpenRouter
from providers.simulator.others import Cerebras, Cloudflare, Cohere, Mistral, OVHcloud, Zai
from providers.simulator.quotas import Clock

ALL = (OpenRouter, Google, Groq, Nvidia, HuggingFace, Ollama, Mistral, Cerebras, Cloudflare, Cohere, Zai, OVHcloud)


VARIABLES = {
    "openrouter": ("OPENROUTER_API_KEY", "OPENROUTER_BASE_URL"),
    "google": ("GEMINI_API_KEY", "GEMINI_BASE_URL"),
    "groq": ("GROQ_API_KEY", "GROQ_BASE_URL"),
    "nvidia": ("NVIDIA_API_KEY", "NVIDIA_BASE_URL"),
    "huggingface": ("HF_TOKEN", "HF_BASE_URL"),
    "ollama": (None, "OLLAMA_HOST"),
    "mistral": ("MISTRAL_API_KEY", "MISTRAL_BASE_URL"),
    "cerebras": ("CEREBRAS_API_KEY", "CEREBRAS_BASE_URL"),
    "cloudflare": ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_BASE_URL"),
    "cohere": ("COHERE_API_KEY", "COHERE_BASE_URL"),
    "zai": ("ZAI_API_KEY", "ZAI_BASE_URL"),
    "ovhcloud": (None, "OVHCLOUD_BASE_URL"),
}
"""The environment variables that point a gateway at each provider: its key's, and its address's."""


class _Order(Struct):
    """What the control plane takes: a fault for the next *times* calls."""

    fault: str
    times: int = 1
    model: str | None = None


class World:
    """The providers called *names*, on one *clock* (a callable that gives unix seconds)."""

    def __init__(self, clock: Clock = time.time, *, names: Iterable[str] | None = None) -> None:  # noqa: TID251
        wanted = set(names) if names is not None else {kind.name for kind in ALL}
        self.clock = clock
        self.providers: dict[str, Simulated] = {kind.name: kind(clock) for kind in ALL if kind.name in wanted}

    def base_urls(self, origin: str) -> dict[str, str]:
        """Each provider's base URL, as its own documentation would give it."""
        return {name: f"{origin}/{name}{provider.path}" for name, provider in self.providers.items()}

    def keys(self) -> dict[str, str]:
        """A good key for each provider that wants one."""
        return {name: provider.key for name, provider in self.providers.items() if provider.key}

    def environment(self, origin: str) -> dict[str, str]:
        """What to export, to have a gateway ask these providers at *origin*."""
        keys, urls = self.keys(), self.base_urls(origin)
        found = {}
        for name, (key, url) in VARIABLES.items():
            if name in urls:
                found[url] = urls[name]
                if key:
                    found[key] = keys[name]
        if "huggingface" in urls:
            found["HF_ENDPOINT"] = f"{origin}/huggingface"
        return found

    async def app(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            return
        first, _, rest = scope["path"].lstrip("/").partition("/")
        body = await _read(receive)
        call = Call(
            method=scope["method"],
            path=f"/{rest}",
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body=body,
            at=self.clock(),
        )
        abort: Callable[[], None] = scope.get("extensions", {}).get("simulator.abort", _cannot_abort)
        exchange = Exchange(call, receive, send, abort, scope["query_string"].decode())
        if first == "_sim":
            await self._control(exchange, rest)
        elif first in self.providers:
            await self.providers[first].handle(exchange)
        else:
            await exchange.answer(404, {"error": f"no provider is called {first!r}"})

    async def _control(self, exchange: Exchange, path: str) -> None:
        name, _, verb = path.partition("/")
        if path == "report":
            await exchange.answer(200, {name: _report(provider) for name, provider in self.providers.items()})
        elif verb == "fault" and name in self.providers:
            try:
                order = msgspec.json.decode(exchange.call.body, type=_Order)
            except msgspec.DecodeError as exc:
                await exchange.answer(400, {"error": str(exc)})
                return
            self.providers[name].fail(order.fault, times=order.times, model=order.model)
            await exchange.answer(200, {"status": "ok"})
        else:
            await exchange.answer(404, {"error": "GET /_sim/report or POST /_sim/NAME/fault"})


def _report(provider: Simulated) -> dict[str, Any]:
    return {
        "served": provider.served,
        "refused": provider.refused,
        "charged": provider.charged,
        "in_flight": provider.in_flight,
        "quota": {key: {"used": used, "limit": limit} for key, (used, limit) in provider.quota.items()},
    }


async def _read(receive: Receive) -> bytes:
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


def _cannot_abort() -> None:
    raise RuntimeError("this server cannot break a connection; use providers.simulator.server")
