"""
How soon a provider sees its connection closed once a caller has closed theirs, and what the gateway keeps of it, over real
connections: the gateway is a process of its own, callers and the simulated provider share this one and its clock.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, field

from providers.simulator.brain import Saying
from providers.simulator.server import serve
from providers.simulator.world import World
from tests.acceptance.process import serving
from tests.simulation.test_leavers import MODEL, ROOMY, roomy

AT_ONCE = 10
LONGEST_STAY = 0.06
"""Seconds that a caller stays at most once the provider has the call: callers leave before the gateway's watch begins, too."""

_NUMBER = re.compile(rb"caller number (\d+)")


class Way(Struct, frozen=True):
    """When a caller leaves: while the provider behaves by *fault* and *pace*; *after* so many pieces of the answer."""

    name: str
    streamed: bool = True
    fault: str | None = None
    pace: float = 0.0
    after: int = 0


WAYS = (
    Way("a whole answer, none of it here", streamed=False, fault="hang"),
    Way("a stream, no head here", fault="hang"),
    Way("a stream, its head here, silent", fault="hang_stream"),
    Way("a stream, some of it here, silent", pace=30.0, after=1),
    Way("a stream that flows", pace=0.02, after=3),
)


class Call(Struct):
    """A caller's call as the provider sees it: *came* when it is there, *closed* with the moment when it was broken off."""

    came: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Future[float] = field(default_factory=asyncio.Future)


class Overhearing(World):
    """Notes what becomes of each caller's call."""

    def __init__(self) -> None:
        super().__init__(names=["groq"])
        self.calls: dict[int, Call] = {}

    async def app(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        call: Call | None = None

        async def overheard() -> dict[str, Any]:
            nonlocal call
            message: dict[str, Any] = await receive()
            if number := _NUMBER.search(message.get("body", b"")):
                call = self.calls[int(number[1])]
                call.came.set()
            if message["type"] == "http.disconnect" and call is not None and not call.closed.done():
                call.closed.set_result(time.perf_counter())
            return message

        await super().app(scope, overheard, send)


async def measure(say: Callable[[str], None], count: int) -> None:
    """Let *count* callers leave, in every way; print how long the provider's connection outlived theirs, and what is left."""
    world = roomy(Overhearing())
    assert isinstance(world, Overhearing)
    world.providers["groq"].brain = lambda view: Saying("word " * 400)
    chance = random.Random(0)
    with TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "own.toml").write_text(ROOMY)
        async with serve(world) as origin:
            variables: dict[str, Any] = world.environment(origin)
            gateway = serving(home, FREEWAY_CONFIG=str(home / "own.toml"), **variables)
            base_url, process, _ = await asyncio.to_thread(gateway.__enter__)
            try:
                say(
                    f"{'milliseconds from the caller who leaves':<40} {'callers':>7} {'p50':>6} {'p95':>6} {'max':>6} {'MB':>6} {'sockets':>7}"
                )
                for way in WAYS:
                    await _leave(
                        way, world, base_url, chance, 5 * AT_ONCE
                    )  # what is learned and compiled once is no leak
                say(f"{'before':<68} {_left(process.pid)}")
                for way in WAYS:
                    took = await _leave(way, world, base_url, chance, count // len(WAYS))
                    times = f"{median(took):>6.1f} {quantiles(took, n=20)[-1]:>6.1f} {max(took):>6.1f}"
                    say(f"{way.name:<40} {len(took):>7} {times} {_left(process.pid)}")
            finally:
                await asyncio.to_thread(gateway.__exit__, None, None, None)


def _left(pid: int) -> str:
    """What process *pid* holds now: resident memory, and sockets, its own listening one among them."""
    memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    held = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    return f"{memory:>6.1f} {sum(one.startswith('socket:') for one in held):>7}"


async def _leave(way: Way, world: Overhearing, base_url: str, chance: random.Random, count: int) -> list[float]:
    """Milliseconds for each of *count* who left in one *way*."""
    groq = world.providers["groq"]
    groq.faults.clear()
    if way.fault is not None:
        groq.fail(way.fault, times=count)
    took: list[float] = []
    for _ in range(count // AT_ONCE):
        groq.pace = min(way.pace, 0.01)  # until something of the answer is here
        numbers = range(len(world.calls), len(world.calls) + AT_ONCE)
        world.calls.update((number, Call()) for number in numbers)
        here = asyncio.Barrier(AT_ONCE)
        stays = [chance.uniform(0, LONGEST_STAY) for _ in numbers]
        callers = (_call(way, world, base_url, number, here, stay) for number, stay in zip(numbers, stays, strict=True))
        took += await asyncio.gather(*callers)
    return took


async def _call(way: Way, world: Overhearing, base_url: str, number: int, here: asyncio.Barrier, stay: float) -> float:
    where = urlsplit(base_url)
    content = f"caller number {number}"
    ask = {"model": MODEL, "messages": [{"role": "user", "content": content}], "stream": way.streamed}
    body = json.dumps(ask).encode()
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
    writer.write(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await world.calls[number].came.wait()
    for _ in range(way.after):
        await reader.readuntil(b"data: ")
    await here.wait()
    world.providers["groq"].pace = way.pace
    await asyncio.sleep(stay)
    left = time.perf_counter()
    writer.close()
    async with asyncio.timeout(10):
        return (await world.calls[number].closed - left) * 1000
