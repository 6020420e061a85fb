"""The composition root: the only place that names concrete parts, and everything outside comes in as an argument."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException

from gateway import __version__
from gateway.admission import WaitingRoom
from gateway.catalog.catalog import Catalog
from gateway.catalog.discovery import Discovery
from gateway.clock import Clock, WallClock
from gateway.events import Announcer, Observer, StoreChanged
from gateway.health import Health
from gateway.ledger.book import Store, StoreFailure
from gateway.ledger.embedded import EmbeddedStore
from gateway.ledger.ledger import Condition, Ledger
from gateway.pipeline import Engine
from gateway.settings import BadSettings, Settings
from gateway.surfaces import admin, openai_errors, openai_models
from gateway.surfaces.auth import Doorkeeper
from gateway.surfaces.openai_chat import Surface, chat_completions
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
    from gateway.ledger.shared import open_store  # noqa: PLC0415 - a tenth of a second, for those who have Redis

    try:
        return open_store(settings.redis_url)
    except ValueError as exc:
        raise BadSettings(f"FREEWAY_REDIS_URL: {exc}") from exc


def create_app(
    settings: Settings,
    *,
    clock: Clock | None = None,
    store: Store | None = None,
    observers: Sequence[Observer] = (),
    prepare: Mapping[str, Prepare] | None = None,
    on_stop: Sequence[Callable[[], object]] = (),
) -> Litestar:
    """The application. Parts that are not given are the real ones; they are opened and closed with it."""
    clock = clock or WallClock()
    catalog = Catalog(settings.provider, settings.alias, settings.virtual)
    tell = Announcer(observers)

    def tell_condition(condition: Condition) -> None:
        tell(StoreChanged(condition.store, condition.lost, condition.replicas))

    ledger = Ledger(store or make_store(settings), clock, replicas=settings.ledger.replicas, tell=tell_condition)
    engine = Engine(
        catalog=catalog,
        ledger=ledger,
        health=Health(),
        waiting_room=WaitingRoom(clock, settings.requests.max_waiting),
        clock=clock,
        limits=settings.requests,
        tell=tell,
    )
    doorkeeper = Doorkeeper(settings)
    discovery = Discovery(catalog, ledger, settings, clock=clock, tell=tell)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(ledger.aclose)
            await ledger.serve(catalog.buckets)
            for stop in on_stop:
                stack.push_async_callback(_call, stop)
            wire = await stack.enter_async_context(HttpWire(user_agent=USER_AGENT))
            discovery.serve(make_providers(settings, wire, prepare or {}))
            stack.push_async_callback(discovery.stop)
            yield

    return Litestar(
        [chat_completions(Surface(engine, doorkeeper, settings.server)), openai_models.router(), admin.router()],
        dependencies={
            "engine": Provide(lambda: engine, sync_to_thread=False),
            "doorkeeper": Provide(lambda: doorkeeper, sync_to_thread=False),
            "discovery": Provide(lambda: discovery, sync_to_thread=False),
        },
        exception_handlers={HTTPException: openai_errors.on_http_exception},
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
    )


async def _call(stop: Callable[[], object]) -> None:
    result = stop()
    if hasattr(result, "__await__"):
        await result
