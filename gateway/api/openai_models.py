"""``GET /v1/models``, in one shape for the SDKs of OpenAI and of Anthropic."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import HttpMethod, Request, Router, route
from litestar.di import NamedDependency
from litestar.params import Parameter
from msgspec import Struct

from gateway.api.auth import Authenticator
from gateway.request.engine import Engine
from gateway.words import UnknownModel

PATH = "/v1/models"
_READ = [HttpMethod.GET, HttpMethod.HEAD]


class Entry(Struct, kw_only=True):
    """One model that can be asked for. Sizes are in tokens; None: unknown, or different with each source."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "freeway"
    type: str = "model"
    display_name: str
    created_at: str
    context_length: int | None = None
    max_output_tokens: int | None = None
    capabilities: list[str] = []
    providers: list[str] = []


class Page(Struct):
    data: list[Entry]
    first_id: str | None
    last_id: str | None
    object: str = "list"
    has_more: bool = False


@route(PATH, http_method=_READ)
async def models(
    request: Request[Any, Any, Any], engine: NamedDependency[Engine], authenticator: NamedDependency[Authenticator]
) -> Page:
    authenticator.admit(request.scope["headers"])
    entries = _entries(engine)
    return Page(entries, entries[0].id if entries else None, entries[-1].id if entries else None)


@route(PATH + "/{model:path}", http_method=_READ)
async def model(
    request: Request[Any, Any, Any],
    engine: NamedDependency[Engine],
    authenticator: NamedDependency[Authenticator],
    model: Annotated[str, Parameter()],
) -> Entry:
    authenticator.admit(request.scope["headers"])
    name = model.removeprefix("/")
    for entry in _entries(engine):
        if entry.id == name:
            return entry
    raise UnknownModel(f"no free source serves a model called {name!r}", param="model")


def _entries(engine: Engine) -> list[Entry]:
    catalog = engine.view.catalog
    now = engine.clock.now()
    stamp = datetime.fromtimestamp(0, UTC).isoformat()
    serving = catalog.serving(now)
    entries = []
    for name in catalog.names():
        served = [d for d in serving if d.model == name]
        entries.append(
            Entry(
                id=name,
                display_name=name,
                created_at=stamp,
                context_length=max((d.context for d in served if d.context), default=None),
                max_output_tokens=max((d.max_output for d in served if d.max_output), default=None),
                capabilities=sorted(frozenset().union(*(d.capabilities for d in served))),
                providers=sorted({d.provider.name for d in served}),
            )
        )
    return entries


def router() -> Router:
    """The routes."""
    return Router("/", route_handlers=[models, model])
