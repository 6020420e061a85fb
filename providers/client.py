"""
One provider, ready to be asked: a dialect, an account and a wire.

``send`` returns once the head of an answer is here, which is the first piece that says something. Everything that goes
wrong before is a ProviderFailure and nobody has seen a byte; what goes wrong after is raised while iterating.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol

from msgspec import Struct

from providers import dialects
from providers import failures as f
from providers.chat import Step, Whole
from providers.dialect import Account, Dialect, HttpRequest, HttpResponse, Listing, Request, StreamReader, Target
from providers.observations import Observation
from providers.redaction import redacted
from providers.sse import EventTooLong, Lines, ServerSentEvents
from providers.wire import Incoming, Wire

_HEAD_STEPS = 10_000
"""Pieces without content that may precede the first with some: a bound against a stream that never says anything."""


class Prepare(Protocol):
    """
    Makes an account usable before its first question, and says where it is. (The embedded model starts this way; its
    list is in configuration, so that looking at it starts nothing.)
    """

    def __call__(self) -> Awaitable[Account]: ...


class Reply(Struct):
    """
    An answer that has begun. Exactly one of *whole* and *head* is there: *whole* for an answer in one piece, *head*
    (the steps up to the first that says something) for a stream, whose rest comes from ``rest``, as many steps at a
    time as arrived together.
    """

    observed: tuple[Observation, ...]
    whole: Whole | None
    head: list[Step]
    rest: AsyncIterator[list[Step]] | None
    close: Callable[[], None]
    served_by: str | None = None  # whom the provider passed it on to


class Provider:
    """One class for all providers; what differs lies in the dialect and in the configuration."""

    def __init__(self, account: Account, wire: Wire, prepare: Prepare | None = None) -> None:
        self.account = account
        self.spec = account.spec
        self.name = account.spec.name
        self.dialect: Dialect = dialects.by_name(account.spec.dialect)
        self._wire = wire
        self._prepare = prepare
        self._lists: dict[str, HttpResponse] = {}  # by address, those that can be asked for with a condition

    async def send(self, target: Target, request: Request) -> Reply:
        """
        Ask *target* for *request*.

        Raises a ProviderFailure if no answer has begun. Cancelling closes the connection, which cancels the work.
        """
        try:
            return await self._send(target, request)
        except f.ProviderFailure as failure:
            self._censor(failure, request)
            raise

    async def _send(self, target: Target, request: Request) -> Reply:
        if self._prepare is not None:
            target = _at(await self._prepare(), target)
        incoming = await self._wire.send(self.dialect.build(target, request), self.spec.timeouts)
        kept = False
        try:
            if incoming.status != 200:
                failure = self.dialect.classify(self.account, await _rest_of(incoming))
                failure.observed += self.dialect.observe(self.account, incoming.headers)
                raise failure
            observed = self.dialect.observe(self.account, incoming.headers)
            served_by = incoming.headers.get("x-inference-provider")
            if request.view.stream and not _is_json(incoming, self.dialect):
                steps = self._steps(incoming, target, request)
                head = await self._head(steps)
                kept = True
                return Reply(observed, None, head, steps, incoming.close, served_by)
            async with asyncio.timeout(self.spec.timeouts.head):
                body = await _body(incoming)
            whole = self.dialect.read(target, body)
            if request.view.stream:
                raise f.Unreachable("asked for a stream, it answered in one piece")
            if not whole.completion.speaks():
                raise f.Unreachable("the answer is empty")
            return Reply(observed, whole, [], None, incoming.close, served_by)
        except TimeoutError as exc:
            raise f.Unreachable(f"no whole answer within {self.spec.timeouts.head:g} s") from exc
        finally:
            if not kept:
                incoming.close()

    async def discover(self) -> Listing:
        """
        Ask for the model list.

        Raises a ProviderFailure if it cannot be had.
        """
        discovery = self.dialect.discover(self.account)
        try:
            call = next(discovery)
            while True:
                call = discovery.send(await self._ask(call))
        except StopIteration as stop:
            listing: Listing = stop.value
            return listing
        except f.ProviderFailure as failure:
            self._censor(failure)
            raise

    def _censor(self, failure: f.ProviderFailure, request: Request | None = None) -> None:
        """Some providers repeat the key or the prompt in what they say; what is said is logged, and told to others."""
        texts = [message.text() for message in request.view.messages] if request is not None else []
        failure.args = (redacted(failure.message, self.account.key, texts),)

    async def _ask(self, call: HttpRequest) -> HttpResponse:
        known = self._lists.get(call.url) if call.method == "GET" else None
        if known is not None:
            call = HttpRequest(
                call.method, call.url, {**call.headers, "if-none-match": known.headers["etag"]}, call.body
            )
        incoming = await self._wire.send(call, self.spec.timeouts)
        try:
            async with asyncio.timeout(self.spec.timeouts.head):
                response = await _rest_of(incoming)
        except TimeoutError as exc:
            raise f.Unreachable(f"no whole answer within {self.spec.timeouts.head:g} s") from exc
        finally:
            incoming.close()
        if response.status == 304 and known is not None:
            return known
        if response.status == 200 and call.method == "GET" and "etag" in response.headers:
            self._lists[call.url] = response
        return response

    async def _head(self, arrivals: AsyncIterator[list[Step]]) -> list[Step]:
        """Read until something is said: only then has an answer begun."""
        head: list[Step] = []
        try:
            async with asyncio.timeout(self.spec.timeouts.head):
                async for steps in arrivals:
                    head += steps
                    if any(step.chunk.speaks() for step in steps):
                        return head
                    if len(head) > _HEAD_STEPS:
                        break
        except f.Interrupted as exc:
            raise f.Unreachable(exc.message) from exc
        except TimeoutError as exc:
            raise f.Unreachable(f"no first token within {self.spec.timeouts.head:g} s") from exc
        raise f.Unreachable("the answer is empty")

    async def _steps(self, incoming: Incoming, target: Target, request: Request) -> AsyncIterator[list[Step]]:
        """The steps of a stream; raises Interrupted if it ends before the answer said that it was finished."""
        framing = ServerSentEvents() if self.dialect.framing == "sse" else Lines()
        reader = self.dialect.reader(target)
        try:
            async for steps in _arriving(incoming, framing, reader):
                yield steps
        except EventTooLong as exc:
            raise f.Unreachable("an event of the stream has no end") from exc
        except f.ProviderFailure as failure:
            # What breaks after the answer said its end leaves it whole.
            if not (isinstance(failure, f.Unreachable) and reader.finished()):
                self._censor(failure, request)
                raise
        if not reader.finished():
            raise f.Interrupted("the stream ended before the answer was finished")


async def _arriving(
    incoming: Incoming, framing: ServerSentEvents | Lines, reader: StreamReader
) -> AsyncIterator[list[Step]]:
    """The steps as they come, up to what says that things went wrong."""
    async for piece in incoming.pieces():
        steps, trouble = _read(reader, framing.feed(piece))
        if steps:
            yield steps
        if trouble is not None:
            raise trouble
    steps, trouble = _read(reader, framing.end())
    if steps:
        yield steps
    if trouble is not None:
        raise trouble


def _read(reader: StreamReader, events: Iterator[bytes]) -> tuple[list[Step], f.ProviderFailure | None]:
    """The steps in *events*, up to one that says that things went wrong: what came before it still counts."""
    steps: list[Step] = []
    try:
        for event in events:
            steps += reader.feed(event)
    except f.ProviderFailure as failure:
        return steps, failure
    return steps, None


def _is_json(incoming: Incoming, dialect: Dialect) -> bool:
    """An error may come as one JSON body where a stream was asked for, with status 200."""
    return dialect.framing == "sse" and incoming.headers.get("content-type", "").startswith("application/json")


async def _body(incoming: Incoming) -> bytes:
    return b"".join([piece async for piece in incoming.pieces()])


async def _rest_of(incoming: Incoming) -> HttpResponse:
    return HttpResponse(incoming.status, incoming.headers, await _body(incoming))


def _at(account: Account, target: Target) -> Target:
    return Target(account, target.model, target.capabilities, target.context, target.opens_in_reasoning)
