"""``freeway clients``: who may call, and how much. A gateway that runs knows within about a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from gateway.api.admin.clients import ClientChange, NewChoice, NewClient
from gateway.api.admin.views import ClientView, EmbeddingChoice, Forgotten, NewKey
from gateway.cli import Surroundings
from gateway.clock import WallClock
from gateway.commands.running import asked, asks
from gateway.commands.tables import Column, show, table, width
from gateway.settings import Settings
from gateway.settings.clients import PRIORITIES
from gateway.state.clients import KeptClients
from gateway.state.store import StateFailure, StateStore
from gateway.stores import make_state
from gateway.wording import ago, number


@click.group("clients")
def command() -> None:
    """
    Who may call, and how much: clients and their keys.

    They are kept in FREEWAY_STATE_DIR, or in Redis if FREEWAY_REDIS_URL is set, where every gateway of that store finds
    them; of keys only hashes. Clients of the configuration file are listed, and changed there. Where a gateway runs it is asked;
    else its files are.
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
@asks
@click.pass_obj
def add(
    around: Surroundings, /, name: str, as_json: bool, expires: datetime | None, gateway: str | None, key: str | None,
    **allowed: Any,
) -> None:  # fmt: skip
    """
    Make the client NAME, and its key.

    The key is shown once; what is kept is its hash.
    """
    if expires is not None:  # to the end of that day
        allowed["expires"] = expires.replace(tzinfo=UTC).timestamp() + 86_400
    with asked(around, gateway, key, quiet=True) as there:
        made = there.post("clients", NewKey, NewClient(name=name, **allowed))
    _show_key(made, as_json)


@command.command("rotate")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Name and key as JSON.")
@asks
@click.pass_obj
def rotate(around: Surroundings, /, name: str, as_json: bool, **where: Any) -> None:
    """Give the client NAME another key. The one it had is refused within about a second."""
    with asked(around, **where, quiet=True) as gateway:
        made = gateway.post(f"clients/{name}/rotate", NewKey)
    _show_key(made, as_json)


@command.command("limit")
@click.argument("name")
@click.argument("limits", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="The client as JSON.")
@asks
@click.pass_obj
def limit(around: Surroundings, /, name: str, limits: tuple[str, ...], as_json: bool, **where: Any) -> None:
    """
    Have the client NAME keep to LIMITS, in place of those it has; `none` lifts them.

    For example: freeway clients limit alice 20/minute '200000 tokens/day'
    """
    wanted = () if limits == ("none",) else limits
    with asked(around, **where, quiet=True) as gateway:
        client = gateway.patch(f"clients/{name}", ClientView, ClientChange(limits=wanted))
    if as_json:
        click.echo(msgspec.json.encode(client))
        return
    click.echo(f"{name}: {', '.join(one.limit for one in client.limits) or 'no limits'}")


@command.command("embeddings")
@click.argument("name")
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Client, model, and which it was, as JSON.")
@asks
@click.pass_obj
def embeddings(around: Surroundings, /, name: str, model: str, as_json: bool, **where: Any) -> None:
    """
    Have `auto` mean MODEL where the client NAME asks for vectors.

    It stays so until it is changed here. Without a key of its own a program is the client `anybody`. The MODEL `auto` is the one
    that most sources serve when NAME asks next.
    """
    with asked(around, **where, quiet=True) as gateway:
        chosen = gateway.put(f"clients/{name}/embeddings", EmbeddingChoice, NewChoice(model))
    if as_json:
        click.echo(msgspec.json.encode(chosen))
        return
    click.echo(f"{name}: vectors are made with {chosen.model or 'what most sources serve when it asks next'}.")
    if chosen.was not in (None, chosen.model):
        click.echo(
            f"An index that was made with {chosen.was} has to be built anew: vectors of two models do not fit together."
        )


