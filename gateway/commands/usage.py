"""``freeway usage``: what clients used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec

from gateway.api.admin.views import UsageRow
from gateway.cli import Surroundings
from gateway.commands.running import asked, asks
from gateway.commands.tables import Column, show, table, width
from gateway.observe.use import KEPT
from gateway.wording import number


@click.command("usage")
@click.option("--by", type=click.Choice(["client", "model", "provider", "day"]), default="client", show_default=True)
@click.option(
    "--days", type=click.IntRange(1, KEPT), default=7, show_default=True, help="Today (UTC) and those before it."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
@asks
@click.pass_obj
def command(around: Surroundings, /, by: str, days: int, as_json: bool, **where: Any) -> None:
    """
    Show what was used, by client, model, provider or day.

    It is kept for 90 days. `saved` is what the same tokens would have cost where the models are paid for, in dollars.
    """
    with asked(around, **where, quiet=as_json) as gateway:
        rows = gateway.get("usage", list[UsageRow], by=by, days=days)
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    show(lines(by, days, rows, width()), width())


def lines(by: str, days: int, rows: Sequence[UsageRow], room: int) -> Iterable[str]:
    """What is printed: a name that is too long is cut, a number never is."""
    if not rows:
        yield f"Nothing was used in the last {days} days." if days > 1 else "Nothing was used today."
        return
    columns = (
        Column(by, text=True, least=12),
        Column("requests", right=True),
        Column("failed", right=True, spare=2),
        Column("tokens in", right=True),
        Column("tokens out", right=True),
        Column("saved", right=True, spare=1),
    )
    yield from table(columns, [_row(row) for row in rows], room)


def _row(row: UsageRow) -> tuple[str, ...]:
    counts = (row.requests, row.failed, row.prompt_tokens, row.output_tokens)
    return row.name or "(none served)", *map(number, counts), f"{row.saved:,.2f}".replace(",", " ")
