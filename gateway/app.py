"""The composition root: the only place that names concrete parts, and everything outside comes in as an argument."""

from __future__ import annotations

import secrets
from asyncio import to_thread
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from types import MappingProxyType

from litestar import Litestar
from litestar.di import Provide
from litestar.types import ControllerRouterHandler
from msgspec import Struct, structs

from gateway import __version__, dashboard
from gateway.api import (
    anthropic,
    errors,
    explain,
    gemini,
    health,
    key,
    ollama,
    ollama_models,
    openai_audio,
    openai_chat,
    openai_models,
    openapi,
    responses_archive,
    stored_chats,
)
from gateway.api import metrics as metrics_page
from gateway.api.admin import routes as admin
from gateway.api.admin.clients import ClientDesk
from gateway.api.auth import Authenticator
from gateway.api.drain import Drain
from gateway.api.form import sweep
from gateway.api.http import Host, route
from gateway.api.keyless import Keyless
from gateway.api.openai_chat import ChatCompletions
from gateway.api.openai_completions import Completions
from gateway.api.openai_embeddings import Embeddings
from gateway.api.openai_images import Images
from gateway.api.openai_moderations import Moderations
from gateway.api.openai_rerank import Rerank, RerankV2
from gateway.api.openai_responses import InputTokens, Responses
from gateway.api.origins import OriginCheck, Origins
from gateway.api.responses_archive import Archive
from gateway.api.shares import Shares
from gateway.background import Background
from gateway.catalog.catalog import Catalog
from gateway.catalog.changes import History
from gateway.catalog.discovery import Discovery
from gateway.catalog.first_seen import FirstSeen
from gateway.catalog.spaces import Spaces
from gateway.catalog.standing import Sources
from gateway.clock import Clock, WallClock
from gateway.events import Announcer, Observer, StoreChanged
from gateway.observe.metrics import Metrics
from gateway.observe.receipts import Receipts
from gateway.observe.usage import Costs
from gateway.observe.use import Use
from gateway.observe.webhook import Webhook
from gateway.quota.buckets import Bucket
from gateway.quota.clients import Allowances
from gateway.quota.exchange import Store
from gateway.quota.ledger import Condition, Ledger
from gateway.request.checks import CapabilityChecker
from gateway.request.engine import Engine
from gateway.request.plan import View
from gateway.request.queue import Queue
from gateway.request.reach import Reach
from gateway.routing.affinity import Sessions
from gateway.routing.calibration import Calibration
from gateway.routing.health import Health
from gateway.routing.patience import Patience
from gateway.routing.prices import Prices
from gateway.settings import Configured, Server, Settings
from gateway.settings.reload import Reload
from gateway.state.clients import KeptClients
from gateway.state.store import StateBackend, StateStore
from gateway.state.vectors import NoVectors, Vectors
from gateway.stores import make_archive, make_state, make_store, make_vectors
from gateway.words import TooLong
from providers.client import Prepare, Provider
from providers.dialect import Account
from providers.fetching import ImageFetcher
from providers.wire import HttpWire, Wire

USER_AGENT = f"Freeway/{__version__}"

RECEIPTS = "receipts"
"""The folder in the state folder."""

SURFACES = (
    Completions,
    Embeddings,
    Rerank,
    RerankV2,
    Images,
    Moderations,
    *openai_audio.SURFACES,
    anthropic.Messages,
    anthropic.CountTokens,
    *ollama.SURFACES,
)
EXPLAINED = (Embeddings, Rerank, Images, Moderations, openai_audio.SpeechSurface)
"""What is explained beside chat: all whose requests are JSON."""

PATHS = (
    *(surface.path for surface in SURFACES),
    *(
        ChatCompletions.path,
        Responses.path,
        InputTokens.path,
        openai_models.PATH,
        explain.PATH,
        key.PATH,
        *ollama_models.PATHS,
        gemini.PREFIXES[0],
    ),
    *(door.path for door in openapi.DOORS if "{" not in door.path),
)
"""Those that a client with a slightly wrong address may have meant."""

SHAPES: Mapping[str, errors.Render] = {
    anthropic.Messages.path: anthropic.render_error,
    "/api/v1/": errors.render,  # OpenAI's, by a program that was told a wrong address
    "/api/": ollama.render_error,
    "/v1beta/": gemini.render_error,
}
"""How a family of addresses, by what they begin with, spells the errors of routes that are not there."""


def make_providers(
    settings: Settings, wire: Wire, prepare: Mapping[str, Prepare], known: Mapping[str, Provider] = MappingProxyType({})
) -> dict[str, Provider]:
    """
    Every provider that can be asked. *prepare* holds what some need before their first call; of those that are *known* each stays
    that is what it was.
    """
    found = {}
    for name, spec in settings.active().items():
        account, before = Account(spec, spec.base_url, settings.keys.get(name)), known.get(name)
        stays = before is not None and before.account == account
        found[name] = before if before is not None and stays else Provider(account, wire, prepare.get(name))
    return found


