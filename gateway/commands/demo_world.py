"""Simulated providers with the real gateway before them, on free ports of this machine: for the demo, and for tests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import click
import httpx
import uvicorn
from msgspec import Struct

from gateway import settings as s
from gateway.app import create_app
from gateway.clock import Clock
from gateway.events import Attempted, Ended, Event, Observer
from providers.simulator.server import listening, serve
from providers.simulator.world import World

SIX = ("openrouter", "google", "groq", "nvidia", "huggingface", "ollama")


class Watcher:
    """An observer that counts."""

    def __init__(self) -> None:
        self.served: Counter[tuple[str, str]] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.avoided = 0
        self.dollars = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Ended):
            self.outcomes[event.outcome] += 1
            self.avoided += event.passed_over
            self.dollars += event.dollars
            if event.deployment:
                provider, _, model = event.deployment.partition("/")
                self.served[(provider, model)] += 1
        elif isinstance(event, Attempted):
            self.failures[event.failure] += 1


class Demo(Struct, frozen=True):
    """A running gateway before running simulators."""

    world: World
    watcher: Watcher
    base_url: str


@asynccontextmanager
async def opened(
    config: Path,
    folder: Path,
    world: World,
    *,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    observers: Sequence[Observer] = (),
) -> AsyncIterator[Demo]:
    """The simulators and the gateway on free ports of this machine, with state in *folder*, ready to be called."""
    async with serve(world) as origin:
        watcher = Watcher()
        settings = s.load(
            config,
            {**world.environment(origin), "FREEWAY_STATE_DIR": str(folder), "MODELS_DEV_URL": "", **(environ or {})},
            folder,
        )
        app = create_app(settings, clock=clock, observers=[watcher, *observers])
        async with listening(uvicorn.Config(app, lifespan="on", ws="none", log_level="warning")) as base_url:
            await _ready(base_url, set(world.providers))
            yield Demo(world, watcher, base_url)


async def _ready(base_url: str, names: set[str]) -> None:
    """Return when every source was looked at, and *names* have models; raises ClickException if that never comes."""
    async with httpx.AsyncClient(base_url=base_url) as client:
        for _ in range(400):
            try:
                sources = (await client.get("/health")).json()["sources"]
            except httpx.TransportError:
                sources = []
            heard_of_all = all(source["models"] or source["problem"] for source in sources)
            if heard_of_all and names <= {source["provider"] for source in sources if source["models"]}:
                return
            await asyncio.sleep(0.025)
    raise click.ClickException(f"the simulated providers did not all answer: {sources}")
