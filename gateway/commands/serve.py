"""``freeway serve``: start the gateway, and say what it found."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO, cast

import aiohttp
import click
import msgspec
from rich.console import Console

from gateway.api.drain import Drain
from gateway.app import create_app
from gateway.cli import Surroundings
from gateway.clock import WallClock
from gateway.commands import server as http
from gateway.commands.address import origin_of
from gateway.commands.clients import any_kept
from gateway.commands.health import EVERYWHERE
from gateway.commands.keyless import ask_once, on_a_terminal
from gateway.commands.small import Small, small_model, with_model
from gateway.events import Observer
from gateway.observe import log
from gateway.observe.outlet import Outlet, hold_standard_files
from gateway.settings import EMBEDDED, BadSettings, Configured, Settings, exposed
from gateway.settings.reload import Reload
from providers.addresses import ollama_address
from providers.client import Prepare
from providers.dialect import Account
from providers.dialects.ollama import MARK
from providers.embedded import server as embedded

console = Console(stderr=True, highlight=False)


@click.command("serve")
@click.option("--host", metavar="ADDRESS", help="Where to listen; else HOST, else what is configured.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; else PORT, else what is configured.")
@click.option("--json-log", is_flag=True, help="Log one JSON object a line, also on a terminal.")
@click.option(
    "--log-level",
    type=click.Choice(list(log.LEVELS)),
    default="info",
    show_default=True,
    help="What is logged at least.",
)
@click.pass_obj
def command(around: Surroundings, host: str | None, port: int | None, json_log: bool, log_level: str) -> None:
    """
    Start the gateway with the keys and the Ollama that are found.

    Listens on 127.0.0.1:8000 unless told otherwise. On an address that others can reach it needs a client key: set
    FREEWAY_API_KEY, or make keys with `freeway clients add`. What is set anew while it runs is taken in, also on SIGHUP.
    """
    hold_standard_files()
    flags = {"HOST": host or "", "PORT": "" if port is None else str(port)}
    around = msgspec.structs.replace(around, flags=flags)
    configured = around.read()
    _refuse_open_door(configured.settings)
    for note in configured.notes:
        _said(note)
    if not configured.settings.keys and on_a_terminal() and ask_once(configured, _said):
        configured = around.read()
    drain, ollama = Drain(), asyncio.run(_ollama_answers(configured.settings))
    small = _small_model(around, configured.settings, has_ollama=ollama)
    decide = partial(_with_last_resort, has_ollama=ollama, small=small)
    settings = decide(configured.settings)
    prepare = _embedded(small, settings, drain)
    listening = _listen(settings)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    out = Outlet(2)
    as_json = json_log or not terminal
    log.configure(json=as_json, secrets=settings.secrets(), out=out, level=log_level)
    reload = Reload(msgspec.structs.replace(configured, settings=settings), partial(_reread, around, decide))
    observers: list[Observer] = [log.LogObserver(brief=not as_json), *_traces(around)]
    app = create_app(settings, observers=observers, prepare=prepare, drain=drain, reload=reload)
    sources = [spec.title for name, spec in settings.active().items() if name != "ollama" or ollama]
    greeting = Console(file=cast("TextIO", out), highlight=False, force_terminal=terminal)
    _greet(greeting, settings, listening[0].getsockname()[1], ", ".join(sources))
    try:
        http.run(app, listening, settings.server, drain, reload.wake)
    finally:
        out.close(1.0)


def _reread(around: Surroundings, decide: Callable[[Settings], Settings]) -> Configured:
    """What is set now, with the embedded model decided on. Raises BadSettings."""
    found = around.read()
    try:
        _refuse_open_door(found.settings)
    except click.ClickException as exc:  # the store of clients cannot be read now
        raise BadSettings(exc.message) from exc
    log.hide(found.settings.secrets())
    return msgspec.structs.replace(found, settings=decide(found.settings))


def _small_model(around: Surroundings, settings: Settings, *, has_ollama: bool) -> Small | None:
    """The embedded model, if it is to serve. One that cannot be had is said and done without, unless it was asked for by name."""
    wanted = embedded.available() and not has_ollama and not settings.keys
    if settings.embedded.enabled == "off" or (settings.embedded.enabled == "auto" and not wanted):
        return None
    try:
        return small_model(around, settings)
    except click.ClickException as exc:
        if settings.embedded.enabled == "on" or settings.embedded.weights:
            raise
        _said(f"The small model on this machine cannot be had: {exc.message}")
        return None


def _embedded(small: Small | None, settings: Settings, drain: Drain) -> dict[str, Prepare]:
    """What starts the embedded model, if it is to serve."""
    if small is None:
        return {}
    server = embedded.EmbeddedServer(small.weights, small.context, small.slots)
    drain.on_end(server.stop)
    return {EMBEDDED: starting(server, settings)}


def starting(server: embedded.EmbeddedServer, settings: Settings) -> Prepare:
    """What starts the embedded model when it is first asked."""

    async def prepare() -> Account:
        return Account(settings.provider[EMBEDDED], await server.start(), server.key)

    return prepare


OTEL = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""The variables that say where OpenTelemetry is to be told; its library reads all others of its own itself."""


