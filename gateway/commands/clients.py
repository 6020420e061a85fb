"""``freeway clients``: who may call, and how much. A gateway that runs knows within about a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import msgspec

from gateway.cli import Surroundings
from gateway.clients import PRIORITIES, Client
from gateway.clock import WallClock
from gateway.settings import Settings
from gateway.state.clients import KeptClients
from gateway.state.store import StateFailure, StateStore
from gateway.stores import make_state

T = TypeVar("T")


@click.group("clients")
def command() -> None:
    """
    Who may call, and how much: clients and their keys.

    They are kept in FREEWAY_STATE_DIR, or in Redis if FREEWAY_REDIS_URL is set, where every gateway of that store finds
    them; of keys only hashes. Clients of the configuration file are listed, and changed there.
    """


def _allowed(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say what a client may do."""
    options = [
        click.option("--limit", "limits", multiple=True, metavar="LIMIT", help="20/minute, '200000 tokens/day'; as often as you like."),
        click.option("--wait", type=click.FloatRange(0), metavar="SECONDS", help="How long its requests wait for capacity, unless they say."),
        click.option("--max-wait", type=click.FloatRange(0), metavar="SECONDS", help="How long they may wait at most."),
        click.option("--share", type=click.FloatRange(0, 1, min_open=True), help="Of scarce quotas, 0.5 for half; beyond it others go first."),
        click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="The last day (UTC) on which the key is taken."),
        click.option("--no-train", is_flag=True, help="Nothing of theirs goes to a source that trains on prompts, or may."),
        click.option("--model", "models", multiple=True, metavar="PATTERN", help="Models it may use; none named: all."),
        click.option("--provider", "providers", multiple=True, metavar="PATTERN", help="Providers that may serve it; none named: all."),
        click.option("--priority", type=click.Choice(list(PRIORITIES)), default="normal", help="Of those who wait, who goes first."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@command.command("add")
@click.argument("name")
@_allowed
@click.option("--json", "as_json", is_flag=True, help="Name and key as JSON.")
@click.pass_obj
def add(around: Surroundings, /, name: str, as_json: bool, expires: datetime | None, **allowed: Any) -> None:
    """
    Make the client NAME, and its key.

    The key is shown once; what is kept is its hash.
    """
    allowed["expires"] = expires and expires.date()

    async def make(kept: KeptClients) -> str:
        return kept.add(name, **allowed)

    _show_key(name, _run(around.settings(), make), as_json)


@command.command("rotate")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Name and key as JSON.")
@click.pass_obj
def rotate(around: Surroundings, name: str, as_json: bool) -> None:
    """Give the client NAME another key. The one it had is refused within about a second."""

    async def turn(kept: KeptClients) -> str:
        return kept.rotate(name)

    _show_key(name, _run(around.settings(), turn), as_json)


@command.command("limit")
@click.argument("name")
@click.argument("limits", nargs=-1, required=True)
@click.pass_obj
def limit(around: Surroundings, name: str, limits: tuple[str, ...]) -> None:
    """
    Have the client NAME keep to LIMITS, in place of those it has; `none` lifts them.

    For example: freeway clients limit alice 20/minute '200000 tokens/day'
    """
    wanted = () if limits == ("none",) else limits

    async def change(kept: KeptClients) -> Client:
        return kept.change(name, limits=wanted)

    client = _run(around.settings(), change)
    click.echo(f"{name}: {', '.join(client.limits) or 'no limits'}")


@command.command("revoke")
@click.argument("name")
@click.pass_obj
def revoke(around: Surroundings, name: str) -> None:
    """Take the key of the client NAME away: it is refused within about a second."""

    async def take(kept: KeptClients) -> bool:
        kept.revoke(name)
        return bool(kept.all())

    others = _run(around.settings(), take)
    click.echo(f"{name} is revoked.")
    if not others:
        click.echo(
            "No other client is kept. A key is needed all the same: `freeway clients add NAME` makes one.", err=True
        )


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array in place of lines.")
@click.pass_obj
def listing(around: Surroundings, as_json: bool) -> None:
    """Who may call, and what each may do."""
    settings = around.settings()

    async def read(kept: KeptClients) -> list[Client]:
        return kept.all()

    declared = settings.clients()
    names = {client.name for client in declared}
    clients = [*declared, *(client for client in _run(settings, read) if client.name not in names)]
    if as_json:
        rows = [_row(client, declared=client.name in names) for client in sorted(clients, key=lambda one: one.name)]
        click.echo(msgspec.json.encode(rows))
        return
    if not clients:
        click.echo("There is no client: `freeway clients add NAME` makes one.")
    width = max((len(client.name) for client in clients), default=0)
    for client in sorted(clients, key=lambda one: one.name):
        said = "; ".join([*_said(client), *(["declared in the configuration"] if client.name in names else [])])
        click.echo(f"{client.name:<{width}}  {said or 'may use everything'}")


def _row(client: Client, *, declared: bool) -> dict[str, Any]:
    row = msgspec.structs.asdict(client)
    del row["key_sha256"]
    expires = None if client.expires is None else client.expires_at
    return {**row, "expires": expires, "declared": declared}


def _said(client: Client) -> list[str]:
    """What *client* may do, as far as it is not everything, in words."""
    expires = "" if client.expires is None else f"{datetime.fromtimestamp(client.expires_at, UTC):%Y-%m-%d %H:%M} UTC"
    told = {
        "": ", ".join(client.limits),
        "waits": f"{client.wait:g} s" if client.wait is not None else "",
        "at most": f"{client.max_wait:g} s" if client.max_wait is not None else "",
        "share": f"{client.share:g}" if client.share is not None else "",
        "until": expires,
        "models": ", ".join(client.models),
        "providers": ", ".join(client.providers),
        "priority": client.priority if client.priority != "normal" else "",
    }
    words = [f"{word} {value}".strip() for word, value in told.items() if value]
    return [*words, "no training"] if client.no_train else words


def _show_key(name: str, key: str, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"name": name, "key": key}))
        return
    click.echo(f"Key for {name}, shown only now:\n\n  {key}\n")
    click.echo("Programs send it as their API key. A gateway that runs takes it within about a second.")


# ── where they are kept ──


async def any_kept(settings: Settings) -> bool:
    """Whether the store has a client, one that was revoked included. Raises ClickException if it cannot be read."""
    async with _kept(settings) as kept:
        return kept.any


def _run(settings: Settings, work: Callable[[KeptClients], Awaitable[T]]) -> T:
    """What *work* makes of the clients that are kept; what is wrong is told in one sentence."""

    async def run() -> T:
        async with _kept(settings) as kept:
            return await work(kept)

    try:
        return asyncio.run(run())
    except (ValueError, KeyError) as exc:
        raise click.ClickException(str(exc.args[0])) from exc


@asynccontextmanager
async def _kept(settings: Settings) -> AsyncIterator[KeptClients]:
    """The clients of the store, which has heard of all changes in the end."""
    clock = WallClock()
    state = StateStore(make_state(settings, clock, lambda _: None), clock)
    declared = frozenset(client.name for client in settings.clients())
    try:
        kept = KeptClients(state, clock, lambda: declared)
        await state.exchange()
        yield kept
        await state.exchange()
    except StateFailure as exc:
        raise click.ClickException(f"the clients cannot be read or changed now: {exc}") from exc
    finally:
        await state.aclose()
