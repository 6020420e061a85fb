"""``freeway setup``: from nothing to keys that are tried and stored, one source after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import click
import httpx
from msgspec import Struct
from rich.console import Console

from gateway.api.admin.configuration import offered, tried
from gateway.api.admin.views import SetupSource
from gateway.app import USER_AGENT
from gateway.cli import Surroundings
from gateway.commands.address import origin_of
from gateway.commands.keyless import ask_once, on_a_terminal
from gateway.settings import Configured
from gateway.settings.storing import store
from gateway.settings.variables import meant_for
from providers.client import Provider
from providers.dialect import Account, Listing
from providers.spec import ProviderSpec
from providers.wire import HttpWire

console = Console(highlight=False)

_TRIES = 3  # of one key, before the next source
_STOP = ("q", "quit")


@click.command("setup")
@click.argument("source", required=False)
@click.pass_obj
def command(around: Surroundings, source: str | None) -> None:
    """
    Walk through the free sources: what each gives, whether it trains on prompts, where its key is made. A key that is pasted is
    tried, and stored in keys.env for you alone. With SOURCE, only that one.

    Without a terminal it says what to set.
    """
    configured = around.read()
    if source is not None and source not in configured.settings.provider:
        raise click.BadParameter(f"there is no source {source!r}; `freeway check` names them", param_hint="SOURCE")
    if not on_a_terminal():
        for line in instructions(configured):
            click.echo(line)
        return
    desk = Desk(ask=_ask, say=_say, try_key=_try, store=lambda name, value: store(configured.keys_file, name, value))
    walk(configured, desk, source)
    if source is None:
        ask_once(configured, _say)
    _say(next_step(around.read(), _is_running(around.read())))


class Desk(Struct, frozen=True):
    """Whom *walk* works with: a person who is asked and told things, a provider that tries keys, a file that keeps them."""

    ask: Callable[[str, bool], str]  # a question, and whether its answer is a secret
    say: Callable[[str], None]
    try_key: Callable[[ProviderSpec, str], tuple[bool | None, str]]
    store: Callable[[str, str], None]


def walk(configured: Configured, desk: Desk, only: str | None = None) -> None:
    """Ask for the key of each source that has none, or of *only* that one, until the person has had enough."""
    settings = configured.settings
    desk.say(f"Keys are kept in {configured.keys_file}, for you alone. Enter goes on, q ends.")
    for one in offered(configured):
        wanted = one.name == only if only is not None else one.key == "missing"
        incomplete = one.key == "set" and bool(one.near_misses) and only is None
        if one.key_variable is None or not (wanted or incomplete):
            continue
        describe(one, desk.say)
        spec = settings.provider[one.name]
        if not (incomplete or _take_key(one, configured, desk)) or not _take_needs(spec, desk):
            return


def describe(one: SetupSource, say: Callable[[str], None]) -> None:
    """What a person should know of a source before making a key."""
    say("")
    say(one.title)
    for title, told in (
        ("gives", one.gives),
        ("prompts", one.trains),
        ("to know", one.could_cost),
        ("key", one.get_a_key),
    ):
        if told:
            say(f"  {title + ':':<9}{told}")
    for near in one.near_misses:
        say(f"  note:    {near}")


def _take_key(one: SetupSource, configured: Configured, desk: Desk) -> bool:
    """Ask for the key until one is stored, or the person goes on; False: has had enough."""
    specs = configured.settings.provider
    for _ in range(_TRIES):
        key = desk.ask(f"  {one.key_variable}", True).strip()
        if not key:
            return True
        if key.lower() in _STOP:
            return False
        name = meant_for(key, one.name, specs) or one.name
        if name != one.name:
            desk.say(f"  That looks like a key of {specs[name].title}: it is tried there.")
        accepted, said = desk.try_key(specs[name], key)
        desk.say(f"  {said[:1].upper()}{said[1:]}.")
        if accepted is False:
            continue
        desk.store(str(specs[name].key_env), key)
        desk.say("  Stored." if accepted else "  Stored; `freeway check --ask` shows whether it is taken.")
        if name == one.name:
            return True
    return True


def _take_needs(spec: ProviderSpec, desk: Desk) -> bool:
    """Ask for what belongs to the key of *spec*; False: the person has had enough."""
    for name, variable in spec.base_url_needs.items():
        if f"{{{name}}}" in spec.base_url:
            told = desk.ask(f"  {variable}, which belongs to it", False).strip()
            if told.lower() in _STOP:
                return False
            if told:
                desk.store(variable, told)
    return True


def instructions(configured: Configured) -> list[str]:
    """What to set, for where nobody can be asked."""
    found = [one for one in offered(configured) if one.key == "missing" and one.key_variable]
    width = max((len(one.key_variable or "") for one in found), default=0)
    lines = [
        f"Set one of these in the environment, or in {configured.keys_file} (NAME=value, mode 600); any of them will do:"
    ]
    lines += [
        f"  {one.key_variable:<{width}}  {one.get_a_key}  ({one.title}: {one.gives.partition(';')[0]})" for one in found
    ]
    lines += [near for told in configured.near_misses.values() for near in told]
    return [*lines, next_step(configured, running=False)]


def next_step(configured: Configured, running: bool) -> str:
    """The one thing to do next."""
    settings = configured.settings
    if settings.keys.keys() & settings.active().keys():
        if running:
            return "Next: nothing, the gateway that runs takes the keys up by itself."
        return "Next: freeway serve"
    easiest = next((one for one in offered(configured) if one.name == "groq"), offered(configured)[0])
    return f"Next: make a free key at {easiest.get_a_key} and run `freeway setup` again"


def _ask(question: str, secret: bool) -> str:
    answer: str = click.prompt(question, default="", show_default=False, hide_input=secret)
    return answer


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)


def _try(spec: ProviderSpec, key: str) -> tuple[bool | None, str]:
    async def listed() -> Listing:
        async with HttpWire(user_agent=USER_AGENT) as wire:
            return await Provider(Account(spec, spec.base_url, key), wire).discover()

    return asyncio.run(tried(spec, listed()))


def _is_running(around_now: Configured) -> bool:
    server = around_now.settings.server
    try:
        return httpx.get(f"{origin_of(server.host, server.port)}/health/liveness", timeout=1).is_success
    except httpx.HTTPError:
        return False
