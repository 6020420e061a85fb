"""``freeway config``: what is set, whether it is right, and where each value comes from."""

from __future__ import annotations

import sys

import click
import msgspec
from rich.console import Console
from rich.table import Table

from gateway.cli import Surroundings
from gateway.settings import BadSettings, folder_of
from gateway.settings.shown import shown

console = Console(highlight=False)


@click.group("config")
def command() -> None:
    """Check what is set, and show where each value comes from."""


@command.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def check(around: Surroundings, as_json: bool) -> None:
    """
    Tell all mistakes at once, each with its file and line and what would be right.

    Leaves with status 1 if there is one.
    """
    try:
        found = around.read()
    except BadSettings as exc:
        if as_json:
            click.echo(msgspec.json.encode({"mistakes": exc.mistakes}).decode())
        else:
            for mistake in exc.mistakes:
                console.print(str(mistake), soft_wrap=True, markup=False)
        sys.exit(1)
    if as_json:
        told = {"mistakes": [], "notes": found.notes, "files": [str(path) for path in found.files if path.exists()]}
        click.echo(msgspec.json.encode(told).decode())
        return
    for note in found.notes:
        console.print(note, soft_wrap=True, markup=False)
    there = [str(path) for path in found.files if path.exists()]
    read = (
        ", ".join(there)
        if there
        else f"no file of your own (they would be in {folder_of(around.environ, around.home)})"
    )
    console.print(f"No mistakes. Read: {read}.", soft_wrap=True, markup=False)


@command.command("show")
@click.option("--all", "everything", is_flag=True, help="Also what is as it was shipped.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(around: Surroundings, everything: bool, as_json: bool) -> None:
    """Show what is set otherwise than it was shipped, and where each value comes from. Keys are never shown."""
    rows = shown(around.read(), everything=everything)
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    if not rows:
        console.print("Everything is as it was shipped; `freeway config show --all` shows that.", soft_wrap=True)
        return
    table = Table("key", "value", "from", header_style="bold", box=None)
    for row in rows:
        table.add_row(row.key, row.value, row.source)
    console.print(table)
