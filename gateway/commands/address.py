"""Where the gateway is that a command means, what comes of asking it in vain, and with which status a command leaves then."""

from __future__ import annotations

import click
import httpx
import msgspec
from msgspec import Struct

from gateway.cli import Surroundings
from gateway.commands.health import EVERYWHERE
from gateway.settings import Settings


class Failed(click.ClickException):
    """A command cannot do what it was asked for, and why; it leaves with status 1."""


class NoGateway(Failed):
    """None answers at the address that was named."""

    exit_code = 3


class KeyRefused(Failed):
    """The gateway does not take the key, or wants one."""

    exit_code = 4


class Address(Struct, frozen=True):
    """Where the gateway is: *named* by a person, or as the configuration has it."""

    origin: str
    named: bool


def address(around: Surroundings, url: str | None, settings: Settings | None = None) -> Address:
    """Where the gateway is: *url*, the environment's, or that of the *settings*. Raises BadParameter, BadSettings."""
    if given := named(around, url):
        return Address(_origin(given), named=True)
    server = (settings or around.settings()).server
    return Address(origin_of(server.host, server.port), named=False)


def origin_of(host: str, port: int) -> str:
    """The address of a gateway that listens there, for a program on this machine."""
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _origin(url: str) -> str:
    """*url* without the path that people copy along."""
    try:
        found = httpx.URL(url if "://" in url else f"http://{url}")
    except httpx.InvalidURL as exc:
        raise click.BadParameter(f"{url!r}: {exc}", param_hint="--gateway") from exc
    if found.scheme not in ("http", "https") or not found.host:
        raise click.BadParameter(f"{url!r} is no address like http://127.0.0.1:8000", param_hint="--gateway")
    path = found.path.rstrip("/").removesuffix("/v1").removesuffix("/admin")
    return str(found.copy_with(path=path or "/", query=None, fragment=None)).rstrip("/")


def named(around: Surroundings, url: str | None) -> str:
    """The address that a person gave, or none: ""."""
    return url or around.environ.get("FREEWAY_GATEWAY", "").strip()


def said(answer: httpx.Response) -> str:
    """What an error answer says."""
    try:
        return str(msgspec.json.decode(answer.content)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"
