"""``freeway quota``: how much of every limit is used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click
import msgspec
from rich.console import Console
from rich.table import Table

from gateway.cli import Surroundings
from gateway.commands.inside import opened
from gateway.ledger.nouns import LevelView
from gateway.settings import Settings


@click.command("quota")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
@click.option("--all", "show_all", is_flag=True, help="Also the buckets that nothing was taken from.")
@click.pass_obj
def command(around: Surroundings, as_json: bool, show_all: bool) -> None:
    """
    Show how much of every limit is used, as the gateway counts it.

    Reads the ledger in FREEWAY_STATE_DIR; nobody is asked.
    """
    levels, now = asyncio.run(_levels(around.settings()))
    if as_json:
        click.echo(msgspec.json.encode(levels))
        return
    shown = [v for v in levels if show_all or v.used or v.closed_until]
    table = Table("bucket", "used", "limit", "known from", "all free in", "closed", header_style="bold")
    for view in shown:
        closed = f"for {_time(view.closed_until - now)}: {view.closed_because}" if view.closed_until else ""
        table.add_row(
            view.bucket,
            f"{view.used:,.10g}",
            f"{view.limit:,.10g}",
            view.limit_from,
            _time(view.resets_at - now),
            closed,
        )
    Console().print(table)
    if len(shown) < len(levels):
        Console(stderr=True).print(f"{len(levels) - len(shown)} buckets are untouched; --all shows them.", style="dim")


async def _levels(settings: Settings) -> tuple[Sequence[LevelView], float]:
    async with opened(settings) as inside:
        buckets = {b.key: b for d in inside.catalog.deployments() for b in d.buckets}
        now = inside.clock.now()
        levels = await inside.ledger.levels(list(buckets.values()))
        return list(levels.values()), now


def _time(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3.5 h, 12 d."""
    for size, unit in ((172_800, "d"), (5_400, "h"), (90, "min")):
        if seconds >= size:
            whole = {"d": 86_400, "h": 3_600, "min": 60}[unit]
            return f"{seconds / whole:.3g} {unit}"
    return f"{max(seconds, 0):.0f} s"
