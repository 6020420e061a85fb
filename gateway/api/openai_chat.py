"""
``POST /v1/chat/completions``: have what is asked (openai_request.py) answered, and render it.

A bare ASGI handler: it saves what a framework's request and response cost, on the one path where that counts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from itertools import count
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Send
from msgspec import Struct

from gateway.api import errors as openai_errors
from gateway.api.auth import ANYBODY, Doorkeeper
from gateway.api.openai_request import parse
from gateway.api.options import options_of
from gateway.api.presence import while_present
from gateway.api.trace import trace
from gateway.events import Ended
from gateway.observe.usage import saved_by
from gateway.request import stream as relay
from gateway.request.engine import Answer, Engine
from gateway.request.pipeline import answer
from gateway.request.resume import StreamSession
from gateway.settings import Client, Server
from gateway.words import BadRequest, Broken, Call, GatewayError, Stopping, TooBig, WrongMethod
from providers.chat import Chunk, Fields, Step, Usage, Whole, encode
from providers.dialect import Request
from providers.failures import Interrupted

DONE = b"data: [DONE]\n\n"
COMMENT = b": waiting\n\n"


class Surface(Struct, frozen=True):
    """What the handler works with."""

    engine: Engine
    doorkeeper: Doorkeeper
    server: Server


def chat_completions(surface: Surface) -> ASGIRouteHandler:
    """The route."""
    # The ids are ours: one from the caller's headers would let them write into our log. Chance is asked once, for that
    # costs a system call.
    run, numbers = secrets.token_hex(6), count(1)

    @asgi("/v1/chat/completions", copy_scope=False)
    async def handle(scope: Any, receive: Receive, send: Send) -> None:
        exchange = _Exchange(surface, send, f"req_{run}{next(numbers):08x}", surface.engine.clock.now())
        try:
            client = surface.doorkeeper.admit(scope["headers"])
            exchange.client = client.name
            _check_method(scope["method"])
            body = await _read(receive, surface.server.max_body)
            options = options_of(
                scope["headers"], surface.engine.limits, client, _caller(client, scope), exchange.id, exchange.began
            )
            exchange.traces = options.traced
            call = parse(body, options)
        except GatewayError as error:
            await exchange.refuse(error)
            return
        exchange.asked = call.wants.models[0]
        try:
            async with while_present(receive) as presence:
                await (_stream if call.streams else _whole)(call, exchange)
            if presence.left:
                exchange.over("left", 499)
        finally:
            exchange.over("failed", 500)  # unless something else was told: it is our bug

    return handle


class _Exchange:
    """One request being served: how its caller is reached, and what is told of it in the end."""

    def __init__(self, surface: Surface, send: Send, request: str, began: float) -> None:
        self.engine, self.server, self.doorkeeper = surface.engine, surface.server, surface.doorkeeper
        self.send, self.id, self.began = send, request, began
        self.client = self.asked = "?"
        self.traces = self._over = False

    async def refuse(self, error: GatewayError) -> None:
        """Answer with *error*."""
        self.over(error.code or "bad_request", error.status, waited=error.waited)
        headers = openai_errors.headers(error)
        if self.traces:
            headers["x-freeway-trace"] = trace((), error.excluded)
        await _send(self.send, error.status, headers, openai_errors.render(error), self.id)

    def served_by(self, found: Answer) -> dict[str, str]:
        """Headers that say who served it, and, for those who want to know, who did not and why."""
        headers = _served_by(found)
        if self.traces:
            left_out = self.engine.view.catalog.exclusions(found.call, found.slot.wants, self.engine.clock.now())
            headers["x-freeway-trace"] = trace(
                found.attempts, [*found.slot.skipped, *(reason for _, reason in left_out)]
            )
        return headers

    def over(
        self,
        outcome: str,
        status: int,
        found: Answer | None = None,
        usage: Usage | None = None,
        *,
        waited: float = 0.0,
    ) -> None:
        """Tell the observers that the request is over, once."""
        if self._over:
            return
        self._over = True
        now = self.engine.clock.now()
        self.engine.tell(
            Ended(
                request=self.id,
                client=self.client,
                asked=self.asked,
                outcome=outcome,
                status=status,
                deployment=found.deployment.name if found else None,
                attempts=len(found.attempts) + 1 if found else 0,
                first_content=found.first_content if found else None,
                took=now - self.began,
                usage=usage,
                dollars=(usage.cost or 0.0) if usage else 0.0,
                model=found.deployment.model if found else None,
                waited=found.waited if found else waited,
                overhead=found.overhead(self.began, now) if found else None,
                saved=(saved_by(found.deployment, usage) or 0.0) if found and usage else 0.0,
                passed_over=found.passed_over if found else 0,
            )
        )


# ── read ──


def _caller(client: Client, scope: Any) -> str:
    """Who shares a place in line: a client with a key, or, where nobody has one, whoever calls from one address."""
    peer = scope.get("client")
    return f"{client.name} {peer[0]}" if client is ANYBODY and peer else client.name


def _check_method(method: str) -> None:
    if method != "POST":
        raise WrongMethod(f"{method} is not possible here: POST a chat completion request")


async def _read(receive: Receive, limit: int) -> bytes:
    """The body, bounded. A caller who leaves while sending it has sent nothing."""
    pieces, size, more = [], 0, True
    while more:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the connection was closed while the body was being sent")
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise TooBig(f"the body is longer than {limit} bytes")
        pieces.append(piece)
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


# ── render ──


async def _whole(call: Call, exchange: _Exchange) -> None:
    try:
        found = await answer(call, exchange.engine)
    except GatewayError as error:
        await exchange.refuse(error)
        return
    except asyncio.CancelledError:
        if exchange.doorkeeper.closed:  # the drain did not wait any longer
            await exchange.refuse(Stopping())
        raise
    whole = relay.whole(found, exchange.engine)
    headers = {"content-type": "application/json", **exchange.served_by(found)}
    await _send(exchange.send, 200, headers, _completed(whole, exchange), exchange.id)
    exchange.over("served", 200, found, whole.completion.usage)


async def _stream(call: Call, exchange: _Exchange) -> None:
    """
    Have it answered and pass the answer on as it comes.

    If it takes long, the response begins with comments, so that nobody hangs up on silence. From then on the status is
    sent, and what goes wrong can only be told in the stream.
    """
    stream = _Stream(exchange)
    keeping = asyncio.ensure_future(stream.keep_alive(exchange.server.keep_alive))
    try:
        found = await answer(call, exchange.engine)
        await _pass_on(found, exchange, stream)
    except GatewayError as error:
        await stream.fail(error)
    except asyncio.CancelledError:
        if exchange.doorkeeper.closed:  # the drain did not wait any longer: no end is pretended
            await stream.fail(Stopping())
        raise
    finally:
        keeping.cancel()


async def _pass_on(found: Answer, exchange: _Exchange, stream: _Stream) -> None:
    usage: Usage | None = None
    session = StreamSession(found, exchange.engine)
    try:
        async with aclosing(session.arrivals()) as arrivals:
            async for steps in arrivals:
                if not stream.started:  # not before: whoever leaves here leaves an answer that is settled
                    await stream.start(exchange.served_by(found))
                events = []
                for step in steps:
                    usage = step.chunk.usage or usage
                    if data := _shown(step, found.call, exchange):
                        events.append(b"data: " + data + b"\n\n")
                if events:
                    await stream.send(b"".join(events))
    except Interrupted as failure:
        await stream.fail(Broken(f"the answer broke off: {failure.message}"), session.answer)
    else:
        await stream.send(DONE, last=True)
        exchange.over("served", 200, session.answer, usage)


class _Stream:
    """Our side of a streamed answer: begun once, and never silent for long."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self.started = False
        self._quiet = True

    async def start(self, headers: Mapping[str, str]) -> None:
        """Send the head, unless a comment had to go out before it was known who serves."""
        if not self.started:
            self.started = True
            await _start(self._exchange.send, 200, {**_STREAM, **headers}, self._exchange.id)

    async def send(self, data: bytes, *, last: bool = False) -> None:
        self._quiet = False
        await _more(self._exchange.send, data, last=last)

    async def fail(self, error: GatewayError, found: Answer | None = None) -> None:
        """As a response of its own while that is possible, else as the stream's last event: no end is pretended."""
        if self.started:
            self._exchange.over(error.code or "failed", error.status, found)
            await self.send(b"data: " + openai_errors.render(error) + b"\n\n", last=True)
        else:
            self.started = True
            await self._exchange.refuse(error)

    async def keep_alive(self, silence: float) -> None:
        """A comment after each *silence* seconds in which nothing was sent, until cancelled."""
        while True:
            await asyncio.sleep(silence)
            if self._quiet:
                await self.start({})
                await _more(self._exchange.send, COMMENT)
            self._quiet = True


