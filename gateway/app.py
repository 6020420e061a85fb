"""The composition root: the only place that names concrete parts, and everything outside comes in as an argument."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
from msgspec import Struct

from gateway import __version__
from gateway.api import errors as openai_errors
from gateway.api import explain, openai_models
from gateway.api import health as admin
from gateway.api import metrics as metrics_page
from gateway.api.auth import Doorkeeper
from gateway.api.drain import Drain
from gateway.api.openai_chat import Surface, chat_completions
from gateway.catalog.catalog import Catalog
from gateway.catalog.changes import History
from gateway.catalog.discovery import Discovery
from gateway.clock import Clock, WallClock
from gateway.events import Announcer, Observer, StoreChanged
from gateway.observe.metrics import Metrics
from gateway.observe.usage import Costs
from gateway.observe.webhook import Webhook
from gateway.quota.exchange import Store, StoreFailure
from gateway.quota.ledger import Condition, Ledger
from gateway.quota.sqlite import EmbeddedStore
from gateway.request.checks import Prober
from gateway.request.engine import Engine
from gateway.request.queue import WaitingRoom
from gateway.routing.affinity import Sessions
from gateway.routing.calibration import Calibration
from gateway.routing.health import Health
from gateway.routing.prices import Prices
from gateway.settings import BadSettings, Settings
from gateway.state.sqlite import EmbeddedKeeper
from gateway.state.store import Keeper, KeeperFailure, Memory
from providers.client import Prepare, Provider
from providers.dialect import Account
from providers.wire import HttpWire, Wire

USER_AGENT = f"Freeway/{__version__}"


def make_providers(settings: Settings, wire: Wire, prepare: Mapping[str, Prepare]) -> dict[str, Provider]:
    """Every provider that can be asked. *prepare* holds what some need before their first call."""
    return {
        name: Provider(Account(spec, spec.base_url, settings.keys.get(name)), wire, prepare.get(name))
        for name, spec in settings.active().items()
    }


def make_store(settings: Settings) -> Store:
    """
    Where the ledger keeps its levels: Redis if an address is set, else a file.

    Raises BadSettings if the address is none, or the file cannot be used.
    """
    if settings.redis_url is None:
        try:
            return EmbeddedStore(settings.state_dir / "ledger.sqlite")
        except StoreFailure as exc:
            raise BadSettings(f"FREEWAY_STATE_DIR: {exc}") from exc
    from gateway.quota.redis import open_store  # noqa: PLC0415 - a tenth of a second, for those who have Redis

    try:
        return open_store(settings.redis_url)
    except ValueError as exc:
        raise BadSettings(f"FREEWAY_REDIS_URL: {exc}") from exc


def make_keeper(settings: Settings, clock: Clock) -> Keeper:
    """
    What remembers everything else: the same Redis, or another file.

    Raises BadSettings if the file cannot be used.
    """
    if settings.redis_url is None:
        try:
            return EmbeddedKeeper(settings.state_dir / "memory.sqlite", clock)
        except KeeperFailure as exc:
            raise BadSettings(f"FREEWAY_STATE_DIR: {exc}") from exc
    from gateway.quota.redis import connect  # noqa: PLC0415 - see make_store
    from gateway.state.redis import SharedKeeper  # noqa: PLC0415

    return SharedKeeper(connect(settings.redis_url)[0])


class Parts(Struct, frozen=True):
    """The gateway's parts without a server and without a wire."""

    engine: Engine
    discovery: Discovery
    memory: Memory
    history: History

    async def open(self, providers: Mapping[str, Provider]) -> None:
        """Recall what is known, of *providers* too: a restart answers at once."""
        await self.memory.serve()
        self.discovery.know(providers)

    async def aclose(self) -> None:
        await self.engine.ledger.aclose()
        await self.memory.aclose()


def make_parts(
    settings: Settings, clock: Clock, store: Store, keeper: Keeper, observers: Sequence[Observer] = ()
) -> Parts:
    """The parts, put together."""
    memory = Memory(keeper, clock)
    history = History(memory)
    tell = Announcer((*observers, history))

    def tell_condition(condition: Condition) -> None:
        tell(StoreChanged(condition.store, condition.lost, condition.replicas))

    catalog = Catalog(settings, memory)
    waiting_room = WaitingRoom(clock, settings.requests.max_waiting)
    replicas = settings.ledger.replicas
    ledger = Ledger(
        store, clock, buckets=catalog.buckets, replicas=replicas, tell=tell_condition, freed=waiting_room.freed
    )
    engine = Engine(
        catalog=catalog,
        ledger=ledger,
        prices=Prices(ledger.cache, catalog.buckets),
        health=Health(memory, secrets.token_hex(4)),
        waiting_room=waiting_room,
        costs=Costs(memory),
        calibration=Calibration(),
        sessions=Sessions(),
        clock=clock,
        limits=settings.requests,
        tell=tell,
    )
    discovery = Discovery(catalog, ledger, settings, memory=memory, clock=clock, tell=tell)
    return Parts(engine, discovery, memory, history)


def create_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    store: Store | None = None,
    observers: Sequence[Observer] = (),
    prepare: Mapping[str, Prepare] | None = None,
    drain: Drain | None = None,
) -> Litestar:
    """
    The application. Parts that are not given are the real ones; they are opened and closed with it. Once *drain* begins
    it takes on nothing new.
    """
    drain = drain or Drain()
    clock = clock or WallClock()
    store = store or make_store(settings)
    keeper = make_keeper(settings, clock)
    webhook = Webhook(settings.catalog.webhook, clock) if settings.catalog.webhook else None
    metrics = Metrics(__version__)
    watching: tuple[Observer, ...] = (*observers, metrics, webhook) if webhook is not None else (*observers, metrics)
    parts = make_parts(settings, clock, store, keeper, watching)
    engine, discovery = parts.engine, parts.discovery
    scrape = metrics_page.Scrape(engine, metrics)
    prober = Prober(engine, parts.memory, settings.catalog.probes)
    drain.on_begin(engine.waiting_room.close)
    doorkeeper = Doorkeeper(settings, drain)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(parts.aclose)
            await engine.ledger.serve()
            stack.push_async_callback(drain.end)
            wire = await stack.enter_async_context(HttpWire(user_agent=USER_AGENT))
            await parts.open(make_providers(settings, wire, prepare or {}))
            stack.push_async_callback(discovery.stop)
            discovery.serve(wire)
            stack.push_async_callback(prober.stop)
            prober.serve(list(discovery.names))
            if webhook is not None:
                stack.push_async_callback(webhook.stop)
                webhook.serve(wire, parts.memory)
            yield

    return Litestar(
        [
            chat_completions(Surface(engine, doorkeeper, settings.server)),
            openai_models.router(),
            explain.router(settings.server.max_body),
            admin.router(),
            metrics_page.router(),
        ],
        dependencies=_given(engine=engine, doorkeeper=doorkeeper, scrape=scrape, drain=drain, discovery=discovery),
        exception_handlers={HTTPException: openai_errors.on_http_exception},
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
    )


def _given(**parts: object) -> dict[str, Provide]:
    """*parts* for handlers that name them."""

    def always(part: object) -> Provide:
        return Provide(lambda: part, sync_to_thread=False)

    return {name: always(part) for name, part in parts.items()}
