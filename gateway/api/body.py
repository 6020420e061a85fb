"""The body of a request, bounded, as it comes and as it is when it is inflated."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from gateway.words import BadRequest, TooBig

_PLAIN, _GZIP = frozenset({b"", b"identity"}), frozenset({b"gzip", b"x-gzip"})
_ANY_WRAPPING = 31  # of zlib's windowBits: the largest window, in gzip's wrapping


class Left(Exception):
    """The caller left while sending the request."""


async def read_body(receive: Callable[[], Awaitable[Any]], headers: Iterable[tuple[bytes, bytes]], limit: int) -> bytes:
    """
    The body, of *limit* bytes at most, inflated if *headers* say that it is compressed.

    Raises TooBig, BadRequest (an encoding that is not known, or what cannot be inflated) or Left.
    """
    encoding = next((value.strip().lower() for name, value in headers if name == b"content-encoding"), b"")
    if encoding not in _PLAIN and encoding not in _GZIP:
        raise BadRequest("content-encoding: expected gzip or none", param="content-encoding")
    pieces, size, more = [], 0, True
    while more:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise TooBig(f"the body is longer than {limit} bytes")
        pieces.append(piece)
        more = message.get("more_body", False)
    body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return inflated(body, limit) if encoding in _GZIP else body


def inflated(body: bytes, limit: int) -> bytes:
    """
    *body*, which gzip compressed, in one or several members.

    Raises TooBig as soon as more than *limit* bytes come of it, and BadRequest for what is no gzip or was cut.
    """
    found = bytearray()
    while body:
        member = zlib.decompressobj(_ANY_WRAPPING)
        try:
            found += member.decompress(body, limit + 1 - len(found))
        except zlib.error as exc:
            raise BadRequest("the body cannot be inflated: it is not gzip") from exc
        if len(found) > limit:
            raise TooBig(f"the body is longer than {limit} bytes when it is inflated")
        if not member.eof:
            raise BadRequest("the body cannot be inflated: it was cut")
        body = member.unused_data
    return bytes(found)