def _shown(step: Step, call: Call, exchange: _Exchange) -> bytes | None:
    """The chunk as the caller may see it: with usage only if they asked for it."""
    chunk = step.chunk
    asked = call.request
    hides_usage = chunk.usage is not None and not (isinstance(asked, Request) and asked.view.wants_usage)
    if hides_usage and not chunk.choices:
        return None
    if chunk.created and chunk.id and not hides_usage:
        return step.data
    return _edited(step.data, chunk, hides_usage, exchange)


def _edited(data: bytes, chunk: Chunk, hides_usage: bool, exchange: _Exchange) -> bytes:
    fields: dict[str, Any] = msgspec.json.decode(data, type=Fields)
    if hides_usage:
        fields.pop("usage", None)
    if not chunk.id:
        fields["id"] = f"chatcmpl-{exchange.id}"
    if not chunk.created:
        fields["created"] = int(exchange.began)
    fields["object"] = "chat.completion.chunk"
    return encode(fields)


def _completed(whole: Whole, exchange: _Exchange) -> bytes:
    """The completion with the fields that its provider left out."""
    found = whole.completion
    if found.created and found.id:
        return whole.data
    fields: dict[str, Any] = msgspec.json.decode(whole.data, type=Fields)
    fields["id"] = found.id or f"chatcmpl-{exchange.id}"
    fields["created"] = found.created or int(exchange.began)
    fields["object"] = "chat.completion"
    return encode(fields)


_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}


def _served_by(found: Answer) -> dict[str, str]:
    headers = {
        "x-freeway-provider": found.deployment.provider.name,
        "x-freeway-model": found.deployment.model,
        "x-freeway-attempts": str(len(found.attempts) + 1),
    }
    if found.slot.wants.instead_of is not None:
        headers["x-freeway-instead-of"] = quote(found.slot.wants.instead_of, safe="/:.-_")
    return headers


async def _send(send: Send, status: int, headers: Mapping[str, str], body: bytes, request: str) -> None:
    await _start(send, status, {**headers, "content-length": str(len(body))}, request)
    await _more(send, body, last=True)


async def _start(send: Send, status: int, headers: Mapping[str, str], request: str) -> None:
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    raw.append((b"x-request-id", request.encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _more(send: Callable[[Any], Awaitable[None]], body: bytes, *, last: bool = False) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": not last})
