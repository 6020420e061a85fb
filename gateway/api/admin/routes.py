"""
The admin API: every handler behind the one guard, and the audit log before it.

One module here is one subject. It has its handlers in ``HANDLERS``, whose parts app.py provides by name.
"""

from __future__ import annotations

from secrets import token_hex
from typing import Any, Protocol

from litestar import Router
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp
from msgspec import Struct

from gateway.api.admin import access as signing_in
from gateway.api.admin import (
    changes,
    clients,
    configuration,
    connect,
    explaining,
    live,
    models,
    overview,
    plots,
    requests,
    sources,
    usage,
)
from gateway.api.admin.access import Access
from gateway.api.admin.audit import DONE, REFUSED, Audited, AuditLog
from gateway.api.admin.left import Stock
from gateway.api.admin.live import Feed
from gateway.api.admin.overview import Desk
from gateway.api.admin.plots import Calendar
from gateway.api.auth import Authenticator
from gateway.background import Background, LoopFunction
from gateway.catalog.standing import Sources
from gateway.events import Announcer
from gateway.observe.recent import Recent
from gateway.observe.series import Series
from gateway.observe.usage import Costs
from gateway.request.engine import Engine
from gateway.settings import Settings
from gateway.settings.reload import Reload
from gateway.state.store import StateStore

PREFIX = "/admin/v1"

LONGEST_BODY = 1_000_000
"""Bytes of a request."""

HANDLERS = (
    *signing_in.HANDLERS,
    *overview.HANDLERS,
    *sources.HANDLERS,
    *models.HANDLERS,
    *requests.HANDLERS,
    *live.HANDLERS,
    *plots.HANDLERS,
    *changes.HANDLERS,
    *explaining.HANDLERS,
    *connect.HANDLERS,
    *configuration.HANDLERS,
    *clients.HANDLERS,
    *usage.HANDLERS,
)


class Administration(Struct, frozen=True):
    """The admin API: its routes, the parts that its handlers name, and what runs beside them."""

    router: Router
    parts: dict[str, object]
    feed: Feed
    loops: dict[str, LoopFunction]

    def serve(self, background: Background) -> None:
        """Start what runs beside requests."""
        for name, loop in self.loops.items():
            background.run(name, loop)


class Gateway(Protocol):
    """The parts of a gateway that are looked at."""

    @property
    def engine(self) -> Engine: ...
    @property
    def sources(self) -> Sources: ...
    @property
    def background(self) -> Background: ...
    @property
    def state(self) -> StateStore: ...
    @property
    def costs(self) -> Costs: ...


def make(
    settings: Settings, authenticator: Authenticator, gateway: Gateway, tell: Announcer, reload: Reload
) -> Administration:
    """The admin API of *gateway*, which has *settings* by *reload*; its own page is admitted by *authenticator*."""
    clock, catalog, recent = gateway.engine.clock, gateway.engine.view.catalog, Recent()
    access = Access(settings, authenticator, gateway.state, clock)
    authenticator.is_page = access.is_page
    desk = Desk(
        engine=gateway.engine,
        sources=gateway.sources,
        background=gateway.background,
        state=gateway.state,
        costs=gateway.costs,
        recent=recent,
        stock=Stock(gateway.engine),
        origins=lambda: reload.configured.origins,
        started=clock.now(),
    )
    feed, counted = Feed(desk), Series(gateway.state, clock, token_hex(4), Calendar(catalog).keys)
    for observer in (recent, counted, feed):
        tell.add(observer)

    def secrets() -> list[str]:
        return reload.configured.settings.secrets()  # those that are set then

    done, refused = (AuditLog(settings.state_dir / name, secrets) for name in (DONE, REFUSED))
    audited = Audited(done, refused, clock, tell)
    return Administration(
        _router(access, audited),
        {"access": access, "desk": desk, "recent": recent, "feed": feed, "counted": counted},
        feed,
        {
            "admin events": feed.tell_forever,
            "series": counted.write_forever,
            "quota at resets": plots.Resets(gateway.engine, counted).watch_forever,
        },
    )


def _router(access: Access, audited: Audited) -> Router:
    """The routes, behind *access*."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        access.guard(connection, handler)  # not the method itself: Litestar copies guards, and all they hold on to

    def before(app: ASGIApp) -> ASGIApp:
        return audited(app)

    api = Router(PREFIX, route_handlers=HANDLERS)
    return Router(
        "/",
        guards=[guard],
        middleware=[before],
        route_handlers=[api, changes.FEED],
        request_max_body_size=LONGEST_BODY,
    )
