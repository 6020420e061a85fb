"""Health: for people, for orchestrators, for load balancers."""

from __future__ import annotations

from typing import Literal

from litestar import Response, Router, get
from litestar.di import NamedDependency
from msgspec import Struct

from gateway import __version__
from gateway.api.drain import Drain
from gateway.background import Background, FailingLoop
from gateway.catalog.discovery import Discovery
from gateway.quota.ledger import Condition
from gateway.request.engine import Engine
from gateway.state.store import StateStore
from gateway.words import Deployment

Status = Literal["ok", "degraded", "starting", "no source"]


class Source(Struct, kw_only=True):
    """A provider as it stands. *problem* is why nothing is sent to it, or why its list could not be had."""

    provider: str
    models: int
    problem: str | None


class Report(Struct, kw_only=True):
    """
    ``degraded``: requests are answered, but the quota ledger or the state has lost its store, or a background loop keeps
    failing. *state_lost* is why gateways do not hear of each other's cooldowns, lists and withdrawals.

    *failing_loops* failed lately and were started again. *unreadable_entries* of the state are left out: another version
    wrote them, or something damaged them.
    """

    status: Status
    version: str
    ledger: Condition
    sources: list[Source]
    failing_loops: list[FailingLoop]
    unreadable_entries: int
    state_lost: str | None


@get("/health/liveness")
async def liveness() -> dict[str, str]:
    """The process runs. Touches nothing."""
    return {"status": "ok"}


@get("/health/readiness")
async def readiness(engine: NamedDependency[Engine], drain: NamedDependency[Drain]) -> Response[dict[str, str]]:
    """Whether a request would be taken, and could be answered by anybody."""
    status = "shutting down" if drain.begun else "ok" if _serving(engine) else "no source yet"
    return Response({"status": status}, status_code=200 if status == "ok" else 503)


@get("/health")
async def health(
    engine: NamedDependency[Engine],
    discovery: NamedDependency[Discovery],
    background: NamedDependency[Background],
    state_store: NamedDependency[StateStore],
) -> Report:
    """Every source, whether it can be used, how the quota ledger and the state fare, and which background loops fail."""
    serving = _serving(engine)
    starting = any(name not in discovery.looked for name in discovery.names)
    sources = [
        Source(
            provider=name,
            models=sum(d.provider.name == name for d in serving),
            problem=discovery.problem(name),
        )
        for name in discovery.names
    ]
    ledger, failing = engine.ledger.condition(), background.failing()
    degraded = ledger.lost is not None or state_store.lost is not None or any(loop.dying for loop in failing)
    well: Literal["ok", "degraded"] = "degraded" if degraded else "ok"
    return Report(
        status=well if serving else "starting" if starting else "no source",
        version=__version__,
        ledger=ledger,
        sources=sources,
        failing_loops=failing,
        unreadable_entries=state_store.unreadable,
        state_lost=state_store.lost,
    )


def _serving(engine: Engine) -> list[Deployment]:
    return engine.view.catalog.serving(engine.clock.now())


def router() -> Router:
    """The routes."""
    return Router(
        "/",
        route_handlers=[liveness, readiness, health],
    )
