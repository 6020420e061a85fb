"""What a client program runs in: simulated providers, a gateway in a process of its own, a fresh home and a project."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from gateway.commands.demo import SIX
from providers.simulator.base import Refusal, SimulatedModel
from providers.simulator.openrouter import OpenRouter
from providers.simulator.server import serve
from providers.simulator.world import World
from tests.acceptance.process import born, serving
from tests.clients.installed import node
from tests.clients.model import Worker

PATIENCE = 120.0
"""Seconds that a program may take."""

CONTEXT = 65_536
"""Tokens that the only source holds where a conversation is to outgrow it."""

BUSY = 3
"""Seconds for which the only source is full where a program is to wait."""

NOTES, LINES = 30, 160
"""Files that there are to read, and lines of each: together more than the source holds, each far less."""


class Said(Struct, frozen=True):
    """What came of a program: its exit *status* (None: it had to be ended) and all that it *printed*."""

    status: int | None
    printed: str


class Stage(Struct, frozen=True):
    """The gateway's *origin*, the *world* before it, the *model* that works there, and the folders of the program."""

    origin: str
    world: World
    model: Worker
    home: Path
    project: Path
    log: Path

    def run(self, command: Sequence[str | Path], variables: Mapping[str, str], patience: float = PATIENCE) -> Said:
        """*command* in the project, with nothing of this machine; what it leaves running is ended with it."""
        environ = {
            "PATH": f"{node()}:{os.environ['PATH']}", "HOME": str(self.home), "NO_COLOR": "1", "TERM": "dumb", **variables,
        }  # fmt: skip
        with subprocess.Popen(
            command, cwd=self.project, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        ) as running:  # fmt: skip
            status: int | None = None
            try:
                printed, _ = running.communicate(timeout=patience)
                status = running.returncode
            except subprocess.TimeoutExpired:
                _end(running.pid)
                printed, _ = running.communicate()
            finally:
                _end(running.pid)
        return Said(status, printed.decode(errors="replace"))

    def write_notes(self) -> None:
        """What there is to read."""
        for number in range(1, NOTES + 1):
            lines = (f"Note {number}, line {line}: the road goes on and on, and cars go by." for line in range(LINES))
            (self.project / f"notes{number}.txt").write_text("\n".join(lines))

    def requests(self) -> list[str]:
        """What the gateway's log says of requests that were not served."""
        return [
            line for line in self.log.read_text().splitlines() if '"event":"request"' in line and '"served"' not in line
        ]


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class Crowded(OpenRouter):
    """OpenRouter whose upstream is full for a few seconds."""

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        try:
            super().refuse(why, model)
        except Refusal as refusal:
            if "retry-after" in refusal.headers:
                refusal.headers["retry-after"] = str(BUSY)
            raise


Arrange = Callable[[World], None]


def nothing(world: World) -> None:
    """The world as it is."""


def small(world: World) -> None:
    """One model at one source, which holds CONTEXT tokens. Quotas are in nobody's way."""
    router = world.providers["openrouter"]
    assert isinstance(router, OpenRouter)
    router.models = [SimulatedModel(id="google/gemma-4-31b-it:free", context=CONTEXT)]
    router.minute.limit = router.day.limit = 10_000


def crowded(world: World) -> None:
    """One model at one source, whose upstream refuses the first request."""
    router = world.providers["openrouter"] = Crowded(world.clock)
    router.models = [SimulatedModel(id="google/gemma-4-31b-it:free", context=262_144)]
    router.fail("rate_limited:upstream")


class Scenario(Struct, frozen=True):
    """What happens to a program: its sources by *names*, how they are *arranged*, and the gateway's own *settings*."""

    names: tuple[str, ...]
    arrange: Arrange = nothing
    settings: str = ""
    reads: bool = False  # there is much to read before the file is written


_FREE_OF_QUOTA = "".join(
    f'[[provider.openrouter.quota]]\nscope = "account"\nlimit = "10000/{window}"\nsource = "a test"\n'
    for window in ("minute", "day")
)

SCENARIOS: dict[str, Scenario] = {
    "task": Scenario(SIX),
    "google": Scenario(("google",)),
    "ollama": Scenario(("ollama",)),
    "overflow": Scenario(("openrouter",), small, _FREE_OF_QUOTA, reads=True),
    "wait": Scenario(("openrouter",), crowded, "[server]\nkeep_alive = 0.5\n"),
    "connect": Scenario(SIX),
    "429": Scenario(("openrouter",), crowded, "[requests]\nmax_wait = 0.0\n"),
}
"""
A task at six sources, at Gemini's API alone, at Ollama's alone; a conversation that outgrows every source; sources that
are full for a few seconds, where the gateway waits and keeps the stream alive, and where it says when to come back. In
"connect" a program has what `freeway connect` wrote and nothing else.
"""


@contextmanager
def staged(folder: Path, scenario: Scenario) -> Iterator[Stage]:
    """*scenario* set up in *folder*."""
    home, project, gateway = (folder / name for name in ("home", "project", "gateway"))
    for made in (home, project, gateway):
        made.mkdir(parents=True)
    model = Worker(project, NOTES if scenario.reads else 0)
    world = World(names=scenario.names)
    scenario.arrange(world)
    for provider in world.providers.values():
        provider.brain = model
        provider.models = [one for one in provider.models if one.status == "live" and one.tools]
    own = gateway / "own.toml"
    own.write_text(scenario.settings)
    with (
        simulated(world) as variables,
        serving(gateway, born, FREEWAY_CONFIG=str(own), **variables) as (origin, _, log),
    ):
        stage = Stage(origin, world, model, home, project, log)
        if scenario.reads:
            stage.write_notes()
        yield stage


@contextmanager
def simulated(world: World) -> Iterator[dict[str, str]]:
    """*world*, served from a thread; the variables that point a gateway at it."""
    ready, done, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    origins: list[str] = []

    async def keep() -> None:
        async with serve(world) as origin:
            origins.append(origin)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(keep()))
    thread.start()
    try:
        assert ready.wait(10)
        yield world.environment(origins[0])
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.close()


def timed() -> Callable[[], float]:
    """Seconds since now."""
    began = time.monotonic()
    return lambda: time.monotonic() - began
