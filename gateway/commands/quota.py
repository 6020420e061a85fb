"""``freeway quota``: how much of every limit is used, and a way to lift a close that was a mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from gateway.cli import Surroundings
from gateway.commands.inside import opened
from gateway.quota.nouns import LevelView
from gateway.settings import Settings


@click.command("quota")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
@click.option("--all", "show_all", is_flag=True, help="Also the buckets that nothing was taken from.")
@click.option("--open", "to_open", metavar="BUCKET", help="Lift the close of BUCKET, if it was a mistake.")
@click.pass_obj
def command(around: Surroundings, as_json: bool, show_all: bool, to_open: str | None) -> None:
    """
    Show how much of every limit is used, as the gateway counts it.

    Reads the ledger in FREEWAY_STATE_DIR, or in Redis if FREEWAY_REDIS_URL is set; no provider is asked.
    """
    levels, now = asyncio.run(_levels(around.settings(), to_open))
    if as_json:
        click.echo(msgspec.json.encode(levels))
        return
    shown = [view for view in levels if show_all or view.used or view.closed_until or view.said_at]
    console = Console()
    rows = [_row(view, now) for view in shown]
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    room = console.width - 2
    for place, heading in enumerate(_HEADINGS):
        width = max([len(heading), *(len(row[place]) for row in rows)])
        table.add_column(heading, width=width, justify="right" if heading in ("used", "limit") else "left")
        room -= width + 3
    table.add_column("limit known from, or why it is closed")
    account = None
    for row, view in zip(rows, shown, strict=True):
        table.add_row(row[0] if row[0] != account else "", *row[1:], _remark(view, now, max(room, 20)))
        account = row[0]
    console.print(table)
    if len(shown) < len(levels):
        Console(stderr=True).print(f"{len(levels) - len(shown)} buckets are untouched; --all shows them.", style="dim")


_HEADINGS = ("account", "bucket", "used", "limit", "resets in")


def _row(view: LevelView, now: float) -> tuple[str, ...]:
    return (
        view.account,
        view.bucket.removeprefix(f"{view.account}/"),
        _number(view.used),
        _number(view.limit),
        _time(view.resets_at - now) if view.used else "",
    )


async def _levels(settings: Settings, to_open: str | None) -> tuple[Sequence[LevelView], float]:
    """The levels of every bucket, by account, after opening the bucket *to_open*."""
    async with opened(settings) as inside:
        buckets = {bucket.key: bucket for bucket in inside.catalog.buckets()}
        if to_open is not None:
            if to_open not in buckets:
                raise click.ClickException(f"there is no bucket {to_open!r}; `freeway quota --all --json` names them")
            inside.ledger.open(buckets[to_open])
        ordered = sorted(buckets.values(), key=lambda bucket: (bucket.account, bucket.key))
        levels = await inside.ledger.levels(ordered)
        if problem := inside.ledger.condition().lost:
            raise click.ClickException(f"the ledger cannot be read: {problem}")
        return list(levels.values()), inside.clock.now()


def _remark(view: LevelView, now: float, room: int) -> str:
    """Why it is closed; else where the limit is known from and who corrected the count last, cut to *room*."""
    if view.closed_until:
        return f"closed for {_time(view.closed_until - now)}: {view.closed_because}"
    source = view.limit_from.partition(";")[0]
    if view.said_at is not None:
        said = f"{view.said_by}, {_time(now - view.said_at)} ago"
        source = said if source == view.said_by else f"{source}; count: {said}"
    return source if len(source) <= room else f"{source[: room - 1]}…"


def _number(value: float) -> str:
    """A number for people: 250,000, 10.9, 0.0123."""
    return f"{value:,.{1 if value >= 1 else 4}f}".rstrip("0").rstrip(".")


def _time(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3.5 h, 12 d."""
    for size, unit in ((172_800, "d"), (5_400, "h"), (90, "min")):
        if seconds >= size:
            whole = {"d": 86_400, "h": 3_600, "min": 60}[unit]
            return f"{seconds / whole:.3g} {unit}"
    return f"{max(seconds, 0):.0f} s"
