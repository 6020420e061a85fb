"""``freeway models``: what is free for you now."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec

from gateway.api.admin.views import Model
from gateway.cli import Surroundings
from gateway.commands.check import look_everywhere
from gateway.commands.running import Gateway, asked, asks
from gateway.commands.tables import Column, show, table, width
from gateway.wording import ago, count, duration, number, opens

_COLUMNS = (
    Column("model", text=True, least=18),
    Column("source", text=True, least=6),
    Column("context", right=True),
    Column("can", text=True, least=10, spare=2),
    Column("now", text=True, least=14),
)


class _Name(msgspec.Struct):
    name: str


@click.command("models")
@click.argument("query", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
@click.option("--available", is_flag=True, help="Only what can be asked now.")
@click.option("--out", is_flag=True, help="Only what cannot be asked now, and why.")
@click.option("--readmit", metavar="NAME", help="Let a model or an account in again that is out of service.")
@asks
@click.pass_obj
def command(
    around: Surroundings, /, query: str | None, as_json: bool, available: bool, out: bool, readmit: str | None,
    **where: Any,
) -> None:  # fmt: skip
    """
    List every model that is free for you now; with QUERY those whose name has it.

    One that is called by its whole name is shown in detail. Where no gateway runs, each provider is asked for its list.
    """
    with asked(around, **where, quiet=as_json) as gateway:
        if readmit is not None:
            gateway.post("models/readmit", type(None), _Name(readmit))
            click.echo(f"{readmit} may serve again.", err=as_json)
        if not gateway.runs:
            look_everywhere(gateway)
        found = _found(gateway, query, available=available, out=out)
        now = gateway.now()
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        show(lines(found, query or "", width(), now), width())
    if not found and not out:
        sys.exit(1)


def _found(gateway: Gateway, query: str | None, *, available: bool, out: bool) -> list[Model]:
    found = gateway.get("models", list[Model], q=query, available="true" if available else None)
    return [one for one in found if not (out and one.available)]


def lines(models: Sequence[Model], query: str, room: int, now: float) -> Iterable[str]:
    """What is printed of *models*: a line each, or the whole of those that are called *query*."""
    exact = [one for one in models if query in (one.deployment, one.model)]
    if exact and query:
        for one in exact:
            yield from _detail(one, now)
        return
    if not models:
        yield (
            f"No free model has {query!r} in its name."
            if query
            else ("No model is free for you now: `freeway check` says which keys are missing or refused.")
        )
        return
    yield from table(
        _COLUMNS, [_row(one, now) for one in sorted(models, key=lambda one: (one.model, one.provider))], room
    )
    ready = sum(one.available for one in models)
    yield f"{count(len({one.model for one in models}), 'model')}, {ready} of {count(len(models), 'deployment')} available now."


def _row(one: Model, now: float) -> tuple[str, ...]:
    can = one.capabilities if "chat" in one.operations else one.operations
    state = "available" if one.available else _in(one.opens_at, now) or one.why_not
    return one.model, one.provider, number(one.context) if one.context else "?", ", ".join(can), state


def _in(at: float | None, now: float) -> str:
    return f"in {duration(math.ceil(at - now))}" if at is not None and at > now else ""


def _detail(one: Model, now: float) -> Iterable[str]:
    size = f"holds {number(one.context)} tokens" if one.context else "its context is not known"
    longest = f", answers with {number(one.max_output)} at most" if one.max_output else ""
    yield one.deployment
    yield f"  {size}{longest}"
    yield f"  can {', '.join([*one.operations, *one.capabilities]) or 'nothing that is known'}"
    since = f" (read {ago(one.free.since, now)})" if one.free.since else ""
    yield f"  free, {one.free.level}: {one.free.because}{since}"
    yield f"  prompts: {_TRAINS[one.trains]}"
    if one.available:
        yield "  available now"
    else:
        when = f"; {opens(one.opens_at, now)}" if one.opens_at and one.opens_at > now else ""
        yield f"  not available: {one.why_not}{when}"


_TRAINS = {
    "yes": "models are trained on them",
    "no": "nothing is trained on them",
    "unknown": "models may be trained on them",
}
