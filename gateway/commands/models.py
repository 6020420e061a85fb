"""``freeway models``: what is free for you now."""

from __future__ import annotations

import asyncio

import click
import msgspec
from rich.console import Console
from rich.table import Table

from gateway.cli import Surroundings
from gateway.commands.inside import opened
from gateway.settings import Settings
from gateway.words import Deployment
from providers.failures import ProviderFailure

console = Console()


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
@click.pass_obj
def command(around: Surroundings, as_json: bool) -> None:
    """List every model that is free for you now, asking each provider."""
    deployments, problems = asyncio.run(_look(around.settings()))
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
        "trains": d.trains,
    }


async def _look(settings: Settings) -> tuple[list[Deployment], dict[str, str]]:
    async with opened(settings) as inside:
        with Console(stderr=True).status(f"asking {', '.join(inside.providers) or 'nobody'} …"):
            found = await inside.look_everywhere()
        problems = {name: f.message for name, f in found.items() if isinstance(f, ProviderFailure)}
        return inside.catalog.deployments(), problems