class Parts(Struct, frozen=True):
    """The gateway's parts without a server and without a wire."""

    engine: Engine
    discovery: Discovery
    state: StateStore
    history: History
    costs: Costs
    use: Use
    first_seen: FirstSeen
    allowances: Allowances
    background: Background
    sources: Sources
    checker: CapabilityChecker

    def adopt(self, settings: Settings, providers: Mapping[str, Provider]) -> None:
        """From now on *settings* hold, and *providers* can be asked. What has begun goes on as it began."""
        self.engine.view.catalog.adopt(settings)
        self.discovery.adopt(settings, providers)
        self.engine.adopt(settings)
        self.sources.adopt(settings)
        self.checker.serve(self.background, list(providers))

    async def open(self, providers: Mapping[str, Provider]) -> None:
        """Recall what is known, of *providers* too: a restart answers at once."""
        self.background.run("state exchange", self.state.exchange_forever)
        await self.state.tried.wait()
        self.discovery.know(providers)

    def serve(self, wire: Wire, webhook: Webhook | None) -> None:
        """Start all that runs beside requests and needs *wire*: stop ``background`` before that goes."""
        self.discovery.serve(self.background, wire)
        self.background.run("use", self.use.tend)
        self.checker.serve(self.background, list(self.discovery.names))
        if webhook is not None:
            self.background.run("webhook", partial(webhook.tell_forever, wire, self.state))

    def given(self) -> dict[str, object]:
        """Those that handlers name; ``state`` is a word of Litestar's."""
        return {"state_store" if name == "state" else name: part for name, part in structs.asdict(self).items()}

    async def aclose(self) -> None:
        await self.background.stop()
        await self.engine.ledger.aclose()
        await self.engine.vectors.aclose()
        await self.state.aclose()


def make_parts(
    settings: Settings,
    clock: Clock,
    store: Store,
    backend: StateBackend,
    tell: Announcer,
    vectors: Vectors | None = None,
) -> Parts:
    """The parts, put together. *tell* hears of what happens; the history of changes is added to its observers."""
    state = StateStore(backend, clock, tell)
    history = History(state)
    costs = Costs(state)
    use = Use(state, clock)
    for observer in (history, costs, use):
        tell.add(observer)

    def tell_condition(condition: Condition) -> None:
        tell(StoreChanged(condition.store, condition.lost, condition.replicas, condition.set_aside))

    queue = Queue(clock, settings.requests.max_waiting)
    catalog = Catalog(settings, state, queue.freed)
    replicas = settings.ledger.replicas

    def buckets() -> Sequence[Bucket]:
        return [*catalog.buckets(), *allowances.buckets()]

    ledger = Ledger(store, clock, buckets=buckets, replicas=replicas, tell=tell_condition, freed=queue.freed)
    ledger.belong(settings.accounts())
    allowances = Allowances(ledger, clock, settings.redis_namespace)
    prices = Prices(ledger.cache, catalog.buckets)
    discovery = Discovery(catalog, ledger, settings, state=state, clock=clock, tell=tell)
    background, health = Background(clock, tell), Health(state, secrets.token_hex(4), queue.freed)
    patience, fetches = Patience(state), settings.server.fetch_images
    engine = Engine(
        view=View(catalog, health, prices.current, Sessions(), Calibration(), patience=patience, fetches=fetches),
        ledger=ledger,
        queue=queue,
        clock=clock,
        limits=settings.requests,
        tell=tell,
        refresh=discovery.wake,
        find_out=Reach(background, health, clock).find_out,
        offering=settings.offering(),
        spaces=Spaces(state),
        vectors=vectors or NoVectors(),
        fetch=ImageFetcher().fetch if fetches else None,
    )
    checker = CapabilityChecker(engine, state, settings.catalog.probes)
    sources = Sources(settings, catalog, discovery, health)
    seen = FirstSeen(state, clock)
    return Parts(engine, discovery, state, history, costs, use, seen, allowances, background, sources, checker)


def make_receipts(settings: Settings, parts: Parts) -> Receipts:
    """What keeps a receipt of each call, for the run that the ledger counts it for."""
    ledger, folder = parts.engine.ledger, settings.state_dir / RECEIPTS
    return Receipts(folder, parts.engine.clock, parts.state, ledger.run, lambda: ledger.ended)


def make_host(settings: Settings, parts: Parts, drain: Drain) -> tuple[Host, ClientDesk]:
    """What requests are served with, and what knows the clients that may send them."""
    engine, clock = parts.engine, parts.engine.clock
    authenticator = Authenticator(settings, drain, clock)
    kept = KeptClients(parts.state, clock, lambda: authenticator.declared)
    kept.watch(authenticator.keep)
    parts.allowances.clients = lambda: [client for client, _ in authenticator.clients]
    shares = Shares(parts.use, engine.view.catalog, engine.ledger, clock)
    host = Host(engine, authenticator, settings.server, parts.allowances, shares)
    return host, ClientDesk(
        kept, authenticator, parts.allowances, parts.use, parts.state, engine.view.catalog, engine.spaces
    )


