"""Health: for people, for orchestrators, for load balancers."""

from __future__ import annotations

from typing import Literal

from litestar import Response, Router, get
from litestar.di import NamedDependency
from msgspec import Struct

from gateway import __version__
from gateway.api.drain import Drain
from gateway.background import Background, FailingLoop
from gateway.catalog.standing import Sources, SourceState
from gateway.quota.ledger import Condition
from gateway.request.engine import Engine
from gateway.state.store import StateStore
from gateway.words import Deployment

Status = Literal["ok", "degraded", "starting", "no source"]


class Source(Struct, kw_only=True):
    """A provider as it stands, and how many of its models serve. *problem* is what to know about that, if there is something."""

    provider: str
    state: SourceState
    models: int
    problem: str | None


class Report(Struct, kw_only=True):
    """
    ``degraded``: requests are answered, but the quota ledger or the state has lost its store, or a background loop keeps
    failing. *state_lost* is why gateways do not hear of each other's cooldowns, lists and withdrawals.

    *failing_loops* failed lately and were started again. *unreadable_entries* of the state are left out: another version
    wrote them, or something damaged them. *missing* is what stands between a gateway that can serve nothing and its first answer.
    """

    status: Status
    version: str
    ledger: Condition
    sources: list[Source]
    failing_loops: list[FailingLoop]
    unreadable_entries: int
    state_lost: str | None
    missing: list[str]


@get("/health/liveness")
async def liveness() -> dict[str, str]:
    """The process runs. Touches nothing."""
    return {"status": "ok"}


@get("/health/readiness")
async def readiness(
    engine: NamedDependency[Engine], drain: NamedDependency[Drain], sources: NamedDependency[Sources]
) -> Response[dict[str, str | list[str]]]:
    """Whether a request would be taken, and could be answered by anybody; if not, what is missing."""
    status = "shutting down" if drain.begun else "ok" if _serving(engine) else "no source yet"
    if status != "no source yet":
        return Response({"status": status}, status_code=200 if status == "ok" else 503)
    return Response({"status": status, "missing": sources.missing(engine.clock.now())}, status_code=503)


@get("/health")
async def health(
    engine: NamedDependency[Engine],
    sources: NamedDependency[Sources],
    background: NamedDependency[Background],
    state_store: NamedDependency[StateStore],
) -> Report:
    """Every source, whether it can be used, how the quota ledger and the state fare, and which background loops fail."""
    return report_of(engine, sources, background, state_store)


def report_of(engine: Engine, sources: Sources, background: Background, state: StateStore) -> Report:
    """How the gateway fares now."""
    now = engine.clock.now()
    found = {name: (sources.judgement(name, now), len(sources.serving(name, now))) for name in sources.asked()}
    starting = any(judgement.state == "starting" for judgement, _ in found.values())
    ledger, failing = engine.ledger.condition(), background.failing()
    degraded = ledger.lost is not None or state.lost is not None or any(loop.dying for loop in failing)
    well: Literal["ok", "degraded"] = "degraded" if degraded else "ok"
    return Report(
        status=well if _serving(engine) else "starting" if starting else "no source",
        version=__version__,
        ledger=ledger,
        sources=[
            Source(
                provider=name,
                state=judgement.state,
                models=models,
                problem=None if judgement.state == "starting" else judgement.reason or None,
            )
            for name, (judgement, models) in found.items()
        ],
        failing_loops=failing,
        unreadable_entries=state.unreadable,
        state_lost=state.lost,
        missing=[] if _serving(engine) else sources.missing(now),
    )


def _serving(engine: Engine) -> list[Deployment]:
    return engine.view.catalog.serving(engine.clock.now())


def router() -> Router:
    """The routes."""
    return Router(
        "/",
        route_handlers=[liveness, readiness, health],
    )
