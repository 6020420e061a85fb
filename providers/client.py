"""
One provider, ready to be asked: a dialect, an account and a wire.

``send`` returns once the head of an answer is here, which is the first piece that says something. Everything that goes
wrong before is a ProviderFailure and the caller has not seen a byte; what goes wrong after is raised while iterating.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Protocol

import msgspec
from msgspec import Struct

from providers import dialects, errors
from providers import failures as f
from providers.chat import Step, Whole
from providers.costs import as_observed, observed_in
from providers.dialect import (
    Account,
    AnyRequest,
    Dialect,
    HttpRequest,
    HttpResponse,
    Listing,
    OtherRequest,
    Request,
    Target,
)
from providers.embeddings import Embeddings
from providers.images import Pictures
from providers.instructed import by_instruction
from providers.loaded import LoadedContexts
from providers.moderation import Judgements
from providers.observations import Observation, longest_wait
from providers.operations import Spoken, spoken
from providers.redaction import quotes, redacted, without_quotes
from providers.refine import refined
from providers.refined_stream import RefinedReader
from providers.reranking import Ranking
from providers.sound import Speech, Transcript
from providers.spec import Operation, Timeouts
from providers.sse import Lines, ServerSentEvents
from providers.streaming import answering, arriving, unreadable
from providers.wire import Incoming, Wire

_HEAD_STEPS = 10_000
"""Pieces without content that may precede the first with some: a bound against a stream that never says anything."""

ERROR_SECONDS = 10.0
ERROR_BYTES = 1024 * 1024
"""What an error body may take. What has come by then is read: the status says most of it anyway."""


_TEACHING = (f.CredentialRejected, f.ModelGone, f.NotEntitled, f.RateLimited, f.RefusedHere, f.Unsupported, f.WouldCost)
"""Failures from which something is learned that concerns others."""


Made = Whole | Embeddings | Ranking | Pictures | Transcript | Speech | Judgements
"""An answer in one piece."""


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
    whole: Made | None
    head: list[Step]
    rest: AsyncIterator[list[Step]] | None
    close: Callable[[], None]
    served_by: str | None = None  # whom the provider passed it on to
    mended: Sequence[str] = ()  # what was done to make it what was asked for; of a stream, so far
    reader: RefinedReader | None = None  # of a stream

    @property
    def cost(self) -> tuple[Observation, ...]:
        """What a stream has said so far that it cost; what a whole answer says is in *observed*."""
        return () if self.reader is None else as_observed(self.reader.cost)


class Provider:
    """One class for all providers; what differs lies in the dialect and in the configuration."""

    def __init__(
        self,
        account: Account,
        wire: Wire,
        prepare: Prepare | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.account = account
        self.spec = account.spec
        self.name = account.spec.name
        self.dialect: Dialect = dialects.by_name(account.spec.dialect)
        self._others: dict[Operation, Spoken] = spoken(account.spec, account.base_url)
        self._wire = wire
        self._prepare = prepare
        self._loaded = LoadedContexts(account.spec.prompt_cache, now)
        self._lists: dict[str, HttpResponse] = {}  # by address, those that can be asked for with a condition

    @property
    def operations(self) -> frozenset[Operation]:
        """What its models can be asked for."""
        return frozenset({"chat", *self._others})

    async def send(self, target: Target, request: AnyRequest) -> Reply:
        """
        Ask *target* for *request*.

        Raises a ProviderFailure if no answer has begun; its *reached* says how far the request came, and *observed* has
        what the headers say, if there were any. Cancelling closes the connection, which cancels the work.
        """
        try:
            if self._prepare is not None:
                target = await self._prepared(target)
            incoming = await self._wire.send(self._build(target, request), self._timeouts(request))
            return await self._begun(incoming, target, request)
        except f.ProviderFailure as failure:
            self._censor(failure, request.prompts)
            raise

    async def discover(self) -> Listing:
        """
        Ask for the model list.

        Raises a ProviderFailure if it cannot be had.
        """
        discovery = self.dialect.discover(self.account)
        try:
            with _reading:
                question = next(discovery)
            while True:
                try:
                    answer = await self._ask(question)
                except f.ProviderFailure as failure:  # what is only of use, a list can do without
                    question = discovery.throw(failure)
                    continue
                with _reading:
                    question = discovery.send(answer)
        except StopIteration as stop:
            listing: Listing = stop.value
            return listing
        except f.ProviderFailure as failure:
            self._censor(failure)
            raise

    # ── before the head ──

    async def _prepared(self, target: Target) -> Target:
        assert self._prepare is not None
        try:
            account = await self._prepare()
        except f.ProviderFailure as failure:
            failure.reached = "unsent"
            raise
        return msgspec.structs.replace(target, account=account)

    def _build(self, target: Target, request: AnyRequest) -> HttpRequest:
        try:
            if isinstance(request, Request):
                told = by_instruction(target, request) if request.schema_told else request
                return self.dialect.build(target, self._in_its_context(target, told))
            other = self._others.get(request.operation)
            if other is None:
                raise f.Unsupported(f"{self.name} is not asked to {request.operation} here").of(request.operation)
            return other.build(target, request, self.dialect.headers(target.account))
        except f.ProviderFailure as failure:
            failure.reached = "unsent"
            raise

    def _in_its_context(self, target: Target, request: Request) -> Request:
        """*request* for a model that is loaded, where how it is loaded is ours to choose."""
        size = self.dialect.context_for(target, request)
        if size is None:
            return request
        request = msgspec.structs.replace(request, least_context=self._loaded.of(target.model))
        self._loaded.asked(target.model, self.dialect.context_for(target, request) or size)
        return request

    def _timeouts(self, request: AnyRequest) -> Timeouts:
        """The head of an answer in one piece comes when all of it was made."""
        timeouts = self.spec.timeouts
        if request.streams or not request.output_tokens:
            return timeouts
        return msgspec.structs.replace(timeouts, head=timeouts.whole(request.output_tokens))

    async def _begun(self, incoming: Incoming, target: Target, request: AnyRequest) -> Reply:
        """The answer whose HTTP head is *incoming*, once something was said."""
        observed: tuple[Observation, ...] = ()
        kept = False
        try:
            with _reading:
                observed = self.dialect.observe(self.account, incoming.headers) + observed_in(headers=incoming.headers)
            if incoming.status != 200:
                raise await self._refusal(incoming, request)
            served_by = incoming.headers.get("x-inference-provider")
            if isinstance(request, Request) and request.streams and not _is_json(incoming, self.dialect):
                with _reading:
                    reader = RefinedReader(self.dialect.reader(target, request), target, request)
                steps = self._steps(incoming, reader, request)
                head = await self._head(steps)
                kept = True
                return Reply(observed, None, head, steps, incoming.close, served_by, reader.mended, reader)
            body = await self._in_time(incoming, request)
            observed += observed_in(body)
            response = HttpResponse(incoming.status, incoming.headers, body)
            whole, mended = self._whole(response, target, request)
            return Reply(observed, whole, [], None, incoming.close, served_by, mended)
        except f.ProviderFailure as failure:
            failure.observed += observed
            raise
        finally:
            if not kept:
                incoming.close()

    async def _refusal(self, incoming: Incoming, request: AnyRequest) -> f.ProviderFailure:
        """The failure that an error answer is. What it quotes of *request* is cut out first: that means nothing."""
        response = await _refused(incoming)
        try:
            failure = self.dialect.classify(self.account, response)
            if isinstance(failure, _TEACHING) and quotes(failure.message, request.prompts):
                own_words = without_quotes(response.body, request.prompts)
                failure = self.dialect.classify(self.account, msgspec.structs.replace(response, body=own_words))
        except Exception as exc:  # noqa: BLE001 - whatever a dialect stumbles over, the status stands
            failure = unreadable(exc)
            failure.status = response.status
        failure.reached = "refused"
        failure.observed += observed_in(response.body)
        return failure

    # ── answers in one piece ──

    async def _in_time(self, incoming: Incoming, request: AnyRequest) -> bytes:
        seconds = self.spec.timeouts.whole(request.output_tokens)
        try:
            async with asyncio.timeout(seconds):
                return await _body(incoming)
        except TimeoutError as exc:
            raise f.Unreachable(f"no whole answer within {seconds:g} s") from exc

    def _whole(self, response: HttpResponse, target: Target, request: AnyRequest) -> tuple[Made, Sequence[str]]:
        """The answer, and what was mended of it."""
        with _reading:
            if not isinstance(request, Request):
                return self._made(response, target, request), ()
            whole, mended = refined(target, request, self.dialect.read(target, request, response.body))
        if request.streams:
            raise f.Unreachable("asked for a stream, it answered in one piece")
        completion = whole.completion
        if not (completion.says() or (request.bounded_by_caller and completion.is_cut())):
            raise f.NoAnswer().by_our_bound(request.bounded_by_us and completion.is_cut())
        return whole, mended

    def _made(self, response: HttpResponse, target: Target, request: OtherRequest) -> Made:
        """The answer of another operation. What cannot be read may be an error that came with status 200."""
        made: Made
        try:
            made = self._others[request.operation].read(target, request, response)
        except (msgspec.DecodeError, ValueError) as exc:
            told = errors.read_error(response.body)
            if told.error.get("error") or told.codes:
                code = str(told.error.get("code"))
                status = int(code) if code.isdigit() and 400 <= int(code) < 600 else 502
                raise self.dialect.classify(self.account, msgspec.structs.replace(response, status=status)) from exc
            raise f.Unreachable(f"the answer cannot be read: {exc}") from exc
        return made

    async def _ask(self, question: HttpRequest) -> HttpResponse:
        """The answer to one request of a discovery."""
        known = self._lists.get(question.url) if question.method == "GET" else None
        if known is not None:
            headers = {**question.headers, "if-none-match": known.headers["etag"]}
            question = msgspec.structs.replace(question, headers=headers)
        incoming = await self._wire.send(question, self.spec.timeouts)
        try:
            if incoming.status >= 400:
                return await _refused(incoming)
            async with asyncio.timeout(self.spec.timeouts.head):
                response = HttpResponse(incoming.status, incoming.headers, await _body(incoming))
        except TimeoutError as exc:
            raise f.Unreachable(f"no whole answer within {self.spec.timeouts.head:g} s") from exc
        finally:
            incoming.close()
        if response.status == 304 and known is not None:
            return known
        if response.status == 200 and question.method == "GET" and "etag" in response.headers:
            self._lists[question.url] = response
        return response

    # ── streams ──

    async def _head(self, arrivals: AsyncIterator[list[Step]]) -> list[Step]:
        """Read until something is said: only then has an answer begun. One that was cut before it said anything has."""
        head: list[Step] = []
        try:
            async with asyncio.timeout(self.spec.timeouts.head):
                async for steps in arrivals:
                    head += steps
                    if any(step.chunk.speaks() for step in steps):
                        return head
                    if len(head) > _HEAD_STEPS:
                        raise f.NoAnswer
        except f.Interrupted as exc:
            nothing = f.Unreachable(exc.message)
            nothing.observed = exc.observed
            raise nothing from exc
        except TimeoutError as exc:
            raise f.Unreachable(f"no first token within {self.spec.timeouts.head:g} s") from exc
        return head

    async def _steps(self, incoming: Incoming, reader: RefinedReader, request: Request) -> AsyncIterator[list[Step]]:
        """
        The steps of a stream.

        Raises Interrupted if it ends before the answer said that it was finished, NoAnswer if nothing was said by then,
        unless its caller's bound explains it.
        """
        framing = ServerSentEvents() if self.dialect.framing == "sse" else Lines()
        coming = arriving(incoming, framing, reader, self.spec.timeouts)
        try:
            async for steps in answering(coming, by_caller=request.bounded_by_caller, by_us=request.bounded_by_us):
                yield steps
        except f.ProviderFailure as failure:
            failure.observed += as_observed(reader.cost)
            self._censor(failure, request.prompts)
            raise

    def _censor(self, failure: f.ProviderFailure, prompts: list[str] | None = None) -> None:
        """
        Some providers repeat the key or the prompt in what they say; what is said is logged, and told to others. What is
        learned from a sentence with a caller's words is learned from that caller: it counts for nothing.
        """
        said = failure.message
        failure.args = (redacted(said, self.account.key, prompts or ()),)
        if isinstance(failure, f.Unsupported | f.RefusedHere) and failure.capability and quotes(said, prompts or ()):
            failure.capability = None
        if failure.retry_in is not None:
            failure.retry_in = min(failure.retry_in, longest_wait(getattr(failure, "window", None)))


class _Reading:
    """Whatever a dialect stumbles over while it reads is no answer, and never a caller's crash."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(exc, Exception) and not isinstance(exc, f.ProviderFailure | StopIteration):
            raise unreadable(exc) from exc


_reading = _Reading()


def _is_json(incoming: Incoming, dialect: Dialect) -> bool:
    """An error may come as one JSON body where a stream was asked for, with status 200."""
    return dialect.framing == "sse" and incoming.headers.get("content-type", "").startswith("application/json")


async def _body(incoming: Incoming) -> bytes:
    return b"".join([piece async for piece in incoming.pieces()])


async def _refused(incoming: Incoming) -> HttpResponse:
    """An error answer, as far as its body comes within the limits."""
    pieces, size = list[bytes](), 0
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            async for piece in incoming.pieces():
                pieces.append(piece)
                size += len(piece)
                if size >= ERROR_BYTES:
                    break
    except (TimeoutError, f.Unreachable):
        pass  # its status is known
    return HttpResponse(incoming.status, incoming.headers, b"".join(pieces)[:ERROR_BYTES])
