"""``freeway check``: every source: its key, its models, the risk of cost, and what to do next. Stricter than the server."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec
from msgspec import Struct
from rich.console import Console

from gateway.api.admin.overview import SET_UP
from gateway.api.admin.views import Model, Overview, Source
from gateway.cli import Surroundings
from gateway.commands.address import said
from gateway.commands.running import Gateway, asked, asks, near
from gateway.commands.tables import Column, show, table, width
from gateway.settings import Settings
from gateway.wording import ago, count, duration
from providers.embedded import server as embedded

_QUESTION = "Say: yes"
_BODY = {"model": "auto", "messages": [{"role": "user", "content": _QUESTION}], "max_tokens": 16}
_COLUMNS = (
    Column("source", text=True, least=12),
    Column("state"),
    Column("models", right=True),
    Column("costs nothing", spare=1),
    Column("prompts", text=True, least=12, spare=2),
)
_BAD = frozenset({"key refused", "shut", "failing"})


class Asked(Struct, frozen=True):
    """What came of one question to a *source*: what it *said* within *took* seconds, or what was *wrong*."""

    source: str
    took: float
    model: str = ""
    said: str = ""
    wrong: str = ""


@click.command("check")
@click.argument("source", required=False, metavar="[SOURCE or FILE.toml]")
@click.option(
    "--ask", is_flag=True, help="Also ask each source one short question: a list proves no key. Costs one request each."
)
@click.option(
    "--json", "as_json", is_flag=True, help="The overview, the sources and what they said as one JSON object."
)
@asks
@click.pass_obj
def command(around: Surroundings, /, source: str | None, ask: bool, as_json: bool, **where: Any) -> None:
    """
    Look at every source: is there a key, is it taken, what is free, how far it is known that nothing can cost money (proven
    by what is read, promised by the provider, or not knowable), and what it cost so far. With SOURCE, all that is known of that one.

    With FILE.toml, try the provider that this file describes, as one of config/providers would.

    Leaves with status 1 if a source that has a key cannot be used, or if anything was ever spent.
    """
    file = Path(source) if source and source.endswith(".toml") else None
    if file is not None and not file.is_file():
        raise click.BadParameter(f"{file} is no file", param_hint="FILE.toml")
    with asked(around, **where, quiet=as_json, file=file) as gateway:
        if not gateway.runs:
            look_everywhere(gateway)
        overview, sources = gateway.get("overview", Overview), gateway.get("sources", list[Source])
        if source is not None:
            sources = sources[:1] if file else [near(sources, source)]
        heard = _ask_each(gateway, around, sources) if ask else []
        models = gateway.get("models", list[Model]) if source is not None else []
        if ask:
            overview, sources = gateway.get("overview", Overview), _again(gateway, sources)
    if as_json:
        click.echo(msgspec.json.encode({"overview": overview, "sources": sources, "asked": heard}))
    else:
        settings = None if gateway.runs else around.settings(file)
        detail = [one for one in models if one.provider == sources[0].name] if source is not None else None
        show(lines(overview, sources, heard, width(), detail=detail, beside=_beside(settings)), width())
    wrong = any(one.key == "set" and one.state in _BAD for one in sources) or any(one.wrong for one in heard)
    sys.exit(1 if wrong or overview.spent else 0)


def look_everywhere(gateway: Gateway) -> None:
    """Have every source that can be asked read its list now: no running gateway does that."""
    names = [one.name for one in gateway.get("sources", list[Source]) if one.state not in ("no key", "off")]
    with Console(stderr=True).status(f"asking {', '.join(names) or 'no source'} …"), ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda name: gateway.post(f"sources/{name}/refresh", Source), names))


def _again(gateway: Gateway, sources: Sequence[Source]) -> list[Source]:
    return [gateway.get(f"sources/{one.name}", Source) for one in sources]


# ── one question each ──


def _ask_each(gateway: Gateway, around: Surroundings, sources: Iterable[Source]) -> list[Asked]:
    """Ask each of *sources* that can be asked."""
    key = around.environ.get("FREEWAY_API_KEY", "").strip()
    return [_ask(gateway, one.name, key) for one in sources if one.state not in ("no key", "off")]


def _ask(gateway: Gateway, name: str, key: str) -> Asked:
    headers = {"x-freeway-max-wait": "0", **({"authorization": f"Bearer {key}"} if key else {})}
    began = time.monotonic()
    answer = gateway.chat({**_BODY, "provider": {"only": [name]}}, **headers)
    took = time.monotonic() - began
    if answer.status_code != 200:
        return Asked(name, took, wrong=_wrong(answer))
    text, model = _text(answer), answer.headers.get("x-freeway-model", "")
    return Asked(name, took, model, text)


def _wrong(answer: httpx.Response) -> str:
    """What an error answer says: of the source that was asked, if it names it."""
    try:
        first = answer.json()["error"]["availability"]["excluded"][0]
    except (ValueError, KeyError, TypeError, IndexError):
        return said(answer)
    return f"{first['deployment']} {first['reason']}"


def _text(answer: httpx.Response) -> str:
    message = answer.json()["choices"][0]["message"]
    return " ".join((message.get("content") or message.get("reasoning_content") or "").split())[:60]


# ── what is printed ──


def lines(
    overview: Overview, sources: Sequence[Source], heard: Sequence[Asked], room: int, *,
    detail: Sequence[Model] | None = None, beside: Iterable[str] = (),
) -> Iterable[str]:  # fmt: skip
    """What is printed of *sources*: a line each, or all of one with its models as *detail*; then what to do."""
    if detail is not None:
        yield from _detail(sources[0], detail, overview.now)
    else:
        yield from table(_COLUMNS, [_row(one) for one in sorted(sources, key=_by_state)], room)
        yield ""
        yield from (f"! {one.title}: {one.reason}" for one in sources if one.state in _BAD)
    if heard:
        yield f"Each was asked: {_QUESTION!r} (16 tokens at most)"
        yield from (_heard(one) for one in heard)
    yield from beside
    yield _bill(overview, sources)
    yield f"Next: {overview.next_step}" if overview.next_step else _well(sources)


def _row(one: Source) -> tuple[str, ...]:
    level = one.free.level if one.free is not None else ""
    return one.title, one.state, str(one.models) if one.models else "", level, one.prompts


_ORDER = ("key refused", "shut", "failing", "on", "starting", "off", "no key")


def _by_state(one: Source) -> int:
    return _ORDER.index(one.state)


def _detail(one: Source, models: Sequence[Model], now: float) -> Iterable[str]:
    yield f"{one.title} ({one.name}): {one.state}"
    if one.reason:
        yield f"  {one.reason}"
    if one.remedy:
        yield f"  what to do: {one.remedy}"
    key = f"set, from {one.key_from}" if one.key == "set" else one.key
    yield f"  key: {key}" + (f" ({one.key_variable})" if one.key_variable else "")
    if one.get_a_key and one.key != "set":
        yield f"  a free key: {one.get_a_key}"
    if one.free is not None:
        read = f", read {ago(one.free.since, now)}" if one.free.since else ""
        yield f"  costs nothing, {one.free.level}: {one.free.because} ({one.free.source}{read})"
    yield f"  prompts: {one.prompts}"
    looked = f"; the list was read {ago(one.looked_at, now)}" if one.looked_at else ""
    yield f"  {count(one.models, 'free model')}, {count(len(one.buckets), 'limit')}{looked}"
    yield f"  `freeway quota {one.name}` shows the limits, `freeway models` the models."
    yield from filter(None, (_gap(model) for model in models))


def _gap(model: Model) -> str:
    """What is not known of *model*, so that requests which need it go elsewhere; empty: nothing."""
    unknown = [] if model.context else ["context (a [[models]] row has it)"]
    if not model.capabilities and "chat" in model.operations:
        unknown.append("capabilities (tools, vision, …: a [[models]] row, or capabilities for all)")
    return f"  {model.deployment}: not known: {', '.join(unknown)}" if unknown else ""


def _heard(one: Asked) -> str:
    if one.wrong:
        return f"  {one.source}: no answer in {duration(one.took)}: {one.wrong}"
    return f"  {one.source}: {one.said!r} from {one.model} in {duration(one.took)}"


def _bill(overview: Overview, sources: Iterable[Source]) -> str:
    """
    What was spent, which has to read 0.000000, and what was saved. Where an account may be charged without telling, it is said
    that this cannot be known.
    """
    unsure = [one.title for one in sources if one.free is not None and one.free.level == "not knowable" and one.models]
    spent = f"Spent {overview.spent:.6f} dollars"
    if unsure and not overview.spent:
        spent = f"No answer told of a cost; what {', '.join(unsure)} charges cannot be known from here"
    parts = [spent, f"saved {overview.saved:.4f} at the prices of the same models"]
    if overview.credit:
        parts.append(f"took {overview.credit:.6f} from free credits")
    return "; ".join(parts) + "."


def _well(sources: Sequence[Source]) -> str:
    serving = [one for one in sources if one.state == "on"]
    if not serving and not any(one.key == "set" for one in sources):
        return f"Next: {SET_UP}"
    return (
        f"Nothing to do: {count(len(serving), 'source serves', 'sources serve')}."
        if serving
        else ("Next: wait a moment and look again, as no source serves yet.")
    )


def _beside(settings: Settings | None) -> Iterable[str]:
    """What there is besides sources: the embedded model, and variables that hold keys of what is not free."""
    if embedded.available():
        yield "The embedded model is installed: it answers where no other source does."
    for source in settings.not_free if settings is not None else ():
        for key in set(source.keys).intersection(settings.useless_keys if settings is not None else ()):
            yield f"{key} is set and not used: {source.title} is not free, {source.why}."
