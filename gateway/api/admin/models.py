"""The deployments: what each can do, why it is free, and why it does not serve where it does not."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from msgspec import Struct

from gateway.api.admin.audit import noted
from gateway.api.admin.sources import NotHere, let_in
from gateway.api.admin.views import Free, Model
from gateway.api.openai import decoded
from gateway.catalog.standing import Sources
from gateway.request.engine import Engine
from gateway.routing.rank import TYPICAL, price_of
from gateway.words import Deployment, Exclusion
from providers.chat import encode

_AT_ONCE = 50
"""Rows that are made before others have their turn."""


class Readmission(Struct):
    """A model or an account that is out of service."""

    name: str


_decode_readmission = msgspec.json.Decoder(Readmission).decode


def out_of(deployment: Deployment, engine: Engine, now: float) -> Exclusion | None:
    """Why *deployment* would serve no small request now; None: it would."""
    if not deployment.proof.fresh(now):
        return Exclusion(deployment.name, "proof", "its free proof has expired; its list is read again by itself")
    if withdrawal := engine.view.catalog.learned.withdrawn(deployment, now):
        return Exclusion(deployment.name, "withdrawn", withdrawal.because, withdrawal.until)
    if blocked := engine.view.health.blocked(deployment.name, now):
        return blocked
    return price_of(deployment, engine.view.prices(now), now, TYPICAL)[1]


def model_view(deployment: Deployment, engine: Engine, sources: Sources, now: float) -> Model:
    """*deployment* as it is now."""
    reason, proof = out_of(deployment, engine, now), deployment.proof
    return Model(
        deployment=deployment.name,
        model=deployment.model,
        provider=deployment.provider.name,
        operations=sorted(deployment.operations),
        capabilities=sorted(engine.view.catalog.learned.capabilities(deployment, now)),
        context=deployment.context,
        max_output=deployment.max_output,
        trains=deployment.policy.trains,
        free=Free(
            level=sources.sure(deployment.provider.name).level,
            because=proof.because,
            source=proof.source,
            since=proof.since or None,
        ),
        available=reason is None,
        why_not=reason.reason if reason else "",
        opens_at=reason.until if reason else None,
    )


@get("/models")
async def models(
    engine: NamedDependency[Engine],
    sources: NamedDependency[Sources],
    q: Annotated[str, QueryParameter(max_length=200)] = "",
    available: FromQuery[bool | None] = None,
) -> Response[bytes]:
    """
    Those whose name, provider, or one of whose capabilities has every word of *q* in it, and that are *available* or not. Made in
    turns, between which others have theirs.
    """
    words, rows = q.lower().split(), []
    for number, deployment in enumerate(engine.view.catalog.deployments()):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        text = " ".join((deployment.name, deployment.model, *deployment.capabilities, *deployment.operations)).lower()
        if not all(word in text for word in words):
            continue
        row = model_view(deployment, engine, sources, engine.clock.now())
        if available in (None, row.available):
            rows.append(encode(row))
    return Response(b"[" + b",".join(rows) + b"]", media_type="application/json")


@post("/models/readmit", status_code=204)
async def readmit(request: Request[Any, Any, Any], engine: NamedDependency[Engine]) -> None:
    """Let a model or an account in again. Raises NotHere if it is not out."""
    name = decoded(_decode_readmission, await request.body()).name
    if not let_in(name, engine):
        raise NotHere(
            f"{name[:200]!r} is not out of service; GET /admin/v1/models?available=false names what is", param="name"
        )
    noted(request.scope, f"readmitted {name}")


HANDLERS = (models, readmit)
