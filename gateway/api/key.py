"""
``GET /v1/key``: what a client may use and has used, in the shape of OpenRouter's endpoint of that name (OpenRouter, "Limits",
2026-11), which programs ask for what is left. Dollars are none, for nothing is paid; the client's limits are beside them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from litestar import Request, Router, get
from litestar.di import NamedDependency
from msgspec import Struct

from gateway.api.admin.clients import ClientDesk, limit_view
from gateway.api.admin.views import LimitView
from gateway.api.auth import Authenticator
from gateway.api.http import spellings
from gateway.quota.clients import Used

PATH = "/v1/key"


class RateLimit(Struct, frozen=True, kw_only=True):
    """So many requests in an *interval* of seconds (``60s``); -1: without a limit."""

    requests: int
    interval: str
    note: str = "limits has all of them, with what is left"


class KeyData(Struct, frozen=True, kw_only=True):
    """
    What the client called *label* used and may use. OpenRouter's fields are in dollars. *requests* and *tokens* are those of the
    last 24 hours, *limits* its own at this gateway.
    """

    label: str
    usage: float = 0.0
    usage_daily: float = 0.0
    usage_weekly: float = 0.0
    usage_monthly: float = 0.0
    limit: float | None = None
    limit_remaining: float | None = None
    limit_reset: str | None = None
    is_free_tier: bool = True
    is_provisioning_key: bool = False
    rate_limit: RateLimit
    expires_at: str | None
    requests: int
    tokens: int
    limits: list[LimitView]
    no_train: bool
    models: list[str]
    providers: list[str]


class Key(Struct, frozen=True):
    """The answer."""

    data: KeyData


@get(spellings(PATH))
async def key(
    request: Request[Any, Any, Any],
    authenticator: NamedDependency[Authenticator],
    clients: NamedDependency[ClientDesk],
) -> Key:
    """What the caller's key is good for, and what it was used for."""
    client = authenticator.admit(request.scope["headers"], request.scope["query_string"])
    used, lately = await clients.allowances.used(client), await clients.lately_of(client.name)
    expires = None if client.expires is None else datetime.fromtimestamp(client.expires_at, UTC).isoformat()
    return Key(
        KeyData(
            label=client.name,
            rate_limit=_rate_limit(used),
            expires_at=expires,
            requests=lately.requests,
            tokens=lately.tokens,
            limits=[limit_view(one) for one in used],
            no_train=client.no_train,
            models=list(client.models),
            providers=list(client.providers),
        )
    )


def _rate_limit(used: list[Used]) -> RateLimit:
    """The limit of requests with the shortest window."""
    requests = [one.limit for one in used if one.limit.unit == "requests"]
    if not requests:
        return RateLimit(requests=-1, interval="10s")
    shortest = min(requests, key=lambda limit: limit.seconds)
    return RateLimit(requests=round(shortest.amount), interval=f"{shortest.seconds:.0f}s")


def router() -> Router:
    """The route."""
    return Router("/", route_handlers=[key])
