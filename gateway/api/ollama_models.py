"""
What Ollama's API tells of itself and of its models: ``/api/tags``, ``/api/show``, ``/api/ps``, ``/api/version``,
``/api/pull``. Programs that look for an Ollama read these, and ``GET /`` (``gateway.dashboard``), before they ask anything.

Sizes, digests and times mean nothing here; strict programs want them all the same.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
from litestar import HttpMethod, Request, Response, Router, get, post, route
from litestar.di import NamedDependency
from msgspec import Struct

from gateway import __version__
from gateway.api.auth import Authenticator
from gateway.api.neutral import Abilities, abilities_of, all_served, serving_as, untagged
from gateway.api.openai import decoded
from gateway.api.turns import encoded
from gateway.request.engine import Engine
from gateway.settings.clients import Client
from gateway.words import UnknownModel
from providers.chat import encode
from providers.dialect import FILLS
from providers.dialects.ollama import MARK

VERSION = "0.15.2"
"""The version of Ollama whose API this is: programs refuse one that is too old (Copilot wants 0.6.4)."""

PATHS = ("/api/version", "/api/tags", "/api/ps", "/api/show", "/api/pull")
_READ = [HttpMethod.GET, HttpMethod.HEAD]
_GIVES = {"tools": "tools", "vision": "vision", "reasoning": "thinking", FILLS: "insert"}
_EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURE = "freeway"


class Named(Struct):
    """A request that names a model, in either spelling."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None

    def meant(self) -> str:
        return untagged(self.model or self.name or "")


_decode_named = msgspec.json.Decoder(Named).decode


@route("/api/version", http_method=_READ)
async def version() -> dict[str, str]:
    """It needs no key, and tells another gateway that this is no Ollama."""
    return {"version": VERSION, MARK: __version__}


@route("/api/tags", http_method=_READ)
async def tags(
    request: Request[Any, Any, Any], engine: NamedDependency[Engine], authenticator: NamedDependency[Authenticator]
) -> Response[bytes]:
    """Every model that is served now: of each of them programs ask for what it can do, and some want all or none (Zed)."""
    client = authenticator.admit(request.scope["headers"], request.scope["query_string"])
    rows = map(_row, await all_served(engine, client))
    return Response(await encoded("models", rows), media_type="application/json")


@get("/api/ps")
async def ps(
    request: Request[Any, Any, Any], authenticator: NamedDependency[Authenticator]
) -> dict[str, list[dict[str, Any]]]:
    """Nothing is loaded here."""
    authenticator.admit(request.scope["headers"], request.scope["query_string"])
    return {"models": []}


@post("/api/show", status_code=200)
async def show(
    request: Request[Any, Any, Any], engine: NamedDependency[Engine], authenticator: NamedDependency[Authenticator]
) -> dict[str, Any]:
    """What a model can do, and how much it holds: of several that go by one name, all that any of them can."""
    client = authenticator.admit(request.scope["headers"], request.scope["query_string"])
    name, found = await _found(request, engine, client)
    facts: dict[str, Any] = {"general.architecture": _ARCHITECTURE, "general.basename": name}
    if found.context:
        facts[f"{_ARCHITECTURE}.context_length"] = found.context
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "license": "",
        "details": _details(),
        "model_info": facts,
        "capabilities": _capabilities(found),
        "modified_at": _EPOCH,
    }


@post("/api/pull", status_code=200)
async def pull(
    request: Request[Any, Any, Any], engine: NamedDependency[Engine], authenticator: NamedDependency[Authenticator]
) -> Response[bytes]:
    """A model that is served is there already."""
    client = authenticator.admit(request.scope["headers"], request.scope["query_string"])
    await _found(request, engine, client)
    return Response(encode({"status": "success"}) + b"\n", media_type="application/x-ndjson")


async def _found(request: Request[Any, Any, Any], engine: Engine, client: Client) -> tuple[str, Abilities]:
    """The model that *request* names, and what it can do. Raises UnknownModel, or BadRequest."""
    name = decoded(_decode_named, await request.body()).meant()
    served = serving_as(name, engine, client)
    if not served:
        raise UnknownModel(f"model {name!r} not found", param="model")
    return name, abilities_of(served)


def _capabilities(found: Abilities) -> list[str]:
    chats = "chat" in found.operations
    gives = [theirs for ours, theirs in _GIVES.items() if ours in found.capabilities]
    return (["completion", *gives] if chats else []) + (["embedding"] if "embed" in found.operations else [])


def _row(name: str) -> dict[str, Any]:
    digest = sha256(name.encode()).hexdigest()
    return {"name": name, "model": name, "modified_at": _EPOCH, "size": 0, "digest": digest, "details": _details()}


def _details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": _ARCHITECTURE,
        "families": [_ARCHITECTURE],
        "parameter_size": "",
        "quantization_level": "",
    }


def router(max_body: int) -> Router:
    """The routes; *max_body* bytes of a request are read at most."""
    return Router("/", route_handlers=[version, tags, ps, show, pull], request_max_body_size=max_body)
