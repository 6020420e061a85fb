"""``clients``: who may call, and how much. Those that the configuration declares are shown, and changed there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from litestar import Request, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import UNSET, Struct, UnsetType

from gateway.api.admin.audit import noted
from gateway.api.admin.views import ClientView, EmbeddingChoice, Forgotten, LimitView, NewKey
from gateway.api.auth import ANYBODY, NETWORK, Authenticator
from gateway.api.openai import decoded
from gateway.catalog.catalog import Catalog
from gateway.catalog.spaces import Spaces
from gateway.observe.use import Lately, Use
from gateway.quota.clients import Allowances, Used
from gateway.settings import AUTO
from gateway.settings.clients import Client, Priority
from gateway.state.clients import KeptClients
from gateway.state.store import StateFailure, StateStore
from gateway.words import BadRequest, GatewayError


class UnknownClient(GatewayError):
    """No client of that name is kept here."""

    status, type, code = 404, "invalid_request_error", "client_not_found"


class ClientChange(Struct, kw_only=True):
    """What is to be changed of a client; null stands for what is so without a word, and *expires* is in unix seconds."""

    limits: tuple[str, ...] | UnsetType = UNSET
    wait: float | UnsetType | None = UNSET
    max_wait: float | UnsetType | None = UNSET
    share: float | UnsetType | None = UNSET
    expires: float | UnsetType | None = UNSET
    no_train: bool | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    providers: tuple[str, ...] | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET

    def fields(self) -> dict[str, Any]:
        """Those that are there."""
        found = msgspec.structs.asdict(self)
        return {name: value for name, value in found.items() if value is not UNSET and name != "name"}


class NewClient(ClientChange, kw_only=True):
    """A client that is to be made."""

    name: str


class NewChoice(Struct):
    """The model that ``auto`` is to mean where a client asks for vectors; ``auto``: what most sources serve then."""

    model: str


_decode_choice = msgspec.json.Decoder(NewChoice).decode
_decode_new = msgspec.json.Decoder(NewClient).decode
_decode_change = msgspec.json.Decoder(ClientChange).decode


class ClientDesk(Struct, frozen=True):
    """What the handlers need."""

    kept: KeptClients
    authenticator: Authenticator
    allowances: Allowances
    use: Use
    state: StateStore
    catalog: Catalog
    spaces: Spaces

    def knows(self, name: str) -> bool:
        """Whether there is a client *name*, those that call without a key of their own included."""
        return name in {ANYBODY.name, NETWORK.name, *(client.name for client, _ in self.authenticator.clients)}

    def embedding(self, model: str) -> str:
        """The canonical name of *model*. Raises BadRequest if no source in use makes vectors with it."""
        found = [one.model for one in self.catalog.spelled(model) if "embed" in one.operations]
        if not found:
            known = sorted({one.model for one in self.catalog.deployments() if "embed" in one.operations})
            raise BadRequest(
                f"model: no source in use makes vectors with {model[:80]!r}: {_choice(known)}",
                param="model",
            )
        return found[0]

    async def views(self, name: str | None = None) -> list[ClientView]:
        """All clients, or the one of that *name*, as they are shown."""
        shown = [(client, declared) for client, declared in self.authenticator.clients if name in (None, client.name)]
        used, lately = await asyncio.gather(
            asyncio.gather(*(self.allowances.used(client) for client, _ in shown)), self._lately()
        )
        return [
            view_of(
                client, limits, lately.get(client.name, Lately()), self.spaces.choice(client.name), declared=declared
            )
            for (client, declared), limits in zip(shown, used, strict=True)
        ]

    async def lately_of(self, name: str) -> Lately:
        """What the client *name* used in the last 24 hours."""
        return (await self._lately()).get(name, Lately())

    async def _lately(self) -> Mapping[str, Lately]:
        try:
            return await self.use.lately()
        except StateFailure:  # who may call is known all the same
            return {}


def _choice(models: list[str]) -> str:
    return (
        f"expected {' or '.join(models)}"
        if models
        else "none makes vectors at all; `freeway setup` says whose key would bring one"
    )


def view_of(client: Client, used: list[Used], lately: Lately, embeddings: str | None, *, declared: bool) -> ClientView:
    """*client* as it is shown, for which ``auto`` makes vectors with the model *embeddings*."""
    return ClientView(
        name=client.name,
        declared=declared,
        priority=client.priority,
        no_train=client.no_train,
        models=list(client.models),
        providers=list(client.providers),
        limits=[limit_view(one) for one in used],
        wait=client.wait,
        max_wait=client.max_wait,
        share=client.share,
        expires=None if client.expires is None else client.expires_at,
        requests=lately.requests,
        tokens=lately.tokens,
        last_seen=lately.last_seen,
        embeddings=embeddings,
    )


def limit_view(one: Used) -> LimitView:
    """A limit as it is shown."""
    return LimitView(
        limit=str(one.limit), used=one.used, remaining=one.remaining, resets_at=one.resets_at if one.used else None
    )


@contextmanager
def _told() -> Any:
    """What is wrong about a client is told to who asked."""
    try:
        yield
    except ValueError as exc:
        raise BadRequest(str(exc)) from exc
    except KeyError as exc:
        raise UnknownClient(str(exc.args[0])) from exc


@get("/clients")
async def listed(clients: NamedDependency[ClientDesk]) -> list[ClientView]:
    """All clients, with what each used of its limits."""
    return await clients.views()


@post("/clients", status_code=200)
async def make(request: Request[Any, Any, Any], clients: NamedDependency[ClientDesk]) -> NewKey:
    """Make a client; its key is in this answer, and nowhere else."""
    asked = decoded(_decode_new, await request.body())
    with _told():
        key = clients.kept.add(asked.name, **asked.fields())
    noted(request.scope, f"made client {asked.name}")
    await clients.state.flush()
    return NewKey(name=asked.name, key=key)


@patch("/clients/{name:str}")
async def change(
    request: Request[Any, Any, Any], clients: NamedDependency[ClientDesk], name: FromPath[str]
) -> ClientView:
    """Change what a client may do."""
    asked = decoded(_decode_change, await request.body())
    with _told():
        clients.kept.change(name, **asked.fields())
    noted(request.scope, f"changed client {name}: {', '.join(asked.fields())}")
    await clients.state.flush()
    return (await clients.views(name))[0]


@post("/clients/{name:str}/rotate", status_code=200)
async def rotate(request: Request[Any, Any, Any], clients: NamedDependency[ClientDesk], name: FromPath[str]) -> NewKey:
    """Give a client another key; the one it had is not taken any more."""
    with _told():
        key = clients.kept.rotate(name)
    noted(request.scope, f"gave client {name} another key")
    await clients.state.flush()
    return NewKey(name=name, key=key)


@delete("/clients/{name:str}", status_code=204)
async def revoke(request: Request[Any, Any, Any], clients: NamedDependency[ClientDesk], name: FromPath[str]) -> None:
    """Take a client's key away."""
    with _told():
        clients.kept.revoke(name)
    noted(request.scope, f"revoked client {name}")
    await clients.state.flush()


