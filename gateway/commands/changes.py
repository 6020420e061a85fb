"""``freeway changes``: what appeared, vanished, became paid, gained or lost something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from gateway.api.admin.views import Change
from gateway.cli import Surroundings
from gateway.commands.running import asked, asks
from gateway.commands.tables import Column, show, table, width

_COLUMNS = (
    Column("when"),
    Column("what", text=True, least=8),
    Column("of", text=True, least=16),
    Column("detail", text=True, least=16, spare=1),
)


@click.command("changes")
@click.option("--limit", type=click.IntRange(1, 1000), default=30, show_default=True, help="The last so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
@asks
@click.pass_obj
def command(around: Surroundings, /, limit: int, as_json: bool, **where: Any) -> None:
    """Show what changed of the free models and accounts since this gateway first looked, the latest first."""
    with asked(around, **where, quiet=as_json) as gateway:
        found = gateway.get("changes", list[Change], limit=limit)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    show(lines(found, width()), width())


def lines(changes: Sequence[Change], room: int) -> Iterable[str]:
    if not changes:
        yield "Nothing has changed since this gateway first looked."
        return
    rows = [
        (f"{datetime.fromtimestamp(one.at, UTC).astimezone():%Y-%m-%d %H:%M}", one.kind, one.name, one.detail)
        for one in changes
    ]
    yield from table(_COLUMNS, rows, room)
