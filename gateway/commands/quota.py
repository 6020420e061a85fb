"""``freeway quota``: how much is left today, how much of every limit is used, and a way to lift a close that was a mistake."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec

from gateway.api.admin.views import Overview, Source
from gateway.cli import Surroundings
from gateway.commands.running import asked, asks, near
from gateway.commands.tables import Column, show, table, width
from gateway.quota.nouns import LevelView
from gateway.wording import ago, count, duration, moment, number, opens

_COLUMNS = (
    Column("limit of", text=True, least=12),
    Column("used", right=True),
    Column("limit", right=True),
    Column("each"),
    Column("opens in"),
    Column("at", spare=1),
)


class Opening(msgspec.Struct):
    """The bucket whose close was a mistake."""

    bucket: str


@click.command("quota")
@click.argument("source", required=False)
@click.option("--json", "as_json", is_flag=True, help="The overview and the buckets as one JSON object.")
@click.option("--all", "show_all", is_flag=True, help="Also the buckets that nothing was taken from.")
@click.option("--open", "to_open", metavar="BUCKET", help="Lift the close of BUCKET, if it was a mistake.")
@asks
@click.pass_obj
def command(
    around: Surroundings, /, source: str | None, as_json: bool, show_all: bool, to_open: str | None, **where: Any
) -> None:
    """
    Show what is left today, and how much of every limit is used, as the gateway counts it. No provider is asked.

    With SOURCE, all that is known of the limits of that one.
    """
    with asked(around, **where, quiet=as_json) as gateway:
        if to_open is not None:
            gateway.post("buckets/open", LevelView, Opening(to_open))
        overview, sources = gateway.get("overview", Overview), gateway.get("sources", list[Source])
    if source is not None:
        sources = [near(sources, source)]
    if as_json:
        levels = [level for one in sources for level in one.buckets]
        click.echo(msgspec.json.encode({"overview": overview, "buckets": levels}))
    else:
        show(lines(overview, sources, width(), show_all=show_all, detail=source is not None), width())
    if not any(one.models for one in sources) and source is None:
        sys.exit(1)


def lines(
    overview: Overview, sources: Sequence[Source], room: int, *, show_all: bool = False, detail: bool = False
) -> Iterable[str]:
    """What is printed: the sentence that matters, then the limits."""
    if detail:
        yield from _detail(sources[0], overview.now)
        return
    yield left_today(overview)
    yield from (f"! {problem}" for problem in overview.problems)
    every = [level for one in sources for level in one.buckets]
    shown = [level for level in every if show_all or level.used or level.closed_until or level.said_at]
    if shown:
        yield ""
        yield from table(_COLUMNS, [_row(level, overview.now) for level in shown], room)
    if len(shown) < len(every):
        untouched = count(len(every) - len(shown), "limit is", "limits are")
        yield f"{untouched} untouched: --all shows them. `freeway quota SOURCE` says where each is known from."
    elif not every:
        yield "There is no limit to show, as no source is in use."
    if overview.next_step:
        yield f"Next: {overview.next_step}"


def left_today(overview: Overview) -> str:
    """About 1 940 more answers today, 12 with vision."""
    left = {one.capability: one for one in overview.left}
    chat = left.get("chat")
    if chat is None or (not chat.answers and chat.answers is not None and chat.until is None):
        told = chat.said if chat is not None else "no source is in use that answers"
        return f"{told[:1].upper()}{told[1:]}."
    others = [
        f"{number(one.answers)} {words}"
        for name, words in _WITH.items()
        if (one := left.get(name)) is not None and one.answers is not None and one.answers != chat.answers
    ]
    more = f", {', '.join(others)}" if others else ""
    if chat.answers is None:
        return f"Answers without bound today, from a machine of your own{more}."
    if chat.answers == 0 and chat.until is not None:
        return f"No more answers now: the next {opens(chat.until, overview.now)}."
    return f"About {count(chat.answers, 'more answer')} today{more}."


_WITH = {
    "vision": "with vision",
    "tools": "with tools",
    "private": "that nothing is trained on",
    "embeddings": "embeddings",
}


def _row(level: LevelView, now: float) -> tuple[str, ...]:
    end = level.closed_until or (level.resets_at if level.used else 0.0)
    return (
        level.bucket.removesuffix(f"/{level.unit}/{level.window}").removesuffix(f"/{level.window}"),
        number(level.used),
        number(level.limit),
        f"{level.unit}/{level.window}",
        duration(math.ceil(end - now)) + (" (closed)" if level.closed_until else "") if end > now else "",
        moment(end, now) if end > now else "",
    )


def _detail(source: Source, now: float) -> Iterable[str]:
    """Every limit of *source*, with where it is known from, and who corrected the count last."""
    yield f"{source.title}: {count(len(source.buckets), 'limit')}"
    for level in source.buckets:
        yield ""
        yield f"{level.bucket}: {number(level.used)} of {number(level.limit)} {level.unit}, {level.window}"
        yield f"  known from {level.limit_from}"
        if level.used:
            yield f"  resets {opens(level.resets_at, now)}"
        if level.closed_until:
            yield f"  closed, opens {opens(level.closed_until, now)}: {level.closed_because}"
        if level.said_at is not None:
            yield f"  count corrected by {level.said_by}, {ago(level.said_at, now)}"
