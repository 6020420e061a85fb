"""
Whether anything grows under load: ``python -m tests.bench.soak [--seconds 600]``.

The gateway before simulated providers, in one process, over loopback: 500 streams at once, one in five left in mid-answer, beside
2 000 connections that were used once and idle. Memory, descriptors and tasks are looked at all along; after a first third,
in which what is learned once settles, they may not go on growing. Then the real program is killed under load, twenty times,
and may never have asked for more than a day's quota.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
import uvloop
from msgspec import Struct

from gateway import settings as s
from gateway.app import create_app
from gateway.cli import shipped_config
from gateway.commands.server import Connections, protocol
from providers.simulator.brain import Saying
from providers.simulator.server import listening, serve
from providers.simulator.world import World
from tests.acceptance.test_killed import killed, limit_for

ASK = b'{"model": "auto", "stream": true, "messages": [{"role": "user", "content": "Tell me a story."}]}'
STORY = "word " * 40
GROWTH = {"MB": 1.25, "files": 1.1, "tasks": 1.1}
"""How many times what there was after the first third may be there in the end."""


class Look(Struct):
    """What there is at a moment."""

    at: float
    megabytes: float
    files: int
    tasks: int
    served: int


def look(began: float, served: int) -> Look:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return Look(time.monotonic() - began, pages * 4096 / 1e6, files, len(asyncio.all_tasks()), served)


class Load:
    """Callers of the gateway at *port*."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.served = self.failed = 0

    async def idle(self) -> asyncio.StreamWriter:
        """A connection that was used once."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"GET /health/liveness HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        return writer

    async def stream_for_ever(self, number: int) -> None:
        """One request after another; every fifth is left when its answer has begun."""
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        request = head + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ASK) + ASK
        while True:
            number += 1
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(request)
                told = await (reader.read(500) if number % 5 == 0 else reader.read())
                writer.close()
            except OSError:
                self.failed += 1
                continue
            if number % 5 and b"[DONE]" not in told:
                self.failed += 1
                await asyncio.sleep(0.2)
            self.served += 1


async def soak(seconds: float, streams: int, idle: int) -> list[Look]:
    """What there is, ten times in so many *seconds*."""
    world = World(names=("groq", "ollama"))
    for provider in world.providers.values():
        provider.brain = lambda _: Saying(STORY)
    with TemporaryDirectory() as folder:
        own = Path(folder) / "own.toml"
        own.write_text(
            "[requests]\nmax_waiting = 5000\n[[provider.ollama.quota]]\nlimit = '600/in-flight'\nscope = 'account'\n"
        )
        async with serve(world) as origin:
            environ = {
                **world.environment(origin),
                "FREEWAY_STATE_DIR": folder,
                "MODELS_DEV_URL": "",
                "FREEWAY_CONFIG": str(own),
            }
            app = create_app(s.load(shipped_config(), environ, Path(folder)))
            kind = protocol(Connections(8192, 8192))
            config = uvicorn.Config(app, http=kind, ws="none", lifespan="on", log_config=None, timeout_keep_alive=3600)
            async with listening(config) as base_url:
                return await _under_load(Load(int(base_url.rpartition(":")[2])), world, seconds, streams, idle)


async def _under_load(load: Load, world: World, seconds: float, streams: int, idle: int) -> list[Look]:
    held = [await load.idle() for _ in range(idle)]
    callers = [asyncio.create_task(load.stream_for_ever(number)) for number in range(streams)]
    began, looks = time.monotonic(), []
    print(f"{'s':>6} {'MB':>8} {'files':>6} {'tasks':>6} {'served':>8} {'failed':>7}")
    try:
        for _ in range(10):
            await asyncio.sleep(seconds / 10)
            for provider in world.providers.values():
                provider.calls.clear()  # what a simulator remembers is no leak of ours
            found = look(began, load.served)
            looks.append(found)
            print(
                f"{found.at:6.0f} {found.megabytes:8.1f} {found.files:6} {found.tasks:6} {found.served:8} {load.failed:7}"
            )
    finally:
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        for writer in held:
            writer.close()
    if load.failed > load.served / 10:
        raise SystemExit(f"{load.failed} of {load.served} answers did not come")
    return looks


def growth(looks: list[Look]) -> dict[str, float]:
    """How many times what there was after the first third is there in the end: the least of some looks each."""
    early, late = looks[3:6], looks[-3:]
    values = {"MB": "megabytes", "files": "files", "tasks": "tasks"}
    return {
        name: min(getattr(one, field) for one in late) / max(1, min(getattr(one, field) for one in early))
        for name, field in values.items()
    }


def main() -> int:
    """The status: 1 if something grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20, help="how often the real program is killed afterwards")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    grown = growth(uvloop.run(soak(given.seconds, given.streams, given.idle)))
    too_much = [f"{name} grew {times:.2f} times" for name, times in grown.items() if times > GROWTH[name]]
    print("; ".join(too_much) or "flat: " + ", ".join(f"{name} {times:.2f}" for name, times in grown.items()))
    with TemporaryDirectory() as folder:
        asked, answered = killed(Path(folder), given.kills)
    print(
        f"killed {given.kills} times under load: {asked} requests of {limit_for(given.kills)} a day were made, {answered} answered"
    )
    return 1 if too_much or asked > limit_for(given.kills) else 0


if __name__ == "__main__":
    sys.exit(main())
