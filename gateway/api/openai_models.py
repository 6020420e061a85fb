"""
``GET /v1/models``, in one shape for the SDKs of OpenAI and of Anthropic.

With ten thousand models the list takes a while, so it is made in turns of a few milliseconds, between which others have
theirs; and made once, for as long as nothing in it changes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Annotated, Any, TypeVar

from litestar import HttpMethod, Request, Response, Router, route
from litestar.di import NamedDependency
from litestar.params import Parameter
from msgspec import Struct

from gateway.api.auth import Authenticator
from gateway.api.http import spellings
from gateway.catalog.catalog import Catalog
from gateway.clock import Clock
from gateway.words import Deployment, UnknownModel
from providers.chat import encode

PATH = "/v1/models"
_READ = [HttpMethod.GET, HttpMethod.HEAD]
_TURN = 0.001
"""Seconds of the event loop that are taken at once."""

_LONGEST_KEPT = 60.0
"""Seconds for which a list is kept at most: a little of what it says changes with time alone."""

_BEGINNING = datetime.fromtimestamp(0, UTC).isoformat()

T = TypeVar("T")


class Entry(Struct, kw_only=True):
    """
    One model that can be asked for. Sizes are in tokens; None: unknown. Of a name that stands for several models they are
    the largest, and the *features* are the capabilities of any of them: a request finds its way to one that has what it
    needs. *capabilities* is an object of Anthropic's about things of its own, which may be null.
    """

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "freeway"
    type: str = "model"
    display_name: str
    created_at: str = _BEGINNING
    lifecycle: str = "active"
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    capabilities: None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    features: list[str] = []
    providers: list[str] = []


class _Union:
    """What several deployments can do together."""

    def __init__(self) -> None:
        self._context = self._output = 0
        self._capabilities: set[str] = set()
        self._providers: set[str] = set()

    def add(self, deployment: Deployment) -> None:
        self._context = max(self._context, deployment.context or 0)
        self._output = max(self._output, deployment.max_output or 0)
        self._capabilities |= deployment.capabilities
        self._providers.add(deployment.provider.name)

    def entry(self, name: str, title: str = "") -> Entry:
        """As the model *name*, to be shown as *title*."""
        return Entry(
            id=name,
            display_name=title or name,
            max_input_tokens=self._context or None,
            max_tokens=self._output or None,
            context_length=self._context or None,
            max_output_tokens=self._output or None,
            features=sorted(self._capabilities),
            providers=sorted(self._providers),
        )


class ModelList:
    """The list, made when it is asked for and something in it may have changed."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog, self._clock = catalog, clock
        self._page = b""
        self._by_name: dict[str, Entry] = {}
        self._of: tuple[int, int] | None = None
        self._until = -math.inf
        self._making: asyncio.Task[None] | None = None

    async def page(self) -> bytes:
        """The body of ``GET /v1/models``."""
        for _ in range(2):  # one that was being made may be of what was before
            if self._of == self._now() and self._clock.now() < self._until:
                break
            if self._making is None or self._making.done():
                self._making = asyncio.create_task(self._make())
            await asyncio.shield(self._making)  # others may wait for it, too
        return self._page

    async def entry(self, name: str) -> Entry | None:
        """The model *name*, in any spelling that a request may have it in; None if no model goes by it."""
        await self.page()
        if name in self._by_name:
            return self._by_name[name]
        served = self._catalog.spelled(name)
        return self._united(served).entry(name, served[0].model) if served else None

    def _now(self) -> tuple[int, int]:
        return self._catalog.revision, self._catalog.learned.revision

    def _united(self, deployments: Iterable[Deployment]) -> _Union:
        union, now = _Union(), self._clock.now()
        for d in deployments:
            if self._catalog.serves(d, now):
                union.add(d)
        return union

    async def _make(self) -> None:
        catalog, now, of = self._catalog, self._clock.now(), self._now()
        required = catalog.standing_for()
        virtual, models = {name: _Union() for name in required}, dict[str, _Union]()
        until = now + _LONGEST_KEPT
        async for d in _in_turns(catalog.deployments()):
            union = models.setdefault(d.model, _Union())
            if catalog.serves(d, now):
                until = min(until, d.proof.until)
                union.add(d)
                for name, wants in required.items():
                    if catalog.meets(d, wants, now):
                        virtual[name].add(d)
        await asyncio.sleep(0)
        names = list(dict.fromkeys((*virtual, *sorted(models), *catalog.aliases())))
        await asyncio.sleep(0)
        unions = virtual | models
        unions |= {name: self._meant(meanings, unions) for name, meanings in catalog.aliases().items()}
        by_name, told = dict[str, Entry](), [b'{"data":[']
        async for name in _in_turns(names):
            by_name[name] = unions[name].entry(name)
            told += (encode(by_name[name]), b",")
        ends = encode({"first_id": names[0], "last_id": names[-1], "object": "list", "has_more": False})
        told[-1] = b"]," + ends[1:]
        self._page = await asyncio.to_thread(b"".join, told)  # which lets others run meanwhile
        self._by_name, self._of, self._until = by_name, of, until

    def _meant(self, meanings: Iterable[str], unions: Mapping[str, _Union]) -> _Union:
        """What an alias stands for: the first of its *meanings* that is served."""
        for name in meanings:
            if name in unions:
                return unions[name]
            if served := self._catalog.spelled(name):
                return self._united(served)
        return _Union()


async def _in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """*items*, leaving the event loop to others after each turn."""
    began = perf_counter()
    for item in items:
        yield item
        if perf_counter() - began > _TURN:
            await asyncio.sleep(0)
            began = perf_counter()


def router(listed: ModelList) -> Router:
    """The routes for *listed*."""

    @route(spellings(PATH), http_method=_READ)
    async def models(request: Request[Any, Any, Any], authenticator: NamedDependency[Authenticator]) -> Response[bytes]:
        authenticator.admit(request.scope["headers"])
        return Response(await listed.page(), media_type="application/json")

    @route(spellings(PATH + "/{model:path}"), http_method=_READ)
    async def model(
        request: Request[Any, Any, Any],
        authenticator: NamedDependency[Authenticator],
        model: Annotated[str, Parameter()],
    ) -> Entry:
        authenticator.admit(request.scope["headers"])
        name = model.removeprefix("/")
        if (entry := await listed.entry(name)) is None:
            raise UnknownModel(
                f"no free source serves a model called {name!r}; GET /v1/models lists what is served", param="model"
            )
        return entry

    return Router("/", route_handlers=[models, model])
