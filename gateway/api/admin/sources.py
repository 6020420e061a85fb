"""The sources: how each stands, its buckets, and what a person may do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from gateway.api.admin.audit import noted
from gateway.api.admin.overview import Desk
from gateway.api.admin.views import Free, Source
from gateway.api.openai import decoded
from gateway.catalog.discovery import Discovery
from gateway.catalog.standing import Sources, prompts_of
from gateway.quota.buckets import Bucket
from gateway.quota.nouns import LevelView
from gateway.request.engine import Engine
from gateway.words import BadRequest
from providers.failures import ProviderFailure
from providers.spec import ProviderSpec


class NotHere(BadRequest):
    """Nothing goes by that name."""

    status, code = 404, "not_found"


class Opening(Struct):
    """The bucket whose close was a mistake, by the name that sources show."""

    bucket: str


_decode_opening = msgspec.json.Decoder(Opening).decode


def source_view(name: str, levels: Iterable[LevelView], desk: Desk) -> Source:
    """The source *name*, with those of *levels* that are its own."""
    sources, now = desk.sources, desk.engine.clock.now()
    spec, judgement = sources.spec(name), sources.judgement(name, now)
    sure = sources.sure(name) if judgement.state not in ("no key", "off") else None
    read_at, has_key = sources.read_at(name), sources.has_key(name)
    return Source(
        name=name,
        title=spec.title,
        state=judgement.state,
        reason=judgement.reason,
        remedy=judgement.remedy,
        key="set" if has_key else "none needed" if spec.keyless else "missing",
        key_variable=spec.key_env,
        key_from=_origin(spec, desk.origins()) if has_key else "",
        get_a_key=spec.get_a_key,
        free=Free(level=sure.level, because=sure.why, source=spec.free.source, since=read_at) if sure else None,
        trains=spec.data_policy.trains,
        prompts=prompts_of(spec.data_policy),
        models=len(sources.serving(name, now)),
        buckets=[level for level in levels if level.account == name],
        looked_at=read_at,
    )


def _origin(spec: ProviderSpec, origins: Mapping[str, str]) -> str:
    """Where the key of *spec* is set."""
    variables = (spec.key_env, *spec.key_env_also) if spec.key_env else ()
    return next((origins[variable] for variable in variables if variable in origins), "environment")


async def views(names: Iterable[str], desk: Desk) -> list[Source]:
    """The sources of these *names*, by levels that are looked at now."""
    names = list(names)
    buckets = [bucket for bucket in desk.engine.view.catalog.buckets() if bucket.account in names]
    levels = (await desk.engine.ledger.levels(buckets)).values()
    return [source_view(name, levels, desk) for name in names]


@get("/sources")
async def all_sources(desk: NamedDependency[Desk]) -> list[Source]:
    """Every source, those that are asked first."""
    return await views(desk.sources.names(), desk)


@get("/sources/{name:str}")
async def one_source(name: FromPath[str], desk: NamedDependency[Desk]) -> Source:
    """One of them. Raises NotHere."""
    return (await views([_known(name, desk.sources)], desk))[0]


@post("/sources/{name:str}/refresh", status_code=200)
async def refresh(
    name: FromPath[str],
    request: Request[Any, Any, Any],
    desk: NamedDependency[Desk],
    discovery: NamedDependency[Discovery],
) -> Source:
    """Ask it for its list of models now. What comes of that is told as its state. Raises NotHere."""
    await _look(_known(name, desk.sources), desk.sources, discovery)
    noted(request.scope, f"refreshed {name}")
    return (await views([name], desk))[0]


@post("/sources/{name:str}/readmit", status_code=200)
async def readmit(
    name: FromPath[str],
    request: Request[Any, Any, Any],
    desk: NamedDependency[Desk],
    discovery: NamedDependency[Discovery],
) -> Source:
    """Let it in again, its closed buckets too, and ask it for its list. Raises NotHere."""
    let_in(_known(name, desk.sources), desk.engine)
    await _look(name, desk.sources, discovery)
    noted(request.scope, f"readmitted {name}")
    return (await views([name], desk))[0]


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


def _known(name: str, sources: Sources) -> str:
    if name not in sources.names():
        raise NotHere(f"there is no source {name[:200]!r}; GET /admin/v1/sources names them")
    return name


HANDLERS = (all_sources, one_source, refresh, readmit, open_bucket)
