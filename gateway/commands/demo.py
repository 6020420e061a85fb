"""``freeway demo``: simulated providers, the real gateway before them, a burst of calls, and which source served what."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import click
import httpx
import uvicorn
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from gateway import settings as s
from gateway.app import create_app
from gateway.cli import Surroundings
from gateway.clock import Clock
from gateway.events import Attempted, Ended, Event, Observer
from providers.simulator.server import listening, serve
from providers.simulator.world import World

console = Console(highlight=False)
SIX = ("openrouter", "google", "groq", "nvidia", "huggingface", "ollama")
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


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


@click.command("demo")
@click.option("--calls", default=300, show_default=True, type=click.IntRange(1, 5000), help="How many calls to make.")
@click.option("--at-once", default=8, show_default=True, type=click.IntRange(1, 64), help="How many of them at a time.")
@click.pass_obj
def command(around: Surroundings, calls: int, at_once: int) -> None:
    """
    See the gateway at work without any key.

    Starts simulations of the six providers on this machine, each with its wire format, its quotas and its failures, and
    the gateway before them; makes a burst of calls; shows which source served what.
    """
    asyncio.run(_demo(around, calls, at_once))


async def _demo(around: Surroundings, calls: int, at_once: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with opened(around.config, Path(folder), World(names=SIX)) as demo:
            _misbehave(demo.world)
            statuses = await _burst(demo, calls, at_once)
            _report(demo, statuses)


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


def _misbehave(world: World) -> None:
    """What a real afternoon has in store."""
    world.providers["openrouter"].fail("rate_limited:upstream", times=3)
    world.providers["groq"].fail("busy", times=2)
    world.providers["google"].fail("error_200", times=1)
    world.providers["huggingface"].fail("html", times=1)


async def _burst(demo: Demo, calls: int, at_once: int) -> Counter[int]:
    statuses: Counter[int] = Counter()
    room = asyncio.Semaphore(at_once)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=60) as client:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("calling", total=calls)

            async def call(number: int) -> None:
                async with room:
                    response = await client.post(
                        "/v1/chat/completions", json=_body(number), headers={"x-freeway-max-wait": "2"}
                    )
                    statuses[response.status_code] += 1
                    progress.advance(task)

            await asyncio.gather(*(call(number) for number in range(calls)))
    return statuses


def _body(number: int) -> dict[str, object]:
    """A mixed bag: most are plain, some use tools, want JSON, stream, or would rather have a certain model."""
    body: dict[str, object] = {
        "model": "auto",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": f"Call number {number}: say hello."}],
    }
    if number % 5 == 1:
        body["tools"] = [_TOOL]
    if number % 5 == 2:
        body["stream"] = True
    if number % 4 == 0:
        body["models"] = ["nvidia/deepseek-ai/deepseek-v4.1-flash", "auto"]
    if number % 10 == 3:
        body["response_format"] = {"type": "json_object"}
    return body


def _report(demo: Demo, statuses: Counter[int]) -> None:
    table = Table("served by", "model", "answers", header_style="bold")
    for (provider, model), answers in sorted(demo.watcher.served.items(), key=lambda item: (item[0][0], -item[1])):
        table.add_row(provider, model, str(answers))
    console.print(table)
    charged = sum(simulated.charged for simulated in demo.world.providers.values())
    suffered = demo.watcher.failures["RateLimited"]
    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    console.print(f"Answers: {told}")
    console.print(f"Refusals avoided by counting first: {demo.watcher.avoided}; refusals suffered: {suffered}")
    other = {name: count for name, count in demo.watcher.failures.items() if name != "RateLimited"}
    console.print(f"Failures moved on from: {sum(other.values())} {other or ''}", markup=False)
    console.print(f"Cost: {charged:.6f} dollars")
