"""``GET changes`` and ``/changes.atom``: what appeared, vanished, became paid, gained or lost something, the latest first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any
from xml.etree.ElementTree import Element, SubElement, tostring

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from gateway.api.admin.views import Change
from gateway.catalog.changes import History
from gateway.events import Changed

ATOM = "application/atom+xml"
_NAMESPACE = "http://www.w3.org/2005/Atom"
_IN_FEED = 100


def views(changes: Iterable[Changed]) -> list[Change]:
    """*changes* as they are shown."""
    return [Change(kind=one.kind, name=one.name, detail=one.detail, at=one.at) for one in changes]


@get("/changes")
async def changes(
    history: NamedDependency[History], limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100
) -> list[Change]:
    """The last *limit* changes."""
    return views(history.changes()[:limit])


@get("/changes.atom")
async def feed(request: Request[Any, Any, Any], history: NamedDependency[History]) -> Response[bytes]:
    """The same, for readers of feeds (RFC 4287)."""
    address = f"{request.url.scheme}://{request.url.netloc}/changes.atom"
    return Response(atom(history.changes()[:_IN_FEED], address), media_type=f"{ATOM}; charset=utf-8")


def atom(changed: Iterable[Changed], address: str) -> bytes:
    """The Atom feed at *address* of what *changed*."""
    changed = tuple(changed)
    root = Element("feed", xmlns=_NAMESPACE)
    _text(root, "id", "urn:freeway:changes")
    _text(root, "title", "Freeway: changes of free models")
    _text(root, "updated", _moment(max((one.at for one in changed), default=0.0)))
    SubElement(root, "link", rel="self", href=address)
    _text(SubElement(root, "author"), "name", "Freeway")
    for one in changed:
        entry = SubElement(root, "entry")
        _text(entry, "id", f"urn:freeway:change:{hashlib.sha256(one.key.encode()).hexdigest()[:32]}")
        _text(entry, "title", f"{one.name} {one.kind}")
        _text(entry, "updated", _moment(one.at))
        _text(entry, "summary", one.detail or one.kind)
    encoded: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return encoded


def _text(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = "".join(one if one.isprintable() else " " for one in text)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


HANDLERS = (changes,)
FEED = feed
