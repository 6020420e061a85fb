"""``freeway models``: what is free for you now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import click
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from gateway.cli import Surroundings
from gateway.commands.inside import opened
from gateway.events import Changed
from gateway.settings import Settings
from gateway.words import Deployment
from providers.failures import ProviderFailure

console = Console()


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
@click.option(
    "--changes", is_flag=True, help="What appeared, vanished, became paid, … since this gateway first looked."
)
@click.option("--out", is_flag=True, help="The models and accounts that are out of service, and why.")
@click.option("--readmit", metavar="NAME", help="Let a model or an account in again that is out of service.")
@click.pass_obj
def command(around: Surroundings, as_json: bool, changes: bool, out: bool, readmit: str | None) -> None:
    """List every model that is free for you now, asking each provider."""
    settings = around.settings()
    if readmit is not None:
        asyncio.run(_readmit(settings, readmit))
        console.print(f"{readmit} may serve again.", soft_wrap=True)
    elif changes or out:
        _tell(asyncio.run(_changes(settings) if changes else _out(settings)), as_json)
    else:
        _list(settings, as_json)


def _tell(rows: Sequence[Changed | Out], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    for row in rows:
        when = datetime.fromtimestamp(row.at if isinstance(row, Changed) else row.until, UTC)
        what = f"{row.kind}: {row.detail}" if isinstance(row, Changed) else f"out until then: {row.because}"
        console.print(f"{when:%Y-%m-%d %H:%M}Z  {row.name}  {what}", soft_wrap=True, markup=False)
    if not rows:
        console.print("Nothing.", style="dim")


def _list(settings: Settings, as_json: bool) -> None:
    deployments, problems = asyncio.run(_look(settings))
    if as_json:
        click.echo(msgspec.json.encode([_row(d) for d in deployments]))
        return
    table = Table("model", "provider", "context", "can", "quality", "free because", header_style="bold")
    for d in sorted(deployments, key=lambda d: (-d.quality, d.name)):
        size = f"{d.context:,}" if d.context else "?"
        table.add_row(
            d.model, d.provider.name, size, ", ".join(sorted(d.capabilities)), f"{d.quality:.2f}", d.proof.because
        )
    console.print(table)
    for name, problem in problems.items():
        console.print(f"{name}: {problem}", style="yellow", markup=False)
    if not deployments:
        console.print("No free model: set a key (see `freeway check`) or start Ollama.", style="yellow")


def _row(d: Deployment) -> dict[str, object]:
    return {
        "name": d.name,
        "model": d.model,
        "provider": d.provider.name,
        "context": d.context,
        "max_output": d.max_output,
        "capabilities": sorted(d.capabilities),
        "quality": d.quality,
        "free_because": d.proof.because,
        "proved_until": d.proof.until,
        "data_policy": d.policy,
    }


class Out(Struct, frozen=True):
    """A model or an account that is out of service *until* a moment (unix seconds)."""

    name: str
    until: float
    because: str


async def _changes(settings: Settings) -> Sequence[Changed]:
    async with opened(settings) as inside:
        return inside.parts.history.changes()


async def _out(settings: Settings) -> Sequence[Out]:
    async with opened(settings) as inside:
        out = inside.catalog.learned.out(inside.clock.now())
        return [Out(name, found.until, found.because) for name, found in sorted(out.items())]


async def _readmit(settings: Settings, name: str) -> None:
    async with opened(settings) as inside:
        if not inside.catalog.learned.readmit(name):
            raise click.ClickException(f"{name!r} is not out of service; `freeway models --out` names what is")
        for bucket in inside.catalog.buckets():
            if bucket.account == name:
                inside.ledger.open(bucket)


async def _look(settings: Settings) -> tuple[list[Deployment], dict[str, str]]:
    async with opened(settings) as inside:
        with Console(stderr=True).status(f"asking {', '.join(inside.providers) or 'no provider'} …"):
            found = await inside.look_everywhere()
        problems = {name: f.message for name, f in found.items() if isinstance(f, ProviderFailure)}
        return list(inside.catalog.deployments()), problems