@command.command("revoke")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Who was revoked, and who may call still, as JSON.")
@asks
@click.pass_obj
def revoke(around: Surroundings, /, name: str, as_json: bool, **where: Any) -> None:
    """Take the key of the client NAME away: it is refused within about a second."""
    with asked(around, **where, quiet=True) as gateway:
        gateway.delete(f"clients/{name}")
        others = gateway.get("clients", list[ClientView])
    if as_json:
        click.echo(msgspec.json.encode({"revoked": name, "left": [one.name for one in others]}))
        return
    click.echo(f"{name} is revoked.")
    if not others:
        click.echo(
            "No other client is kept. A key is needed all the same: `freeway clients add NAME` makes one, and "
            "`freeway clients forget` has a gateway of this machine alone take requests without a key again.",
            err=True,
        )


@command.command("forget")
@click.option("--json", "as_json", is_flag=True, help="Who is forgotten, and whether no key is needed, as JSON.")
@asks
@click.pass_obj
def forget(around: Surroundings, /, as_json: bool, **where: Any) -> None:
    """
    Forget the clients that were revoked; their keys are wrong ones then.

    Where no client is left, and the gateway listens on this machine alone, it takes requests without a key again.
    """
    with asked(around, **where, quiet=True) as gateway:
        found = gateway.post("revoked-clients/forget", Forgotten)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    click.echo(f"Forgotten: {', '.join(found.names)}." if found.names else "No client was revoked.")
    click.echo("Requests without a key are taken." if found.open else "A key is needed.")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array in place of lines.")
@asks
@click.pass_obj
def listing(around: Surroundings, /, as_json: bool, **where: Any) -> None:
    """Who may call, what each may do, and what each used in the last 24 hours."""
    with asked(around, **where, quiet=as_json) as gateway:
        clients = sorted(gateway.get("clients", list[ClientView]), key=lambda one: one.name)
        now = gateway.now()
    if as_json:
        click.echo(msgspec.json.encode(clients))
        return
    show(lines(clients, width(), now), width())


_COLUMNS = (
    Column("client", text=True, least=8),
    Column("requests", right=True),
    Column("tokens", right=True),
    Column("last seen", spare=2),
    Column("may", text=True, least=20),
)


def lines(clients: Sequence[ClientView], room: int, now: float) -> Iterable[str]:
    """What is printed of *clients*, with the use of the last 24 hours."""
    if not clients:
        yield "There is no client: `freeway clients add NAME` makes one."
        return
    yield from table(_COLUMNS, [_row(client, now) for client in clients], room)


def _row(client: ClientView, now: float) -> tuple[str, ...]:
    words = [*_said(client), *(["declared in the configuration"] if client.declared else [])]
    seen = ago(client.last_seen, now) if client.last_seen is not None else ""
    return client.name, number(client.requests), number(client.tokens), seen, "; ".join(words) or "use everything"


def _said(client: ClientView) -> list[str]:
    """What *client* may do, as far as it is not everything, in words."""
    expires = "" if client.expires is None else f"{datetime.fromtimestamp(client.expires, UTC):%Y-%m-%d %H:%M} UTC"
    told = {
        "": ", ".join(one.limit for one in client.limits),
        "waits": f"{client.wait:g} s" if client.wait is not None else "",
        "at most": f"{client.max_wait:g} s" if client.max_wait is not None else "",
        "share": f"{client.share:g}" if client.share is not None else "",
        "until": expires,
        "models": ", ".join(client.models),
        "providers": ", ".join(client.providers),
        "embeds with": client.embeddings or "",
        "priority": client.priority if client.priority != "normal" else "",
    }
    words = [f"{word} {value}".strip() for word, value in told.items() if value]
    return [*words, "no training"] if client.no_train else words


def _show_key(made: NewKey, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(made))
        return
    click.echo(f"Key for {made.name}, shown only now:\n\n  {made.key}\n")
    click.echo("Programs send it as their API key. A gateway that runs takes it within about a second.")


# ── where they are kept ──


async def any_kept(settings: Settings) -> bool:
    """Whether the store has a client, one that was revoked included. Raises ClickException if it cannot be read."""
    clock = WallClock()
    state = StateStore(make_state(settings, clock, lambda _: None), clock)
    try:
        kept = KeptClients(state, clock, frozenset)
        await state.exchange()
    except StateFailure as exc:
        raise click.ClickException(f"the clients cannot be read now: {exc}") from exc
    else:
        return kept.any
    finally:
        await state.aclose()
