"""
The second act of ``freeway demo``: the last minutes of a day and the first of the next, on a clock that is put forward.

The same calls go two ways, each to providers of its own with the same limits: through the gateway, which counts before it asks;
and by a policy that does not count, which asks the sources in a fixed order and the next one where one refuses. What providers
refused is told by the simulated providers themselves, not by who asked them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from msgspec import Struct, field
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.clock import SteppedClock
from gateway.commands.demo_world import opened
from providers.simulator.server import serve
from providers.simulator.world import World

NAMES = ("openrouter", "groq", "nvidia")
FIXED_ORDER = (
    ("openrouter", "nvidia/nemotron-3-super-120b-a12b:free"),
    ("groq", "openai/gpt-oss-120b"),
    ("nvidia", "nvidia/nemotron-3-super-120b-a12b"),
)
"""Of each source the model that the policy without counts asks for."""

MINUTES = 8
A_MINUTE = 45
"""Calls of one minute: more than any single source allows."""

AT_ONCE = 6
_MIDNIGHT = datetime(2026, 11, 28, tzinfo=UTC)


class Minute(Struct):
    """What became of the calls of the minute that begins *at*, one way: answers, and what providers refused meanwhile."""

    at: datetime
    answers: int = 0
    refused: int = 0
    served: dict[str, int] = field(default_factory=dict)


class DayEnd(Struct, frozen=True):
    """Both ways, minute by minute, and the dollars that the providers charged."""

    counted: list[Minute]
    uncounted: list[Minute]
    dollars: float

    @property
    def refused(self) -> int:
        """What providers refused the gateway."""
        return sum(minute.refused for minute in self.counted)

    @property
    def refused_uncounted(self) -> int:
        """What providers refused the policy that does not count."""
        return sum(minute.refused for minute in self.uncounted)


async def day_end(config: Path, folder: Path, *, minutes: int = MINUTES, a_minute: int = A_MINUTE) -> DayEnd:
    """*minutes* around midnight UTC, half of them before it, with *a_minute* calls in each."""
    begins = _MIDNIGHT - timedelta(minutes=minutes // 2)
    clock = SteppedClock(begins.timestamp())
    world, other = World(clock, names=NAMES), World(clock, names=NAMES)
    counted, uncounted = [], []
    async with (
        opened(config, folder, world, clock=clock, environ=_NO_OLLAMA) as demo,
        httpx.AsyncClient(base_url=demo.base_url, timeout=60) as client,
        _asking(other) as ask,
    ):
        for number in range(minutes):
            at = begins + timedelta(minutes=number)
            counted.append(await _through(client, world, at, a_minute))
            uncounted.append(await _without(ask, other, at, a_minute))
            clock.advance(60)
    charged = sum(one.charged for one in (*world.providers.values(), *other.providers.values()))
    return DayEnd(counted, uncounted, charged)


def told(found: DayEnd, console: Console) -> None:
    """What was found, as a table and its two numbers."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "freeway", "refused", "served by", "without counting", "refused"):
        table.add_column(heading, justify="left" if heading in ("", "served by") else "right")
    for ours, theirs in zip(found.counted, found.uncounted, strict=True):
        served = ", ".join(f"{name} {count}" for name, count in sorted(ours.served.items()))
        clock = f"{ours.at:%H:%M}"
        table.add_row(clock, str(ours.answers), str(ours.refused), served, str(theirs.answers), str(theirs.refused))
    console.print(table)
    console.print(
        f"Refused by providers: {found.refused_uncounted} without counting, {found.refused} through freeway. "
        f"Cost: {found.dollars:.6f} dollars"
    )


_NO_OLLAMA = {"OLLAMA_HOST": "http://127.0.0.1:9"}


async def _through(client: httpx.AsyncClient, world: World, at: datetime, calls: int) -> Minute:
    """*calls* through the gateway. One that finds no room is told so at once: nothing waits here."""
    minute, room, before = Minute(at), asyncio.Semaphore(AT_ONCE), _refusals(world)

    async def call(number: int) -> None:
        async with room:
            headers = {"x-freeway-max-wait": "0"}
            response = await client.post("/v1/chat/completions", json=_body("auto", number), headers=headers)
        if response.status_code == 200:
            minute.answers += 1
            provider = response.headers["x-freeway-provider"]
            minute.served[provider] = minute.served.get(provider, 0) + 1

    await asyncio.gather(*(call(number) for number in range(calls)))
    minute.refused = _refusals(world) - before
    return minute


async def _without(ask: _Ask, world: World, at: datetime, calls: int) -> Minute:
    """*calls* by the policy that does not count."""
    minute, room, before = Minute(at), asyncio.Semaphore(AT_ONCE), _refusals(world)

    async def call(number: int) -> None:
        async with room:
            for provider, model in FIXED_ORDER:
                if await ask(provider, model, number):
                    minute.answers += 1
                    minute.served[provider] = minute.served.get(provider, 0) + 1
                    return

    await asyncio.gather(*(call(number) for number in range(calls)))
    minute.refused = _refusals(world) - before
    return minute


class _Ask:
    """Asks simulated providers without a gateway."""

    def __init__(self, world: World, origin: str, client: httpx.AsyncClient) -> None:
        self._addresses, self._keys, self._client = world.base_urls(origin), world.keys(), client

    async def __call__(self, provider: str, model: str, number: int) -> bool:
        """Whether *model* answered."""
        address = f"{self._addresses[provider]}/chat/completions"
        headers = {"authorization": f"Bearer {self._keys[provider]}"}
        response = await self._client.post(address, json=_body(model, number), headers=headers)
        return response.status_code == 200


@asynccontextmanager
async def _asking(world: World) -> AsyncIterator[_Ask]:
    async with serve(world) as origin, httpx.AsyncClient(timeout=60) as client:
        yield _Ask(world, origin, client)


def _body(model: str, number: int) -> dict[str, object]:
    return {
        "model": model,
        "max_tokens": 64,
        "messages": [{"role": "user", "content": f"Call number {number}: say hello."}],
    }


def _refusals(world: World) -> int:
    return sum(one.refused for one in world.providers.values())