@put("/clients/{name:str}/embeddings")
async def choose(
    request: Request[Any, Any, Any], clients: NamedDependency[ClientDesk], name: FromPath[str]
) -> EmbeddingChoice:
    """Change the model that ``auto`` means where a client asks for vectors. An index of the other one does not fit any more."""
    asked = decoded(_decode_choice, await request.body()).model
    if not clients.knows(name):
        raise UnknownClient(f"there is no client {name[:80]!r}")
    was, model = clients.spaces.choice(name), None if asked == AUTO else clients.embedding(asked)
    clients.spaces.choose(name, model)
    noted(request.scope, f"client {name} makes vectors with {model or AUTO}, before with {was or 'none'}")
    await clients.state.flush()
    return EmbeddingChoice(name=name, model=model, was=was)


@post("/revoked-clients/forget", status_code=200)
async def forget(request: Request[Any, Any, Any], clients: NamedDependency[ClientDesk]) -> Forgotten:
    """Forget the clients that were revoked. Where none is left, a gateway of this machine alone needs no key any more."""
    names = clients.kept.forget()
    noted(request.scope, f"forgot revoked clients: {', '.join(names) or 'none'}")
    await clients.state.flush()
    return Forgotten(names=names, open=clients.authenticator.open)


HANDLERS = (listed, make, change, rotate, revoke, choose, forget)
