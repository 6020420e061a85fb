"""
Find out, with a few requests a day, what models can really do: lists promise, answers prove.

Off unless ``[catalog] probes`` gives a daily number for each provider. A probe is an ordinary small request: it is
reserved and settled like any other, and what follows from its failure is the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from gateway.catalog.catalog import Catalog
from gateway.events import Changed, ChangeKind
from gateway.quota.nouns import Cost, NoRoom, Offer, Reservation
from gateway.request.engine import Engine
from gateway.request.outcome import bear, settle
from gateway.state.store import Memory
from gateway.words import Deployment, GatewayError
from providers import failures as f
from providers.chat import Completion, Usage, decode_fields, decode_request, encode
from providers.dialect import Request

DAY = 86_400.0
_PROMPT, _OUTPUT = 400, 200
"""Tokens of a probe, at most."""
_JITTER = 0.3

_RED = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAJ0lEQVR42u3NsQkAAAjAsP7/tF7hIASy"
    "p6lTCQQCgUAgEAgEgi/BAjLD/C5w/SM9AAAAAElFTkSuQmCC"
)
"""A red square of 32 by 32 pixels."""

_SCHEMA = {
    "type": "object",
    "properties": {"planet": {"type": "string"}, "moons": {"type": "integer"}},
    "required": ["planet", "moons"],
    "additionalProperties": False,
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class _Planet(Struct, forbid_unknown_fields=True):
    planet: str
    moons: int


class Probe(Struct, frozen=True):
    """A question, and what its answer shows: True, False, or None if it shows nothing."""

    capability: str
    fields: dict[str, Any]
    shows: Callable[[Completion], bool | None]


def _calls(completion: Completion) -> bool | None:
    return bool(completion.choices[0].message.tool_calls)


def _conforms(completion: Completion) -> bool | None:
    try:
        msgspec.json.decode(completion.choices[0].message.content or "", type=_Planet)
    except msgspec.DecodeError:
        return None if completion.choices[0].finish_reason == "length" else False
    return True


def _sees(completion: Completion) -> bool | None:
    return True if "red" in (completion.choices[0].message.content or "").lower() else None


def _said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


PROBES = (
    Probe(
        "tools",
        {"messages": _said("What is the weather in Rome?"), "tools": [_TOOL], "tool_choice": "required"},
        _calls,
    ),
    Probe(
        "json_schema",
        {
            "messages": _said("Mars and its moons, as JSON."),
            "response_format": {"type": "json_schema", "json_schema": {"name": "planet", "schema": _SCHEMA}},
        },
        _conforms,
    ),
    Probe(
        "vision",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Which colour is this? One word."},
                        {"type": "image_url", "image_url": {"url": _RED}},
                    ],
                }
            ]
        },
        _sees,
    ),
    Probe("stream", {"messages": _said("Say: yes"), "stream": True}, lambda _: True),
)


class Prober:
    """Asks, spread over the day, what nobody has found out lately. All gateways of one store share one budget."""

    def __init__(self, engine: Engine, memory: Memory, a_day: int) -> None:
        self._engine, self._memory, self._a_day = engine, memory, a_day
        self._tasks: list[asyncio.Task[None]] = []

    def serve(self, providers: list[str]) -> None:
        """Go on until ``stop``."""
        if self._a_day:
            self._tasks = [asyncio.create_task(self._keep_probing(name)) for name in providers]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_probing(self, provider: str) -> None:
        while True:
            pause = DAY / self._a_day * random.uniform(1 - _JITTER, 1)  # noqa: S311 - not a secret
            await self._engine.clock.sleep(pause)
            await self.probe(provider)

    async def probe(self, provider: str) -> str | None:
        """Ask one question of one model of *provider*, if there is budget: which capability of which was asked for."""
        found = _unknown(self._engine.catalog, provider, self._engine.clock.now())
        if found is None or not await self._in_budget(provider):
            return None
        deployment, probe = found
        held = await self._engine.ledger.reserve([Offer(deployment.name, deployment.buckets, _cost(deployment))])
        if isinstance(held, NoRoom):
            return None
        await self._ask(deployment, probe, held)
        return f"{probe.capability} of {deployment.name}"

    async def _in_budget(self, provider: str) -> bool:
        """Whether one of the day's probes is still to be had."""
        for number in range(self._a_day):
            if await self._memory.claim(f"probe {provider} {number}", DAY):
                return True
        return False

    async def _ask(self, deployment: Deployment, probe: Probe, held: Reservation) -> None:
        engine = self._engine
        body = encode({"model": deployment.target.model, "max_tokens": _OUTPUT, **probe.fields})
        request = Request(decode_request(body), decode_fields(body), _PROMPT)
        try:
            reply = await deployment.provider.send(deployment.target, request)
            usage: Usage | None = None
            if reply.rest is not None:
                async for steps in reply.rest:
                    usage = next((s.chunk.usage for s in steps if s.chunk.usage is not None), usage)
                has: bool | None = True
            else:
                assert reply.whole is not None  # a reply has one or the other
                usage = reply.whole.completion.usage
                has = probe.shows(reply.whole.completion)
            reply.close()
        except f.Unsupported as failure:
            engine.ledger.refund(held, "failed", failure.observed)
            self._learn(deployment, probe.capability, has=False)
        except f.ProviderFailure as failure:
            with suppress(GatewayError):  # there is no caller to hear it
                bear(failure, deployment, held, engine)
            if isinstance(failure, f.CallersFault) or probe.capability == "stream":
                self._learn(deployment, probe.capability, has=False)
        else:
            settle(deployment, held, usage, reply.observed, engine)
            if has is not None:
                self._learn(deployment, probe.capability, has=has)

    def _learn(self, deployment: Deployment, capability: str, *, has: bool) -> None:
        engine, now = self._engine, self._engine.clock.now()
        had = capability in engine.catalog.experience.capabilities(deployment, now) or capability == "stream"
        engine.catalog.experience.learn(deployment.name, capability, now, has=has)
        if had != has:
            kind: ChangeKind = "capability gained" if has else "capability lost"
            engine.tell(Changed(kind, deployment.name, f"{capability}, found out by asking", now))


def _cost(deployment: Deployment) -> Cost:
    dollars = _PROMPT * deployment.prompt_price + _OUTPUT * deployment.output_price
    return Cost(_PROMPT, _OUTPUT, dollars)


def _unknown(catalog: Catalog, provider: str, now: float) -> tuple[Deployment, Probe] | None:
    """What to find out next: what is believed of the best models first."""
    served = [d for d in catalog.serving(now) if d.provider.name == provider]
    open_questions = [
        (capability.capability not in d.capabilities, -d.quality, number, d, capability)
        for d in served
        for number, capability in enumerate(PROBES)
        if catalog.experience.known(d.name, capability.capability, now) is None
    ]
    if not open_questions:
        return None
    *_, deployment, probe = min(open_questions, key=lambda question: question[:3])
    return deployment, probe