def create_app(  # noqa: PLR0913 - what tests put in the place of the real thing
    settings: Settings,
    *,
    clock: Clock | None = None,
    store: Store | None = None,
    observers: Sequence[Observer] = (),
    prepare: Mapping[str, Prepare] | None = None,
    drain: Drain | None = None,
    reload: Reload | None = None,
    looks: bool = False,
) -> Litestar:
    """
    The application. Parts that are not given are the real ones. Once *drain* begins it takes on nothing new; what *reload* finds to
    be set anew it takes in. One that only *looks* does nothing beside what it is asked.
    """
    reload = reload or Reload(Configured(settings=settings, origins={}, files=()))
    drain, clock, store = drain or Drain(), clock or WallClock(), store or make_store(settings)
    webhook = Webhook(settings.catalog.webhook, clock) if settings.catalog.webhook else None
    metrics = Metrics(__version__, settings.active())
    tell = Announcer([*observers, metrics, *([webhook] if webhook is not None else [])])
    parts = make_parts(settings, clock, store, make_state(settings, clock, tell), tell, make_vectors(settings))
    engine, background = parts.engine, parts.background
    receipts = make_receipts(settings, parts)
    tell.add(receipts)
    drain.on_begin(engine.queue.close)
    host, clients = make_host(settings, parts, drain)
    authenticator = host.authenticator
    administration, archive = admin.make(settings, authenticator, parts, tell, reload), make_archive(settings, clock)
    drain.on_begin(administration.feed.close)
    reload.add(lambda found: _belong(found, engine.ledger, authenticator), archive.adopt)

    async def serve(stack: AsyncExitStack) -> None:
        """Open everything, to be closed with *stack*."""
        for closed in (archive.aclose, parts.aclose, receipts.aclose):
            stack.push_async_callback(closed)
        if not looks:
            await engine.ledger.serve()
        stack.push_async_callback(drain.end)
        wire = await stack.enter_async_context(HttpWire(user_agent=USER_AGENT))
        providers = partial(make_providers, wire=wire, prepare=prepare or {})
        await parts.open(providers(settings))
        reload.add(lambda found: parts.adopt(found, providers(found, known=parts.discovery.providers)))
        stack.push_async_callback(background.stop)  # before the wire goes
        if not looks:
            parts.serve(wire, webhook)
            background.run("receipts", receipts.write_forever)
            reload.serve(background, clock, tell)
            administration.serve(background)

    scrape = metrics_page.Scrape(engine, parts.state, metrics, parts.discovery, parts.costs)
    given = {"authenticator": authenticator, "scrape": scrape, "drain": drain, "reload": reload, "clients": clients}
    app = Litestar(
        [*_routes(host, archive, parts.first_seen), administration.router],
        dependencies=_provided(given | parts.given() | administration.parts),
        exception_handlers=errors.handlers(engine.tell, PATHS, SHAPES),
        lifespan=[_living(serve)],
        openapi_config=None,
        logging_config=None,
    )
    return _guarded(app, settings.server, authenticator, reload)


def _living(
    serve: Callable[[AsyncExitStack], Awaitable[None]],
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """The life of an application: what *serve* opens is closed in the end, however that comes."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await to_thread(sweep)
        async with AsyncExitStack() as stack:
            await serve(stack)
            yield

    return lifespan


def _belong(settings: Settings, ledger: Ledger, authenticator: Authenticator) -> None:
    """From now on the keys of providers and of clients are those of *settings*."""
    ledger.belong(settings.accounts())
    authenticator.declare(settings.clients())


def _guarded(app: Litestar, server: Server, authenticator: Authenticator, reload: Reload) -> Litestar:
    """*app* behind what looks at every request before routing: what is no path of ours is covered, too."""
    origins = Origins(server.origins, open_door=lambda: authenticator.open)
    reload.add(lambda found: origins.adopt(found.server.origins))
    app.asgi_handler = OriginCheck(app.asgi_handler, origins)
    if server.path_keys or server.ollama_networks:
        app.asgi_handler = Keyless(app.asgi_handler, server, authenticator.network_key)
    return app


def _routes(host: Host, archive: Archive, first_seen: FirstSeen) -> list[ControllerRouterHandler]:
    """Every address that is answered. *archive* keeps answers, *first_seen* since when models are known."""
    clock = host.engine.clock
    return [
        *(route(surface, host) for surface in SURFACES),
        route(ChatCompletions, host, partial(ChatCompletions, archive)),
        stored_chats.router(archive, host.server.max_body),
        route(Responses, host, partial(Responses, archive, clock), told_in_stream=(TooLong,)),
        route(InputTokens, host, partial(InputTokens, archive, clock)),
        responses_archive.router(archive),
        openai_models.router(openai_models.ModelLists(host.engine.view.catalog, clock, first_seen)),
        ollama_models.router(host.server.max_body),
        gemini.router(host),
        explain.router(openai_chat.parse, EXPLAINED, host.server.max_body),
        key.router(),
        health.router(),
        metrics_page.router(),
        openapi.router(),
        dashboard.router(),
    ]


def _provided(parts: Mapping[str, object]) -> dict[str, Provide]:
    """*parts* for handlers that name them."""

    def always(part: object) -> Provide:
        return Provide(lambda: part, sync_to_thread=False)

    return {name: always(part) for name, part in parts.items()}
