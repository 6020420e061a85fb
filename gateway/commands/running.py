"""The gateway that runs, as the command line asks it: where it is, which key it takes, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click
import httpx
import msgspec
from msgspec import Struct

from gateway.api.admin.views import Overview, Source
from gateway.cli import Surroundings
from gateway.commands.address import Address, Failed, KeyRefused, NoGateway, address, named, said
from gateway.commands.inside import looking

T = TypeVar("T")
_F = TypeVar("_F", bound=Callable[..., Any])
_TIMEOUT = httpx.Timeout(60, connect=3)


def asks(command: _F) -> _F:
    """The options of a command that asks the running gateway: ``gateway`` and ``key``."""
    command = click.option("--key", metavar="KEY", help="The admin key. Else FREEWAY_ADMIN_KEY.")(command)
    return click.option(
        "--gateway", metavar="URL", help="The gateway to ask. Else FREEWAY_GATEWAY, or the configuration's own address."
    )(command)


class _Session(Struct):
    signed_in: bool
    needs_key: bool
    said: str = ""


class Gateway:
    """The admin API of the gateway at *origin*. *runs*: it is one that serves, and not this machine's files."""

    def __init__(self, client: httpx.Client, *, runs: bool) -> None:
        self.origin, self.runs = str(client.base_url).rstrip("/"), runs
        self._client = client

    def get(self, path: str, kind: type[T], **query: Any) -> T:
        """``/admin/v1/`` *path*, as a *kind*. Raises Failed."""
        params = {name: value for name, value in query.items() if value is not None}
        return self._asked("GET", path, kind, params=params)

    def post(self, path: str, kind: type[T], body: Any = None) -> T:
        return self._asked("POST", path, kind, json={} if body is None else msgspec.to_builtins(body))

    def put(self, path: str, kind: type[T], body: Any) -> T:
        return self._asked("PUT", path, kind, json=msgspec.to_builtins(body))

    def patch(self, path: str, kind: type[T], body: Any) -> T:
        return self._asked("PATCH", path, kind, json=msgspec.to_builtins(body))

    def delete(self, path: str) -> None:
        self._asked("DELETE", path, type(None), headers={"content-type": "application/json"})

    def now(self) -> float:
        """The gateway's own time (unix seconds)."""
        return self.get("overview", Overview).now

    def chat(self, body: dict[str, Any], **headers: str) -> httpx.Response:
        """A chat request, as programs make it. Raises Failed if the gateway stops answering."""
        return self._send("POST", "/v1/chat/completions", json=body, headers=headers)

    def _asked(self, method: str, path: str, kind: type[T], **how: Any) -> T:
        answer = self._send(method, f"/admin/v1/{path}", **how)
        if answer.status_code >= 400:
            refused = answer.status_code in (401, 403)
            hint = "; --key or FREEWAY_ADMIN_KEY gives the admin key" if refused else ""
            failure = KeyRefused if refused else Failed
            raise failure(f"the gateway at {self.origin} says: {said(answer)}{hint}" if self.runs else said(answer))
        try:
            return msgspec.json.decode(answer.content or b"null", type=kind)
        except msgspec.DecodeError as exc:
            raise Failed(f"the gateway at {self.origin} is of another version than this command: {exc}") from exc

    def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **how)
        except httpx.TransportError as exc:
            raise Failed(f"the gateway at {self.origin} stopped answering: {type(exc).__name__}") from exc


@contextmanager
def asked(
    around: Surroundings, gateway: str | None, key: str | None, *, quiet: bool = False, file: Path | None = None
) -> Iterator[Gateway]:
    """
    The gateway that runs, or, where none does, what this machine's own files say: the same questions have the same answers. Which it
    is, is said in a line (on standard error, if *quiet*). With *file* the provider in it, which no running gateway knows.

    Raises NoGateway if one was named and does not answer.
    """
    settings = None if named(around, gateway) else around.settings(file)
    where = address(around, gateway, settings)
    sent = key or around.environ.get("FREEWAY_ADMIN_KEY", "").strip() or (settings.admin_key if settings else None)
    client = _client(where, sent)
    with client:
        why = "only this file is looked at" if file else _why_not(client, has_key=bool(sent))
        if not why:
            click.echo(f"The gateway at {where.origin} says:", err=quiet)
            yield Gateway(client, runs=True)
            return
    if where.named:
        raise NoGateway(
            f"no gateway answers this at {where.origin}: {why}. `freeway serve` starts one, --gateway names another"
        )
    assert settings is not None
    if file is None:
        click.echo(
            f"No gateway answers at {where.origin} ({why}); this is what this machine's own files say:", err=quiet
        )
    with looking(settings) as transport:
        headers = {"authorization": f"Bearer {settings.admin_key}"} if settings.admin_key else {}
        with httpx.Client(
            base_url="http://localhost", transport=transport, headers=headers, timeout=_TIMEOUT
        ) as inside:
            yield Gateway(inside, runs=False)


def _client(where: Address, key: str | None) -> httpx.Client:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=where.origin, headers=headers, timeout=_TIMEOUT, trust_env=where.named)


def _why_not(client: httpx.Client, *, has_key: bool) -> str:
    """Why no gateway answers there; empty: one does."""
    try:
        session = msgspec.json.decode(client.get("/admin/v1/session").content, type=_Session)
    except httpx.ConnectError:
        return "nothing listens there"
    except httpx.TransportError as exc:
        return type(exc).__name__
    except msgspec.DecodeError:
        return "what answers there is no Freeway with an admin API"
    if session.signed_in or (session.needs_key and has_key):
        return ""
    return session.said or "it wants the admin key: --key, or FREEWAY_ADMIN_KEY"


def near(sources: Sequence[Source], name: str) -> Source:
    """The one of *sources* that is called *name*. Raises Failed, saying which are meant perhaps."""
    by_name = {one.name: one for one in sources} | {one.title.lower(): one for one in sources}
    found = by_name.get(name.lower())
    if found is None:
        close = get_close_matches(name.lower(), by_name, n=1, cutoff=0.5)
        more = (
            f"did you mean {by_name[close[0]].name}?"
            if close
            else f"there are {', '.join(one.name for one in sources)}"
        )
        raise Failed(f"no source is called {name!r}; {more}")
    return found
