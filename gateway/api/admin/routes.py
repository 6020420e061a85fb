"""
The admin API: every handler behind the one guard, and the audit log before it.

One module here is one subject. It has its handlers in ``HANDLERS``, whose parts app.py provides by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Router
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp
from msgspec import Struct

from gateway.api.admin import access as signing_in
from gateway.api.admin import changes
from gateway.api.admin.access import Access
from gateway.api.admin.audit import Audited, AuditLog
from gateway.api.auth import Authenticator
from gateway.clock import Clock
from gateway.events import Event
from gateway.settings import Settings
from gateway.state.store import StateStore

PREFIX = "/admin/v1"

LONGEST_BODY = 1_000_000
"""Bytes of a request."""

HANDLERS = (*signing_in.HANDLERS, *changes.HANDLERS)


class Administration(Struct, frozen=True):
    """The admin API: its routes, and the parts that its handlers name."""

    router: Router
    parts: dict[str, object]


def make(
    settings: Settings, authenticator: Authenticator, state: StateStore, clock: Clock, tell: Callable[[Event], None]
) -> Administration:
    """The admin API of a gateway with *settings*; its own page is admitted by *authenticator*."""
    access = Access(settings, authenticator, state, clock)
    authenticator.is_page = access.is_page
    audited = Audited(AuditLog(settings.state_dir, settings.secrets()), clock, tell)
    return Administration(_router(access, audited), {"access": access})


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
