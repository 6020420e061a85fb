"""
``GET /v1/models``, in one shape for the SDKs of OpenAI and of Anthropic.

With ten thousand models the list takes a while, so it is made in turns of a few milliseconds, between which others have
theirs; and made once, for as long as nothing in it changes.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from litestar import HttpMethod, Request, Response, Router, route
from litestar.di import NamedDependency
from litestar.params import Parameter, QueryParameter
from msgspec import Struct

from gateway.api.auth import Authenticator
from gateway.api.http import spellings
from gateway.api.turns import in_turns
from gateway.catalog.catalog import Catalog
from gateway.catalog.first_seen import FirstSeen
from gateway.catalog.fitness import barred
from gateway.clock import Clock
from gateway.settings.clients import Client
from gateway.settings.values import AUTO
from gateway.words import Deployment, UnknownModel, Wants
from providers.chat import encode

PATH = "/v1/models"
_READ = [HttpMethod.GET, HttpMethod.HEAD]
_MOST_LISTS = 16
"""Lists that are kept, by what keys allow."""

_LONGEST_KEPT = 60.0
"""Seconds for which a list is kept at most: a little of what it says changes with time alone."""

_BEGINNING = datetime.fromtimestamp(0, UTC).isoformat()


class Entry(Struct, kw_only=True, omit_defaults=False):
    """
    One model that can be asked for. Sizes are in tokens; None: unknown. Of a name that stands for several models they are
    the largest, and the *features* are the capabilities of any of them: a request finds its way to one that has what it
    needs. *created* is when the model was released, or first seen here; of several the latest. *capabilities* is an object of
    Anthropic's about things of its own, which may be null. One that does not serve now is ``retired``, for a *reason*.
    """

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "freeway"
    type: str = "model"
    display_name: str
    created_at: str = _BEGINNING
    lifecycle: str = "active"
    reason: str | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    capabilities: None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    features: list[str] = []
    providers: list[str] = []


class _Union:
    """What several deployments can do together; *why* is the reason why the first of those does not serve that do not."""

    def __init__(self, why: str = "no source serves it now") -> None:
        self._context = self._output = self.created = 0
        self._capabilities: set[str] = set()
        self._providers: set[str] = set()
        self.why, self._told = why, False

    @property
    def served(self) -> bool:
        return bool(self._providers)

    def add(self, deployment: Deployment, created: int) -> None:
        self._context = max(self._context, deployment.context or 0)
        self._output = max(self._output, deployment.max_output or 0)
        self.created = max(self.created, created)
        self._capabilities |= deployment.capabilities
        self._providers.add(deployment.provider.name)

    def leave_out(self, why: str) -> None:
        if not self._told:
            self.why, self._told = why, True

    def entry(self, name: str, title: str = "") -> Entry:
        """As the model *name*, to be shown as *title*."""
        return Entry(
            id=name,
            created=self.created,
            created_at=datetime.fromtimestamp(self.created, UTC).isoformat(),
            display_name=title or name,
            lifecycle="active" if self.served else "retired",
            reason=None if self.served else self.why,
            max_input_tokens=self._context or None,
            max_tokens=self._output or None,
            context_length=self._context or None,
            max_output_tokens=self._output or None,
            features=sorted(self._capabilities),
            providers=sorted(self._providers),
        )


def may_use(client: Client) -> Wants:
    """What the key of *client* says of what it may use."""
    return Wants(models=(), allowed_models=client.models, allowed_providers=client.providers, no_train=client.no_train)


class ModelLists:
    """The lists of all clients, by what their keys allow: one for each rule that was asked with lately."""

    def __init__(self, catalog: Catalog, clock: Clock, first_seen: FirstSeen) -> None:
        self._catalog, self._clock, self._first_seen = catalog, clock, first_seen
        self._lists: OrderedDict[Wants, ModelList] = OrderedDict()

    def of(self, client: Client) -> ModelList:
        """What *client* may use."""
        rule = may_use(client)
        found = self._lists.get(rule)
        if found is None:
            found = self._lists[rule] = ModelList(self._catalog, self._clock, self._first_seen, rule)
            if len(self._lists) > _MOST_LISTS:
                self._lists.popitem(last=False)
        self._lists.move_to_end(rule)
        return found


class ModelList:
    """The list of what a client may use whose key says *rule*, made when it is asked for and something in it may have changed."""

    def __init__(self, catalog: Catalog, clock: Clock, first_seen: FirstSeen, rule: Wants) -> None:
        self._catalog, self._clock, self._first_seen, self._rule = catalog, clock, first_seen, rule
        self._page = self._whole_page = b""
        self._by_name: dict[str, Entry] = {}
        self._of: tuple[int, int] | None = None
        self._until = -math.inf
        self._making: asyncio.Task[None] | None = None

    async def page(self, *, whole: bool = False) -> bytes:
        """The body of ``GET /v1/models``; *whole*: with what does not serve, and why."""
        for _ in range(2):  # one that was being made may be of what was before
            if self._of == self._now() and self._clock.now() < self._until:
                break
            if self._making is None or self._making.done():
                self._making = asyncio.create_task(self._make())
            await asyncio.shield(self._making)  # others may wait for it, too
        return self._whole_page if whole else self._page

    async def entry(self, name: str) -> Entry | None:
        """The model *name*, in any spelling that a request may have it in; None if no model goes by it."""
        await self.page()
        if name in self._by_name:
            return self._by_name[name]
        if served := self._catalog.spelled(name):
            return self._united(served).entry(name, served[0].model)
        meant = self._catalog.alias(name)  # by a pattern
        if meant in self._by_name:
            return msgspec.structs.replace(self._by_name[meant], id=name)
        return self._united(self._catalog.spelled(meant)).entry(name, meant) if meant is not None else None

    def _now(self) -> tuple[int, int]:
        return self._catalog.revision, self._catalog.learned.revision

    def _united(self, deployments: Iterable[Deployment]) -> _Union:
        union, now = _Union(), self._clock.now()
        for d in deployments:
            self._add(d, union, now)
        return union

    def _add(self, d: Deployment, union: _Union, now: float) -> bool:
        """Add *d* to the *union* of its model, or why it is left out; whether it serves."""
        catalog = self._catalog
        if why := barred(d, self._rule, catalog.learned, now):
            union.leave_out(why)
        elif catalog.serves(d, now):
            union.add(d, self._first_seen.created(d))
            return True
        else:
            withdrawal = catalog.learned.withdrawn(d, now)
            union.leave_out("its free proof has expired" if withdrawal is None else withdrawal.because)
        return False

    async def _make(self) -> None:
        catalog, now, of = self._catalog, self._clock.now(), self._now()
        required = catalog.standing_for()
        virtual, models = {name: _Union() for name in required}, dict[str, _Union]()
        until = now + _LONGEST_KEPT
        async for d in in_turns(catalog.deployments()):
            if self._add(d, models.setdefault(d.model, _Union()), now):
                until = min(until, d.proof.until)
                for name, wants in required.items():
                    if catalog.meets(d, wants, now):
                        virtual[name].add(d, self._first_seen.created(d))
        await asyncio.sleep(0)
        names = list(dict.fromkeys((*virtual, *sorted(models), *catalog.aliases())))
        await asyncio.sleep(0)
        unions = virtual | models
        unions |= {name: self._meant(meanings, unions) for name, meanings in catalog.aliases().items()}
        gone = {name: _Union("no source lists it any more") for name in catalog.gone if name not in unions}
        by_name, told, all_told = dict[str, Entry](), list[bytes](), list[bytes]()
        async for name in in_turns([*names, *sorted(gone)]):
            entry = (unions.get(name) or gone[name]).entry(name)
            encoded = encode(entry)
            if entry.reason is None or name == AUTO:
                told.append(encoded)
            if name not in gone:
                by_name[name] = entry
            all_told.append(encoded)
        served = [name for name in names if by_name[name].reason is None or name == AUTO]
        self._page, self._whole_page = await asyncio.gather(  # which lets others run meanwhile
            asyncio.to_thread(_page_of, told, served), asyncio.to_thread(_page_of, all_told, [*names, *sorted(gone)])
        )
        self._by_name, self._of, self._until = by_name, of, until

    def _meant(self, meanings: Iterable[str], unions: Mapping[str, _Union]) -> _Union:
        """What an alias stands for: the first of its *meanings* that is served."""
        for name in meanings:
            if name in unions:
                return unions[name]
            if served := self._catalog.spelled(name):
                return self._united(served)
        return _Union()


def _page_of(entries: Sequence[bytes], names: Sequence[str]) -> bytes:
    ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
    return b'{"data":[' + b",".join(entries) + b"]," + encode({**ends, "object": "list", "has_more": False})[1:]


def router(lists: ModelLists) -> Router:
    """The routes for *lists*."""

    @route(spellings(PATH), http_method=_READ)
    async def models(
        request: Request[Any, Any, Any],
        authenticator: NamedDependency[Authenticator],
        whole: Annotated[bool, QueryParameter(name="all")] = False,
    ) -> Response[bytes]:
        client = authenticator.admit(request.scope["headers"])
        return Response(await lists.of(client).page(whole=whole), media_type="application/json")

    @route(spellings(PATH + "/{model:path}"), http_method=_READ)
    async def model(
        request: Request[Any, Any, Any],
        authenticator: NamedDependency[Authenticator],
        model: Annotated[str, Parameter()],
    ) -> Entry:
        client = authenticator.admit(request.scope["headers"])
        name = model.removeprefix("/")
        entry = await lists.of(client).entry(name)
        if entry is None or entry.reason is not None:
            why = f" now: {entry.reason}" if entry is not None and entry.reason else ""
            raise UnknownModel(
                f"no free source serves you a model called {name!r}{why}; GET /v1/models lists what is served",
                param="model",
            )
        return entry

    return Router("/", route_handlers=[models, model])
