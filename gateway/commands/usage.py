"""``freeway usage``: what clients used."""

from __future__ import annotations

import asyncio
from typing import cast

import click
import msgspec
from rich.console import Console

from gateway.cli import Surroundings
from gateway.clock import WallClock
from gateway.observe.use import KEPT, By, Use, UseRow
from gateway.settings import Settings
from gateway.state.store import StateFailure, StateStore
from gateway.stores import make_state

_HEADINGS = ("requests", "failed", "tokens in", "tokens out", "saved")
_LEAST_NAME = 12


@click.command("usage")
@click.option("--by", type=click.Choice(["client", "model", "provider", "day"]), default="client", show_default=True)
@click.option(
    "--days", type=click.IntRange(1, KEPT), default=7, show_default=True, help="Today (UTC) and those before it."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
@click.pass_obj
def command(around: Surroundings, by: str, days: int, as_json: bool) -> None:
    """
    Show what was used, by client, model, provider or day.

    It is kept for 90 days in FREEWAY_STATE_DIR, or in Redis if FREEWAY_REDIS_URL is set. `saved` is what the same tokens would
    have cost where the models are paid for, in dollars.
    """
    rows = asyncio.run(_rows(around.settings(), cast("By", by), days))
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    if not rows:
        click.echo(f"Nothing was used in the last {days} days." if days > 1 else "Nothing was used today.")
        return
    for line in table(by, rows, Console().width):
        click.echo(line)


def table(by: str, rows: list[UseRow], width: int) -> list[str]:
    """The lines of a table: a name that is too long for *width* is cut, a number never is."""
    cells = [
        (
            f"{row.requests:,}",
            f"{row.failed:,}",
            f"{row.prompt_tokens:,}",
            f"{row.output_tokens:,}",
            f"{row.saved:,.2f}",
        )
        for row in rows
    ]
    widths = [max(len(row[place]) for row in [_HEADINGS, *cells]) for place in range(len(_HEADINGS))]
    names = [row.name or "(none served)" for row in rows]
    room = max(_LEAST_NAME, width - sum(widths) - 2 * len(widths))
    room = min(room, max(len(by), *map(len, names)))
    lines = [(by, _HEADINGS), *zip(names, cells, strict=True)]
    return [
        "  ".join([_cut(name, room).ljust(room), *(one.rjust(wide) for one, wide in zip(row, widths, strict=True))])
        for name, row in lines
    ]


def _cut(name: str, room: int) -> str:
    return name if len(name) <= room else f"{name[: room - 1]}…"


async def _rows(settings: Settings, by: By, days: int) -> list[UseRow]:
    clock = WallClock()
    state = StateStore(make_state(settings, clock, lambda _: None), clock)
    try:
        return await Use(state, clock).rows(by, days)
    except StateFailure as exc:
        raise click.ClickException(f"what was used cannot be read now: {exc}") from exc
    finally:
        await state.aclose()
