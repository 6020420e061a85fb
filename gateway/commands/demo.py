"""
``freeway demo``: simulated providers and the real gateway before them, in two acts. A burst of calls on a bad afternoon; then the
end of a day, beside a policy that does not count.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections import Counter
from contextlib import suppress
from itertools import count
from pathlib import Path

import click
import httpx
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from gateway.cli import Surroundings
from gateway.commands.demo_day import day_end, told
from gateway.commands.demo_world import SIX as SIX
from gateway.commands.demo_world import Demo as Demo
from gateway.commands.demo_world import opened as opened
from providers.simulator.world import World

console = Console(highlight=False)
NOW_AND_THEN = 2.0
"""Seconds between the calls that are made while one looks."""

NEXT = "`freeway setup` says where free ones are made, tries them and stores them; then `freeway serve`."
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@click.command("demo")
@click.option("--calls", default=300, show_default=True, type=click.IntRange(1, 5000), help="How many calls to make.")
@click.option("--at-once", default=8, show_default=True, type=click.IntRange(1, 64), help="How many of them at a time.")
@click.option("--stay", is_flag=True, help="Go on serving afterwards, with the page to look at, until Ctrl-C.")
@click.pass_obj
def command(around: Surroundings, calls: int, at_once: int, *, stay: bool) -> None:
    """
    See the gateway at work without any key.

    Starts simulations of six providers on this machine, each with its wire format, its quotas and its failures, and the
    gateway before them. First a burst of calls while providers fail; then the last minutes of a day in fast time, beside a
    policy that asks without counting. Ends with what to do to have the same with keys of your own.
    """
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # also where they are ignored: in a script's background, in a container
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        asyncio.run(_demo(around, calls, at_once, stay=stay))


async def _demo(around: Surroundings, calls: int, at_once: int, *, stay: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        console.print("[bold]A bad afternoon.[/] Six providers, some of which fail now and then.")
        async with opened(around.config, Path(folder) / "afternoon", World(names=SIX)) as demo:
            _misbehave(demo.world)
            statuses = await _burst(demo, calls, at_once)
            _report(demo, statuses)
            console.print("\n[bold]The end of a day[/] (UTC) in fast time: more calls than any one source allows.")
            told(await day_end(around.config, Path(folder) / "day"), console)
            console.print("\n[bold]Now with your key:[/] " + NEXT)
            if stay:
                console.print(
                    f"\n[bold]The page of the simulated gateway:[/] {demo.base_url}/ (until Ctrl-C)", soft_wrap=True
                )
                await _go_on(demo)


async def _go_on(demo: Demo) -> None:
    """A call now and then, for ever: so that there is something to look at."""
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=60) as client:
        for number in count():
            await client.post("/v1/chat/completions", json=_body(number), headers={"x-freeway-max-wait": "2"})
            await asyncio.sleep(NOW_AND_THEN)


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
    table = Table("served by", "model", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("answers", justify="right")
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
