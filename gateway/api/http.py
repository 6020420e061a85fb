"""
The one HTTP lifecycle of every surface that has a model answer.

    method → client → body → surface.parse → pipeline.answer ─┬─ whole ──► one response
                                                              └─ stream ─► head, events, comments in silence, end

Whatever happens on the way ends in one ``Ended`` event: it is served, an error is told in the surface's shape, the caller
left, the answer broke off, the gateway stops, or we have a bug. What differs between surfaces is a Surface each.

A bare ASGI handler: it saves what a framework's request and response cost, on the one path where that counts.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from itertools import count
from typing import Any, ClassVar, Protocol, runtime_checkable
from urllib.parse import parse_qsl, quote

from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp
from msgspec import Struct

from gateway.api import client_limits, errors
from gateway.api.auth import Authenticator, RawHeaders
from gateway.api.body import Left, read_body
from gateway.api.connection import Outgoing, Receive, Send, while_connected
from gateway.api.form import Form, read_form
from gateway.api.options import Options, caller_of, options_of
from gateway.api.shares import Shares
from gateway.api.trace import trace
from gateway.events import Began, Ended
from gateway.quota.clients import Allowance, Allowances
from gateway.request.engine import Answer, Engine
from gateway.request.pipeline import answer
from gateway.request.resume import StreamSession
from gateway.request.whole import in_one_piece
from gateway.settings import Server
from gateway.settings.clients import Client
from gateway.words import Broken, Call, GatewayError, Internal, Stopping, WrongMethod
from providers.chat import Step, Usage
from providers.failures import Interrupted


class Ready(Struct, frozen=True):
    """The answer to a request that needs no model: a *body* that is JSON."""

    body: bytes


class Surface(Protocol):
    """
    One request in the terms of one API. It is made anew for each, so that it may remember what it parsed and wrote.
    What it looks up or keeps somewhere else takes time: it may then return what is to be awaited.

    *expects* completes 'POST …'. *whole_type* is the media type of an answer in one piece, *stream_type* that of a stream,
    *comment* what keeps one alive without saying anything; all may follow from the request.
    """

    path: ClassVar[str]
    expects: ClassVar[str]

    @property
    def whole_type(self) -> str: ...

    @property
    def stream_type(self) -> str: ...

    @property
    def comment(self) -> bytes: ...

    def parse(self, body: bytes, options: Options) -> Call | Ready | Awaitable[Call | Ready]:
        """What *body* asks for, to be served as *options* say. Raises a GatewayError, naming the field."""

    def render_whole(self, whole: Any) -> bytes | Awaitable[bytes]:
        """The body of an answer in one piece, which is JSON. *whole* is the neutral answer of the operation."""

    def render_event(self, step: Step) -> bytes:
        """A step of a stream, as whole events; nothing if the caller sees nothing of it."""

    def render_end(self) -> bytes | Awaitable[bytes]:
        """What ends a stream that is complete."""

    def render_error(self, error: GatewayError) -> bytes:
        """The body of an error answer, which is JSON."""

    def render_broken(self, error: GatewayError) -> bytes:
        """What ends a stream that is not complete."""


@runtime_checkable
class TakesForm(Protocol):
    """A surface whose requests are forms with a file."""

    def parse_form(self, form: Form, options: Options) -> Call:
        """What *form* asks for, to be served as *options* say. Raises a GatewayError, naming the field."""


@runtime_checkable
class Lists(Protocol):
    """A surface that a ``GET`` asks for a list of what it answered."""

    async def listed(self, client: Client, query: Mapping[str, str]) -> Ready:
        """The list for *client*, as *query* narrows it. Raises a GatewayError, naming the field."""


class Host(Struct, frozen=True):
    """What requests are served with."""

    engine: Engine
    authenticator: Authenticator
    server: Server
    allowances: Allowances
    shares: Shares


def route(
    surface: type[Surface],
    host: Host,
    make: Callable[[], Surface] | None = None,
    *,
    told_in_stream: tuple[type[GatewayError], ...] = (),
) -> ASGIRouteHandler:
    """
    The route of *surface*, each of whose requests *make* makes if that takes more than the class. Errors *told_in_stream*
    are the last event of a stream that was asked for even if nothing of it was sent.
    """
    return asgi(spellings(surface.path), copy_scope=False)(serving(surface, host, make, told_in_stream=told_in_stream))


def serving(
    surface: type[Surface],
    host: Host,
    make: Callable[[], Surface] | None = None,
    *,
    told_in_stream: tuple[type[GatewayError], ...] = (),
) -> ASGIApp:
    """What answers the requests of *surface*, for a route whose path says more than one name. See ``route``."""
    make = make or surface
    # The ids are ours: one from the caller's headers would let them write into our log. Chance is asked once, for that
    # costs a system call.
    run, numbers = secrets.token_hex(6), count(1)

    async def handle(scope: Any, receive: Receive, send: Send) -> None:
        exchange = _Exchange(make(), host, send, f"req_{run}{next(numbers):08x}", told_in_stream)
        await exchange.serve(scope, receive)

    return handle


def spellings(path: str) -> list[str]:
    """
    *path* as clients call it: some are told an address with ``/v1`` and add it once more, others are told one without
    and add nothing.
    """
    bare = path.removeprefix("/v1")
    return [path] if bare == path else [path, bare, f"/v1{path}"]


class _Exchange:
    """One request being served, and what is told of it in the end."""

    def __init__(
        self, surface: Surface, host: Host, send: Send, request: str, told_in_stream: tuple[type[GatewayError], ...]
    ) -> None:
        self._surface, self._host, self._engine = surface, host, host.engine
        self._told_in_stream = told_in_stream
        self._id, self._began = request, host.engine.clock.now()
        self._response = Outgoing(surface, send, request)
        self._client = self._asked = "?"
        self._call: Call | None = None
        self._answer: Answer | None = None
        self._form: Form | None = None
        self._allowance: Allowance | None = None
        self._traced = self._over = False

    async def serve(self, scope: Any, receive: Receive) -> None:
        """From the request's head to the end of the answer, and of its telling."""
        try:
            call = await self._read(scope, receive)
            if isinstance(call, Ready):
                await self._response.whole(200, {}, call.body)
                self._end("served", 200)
                return
            async with while_connected(receive) as connection:
                await (self._stream(call) if call.streams else self._whole(call))
            if connection.left:
                self._end("left", 499)
        except GatewayError as error:
            errors.noted(error, scope, self._engine.tell, traced=self._traced)
            await self._fail(error)
        except Left:
            self._end("left", 499)
        except asyncio.CancelledError:  # by the server, whose drain does not wait any longer
            await self._fail(Stopping())
            raise
        except Exception as exc:  # noqa: BLE001 - the edge of the process: a bug is told, and never silent
            prompts = self._call.request.prompts if self._call is not None else []
            self._engine.tell(errors.bug(exc, self._surface.path, self._id, prompts))
            await self._fail(Internal(self._id))
        finally:
            if self._form is not None:
                self._form.close()

    # ── in ──

    async def _read(self, scope: Any, receive: Receive) -> Call | Ready:
        engine, headers = self._engine, scope["headers"]
        if scope["method"] != "POST":
            return await self._listed(scope)
        client = self._host.authenticator.admit(headers, scope.get("query_string", b""), self._surface.path)
        self._client = client.name
        options = options_of(headers, engine.limits, client, caller_of(client, scope), self._id, self._began)
        options = self._host.shares.applied(options)
        self._traced = options.traced
        call = await self._understood(receive, headers, options.at(scope))
        if isinstance(call, Call):
            self._call, self._asked = call, call.wants.models[0]
            engine.tell(Began(self._id, client.name, self._asked, call.wants.operation, self._began))
            self._allowance = await client_limits.take(self._host.allowances, client, call)
            self._response.more = self._allowance.headers if self._allowance is not None else {}
        return call

    async def _listed(self, scope: Any) -> Ready:
        """The answer to what is no ``POST``. Raises WrongMethod unless it asks for a list that there is."""
        surface, query = self._surface, scope.get("query_string", b"")
        if not isinstance(surface, Lists) or scope["method"] != "GET":
            error = WrongMethod(f"{scope['method']} is not possible here: POST {surface.expects}")
            error.allowed = "GET, POST" if isinstance(surface, Lists) else error.allowed
            raise error
        client = self._host.authenticator.admit(scope["headers"], query, surface.path)
        self._client = client.name
        return await surface.listed(client, dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)))

    async def _understood(self, receive: Receive, headers: RawHeaders, options: Options) -> Call | Ready:
        if isinstance(self._surface, TakesForm):
            self._form = await read_form(receive, headers, self._host.server.max_upload)
            return self._surface.parse_form(self._form, options)
        body = await read_body(receive, headers, self._host.server.max_body)
        parsed = self._surface.parse(body, options)
        return parsed if isinstance(parsed, Call | Ready) else await parsed

    # ── out ──

    async def _whole(self, call: Call) -> None:
        served = await in_one_piece(call, self._engine)
        self._answer = served.last
        rendered = self._surface.render_whole(served.made)
        body = rendered if isinstance(rendered, bytes) else await rendered
        headers = _KEPT | {"x-freeway-model": served.model} if served.last is None else self._served_by(served.last)
        await self._response.whole(200, {"content-type": self._surface.whole_type, **headers}, body)
        self._end("served", 200, served.made.usage)

    async def _stream(self, call: Call) -> None:
        """
        Pass the answer on as it comes.

        If it is long in coming, the response begins with comments, so that no proxy closes the silent connection. From then
        on the status is sent, and what goes wrong can only be told in the stream.
        """
        response, usage = self._response, None
        with response.kept_alive(self._host.server.keep_alive, self._engine.clock):
            self._answer = await answer(call, self._engine)
            session = StreamSession(self._answer, self._engine)
            try:
                async with aclosing(session.arrivals()) as arrivals:
                    async for steps in arrivals:
                        if not response.started:  # not before: a caller that leaves here leaves a settled answer
                            await response.start(200, self._served_by(session.answer))
                        usage = await self._pass_on(steps) or usage
            except Interrupted as failure:
                raise Broken(f"the answer broke off: {failure.message}") from failure
            finally:
                self._answer = session.answer
            end = self._surface.render_end()
            await response.send(end if isinstance(end, bytes) else await end, last=True)
        self._end("served", 200, usage)

    async def _pass_on(self, steps: list[Step]) -> Usage | None:
        """Send *steps*; the usage that they tell of."""
        usage, events = None, []
        for step in steps:
            usage = step.chunk.usage or usage
            if event := self._surface.render_event(step):
                events.append(event)
        if events:
            await self._response.send(events[0] if len(events) == 1 else b"".join(events))
        return usage

    async def _fail(self, error: GatewayError) -> None:
        """Tell *error*: as a response of its own while that is possible, else as the last event of the stream."""
        self._end(error.code or "bad_request", error.status, failed=error)
        streams = self._call is not None and self._call.streams
        if self._response.started or (streams and isinstance(error, self._told_in_stream)):
            if not self._response.ended:
                await self._response.send(self._surface.render_broken(error), last=True)
            return
        headers = {**errors.headers(error), **client_limits.headers_of(error)}
        if self._traced:
            headers["x-freeway-trace"] = trace((), error.excluded)
        await self._response.whole(error.status, headers, self._surface.render_error(error))

    def _notice(self) -> str:
        """Why the small model on this machine answered, or what would be better."""
        catalog = self._engine.view.catalog
        if any(not deployment.last_resort for deployment in catalog.deployments()):
            return "no other source has room: the small model on this machine answered"
        return catalog.hint.encode("ascii", "replace").decode()

    def _served_by(self, found: Answer) -> dict[str, str]:
        """Headers that say what served it, and, for those who want to know, what did not and why."""
        headers = {
            "x-freeway-provider": found.deployment.provider.name,
            "x-freeway-model": found.deployment.model,
            "x-freeway-attempts": str(len(found.attempts) + 1),
        }
        if found.deployment.last_resort:
            headers["x-freeway-notice"] = self._notice()
        if (alias := self._engine.view.catalog.alias(self._asked)) is not None:
            headers["x-freeway-alias"] = quote(alias, safe="/:.-_")
        if found.slot.wants.instead_of is not None:
            headers["x-freeway-instead-of"] = quote(found.slot.wants.instead_of, safe="/:.-_")
        if found.call.dropped:
            headers["x-freeway-dropped"] = quote(", ".join(found.call.dropped), safe=", :.-_")
        if self._traced:
            left_out = self._engine.view.catalog.exclusions(found.call, found.slot.wants, self._engine.clock.now())
            skipped = [*found.slot.skipped, *(reason for _, reason in left_out)]
            mended, stayed, made_up = found.reply.mended, found.stayed, found.made_up
            headers["x-freeway-trace"] = trace(
                found.attempts, skipped, found.waits, mended=mended, stayed=stayed, made_up=made_up
            )
        return headers

    def _end(
        self, outcome: str, status: int, usage: Usage | None = None, *, failed: GatewayError | None = None
    ) -> None:
        """Tell the observers that the request is over, once."""
        if self._over:
            return
        self._over = True
        found, now = self._answer, self._engine.clock.now()
        client_limits.end(self._allowance, usage, failed=found is None and outcome not in ("served", "left"))
        self._engine.tell(
            Ended(
                request=self._id,
                client=self._client,
                asked=self._asked,
                outcome=outcome,
                status=status,
                deployment=found.deployment.name if found else None,
                attempts=len(found.attempts) + 1 if found else failed.tried if failed else 0,
                first_content=found.first_content if found else None,
                took=now - self._began,
                usage=usage,
                dollars=(usage.cost or 0.0) if usage else 0.0,
                model=found.deployment.model if found else None,
                waited=found.waited if found else failed.waited if failed else 0.0,
                overhead=found.overhead(self._began, now) if found else None,
                saved=(found.deployment.saves(usage) or 0.0) if found and usage else 0.0,
                passed_over=found.passed_over if found else 0,
                at=now,
            )
        )


_KEPT = {"x-freeway-provider": "cache", "x-freeway-attempts": "0"}
"""Of an answer that was made before: no source was asked."""
