"""Whether settings of the right shape make sense: what they name must be there, and be meant once. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from gateway.quota import configured as quotas
from gateway.settings.clients import verify as verify_client
from gateway.settings.files import Keys
from gateway.settings.shape import Fault, nearest, suggestion
from gateway.settings.values import AUTO, CAPABILITIES, Client, Server, Settings
from providers import dialects

_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/\s?#@*]+", re.IGNORECASE)
_OWN_CLIENTS = ("anybody", "network")


def senseless(settings: Settings) -> Iterator[Fault]:
    """All that *settings* name and is not there, or say twice."""
    yield from _of_server(settings.server)
    yield from _of_aliases(settings)
    yield from _of_clients(settings)
    for name, virtual in settings.virtual.items():
        yield from _of_capabilities(virtual.needs, ("virtual", name, "needs"))
    for name, spec in settings.provider.items():
        yield from _of_capabilities(spec.capabilities, ("provider", name, "capabilities"))
        for number, fact in enumerate(spec.models):
            yield from _of_capabilities(fact.capabilities or (), ("provider", name, "models", number, "capabilities"))
        for verify in (quotas.verify, dialects.verify):
            try:
                verify(spec)
            except ValueError as exc:
                yield Fault(
                    ("provider", name),
                    str(exc).removeprefix(f"provider {name}: "),
                    "docs/add-a-source.md explains every key",
                )


def resolved(aliases: Mapping[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    """*aliases* with each name of another alias replaced by what that stands for. Circles must have been ruled out."""
    return {name: _meant(name, aliases) if _has_alias(meant, aliases) else meant for name, meant in aliases.items()}


def _has_alias(meant: str | tuple[str, ...], aliases: Mapping[str, object]) -> bool:
    return any(one in aliases for one in _each(meant))


def _meant(name: str, aliases: Mapping[str, str | tuple[str, ...]]) -> tuple[str, ...]:
    meant = aliases.get(name)
    return (name,) if meant is None else tuple(end for one in _each(meant) for end in _meant(one, aliases))


def _each(meant: str | tuple[str, ...]) -> tuple[str, ...]:
    return (meant,) if isinstance(meant, str) else meant


def _of_aliases(settings: Settings) -> Iterator[Fault]:
    virtual = [AUTO, *settings.virtual]
    for table, entries in (("alias", settings.alias), ("pattern", settings.pattern)):
        for name, meant in entries.items():
            for one in _each(meant):
                if not one or (one.lower().startswith(AUTO) and one not in virtual and one not in settings.alias):
                    told = suggestion(one, virtual, "names that stand for many models")
                    yield Fault((table, name), f"stands for {one!r}, which is nothing", told)
            if not _each(meant):
                yield Fault((table, name), "stands for nothing", "name a model, a virtual one, or several")
    for name in settings.alias:
        if circle := _circle(name, settings.alias):
            yield Fault(("alias", name), f"goes in a circle: {' → '.join(circle)}", "have one of them name a model")


def _circle(name: str, aliases: Mapping[str, str | tuple[str, ...]]) -> tuple[str, ...]:
    """The way from the alias *name* to itself; empty: there is none."""
    ways: list[tuple[str, ...]] = [(name,)]
    seen = set[str]()
    while ways:
        way = ways.pop()
        for one in _each(aliases.get(way[-1], ())):
            if one == name:
                return (*way, one)
            if one not in seen:
                seen.add(one)
                ways.append((*way, one))
    return ()


def _of_capabilities(named: Iterable[str], keys: Keys) -> Iterator[Fault]:
    for name in named:
        if name not in CAPABILITIES:
            yield Fault(keys, f"there is no capability {name!r}", suggestion(name, list(CAPABILITIES), "capabilities"))


def _of_clients(settings: Settings) -> Iterator[Fault]:
    names: dict[str, int] = {}
    digests: dict[str, int] = {}
    reserved = (*_OWN_CLIENTS, *(["default"] if settings.client_key else []))
    for number, client in enumerate(settings.client):
        keys: Keys = ("client", number)
        if (first := names.setdefault(client.name, number)) != number:
            what = f"is called {client.name!r} as is client[{first}]"
            yield Fault((*keys, "name"), what, "give each client a name of its own")
        if (first := digests.setdefault(client.key_sha256, number)) != number:
            told = "make another with `freeway clients add`"
            yield Fault((*keys, "key_sha256"), f"is the key of client[{first}], too", told)
        if client.name in reserved:
            yield Fault((*keys, "name"), f"{client.name!r} is what the gateway itself calls one", "choose another name")
        try:
            verify_client(client)
        except ValueError as exc:
            yield Fault(keys, str(exc), "docs/clients.md explains every key")
        yield from _of_providers(client, keys, settings)


def _of_providers(client: Client, keys: Keys, settings: Settings) -> Iterator[Fault]:
    known = list(settings.provider)
    for pattern in client.providers:
        if not any(fnmatchcase(name, pattern) for name in known):
            yield Fault(
                (*keys, "providers"), f"there is no provider {pattern!r}", suggestion(pattern, known, "providers")
            )


def _of_server(server: Server) -> Iterator[Fault]:
    for origin in server.origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            what = f"expected an origin like https://chat.example:8443, or *, got {origin!r}"
            yield Fault(("server", "origins"), what, "scheme, host and port, as the browser shows them, without a path")
    for network in server.ollama_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as exc:
            yield Fault(
                ("server", "ollama_networks"), f"expected networks like 192.168.1.0/24: {exc}", "name a network"
            )
    if server.ollama:
        try:
            server.ollama_address()
        except ValueError as exc:
            yield Fault(
                ("server", "ollama"),
                str(exc).removeprefix("server.ollama: "),
                'for example `ollama = "127.0.0.1:11434"`',
            )


def meant_provider(name: str, known: Iterable[str]) -> str:
    """What to say of a provider's table, *name*, that has not what a new provider needs."""
    near = nearest(name, list(known))
    own = "a provider of one's own needs title, base_url, free and docs (docs/add-a-source.md)"
    return f"did you mean [provider.{near}]? {own}" if near else own


def exposed(server: Server) -> list[str]:
    """The addresses at which others than this machine can reach the gateway, as they were set."""
    places = [(f"HOST={server.host}", server.host)]
    if server.ollama:
        places.append((f"[server] ollama = {server.ollama!r}", server.ollama.rpartition(":")[0].strip("[]")))
    return [place for place, host in places if not _is_loopback(host)]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def unsaid(settings: Settings, shipped: Collection[str]) -> Iterator[str]:
    """What a provider of one's own, which is none of those *shipped*, leaves unsaid, and what follows from that."""
    for name, spec in settings.provider.items():
        if name in shipped or not spec.enabled:
            continue
        if spec.key_env and name not in settings.keys:
            yield f"[provider.{name}] has no key, and is not asked: set {spec.key_env}, or keyless = true"
        elif not spec.key_env and not spec.keyless:
            yield f"[provider.{name}] says neither key_env nor keyless = true, and is not asked"
        if not spec.capabilities and not any(row.capabilities for row in spec.models):
            yield f"[provider.{name}] says no capabilities: unless its list tells them, what needs tools, pictures or JSON goes elsewhere"
        if not any(row.context for row in spec.models):
            yield f"[provider.{name}] says no context ([[provider.{name}.models]]): unless its list tells it, a prompt that is too long is sent all the same"