def _traces(around: Surroundings) -> list[Observer]:
    """What tells OpenTelemetry of requests, if an endpoint is set and the library is there."""
    if not any(around.environ.get(name) for name in OTEL):
        return []
    try:
        from gateway.observe import otel  # noqa: PLC0415 - an optional extra, and slow to import
    except ImportError:
        console.print(
            f"{OTEL[0]} is set, but nothing is told: install freeway-gateway[otel]", style="yellow", markup=False
        )
        return []
    return [otel.Traces(otel.provider(around.environ), WallClock())]


def _said(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)


def _refuse_open_door(settings: Settings) -> None:
    places = exposed(settings.server)
    if places and settings.client_key is None and not settings.client and not asyncio.run(any_kept(settings)):
        raise BadSettings(
            f"{places[0]} can be reached by others, and no client key is set, so anybody could use your keys. Set "
            f"FREEWAY_API_KEY to a long random text, or make a key with `freeway clients add NAME`."
        )


async def _ollama_answers(settings: Settings) -> bool:
    """Whether Ollama is there and has a model. Another gateway that speaks its API is none."""
    spec = settings.provider.get("ollama")
    if spec is None:
        return False
    is_gateway = MARK in (await _told(f"{spec.base_url}/api/version") or {})
    return not is_gateway and bool((await _told(f"{spec.base_url}/api/tags") or {}).get("models"))


async def _told(url: str) -> dict[str, Any] | None:
    """The JSON object at *url*; None: there is none, or it is long in coming."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(url) as answer,
        ):
            found = await answer.json()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _with_last_resort(settings: Settings, *, has_ollama: bool, small: Small | None) -> Settings:
    """*settings* with the embedded model decided on: it serves where there is no other source, and as what it is."""
    wanted = small is not None and not has_ollama and not settings.keys
    decided = {"auto": "on" if wanted else "off"}.get(settings.embedded.enabled, settings.embedded.enabled)
    found = msgspec.structs.replace(settings, embedded=msgspec.structs.replace(settings.embedded, enabled=decided))
    return found if small is None else with_model(found, small)


def _listen(settings: Settings) -> list[socket.socket]:
    """The listening sockets: an address in use is told before anything else is started."""
    server = settings.server
    sockets = []
    try:
        sockets.append(_bound(server.host, server.port))
    except OSError as exc:
        raise click.ClickException(
            f"cannot listen on {server.host}:{server.port}: {exc.strerror}. Choose another with HOST and PORT."
        ) from exc
    if server.ollama:
        try:
            sockets.append(_bound(*server.ollama_address()))
        except OSError as exc:
            raise click.ClickException(_ollama_taken(server.ollama, exc)) from exc
    return sockets


def _bound(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    # Not named as one of TCP, asyncio would leave Nagle's delays on.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


def _ollama_taken(address: str, exc: OSError) -> str:
    """What to say of the second address, which cannot be had; mostly an Ollama has it, for it is Ollama's own."""
    said = f"cannot listen on {address} ([server] ollama): {exc.strerror}"
    if exc.errno != errno.EADDRINUSE:
        return f"{said}. Choose another address, or leave the setting out."
    told = asyncio.run(_told(f"{ollama_address(address)}/api/version"))
    if told is not None and MARK in told:
        return f"{said}: another Freeway listens there. Stop it, or choose another port for this one."
    if told is not None and "version" in told:
        return (
            f"{said}: an Ollama listens there. Have it listen elsewhere (OLLAMA_HOST=127.0.0.1:11435 for `ollama serve` "
            f"and for Freeway), or choose another port for Freeway."
        )
    return f"{said}. Choose another port, or end what listens there."


def _greet(console: Console, settings: Settings, port: int, sources: str) -> None:
    origin, everywhere = origin_of(settings.server.host, port), settings.server.host in EVERYWHERE
    key = " -H 'authorization: Bearer YOUR_KEY'" if settings.client_key or settings.client else ""
    found = f"in front of: {sources}" if sources else f"has no source yet: {settings.hint}, or {origin}/#setup"
    console.print(f"Freeway on {origin}/v1 {found}", soft_wrap=True)
    if sources and not settings.keys:
        console.print(f"For more and better answers {settings.hint}", soft_wrap=True)
    if everywhere:
        console.print(f"Other machines reach it at port {port} of every address of this one.", soft_wrap=True)
    if settings.server.ollama:
        console.print(f"As an Ollama on http://{settings.server.ollama}", soft_wrap=True)
    console.print(f"Look at it: {origin}/", soft_wrap=True)
    if not sources:
        return
    console.print("Try it:")
    console.print(
        f"  curl -s {origin}/v1/chat/completions{key} -H 'content-type: application/json' "
        f'-d \'{{"model": "auto", "messages": [{{"role": "user", "content": "Say hello."}}]}}\'',
        soft_wrap=True,
        markup=False,
    )
