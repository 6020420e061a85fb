"""
Three gateways behind a proxy are replaced one after the other while callers ask: nothing is lost, and nothing is asked twice.

``python -m tests.rolling --proxy nginx --rate 50 --calls 3000`` makes the long form, with the real proxy and a real Redis of this
machine, and prints what came of the calls. ``tests/acceptance/test_proxies.py`` has the short one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from aiohttp import web
from msgspec import Struct, field

from tests import containers
from tests.acceptance.process import environment
from tests.proxies import PROXIES, Proxy

GATEWAYS = 3
CONFIG = """
[provider.witness]
title = "Witness"
base_url = "{base_url}"
keyless = true
docs = "https://witness.example"
listed_at = ""
static_models = ["echo"]
free = {{ kind = "plan", because = "it counts, and costs nothing" }}
quota = [{{ limit = "1000000/minute" }}]
[[provider.witness.models]]
ids = ["*"]
context = 8192
"""


class Told(Struct):
    """What came of all calls."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)
    restarts: int = 0
    slowest: float = 0.0


TAKES = 0.4
"""Seconds that an answer takes: a gateway that is told to go has some to finish, and meanwhile refuses what comes."""


class Witness:
    """A provider that answers what it is asked and counts it. A stream ends when *go_on* is set."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.go_on = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        said = body["messages"][-1]["content"]
        self.asked[said] += 1
        if body.get("stream"):
            return await self._streamed(request)
        await asyncio.sleep(TAKES)
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": 1, "model": "echo", "choices": [choice], "usage": usage}
        )

    async def _streamed(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for delta, finish in (({"role": "assistant", "content": "first"}, None), ({"content": " last"}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "echo", "choices": [choice]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
            if finish is None:
                await self.go_on.wait()
        await response.write(b"data: [DONE]\n\n")
        return response

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Its base URL."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        port = containers.free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            await runner.cleanup()


class Site:
    """Gateways on *ports*, before the provider at *base_url*, and one Redis."""

    def __init__(self, folder: Path, base_url: str, redis_url: str) -> None:
        self.ports = [containers.free_port() for _ in range(GATEWAYS)]
        self._folder, self._redis = folder, redis_url
        (folder / "freeway.toml").write_text(CONFIG.format(base_url=base_url))
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, port: int) -> None:
        home = self._folder / str(port)
        home.mkdir(exist_ok=True)
        environ = environment(
            home, PORT=str(port), FREEWAY_CONFIG=str(self._folder / "freeway.toml"), FREEWAY_REDIS_URL=self._redis
        )
        with (home / "log").open("ab") as log:
            self._processes[port] = subprocess.Popen(
                [Path(sys.executable).with_name("freeway"), "serve"], env=environ, cwd=home, stdout=log, stderr=log
            )

    async def ready(self, port: int) -> None:
        deadline = time.monotonic() + 60
        async with httpx.AsyncClient() as client:
            while time.monotonic() < deadline:
                try:
                    if (await client.get(f"http://127.0.0.1:{port}/health/readiness")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
        raise AssertionError((self._folder / str(port) / "log").read_text())

    async def roll(self, told: Told) -> None:
        """Replace each gateway by a new one, once the one before it is ready again."""
        for port in self.ports:
            process = self._processes[port]
            process.terminate()
            await asyncio.to_thread(process.wait)
            self.start(port)
            await self.ready(port)
            told.restarts += 1

    def end(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(40)


@asynccontextmanager
async def behind(proxy: Proxy, folder: Path) -> AsyncIterator[tuple[str, Site, Witness]]:
    """The origin of *proxy*, the gateways behind it, and the provider behind them."""
    witness = Witness()
    with containers.redis() as redis:
        async with witness.served() as base_url:
            site = Site(folder, base_url, redis.url)
            try:
                for port in site.ports:
                    site.start(port)
                for port in site.ports:
                    await site.ready(port)
                with proxy.before(site.ports, folder) as origin:
                    yield origin, site, witness
            finally:
                site.end()


async def rolled(origin: str, site: Site, rate: float, calls: int) -> Told:
    """*calls* at *rate* a second, and more until every gateway was replaced."""
    told = Told()
    rolling = asyncio.create_task(site.roll(told))
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=50)
    async with httpx.AsyncClient(base_url=origin, timeout=60, limits=limits) as client:
        asking, began = set[asyncio.Task[None]](), time.monotonic()
        number = 0
        while number < calls or not rolling.done():
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            asking.add(asyncio.create_task(_asked(client, f"call {number}", told)))
            number += 1
        await asyncio.gather(*asking)
    await rolling
    return told


async def _asked(client: httpx.AsyncClient, nonce: str, told: Told) -> None:
    began = time.monotonic()
    try:
        reply = await client.post(
            "/v1/chat/completions", json={"model": "echo", "messages": [{"role": "user", "content": nonce}]}
        )
        if reply.status_code == 200 and reply.json()["choices"][0]["message"]["content"] == nonce:
            told.answered += 1
        else:
            told.lost.append(f"{nonce}: {reply.status_code} {reply.text[:200]}")
    except httpx.TransportError as exc:
        told.lost.append(f"{nonce}: {exc!r}")
    told.slowest = max(told.slowest, time.monotonic() - began)


async def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--proxy", choices=PROXIES, default="nginx")
    asked.add_argument("--rate", type=float, default=50.0)
    asked.add_argument("--calls", type=int, default=3000)
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        async with behind(PROXIES[options.proxy], Path(folder)) as (origin, site, witness):
            told = await rolled(origin, site, options.rate, options.calls)
    twice = sum(count > 1 for count in witness.asked.values())
    sys.stdout.write(
        f"{told.answered} answered, {len(told.lost)} lost, {twice} asked twice, {told.restarts} restarts, "
        f"slowest {told.slowest:.1f} s\n" + "".join(f"  {each}\n" for each in told.lost[:20])
    )
    os._exit(1 if told.lost or twice else 0)


if __name__ == "__main__":
    asyncio.run(main())
