"""
The callers: raw HTTP/1.1 over kept-alive connections, bounded in number and in time.

They read every answer to its end and look whether it is right; the first wrong one ends the measurement.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import msgspec
from msgspec import Struct

from tests.bench import wire

_CHUNKED, _LENGTH = b"transfer-encoding: chunked", re.compile(rb"content-length: *(\d+)")
_FIRST_PIECE = wire.PIECE.encode()
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_PATIENCE = 60.0


class WrongAnswer(Exception):
    """An answer that is not what was asked for: it must not count as a request."""


class Target(Struct, frozen=True):
    """Where a contender is asked, and for what."""

    port: int
    path: str
    model: str

    def post(self, body: bytes) -> bytes:
        return (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\nauthorization: Bearer bench\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body


class Reply(Struct):
    """An answer as it came. *first* and *last* are seconds from the request to the first piece and to the end."""

    status: int
    body: bytes
    first: float
    last: float


class Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Reply] | None = None
        self._began = self._first = 0.0
        self._body_at = 0
        self._length: int | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def close(self) -> None:
        self._transport.close()

    async def ask(self, request: bytes) -> Reply:
        self._buffer.clear()
        self._body_at, self._length, self._first = 0, None, 0.0
        self._waiting = asyncio.get_running_loop().create_future()
        self._began = perf_counter()
        self._transport.write(request)
        return await self._waiting

    def data_received(self, data: bytes) -> None:
        at = perf_counter()
        self._buffer += data
        if not self._body_at and not self._read_head():
            return
        if not self._first and self._buffer.find(_FIRST_PIECE, self._body_at) >= 0:
            self._first = at
        if self._is_whole() and self._waiting is not None and not self._waiting.done():
            status = int(self._buffer[9:12])
            body = bytes(self._buffer[self._body_at :])
            reply = Reply(status, body, self._first - self._began, at - self._began)
            if self._length is None:
                reply.body = _unframed(body)
            self._waiting.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(WrongAnswer(f"the connection was closed in mid-answer ({exc})"))

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end]).lower()
        self._body_at = end + 4
        if _CHUNKED not in head:
            found = _LENGTH.search(head)
            self._length = int(found[1]) if found else 0
        return True

    def _is_whole(self) -> bool:
        if self._length is not None:
            return len(self._buffer) >= self._body_at + self._length
        # The end of the head and an empty body look like the last chunk, too, hence the two bytes before the body.
        return self._buffer.endswith(_LAST_CHUNK, self._body_at - 2)


def _unframed(body: bytes) -> bytes:
    """*body* without the framing of chunked transfer."""
    pieces, at = [], 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].partition(b";")[0], 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size


# ── what a right answer is ──


class _Said(Struct):
    content: str | None = None


class _Choice(Struct):
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None


class _Usage(Struct):
    prompt_tokens: int
    completion_tokens: int


class _Completion(Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Completion).decode
_RIGHT_USAGE = _Usage(wire.PROMPT_TOKENS, wire.ANSWER_TOKENS)

Check = Callable[[Reply], None]


def check_whole(reply: Reply) -> None:
    """Raises WrongAnswer unless *reply* is the whole answer with its usage."""
    try:
        completion = _decode(reply.body)
        choice = completion.choices[0]
        right = choice.message == _Said(wire.ANSWER) and choice.finish_reason == "stop"
    except (msgspec.DecodeError, IndexError):
        right = False
    if reply.status != 200 or not right or completion.usage != _RIGHT_USAGE:
        raise WrongAnswer(f"HTTP {reply.status}: {reply.body[:300].decode(errors='replace')}")


def check_stream(pieces: int) -> Check:
    """What raises WrongAnswer unless a reply is a stream of all *pieces*, in order, with an end and its usage."""
    text = "".join(wire.PIECE.replace("0000", f"{number:04}") for number in range(pieces))

    def check(reply: Reply) -> None:
        said, finish, usage, done = "", None, None, False
        try:
            for event in re.split(rb"\r?\n\r?\n", reply.body):
                if event == b"data: [DONE]":
                    done = True
                elif event.startswith(b"data:"):
                    chunk = _decode(event[5:])
                    usage = chunk.usage or usage
                    finish = next((choice.finish_reason for choice in chunk.choices), None) or finish
                    said += "".join(choice.delta.content or "" for choice in chunk.choices if choice.delta)
        except msgspec.DecodeError as exc:
            raise WrongAnswer(f"an event of a stream is broken: {exc}") from exc
        right = said == text and finish == "stop" and done and usage == _RIGHT_USAGE
        if reply.status != 200 or not right:
            raise WrongAnswer(f"HTTP {reply.status}, {finish=} {usage=} {done=}: …{reply.body[-300:]!r}")

    return check


# ── how they call ──


async def closed(target: Target, body: bytes, check: Check, *, lines: int, count: int, seconds: float) -> int:
    """
    *lines* callers, each asking again as soon as it is answered, until *count* requests or *seconds* are over.
    How many were answered, all of them rightly.
    """
    request = target.post(body)
    begun = answered = 0
    until = perf_counter() + seconds

    async def caller(line: Line) -> None:
        nonlocal begun, answered
        while begun < count and perf_counter() < until:
            begun += 1
            check(await line.ask(request))
            answered += 1

    await _with_lines(target, lines, lambda opened: asyncio.gather(*map(caller, opened)), seconds)
    return answered


async def paced(target: Target, body: bytes, check: Check, *, rate: float, count: int) -> list[Reply]:
    """
    *count* requests at *rate* a second, sent whether or not earlier ones are answered.

    Times count from the moment of sending, which is not always exactly when it was due: the machine's timers are
    no finer than a millisecond.
    """
    request = target.post(body)

    async def ask(line: Line, idle: list[Line]) -> Reply:
        reply = await line.ask(request)
        idle.append(line)
        return reply

    async def run(idle: list[Line]) -> list[Reply]:
        loop = asyncio.get_running_loop()
        asked: list[asyncio.Task[Reply]] = []
        began = loop.time()
        for number in range(count):
            await asyncio.sleep(began + number / rate - loop.time())
            if not idle:
                raise WrongAnswer(f"{len(asked)} requests at {rate:g} a second: answers come too slowly")
            asked.append(asyncio.create_task(ask(idle.pop(0), idle)))
        return await asyncio.gather(*asked)

    replies = await _with_lines(target, 64, run, count / rate)
    for reply in replies:
        check(reply)
    return replies


async def once(target: Target, body: bytes, check: Check) -> None:
    """One request on a connection of its own. Raises WrongAnswer, or OSError if nobody listens."""

    async def ask(lines: list[Line]) -> None:
        check(await lines[0].ask(target.post(body)))

    await _with_lines(target, 1, ask, 0.0)


async def _with_lines(target: Target, count: int, use: Callable[[list[Line]], Awaitable[Any]], seconds: float) -> Any:
    loop = asyncio.get_running_loop()
    lines: list[Line] = []
    try:
        for _ in range(count):
            _, line = await loop.create_connection(Line, "127.0.0.1", target.port)
            lines.append(line)
        async with asyncio.timeout(seconds + _PATIENCE):
            return await use(lines)
    except TimeoutError as exc:
        raise WrongAnswer(f"no answer within {seconds + _PATIENCE:g} s") from exc
    finally:
        for line in lines:
            line.close()


async def tell(port: int, path: str) -> str:
    """GET *path* from the fake upstream: what it answers."""
    _, line = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    reply = await line.ask(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    line.close()
    return reply.body.decode()
