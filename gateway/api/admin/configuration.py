"""What is set, and setting it: where each value comes from, reading it anew, keys of sources."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Struct

from gateway.api.admin.audit import noted
from gateway.api.admin.sources import NotHere
from gateway.api.admin.views import ConfigRow, KeyTried, SetupSource
from gateway.api.openai import decoded
from gateway.catalog.discovery import Discovery
from gateway.catalog.offers import could_cost, gives, trains
from gateway.request.engine import Engine
from gateway.settings import EMBEDDED, BadSettings, Configured
from gateway.settings.reload import Reload
from gateway.settings.shown import shown
from gateway.settings.storing import store
from gateway.settings.variables import key_names, meant_for
from gateway.words import BadRequest
from providers.dialect import Listing
from providers.failures import CredentialRejected, ProviderFailure
from providers.spec import ProviderSpec


class Taken(Struct, frozen=True):
    """What was set anew and is taken in: its keys and variables, and those that count with the next start."""

    changed: list[str]
    later: list[str]


class NewSourceKey(Struct):
    """A key, as its provider shows it once."""

    key: str


class SetElsewhere(BadRequest):
    """What is set in the environment cannot be changed from here."""

    status, code = 409, "set_elsewhere"


_decode_key = msgspec.json.Decoder(NewSourceKey).decode


@get("/config")
async def config(
    reload: NamedDependency[Reload], everything: Annotated[bool, QueryParameter(name="all")] = False
) -> list[ConfigRow]:
    """What is set otherwise than it was shipped, or everything, and where each value comes from. No secret is in it."""
    rows = shown(reload.configured, everything=everything)
    return [ConfigRow(key=row.key, value=row.value, source=row.source) for row in rows]


@post("/reload", status_code=200)
async def reread(
    request: Request[Any, Any, Any], reload: NamedDependency[Reload], engine: NamedDependency[Engine]
) -> Taken:
    """Read what is set, and take it in; with a mistake in it everything stays as it was, and each is told."""
    taken = await _take_in(reload, engine)
    noted(request.scope, f"settings read anew: {', '.join(taken.changed) or 'nothing changed'}")
    return taken


@get("/setup")
async def setup(reload: NamedDependency[Reload]) -> list[SetupSource]:
    """Every source that could be set up, and what it gives."""
    return offered(reload.configured)


def offered(configured: Configured) -> list[SetupSource]:
    """The sources that a person can set up: those without a key first, and of these the ones that are surest to cost nothing."""
    settings = configured.settings
    found = [
        SetupSource(
            name=name,
            title=spec.title,
            key="none needed" if spec.keyless else "set" if name in settings.keys else "missing",
            key_variable=spec.key_env,
            get_a_key=spec.get_a_key,
            gives=gives(spec),
            trains=trains(spec),
            could_cost=could_cost(spec),
            near_misses=list(configured.near_misses.get(name, ())),
        )
        for name, spec in settings.provider.items()
        if name != EMBEDDED
    ]
    sure = ("proven", "promised", "unknowable")

    def order(one: SetupSource) -> tuple[int, int]:
        return ("missing", "none needed", "set").index(one.key), sure.index(settings.provider[one.name].free.sure)

    return sorted(found, key=order)


@put("/sources/{name:str}/key")
async def set_key(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    reload: NamedDependency[Reload],
    discovery: NamedDependency[Discovery],
    engine: NamedDependency[Engine],
) -> KeyTried:
    """Try a key at its provider, store it unless it is refused, and use it from now on."""
    key = decoded(_decode_key, await request.body()).key.strip()
    spec, settings = _spec(name, reload), reload.configured.settings
    other = meant_for(key, name, settings.provider)
    if other is not None:
        told = f"this looks like a key of {settings.provider[other].title}: it was not sent to {spec.title}"
        return KeyTried(accepted=False, said=told, stored="")
    accepted, said = await tried(spec, discovery.listed_with(spec, key))
    noted(request.scope, f"a key of {name} was {'refused' if accepted is False else 'set'}")
    if accepted is False:
        return KeyTried(accepted=False, said=said, stored="")
    _store(reload, spec, key)
    await _take_in(reload, engine)
    if (elsewhere := _elsewhere(reload, spec)) is not None:
        said = f"{said}; but {elsewhere} goes before it: take it out there"
    return KeyTried(accepted=accepted, said=said, stored=str(reload.configured.keys_file))


@delete("/sources/{name:str}/key", status_code=204)
async def drop_key(
    request: Request[Any, Any, Any],
    name: FromPath[str],
    reload: NamedDependency[Reload],
    engine: NamedDependency[Engine],
) -> None:
    """Forget the key of a source."""
    spec = _spec(name, reload)
    if (elsewhere := _elsewhere(reload, spec)) is not None:
        raise SetElsewhere(f"{elsewhere} holds the key of {spec.title}: take it out there")
    _store(reload, spec, None)
    await _take_in(reload, engine)
    noted(request.scope, f"the key of {name} was taken out")


async def tried(spec: ProviderSpec, listed: Coroutine[Any, Any, Listing]) -> tuple[bool | None, str]:
    """Whether the provider takes the key with which its list is asked for, None if that cannot be told, and what it said."""
    if "{" in spec.base_url:
        listed.close()
        return None, f"it is tried once {' and '.join(spec.base_url_needs.values())} is set, too"
    try:
        listing = await listed
    except CredentialRejected as failure:
        return False, f"{spec.title} refuses it: {failure.message}"
    except ProviderFailure as failure:
        return None, f"{spec.title} could not be asked: {failure.message}"
    if spec.list_proves_key:
        return True, f"{spec.title} takes it, and lists {len(listing.models)} models"
    return None, f"{spec.title} lists its models to anybody: the first request shows whether it takes this key"


def _spec(name: str, reload: Reload) -> ProviderSpec:
    spec = reload.configured.settings.provider.get(name)
    if spec is None or spec.key_env is None:
        raise NotHere(f"no source called {name!r} takes a key", param="name")
    return spec


def _store(reload: Reload, spec: ProviderSpec, key: str | None) -> None:
    if not reload.configured.files:
        raise SetElsewhere("this gateway has no file that keys are kept in")
    try:
        store(reload.configured.keys_file, str(spec.key_env), key)
    except ValueError as exc:
        raise BadRequest(str(exc), param="key") from exc
    except OSError as exc:
        where = f"{reload.configured.keys_file}: {exc.strerror}"
        raise SetElsewhere(f"it cannot be stored ({where}): set {spec.key_env} in the environment instead") from exc


def _elsewhere(reload: Reload, spec: ProviderSpec) -> str | None:
    """What holds the key of *spec*, if that is another place than ``keys.env``: the variable, and where it is set."""
    origins = reload.configured.origins
    found = [
        f"{name} ({origins[name]})"
        for name in key_names(spec)
        if not origins.get(name, "keys.env").startswith("keys.env")
    ]
    return found[0] if found else None


async def _take_in(reload: Reload, engine: Engine) -> Taken:
    try:
        changes = await reload.now(engine.tell)
    except BadSettings as exc:
        raise BadRequest(f"nothing was changed: {exc}") from exc
    return Taken(list(changes.now), list(changes.later))


HANDLERS = (config, reread, setup, set_key, drop_key)
