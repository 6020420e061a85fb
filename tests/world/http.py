"""What crosses the border of the world: requests, and answers that come as bytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from msgspec import Struct


class Request(Struct, frozen=True):
    """A request as it arrives at a provider. Names of *headers* are lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


class Response(Struct):
    """An answer whose head is here. *pieces* raises ConnectionBroken where it breaks; close it to leave early."""

    status: int
    headers: dict[str, str]
    pieces: AsyncIterator[bytes]


class ConnectionRefused(Exception):
    """Nobody listens at that address: nothing was sent."""


class ConnectionBroken(Exception):
    """The connection ended before the answer did."""


async def once(body: bytes) -> AsyncIterator[bytes]:
    """A body that comes in one piece."""
    yield body


def told(status: int, body: Any, /, content_type: str = "application/json", **headers: str) -> Response:
    """An answer with *body* as JSON; underscores in the names of *headers* are hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    encoded = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Response(status, {"content-type": content_type, **named}, once(encoded))
