"""The gateway that runs, as the command line asks it: where it is, which key it takes, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import httpx
import msgspec
from msgspec import Struct

from gateway.cli import Surroundings
from gateway.settings import Settings

T = TypeVar("T")
_F = TypeVar("_F", bound=Callable[..., Any])
_TIMEOUT = httpx.Timeout(60, connect=3)
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - where to ask one that listens on all addresses


class NotRunning(Exception):
    """No gateway answers there, and why that is known."""


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


def asks(command: _F) -> _F:
    """The options of a command that asks the running gateway: ``gateway`` and ``key``."""
    command = click.option(
        "--key", metavar="KEY", help="The admin key. Else FREEWAY_ADMIN_KEY, or the client key FREEWAY_API_KEY."
    )(command)
    return click.option(
        "--gateway", metavar="URL", help="The gateway to ask. Else FREEWAY_GATEWAY, or the configuration's own address."
    )(command)


def address(around: Surroundings, url: str | None, settings: Settings | None = None) -> Address:
    """Where the gateway is: *url*, the environment's, or that of the *settings*. Raises BadParameter, BadSettings."""
    named = url or around.environ.get("FREEWAY_GATEWAY", "").strip()
    if named:
        return Address(_origin(named), named=True)
    server = (settings or around.settings()).server
    return Address(origin_of(server.host, server.port), named=False)


def origin_of(host: str, port: int) -> str:
    """The address of a gateway that listens there, for a program on this machine."""
    host = _EVERYWHERE.get(host, host)
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


class _Session(Struct):
    signed_in: bool
    needs_key: bool


class Gateway:
    """The admin API of the gateway at *origin*, with *key*. Raises NotRunning when it is made, if there is none."""

    def __init__(self, where: Address, key: str | None, transport: httpx.BaseTransport | None = None) -> None:
        self.origin = where.origin
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(
            base_url=where.origin, headers=headers, timeout=_TIMEOUT, transport=transport, trust_env=where.named
        )
        try:
            found = self._client.get("/admin/v1/session")
            msgspec.json.decode(found.content, type=_Session)
        except httpx.TransportError as exc:
            raise NotRunning(f"{type(exc).__name__}") from exc
        except msgspec.DecodeError as exc:
            raise NotRunning("what answers there is no gateway with an admin API") from exc

    def get(self, path: str, kind: type[T], **query: Any) -> T:
        """``/admin/v1/`` *path*, as a *kind*. Raises Failed."""
        return self._asked(
            "GET", path, kind, params={name: value for name, value in query.items() if value is not None}
        )

    def post(self, path: str, kind: type[T], body: Any = None) -> T:
        return self._asked("POST", path, kind, json={} if body is None else msgspec.to_builtins(body))

    def patch(self, path: str, kind: type[T], body: Any) -> T:
        return self._asked("PATCH", path, kind, json=msgspec.to_builtins(body))

    def delete(self, path: str) -> None:
        self._asked("DELETE", path, type(None), headers={"content-type": "application/json"})

    def _asked(self, method: str, path: str, kind: type[T], **how: Any) -> T:
        try:
            answer = self._client.request(method, f"/admin/v1/{path}", **how)
        except httpx.TransportError as exc:
            raise Failed(f"the gateway at {self.origin} stopped answering: {type(exc).__name__}") from exc
        if answer.status_code >= 400:
            refused = answer.status_code in (401, 403)
            hint = "; --key or FREEWAY_ADMIN_KEY gives the admin key" if refused else ""
            failure = KeyRefused if refused else Failed
            raise failure(f"the gateway at {self.origin} says: {said(answer)}{hint}")
        try:
            return msgspec.json.decode(answer.content or b"null", type=kind)
        except msgspec.DecodeError as exc:
            raise Failed(f"the gateway at {self.origin} is of another version than this command: {exc}") from exc


def said(answer: httpx.Response) -> str:
    """What an error answer says."""
    try:
        error = msgspec.json.decode(answer.content)["error"]
        return str(error["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason_phrase}"


def running(around: Surroundings, url: str | None, key: str | None, *, quiet: bool = False) -> Gateway | None:
    """
    The gateway that runs, which is said in a line (on standard error, if *quiet*), or None, which is said, too: what follows is what
    this machine's own files know. Raises Failed if one was named and does not answer.
    """
    where = address(around, url)
    key = key or next(
        (found for name in ("FREEWAY_ADMIN_KEY", "FREEWAY_API_KEY") if (found := around.environ.get(name, "").strip())),
        None,
    )
    try:
        gateway = Gateway(where, key)
    except NotRunning as exc:
        if where.named:
            raise NoGateway(
                f"no gateway answers at {where.origin} ({exc}): start it with `freeway serve`, or name another with --gateway"
            ) from exc
        click.echo(f"No gateway runs at {where.origin}; this is what the files of this machine say.", err=quiet)
        return None
    click.echo(f"The gateway at {where.origin} says:", err=quiet)
    return gateway
