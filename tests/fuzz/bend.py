"""Bytes and values, bent: the ways in which JSON, headers and streams arrive broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**63, -(2**63), 10**30, 1.5, float("1e308"), "", " ", "0", "12", "-3", "1e3", "null", "\x00",
    "\r\n", "\ud800", "\u202e", "é" * 40, "x" * 5000, [], {}, [None], [[]], [{}], {"": ""}, {"error": None}, {"error": {}},
    {"error": "x"}, {"message": []}, [1, "a", None], "stream", "tool_calls", "<think>", "</think>", "[DONE]", "data: {}",
)  # fmt: skip
"""Values that stand where others are expected."""

_MATTER = frozenset(
    {
        "choices", "content", "delta", "done", "done_reason", "error", "finishReason", "finish_reason", "function", "id", "index",
        "message", "tool_calls", "usage",
    }
)  # fmt: skip
"""Keys by which an answer is understood: bent more often than others."""

DEEP = b"[" * 20_000
DEEP_OBJECT = b'{"a":' * 20_000


def value(found: Any, chance: Random) -> Any:
    """*found* with something wrong somewhere in it."""
    places = list(_places(found))
    if not places:
        return chance.choice(ODD)
    if chance.random() < 0.3:
        places = [place for place in places if place[1] in _MATTER] or places
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        holder, key = chance.choice(places)
        if not _holds(holder, key):
            continue
        match chance.randrange(6):
            case 0:
                holder[key] = chance.choice(ODD)
            case 1:
                holder[key] = chance.choice((None, "", [], {}))
            case 2:
                del holder[key]
            case 3:
                holder[key] = [holder[key], holder[key]]
            case 4:
                holder[key] = json.dumps(holder[key], default=str)
            case _:
                other, name = chance.choice(places)
                holder[key] = json.loads(json.dumps(other[name])) if _holds(other, name) else None
    return found


def _places(found: Any) -> Any:
    if isinstance(found, dict):
        items: Any = found.items()
    elif isinstance(found, list):
        items = enumerate(found)
    else:
        return
    for key, inner in items:
        yield found, key
        yield from _places(inner)


def _holds(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def document(data: bytes, chance: Random) -> bytes:
    """A JSON document with something wrong in its values, or else in its bytes."""
    if chance.random() < 0.7:
        try:
            found = value(json.loads(data), chance)
            return json.dumps(found, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
        except ValueError:
            pass
    return octets(data, chance)


def octets(data: bytes, chance: Random) -> bytes:
    """*data* with wrong bytes: cut, doubled, put in, taken out, with another encoding or line end, or nested for ever."""
    at = chance.randrange(len(data) + 1)
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at],
        lambda: data[:at] + bytes([chance.randrange(128, 256)]) + data[at:],
        lambda: data[:at] + data[at + chance.randrange(1, 40) :],
        lambda: data[:at] + data[max(0, at - 50) :],
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b":", b":" + chance.choice((DEEP, DEEP_OBJECT)), 1),
        lambda: chance.choice((b"", b"null", b"[]", b"{}", b"<html>", DEEP, DEEP_OBJECT, b"\xff\xfe{\x00}\x00")),
        lambda: data[:at] + bytes(chance.randrange(256) for _ in range(4)) + data[at + 4 :],
        lambda: data.decode(errors="replace").encode("utf-16"),
    )
    return chance.choice(ways)()


def pieces(data: bytes, chance: Random) -> list[bytes]:
    """*data* as it may arrive: at once, cut in two anywhere, or byte by byte."""
    if not data:
        return []
    match chance.randrange(3):
        case 0:
            return [data]
        case 1:
            at = chance.randrange(len(data))
            return [data[:at], data[at:]]
        case _:
            size = chance.choice((1, 2, 7, 100)) if len(data) < 20_000 else 5000
            return [data[at : at + size] for at in range(0, len(data), size)]


HEADERS = (
    "retry-after", "ratelimit", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", "x-ratelimit-limit",
    "x-ratelimit-remaining", "x-ratelimit-reset", "content-type", "etag", "x-inference-provider",
)  # fmt: skip
_TOLD = (
    "", "0", "-1", "1", "7.5", "1e400", "nan", "inf", "99999999999999999999", "1795449600000000", "2m59.56s", "370µs", "9" * 400,
    "Mon, 23 Nov 2026 16:00:00 GMT", "Mon, 99 Nov 9999 99:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", '"api";r=0;t=55',
    '"api";r=0;t=' + "9" * 30, "application/json", "text/event-stream", "1_000", "١٢", "\x00", "1,2,3",
)  # fmt: skip


def headers(chance: Random) -> dict[str, str]:
    """Of an answer, each with something that it should not hold."""
    return {chance.choice(HEADERS): chance.choice(_TOLD) for _ in range(chance.randrange(5))}
