"""The sources: how each stands, its buckets, and what a person may do about it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from gateway.api.admin.audit import noted
from gateway.api.admin.views import Free, Source
from gateway.api.openai import decoded
from gateway.catalog.discovery import Discovery
from gateway.catalog.standing import Sources, prompts_of
from gateway.quota.buckets import Bucket
from gateway.quota.nouns import LevelView
from gateway.request.engine import Engine
from gateway.words import BadRequest
from providers.failures import ProviderFailure


class NotHere(BadRequest):
    """Nothing goes by that name."""

    status, code = 404, "not_found"


class Opening(Struct):
    """The bucket whose close was a mistake, by the name that sources show."""

    bucket: str


_decode_opening = msgspec.json.Decoder(Opening).decode


def source_view(name: str, sources: Sources, levels: Iterable[LevelView], now: float) -> Source:
    """The source *name*, with those of *levels* that are its own."""
    spec, judgement = sources.spec(name), sources.judgement(name, now)
    sure = sources.sure(name) if judgement.state not in ("no key", "off") else None
    read_at = sources.read_at(name)
    return Source(
        name=name,
        title=spec.title,
        state=judgement.state,
        reason=judgement.reason,
        remedy=judgement.remedy,
        key="set" if sources.has_key(name) else "none needed" if spec.keyless else "missing",
        key_variable=spec.key_env,
        key_from="environment" if sources.has_key(name) else "",
        get_a_key=spec.get_a_key,
        free=Free(level=sure.level, because=sure.why, source=spec.free.source, since=read_at) if sure else None,
        trains=spec.data_policy.trains,
        prompts=prompts_of(spec.data_policy),
        models=len(sources.serving(name, now)),
        buckets=[level for level in levels if level.account == name],
        looked_at=read_at,
    )


async def views(names: Iterable[str], sources: Sources, engine: Engine) -> list[Source]:
    """The sources of these *names*, by levels that are looked at now."""
    names = list(names)
    buckets = [bucket for bucket in engine.view.catalog.buckets() if bucket.account in names]
    levels = (await engine.ledger.levels(buckets)).values()
    return [source_view(name, sources, levels, engine.clock.now()) for name in names]


@get("/sources")
async def all_sources(engine: NamedDependency[Engine], sources: NamedDependency[Sources]) -> list[Source]:
    """Every source, those that are asked first."""
    return await views(sources.names(), sources, engine)


@get("/sources/{name:str}")
async def one_source(name: FromPath[str], engine: NamedDependency[Engine], sources: NamedDependency[Sources]) -> Source:
    """One of them. Raises NotHere."""
    return await _one(_known(name, sources), sources, engine)


@post("/sources/{name:str}/refresh", status_code=200)
async def refresh(
    name: FromPath[str],
    request: Request[Any, Any, Any],
    engine: NamedDependency[Engine],
    sources: NamedDependency[Sources],
    discovery: NamedDependency[Discovery],
) -> Source:
    """Ask it for its list of models now. What comes of that is told as its state. Raises NotHere."""
    await _look(_known(name, sources), sources, discovery)
    noted(request.scope, f"refreshed {name}")
    return await _one(name, sources, engine)


@post("/sources/{name:str}/readmit", status_code=200)
async def readmit(
    name: FromPath[str],
    request: Request[Any, Any, Any],
    engine: NamedDependency[Engine],
    sources: NamedDependency[Sources],
    discovery: NamedDependency[Discovery],
) -> Source:
    """Let it in again, its closed buckets too, and ask it for its list. Raises NotHere."""
    let_in(_known(name, sources), engine)
    await _look(name, sources, discovery)
    noted(request.scope, f"readmitted {name}")
    return await _one(name, sources, engine)


@post("/buckets/open", status_code=200)
async def open_bucket(request: Request[Any, Any, Any], engine: NamedDependency[Engine]) -> LevelView:
    """Lift the close of a bucket. Raises NotHere."""
    key = decoded(_decode_opening, await request.body()).bucket
    bucket: Bucket | None = next((one for one in engine.view.catalog.buckets() if one.key == key), None)
    if bucket is None:
        raise NotHere(f"there is no bucket {key[:200]!r}; GET /admin/v1/sources names them", param="bucket")
    engine.ledger.open(bucket)
    noted(request.scope, f"opened {key}")
    return (await engine.ledger.levels([bucket]))[bucket.key]


def let_in(name: str, engine: Engine) -> bool:
    """Let the account or deployment *name* in again, with all buckets of the account; whether it was out."""
    was_out = engine.view.catalog.learned.readmit(name)
    for bucket in engine.view.catalog.buckets():
        if bucket.account == name:
            engine.ledger.open(bucket)
    engine.view.health.reached(name)
    return was_out


async def _look(name: str, sources: Sources, discovery: Discovery) -> None:
    if name in sources.asked():
        with suppress(ProviderFailure):  # told as the state of the source
            await discovery.look(name)


async def _one(name: str, sources: Sources, engine: Engine) -> Source:
    return (await views([name], sources, engine))[0]


def _known(name: str, sources: Sources) -> str:
    if name not in sources.names():
        raise NotHere(f"there is no source {name[:200]!r}; GET /admin/v1/sources names them")
    return name


HANDLERS = (all_sources, one_source, refresh, readmit, open_bucket)
