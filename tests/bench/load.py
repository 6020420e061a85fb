"""
The callers: HTTP over kept-alive connections, bounded in number and in time.

They read every answer to its end and look whether it is right; the first wrong one ends the measurement.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
from httptools import HttpParserError, HttpResponseParser
from msgspec import Struct

from tests.bench import wire

_FIRST_PIECE = wire.PIECE.encode()
_PATIENCE = 60.0


class WrongAnswer(Exception):
    """An answer that is not what was asked for: it must not count as a request."""


_NUMBERS = itertools.count(1)


class Target(Struct, frozen=True):
    """Where a contender is asked, and for what."""

    port: int
    path: str
    model: str

    def posts(self, body: bytes) -> Iterator[bytes]:
        """Requests without end, all of the same length; where *body* has a number, each has its own."""
        whole = self._post(body)
        at = whole.find(wire.NUMBER)
        while True:
            yield whole if at < 0 else whole[:at] + b"%08d" % next(_NUMBERS) + whole[at + len(wire.NUMBER) :]

    def _post(self, body: bytes) -> bytes:
        return (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\nauthorization: Bearer bench\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body


class Reply(Struct):
    """An answer as it came. *first* and *last* are seconds from the request to the first piece and to the end."""

    status: int
    body: bytearray
    first: float
    last: float


class Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._waiting: asyncio.Future[Reply] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def ask(self, request: bytes) -> Reply:
        self._parser = HttpResponseParser(self)
        self._body = bytearray()
        self._first = 0.0
        self._waiting = asyncio.get_running_loop().create_future()
        self._began = perf_counter()
        self._transport.write(request)
        return await self._waiting

    def data_received(self, data: bytes) -> None:
        self._at = perf_counter()
        try:
            self._parser.feed_data(data)
        except HttpParserError as exc:
            self._fail(f"this is not HTTP: {exc}")

    def on_body(self, data: bytes) -> None:
        self._body += data
        if not self._first and _FIRST_PIECE in data:
            self._first = self._at - self._began

    def on_message_complete(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            status = self._parser.get_status_code()
            self._waiting.set_result(Reply(status, self._body, self._first, self._at - self._began))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the connection was closed in mid-answer ({exc})")

    def _fail(self, why: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(WrongAnswer(why))


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
        found = _decode(reply.body)
        right = [(c.message, c.finish_reason) for c in found.choices] == [(_Said(wire.ANSWER), "stop")]
    except msgspec.DecodeError:
        right = False
    if reply.status != 200 or not right or found.usage != _RIGHT_USAGE:
        raise WrongAnswer(f"HTTP {reply.status}: {reply.body[:300].decode(errors='replace')}")


def check_stream(pieces: int) -> Check:
    """What raises WrongAnswer unless a reply is a stream of all *pieces*, in order, with an end and its usage."""
    text = "".join(wire.PIECE.replace("0000", f"{number:04}") for number in range(pieces))

    def check(reply: Reply) -> None:
        events = [line[5:] for line in reply.body.splitlines() if line.startswith(b"data:")]
        done = events[-1:] == [b" [DONE]"]
        try:
            chunks = [_decode(event) for event in events[: -1 if done else None]]
        except msgspec.DecodeError as exc:
            raise WrongAnswer(f"an event of a stream is broken: {exc}") from exc
        choices = [choice for chunk in chunks for choice in chunk.choices]
        said = "".join(choice.delta.content or "" for choice in choices if choice.delta)
        finish = [choice.finish_reason for choice in choices if choice.finish_reason]
        usage = [chunk.usage for chunk in chunks if chunk.usage]
        right = said == text and finish == ["stop"] and usage[-1:] == [_RIGHT_USAGE] and done
        if reply.status != 200 or not right:
            raise WrongAnswer(f"HTTP {reply.status}, a stream with {finish=} {usage=} {done=}: …{reply.body[-300:]!r}")

    return check


# ── how they call ──


async def closed(target: Target, body: bytes, check: Check, *, lines: int, count: int, seconds: float = 0.0) -> int:
    """
    *lines* callers, each asking again as soon as it is answered, until *count* requests or *seconds* are over.
    How many were answered, all of them rightly.
    """
    requests = target.posts(body)
    begun = answered = 0
    until = perf_counter() + seconds

    async def caller(line: Line) -> None:
        nonlocal begun, answered
        while begun < count and (begun < lines or perf_counter() < until):
            begun += 1
            check(await line.ask(next(requests)))
            answered += 1

    async with _lines(target.port, lines, seconds) as opened:
        await asyncio.gather(*map(caller, opened))
    return answered


async def paced(target: Target, body: bytes, check: Check, *, rate: float, count: int) -> list[Reply]:
    """
    *count* requests at *rate* a second, sent whether or not earlier ones are answered.

    Times count from the moment of sending, which is not always exactly when it was due: the machine's timers are
    no finer than a millisecond.
    """
    requests = target.posts(body)
    loop = asyncio.get_running_loop()

    async def ask(line: Line, idle: list[Line]) -> Reply:
        reply = await line.ask(next(requests))
        idle.append(line)
        return reply

    async with _lines(target.port, 64, count / rate) as idle:
        asked: list[asyncio.Task[Reply]] = []
        began = loop.time()
        for number in range(count):
            await asyncio.sleep(began + number / rate - loop.time())
            if not idle:
                raise WrongAnswer(f"{len(asked)} requests at {rate:g} a second: answers come too slowly")
            asked.append(asyncio.create_task(ask(idle.pop(0), idle)))
        replies = await asyncio.gather(*asked)
    for reply in replies:
        check(reply)
    return replies


async def tell(port: int, path: str) -> int:
    """GET *path* from the fake upstream: the number that it answers."""
    async with _lines(port, 1, 0.0) as (line,):
        return int((await line.ask(f"GET {path} HTTP/1.1\r\n\r\n".encode())).body)


def _itself(line: Line) -> Line:
    return line


@asynccontextmanager
async def _lines(port: int, count: int, seconds: float) -> AsyncIterator[list[Line]]:
    """*count* connections, for *seconds* and some patience. Raises OSError if no server listens."""
    opened = [Line() for _ in range(count)]
    try:
        async with asyncio.timeout(seconds + _PATIENCE):
            for line in opened:
                await asyncio.get_running_loop().create_connection(partial(_itself, line), "127.0.0.1", port)
            yield list(opened)
    except TimeoutError as exc:
        raise WrongAnswer(f"no answer within {seconds + _PATIENCE:g} s") from exc
    finally:
        for line in opened:
            line.close()
