"""What holds of every provider's client, whatever is at the other end: with a wire that says what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from providers import client, streaming
from providers.chat import Step, Whole, decode_fields, decode_request
from providers.client import Provider, Reply
from providers.dialect import Account, HttpRequest, Request, Target
from providers.embeddings import Embeddings, EmbedRequest, decode_embedding_request, numbers
from providers.failures import (
    Busy,
    CredentialRejected,
    Interrupted,
    NoAnswer,
    ProviderFailure,
    RefusedHere,
    Unreachable,
    Unsupported,
)
from providers.spec import Timeouts
from providers.sse import ServerSentEvents
from tests.clock import FakeClock
from tests.payloads import SPECS

KEY = "sk-the-real-one"
ASK = b'{"messages": [{"role": "user", "content": "hi"}], "stream": %s}'


class Canned(Struct):
    """An answer made beforehand."""

    status: int
    headers: dict[str, str]
    body: Sequence[bytes]
    closed: bool = False

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self.body:
            yield piece

    def finish(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class Wire:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def send(self, call: HttpRequest, timeouts: Timeouts) -> Any:
        return self.answer

    async def aclose(self) -> None: ...


ACCOUNT = Account(SPECS["groq"], "https://groq.example", KEY)
MISTRAL = Account(SPECS["mistral"], "https://mistral.example", KEY)
TARGET = Target(ACCOUNT, "acme/model")


def asked(stream: bool = False, **known: Any) -> Request:
    body = ASK % msgspec.json.encode(stream)
    return Request(decode_request(body), decode_fields(body), **known)


async def ask(answer: Any, stream: bool = False, **known: Any) -> Reply:
    return await Provider(ACCOUNT, Wire(answer)).send(TARGET, asked(stream, **known))


async def test_a_key_that_a_provider_repeats_goes_no_further():
    said = msgspec.json.encode({"error": {"message": f"Incorrect API key provided: {KEY}."}})

    with pytest.raises(CredentialRejected) as caught:
        await ask(Canned(401, {}, [said]))

    assert KEY not in str(caught.value)
    assert "Incorrect API key provided: ***." in caught.value.message


def saying(prompt: str) -> Request:
    body = msgspec.json.encode({"messages": [{"role": "user", "content": prompt}]})
    return Request(decode_request(body), decode_fields(body))


SIGNS = (
    "Is it true that tool calling is not supported with this model?",
    "What does `organization has been restricted` mean?",
    "Explain: the model `llama` does not exist or you do not have access.",
)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("filler", ["", "word " * 10_000])
async def test_what_a_caller_wrote_and_a_provider_repeats_teaches_nothing(sign: str, status: int, filler: str):
    """Else one caller could take a capability, a model or an account from everybody."""
    body = msgspec.json.encode({"error": {"message": f"Invalid content in messages[0]: '{sign}'"}})

    with pytest.raises(ProviderFailure) as caught:
        await Provider(ACCOUNT, Wire(Canned(status, {}, [body]))).send(TARGET, saying(sign + filler))

    assert type(caught.value) is RefusedHere
    assert caught.value.capability is None
    assert sign not in caught.value.message


async def test_what_a_provider_says_itself_teaches_also_where_the_prompt_is_long():
    body = msgspec.json.encode({"error": {"message": "`tool calling` is not supported with this model"}})

    with pytest.raises(Unsupported) as caught:
        await Provider(ACCOUNT, Wire(Canned(400, {}, [body]))).send(TARGET, saying("word " * 10_000))

    assert caught.value.capability == "tools"


async def test_no_provider_has_itself_left_alone_for_years():
    with pytest.raises(Busy) as caught:
        await ask(Canned(503, {"retry-after": "630720000"}, [b"{}"]))

    assert caught.value.retry_in == 86_400.0


@pytest.mark.parametrize(
    ("status", "body", "stream"),
    [
        (500, b"down", False),
        (200, b"<html>", False),
        (200, b"{}", False),
        (200, b"data: {\n\n", True),
        (200, b"", True),
    ],
)
async def test_an_answer_that_is_none_is_closed(status: int, body: bytes, stream: bool):
    answer = Canned(status, {"content-type": "text/event-stream"}, [body])

    with pytest.raises(Exception):  # noqa: B017, PT011 - of whatever class
        await ask(answer, stream)

    assert answer.closed


async def test_a_stream_that_says_nothing_at_length_is_given_up():
    idle = b'data: {"choices": [{"index": 0, "delta": {}}]}\n\n'

    with pytest.raises(NoAnswer):
        await ask(Canned(200, {"content-type": "text/event-stream"}, [idle * 1000] * 100), stream=True)


SSE = {"content-type": "text/event-stream"}


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    return (
        b"data: " + msgspec.json.encode({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}) + b"\n\n"
    )


async def test_a_stream_that_ends_in_good_order_without_finishing_is_no_whole_answer():
    reply = await ask(Canned(200, SSE, [event({"content": "Hel"}), b"data: [DONE]\n\n"]), stream=True)
    assert reply.rest is not None

    with pytest.raises(Interrupted):
        async for _ in reply.rest:
            pass


async def test_an_answer_has_not_begun_before_something_is_said():
    """So what fails until then can still be asked of another."""
    trouble = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
    answer = Canned(200, SSE, [event({"role": "assistant"}), event({"content": ""}), trouble])

    with pytest.raises(ProviderFailure):
        await ask(answer, stream=True)

    assert answer.closed


async def test_a_stream_that_says_something_and_finishes_is_whole():
    pieces = [event({"role": "assistant"}), event({"content": "Hello"}), event({}, "stop"), b"data: [DONE]\n\n"]
    reply = await ask(Canned(200, SSE, pieces), stream=True)
    assert reply.rest is not None
    steps = [*reply.head, *[step async for steps in reply.rest for step in steps]]

    assert "".join(c.delta.content or "" for step in steps for c in step.chunk.choices) == "Hello"


class Conditional(Wire):
    """A list that is told once, and as unchanged to a client that knows it."""

    async def send(self, call: HttpRequest, timeouts: Timeouts) -> Canned:
        self.calls = [*getattr(self, "calls", []), call]
        if call.headers.get("if-none-match") == '"v1"':
            return Canned(304, {"etag": '"v1"'}, [])
        return Canned(200, {"etag": '"v1"'}, [b'{"data": [{"id": "a"}]}'])


async def test_a_list_that_has_a_tag_is_asked_for_on_condition():
    wire = Conditional(Canned(200, {}, []))
    provider = Provider(Account(SPECS["groq"], "https://acme.example", KEY), wire)

    first, second = await provider.discover(), await provider.discover()

    assert first == second
    assert [call.headers.get("if-none-match") for call in wire.calls] == [None, '"v1"']


# ── what an answer is ──

EMPTY = b'{"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "%s"}]}'
REASONING = b'{"choices": [{"index": 0, "message": {"reasoning_content": "Hm."}, "finish_reason": "%s"}]}'
JSON = {"content-type": "application/json", "x-ratelimit-remaining-requests": "7"}


@pytest.mark.parametrize("said", [EMPTY, REASONING], ids=["nothing", "only reasoning"])
async def test_an_empty_answer_is_one_where_its_callers_bound_explains_it(said: bytes):
    reply = await ask(Canned(200, JSON, [said % b"length"]), bounded_by_caller=True)
    assert isinstance(reply.whole, Whole)
    assert reply.whole.completion.choices[0].finish_reason == "length"

    with pytest.raises(NoAnswer):
        await ask(Canned(200, JSON, [said % b"length"]))
    with pytest.raises(NoAnswer):
        await ask(Canned(200, JSON, [said % b"stop"]), bounded_by_caller=True)


async def test_a_stream_that_its_callers_bound_left_empty_is_an_answer():
    pieces = [event({"role": "assistant"}), event({}, "length"), b"data: [DONE]\n\n"]

    reply = await ask(Canned(200, SSE, pieces), stream=True, bounded_by_caller=True)

    assert reply.head[-1].chunk.choices[0].finish_reason == "length"
    assert reply.rest is not None
    assert [steps async for steps in reply.rest] == []
    with pytest.raises(NoAnswer):
        await ask(Canned(200, SSE, pieces), stream=True)


async def test_a_stream_of_reasoning_alone_is_told_to_be_no_answer():
    reply = await ask(Canned(200, SSE, [event({"reasoning_content": "Hm."}), event({}, "stop")]), stream=True)
    assert reply.rest is not None

    with pytest.raises(NoAnswer):
        async for _ in reply.rest:
            pass


# ── how far a request came ──


class Failing(Wire):
    def __init__(self, failure: Unreachable) -> None:
        self.failure = failure

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> Canned:
        raise self.failure


@pytest.mark.parametrize(
    ("answer", "stream", "reached"),
    [
        (Canned(429, JSON, [b"{}"]), False, "refused"),
        (Canned(400, JSON, [b"{}"]), False, "refused"),
        (Canned(200, JSON, [EMPTY % b"stop"]), False, "accepted"),
        (Canned(200, JSON, [b'{"error": {"message": "overloaded", "code": 429}}']), False, "accepted"),
        (Canned(200, JSON, [b"<html>"]), False, "accepted"),
        (Canned(200, {**JSON, **SSE}, [b'data: {"error": {"code": 503}}\n\n']), True, "accepted"),
        (Canned(200, {**JSON, **SSE}, []), True, "accepted"),
    ],
)
async def test_a_failure_says_how_far_the_request_came_and_keeps_what_the_headers_say(
    answer: Canned, stream: bool, reached: str
):
    with pytest.raises(ProviderFailure) as caught:
        await ask(answer, stream)

    assert caught.value.reached == reached
    assert any(o.remaining == 7 for o in caught.value.observed)


async def test_what_cannot_be_built_was_never_sent():
    body = b'{"messages": [{"role": "user", "content": [{"type": "video", "text": "?"}]}]}'
    account = Account(SPECS["google"], "https://google.example", KEY)

    with pytest.raises(Unsupported) as caught:
        await Provider(account, Wire(Canned(200, {}, []))).send(
            Target(account, "m"), Request(decode_request(body), decode_fields(body))
        )

    assert caught.value.reached == "unsent"


# ── bytes that mean nothing ──

ODD = {
    "half a character": b'{"choices": [{"index": 0, "message": {"content": "Hi \xf0\x9f"}, "finish_reason": "stop"}]}',
    "deeply nested": b'{"choices": ' + b"[" * 100_000,
    "no choices": b'{"error": null, "id": 1}',
    "not an object": b"[1, 2]",
    "wrong types": b'{"choices": [1, null, {"message": 7, "finish_reason": {}}]}',
    "error of no kind": b'{"error": [[]]}',
    "choices that are text": b'{"error": {"message": 1}, "choices": ["x"]}',
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["groq", "openrouter", "google", "ollama", "huggingface"])
@pytest.mark.parametrize("odd", list(ODD))
async def test_whatever_comes_is_an_answer_or_a_failure_of_the_provider(odd: str, provider: str, stream: bool):
    account = Account(SPECS[provider], "https://acme.example", KEY)
    body = b"data: " + ODD[odd] + b"\n\n" if stream and provider != "ollama" else ODD[odd]
    for status in (200, 400):
        answer = Canned(status, SSE if stream else JSON, [body])
        try:
            reply = await Provider(account, Wire(answer)).send(Target(account, "m"), asked(stream))
            if reply.rest is not None:
                assert all([steps async for steps in reply.rest])
        except ProviderFailure as failure:
            assert failure.reached == ("accepted" if status == 200 else "refused")  # noqa: PT017 - either may be


async def test_half_a_character_is_replaced_and_the_rest_arrives():
    reply = await ask(Canned(200, JSON, [ODD["half a character"]]))

    assert isinstance(reply.whole, Whole)
    assert reply.whole.completion.choices[0].message.content == "Hi \ufffd"
    msgspec.json.decode(reply.whole.data.decode())


# ── time ──


class Slow:
    """Hands out pieces when a test says so, and breaks off when it is closed."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.headers = status, SSE
        self.closed = False
        self.given: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self.given.get()) is not None:
            yield piece
        if self.closed:
            raise Unreachable("the connection was closed")

    def finish(self) -> None: ...

    def close(self) -> None:
        self.closed = True
        self.given.put_nowait(None)


class LoopClock(FakeClock):
    """The test's time as an event loop tells it."""

    def time(self) -> float:
        return self.now()


class Reading:
    """A stream that a caller reads piece by piece, on a clock of its own."""

    def __init__(self, silence: float = 60.0) -> None:
        self.clock, self.answer = LoopClock(), Slow()
        reader = Provider(ACCOUNT, Wire(self.answer)).dialect.reader(TARGET, asked(stream=True))
        timeouts = Timeouts(silence=silence)
        self.steps = streaming.arriving(self.answer, ServerSentEvents(), reader, timeouts, self.clock)

    async def next(self) -> list[Step]:
        return await anext(self.steps)

    async def waiting(self, meanwhile: Callable[[], object]) -> asyncio.Task[list[Step]]:
        """The next piece is awaited while something happens."""
        task = asyncio.create_task(self.next())
        await asyncio.sleep(0)
        meanwhile()
        await asyncio.sleep(0)
        return task


async def test_time_in_which_the_caller_does_not_read_is_not_the_providers():
    reading = Reading(silence=60.0)
    reading.answer.given.put_nowait(event({"content": "Hel"}))
    await reading.next()

    reading.clock.advance(3600.0)  # the caller has other things to do

    reading.answer.given.put_nowait(event({"content": "lo"}, "stop"))
    assert (await reading.next())[0].chunk.choices[0].delta.content == "lo"
    assert not reading.answer.closed


async def test_a_provider_that_is_silent_for_too_long_is_given_up():
    reading = Reading(silence=60.0)
    reading.answer.given.put_nowait(event({"content": "Hel"}))
    await reading.next()

    waiting = await reading.waiting(lambda: reading.clock.advance(59.0))
    assert not reading.answer.closed
    reading.clock.advance(4.0)

    with pytest.raises(Unreachable, match="nothing came for 60 s"):
        await waiting


@pytest.mark.parametrize("ping", [b": ping\n\n", b"event: ping\n\n", b"\n"])
async def test_pings_are_no_progress(ping: bytes):
    reading = Reading(silence=60.0)
    reading.answer.given.put_nowait(event({"content": "Hel"}))
    await reading.next()
    waiting = await reading.waiting(lambda: None)

    for _ in range(7):
        reading.clock.advance(10.0)
        reading.answer.given.put_nowait(ping)
        await asyncio.sleep(0)

    with pytest.raises(Unreachable, match="nothing came"):
        await asyncio.wait_for(waiting, 5.0)


async def test_an_answer_that_finished_and_does_not_end_is_whole_soon():
    reading = Reading(silence=600.0)
    reading.answer.given.put_nowait(event({"content": "Hello"}, "stop"))
    await reading.next()

    waiting = await reading.waiting(lambda: reading.clock.advance(streaming.AFTER_FINISH))

    with pytest.raises(StopAsyncIteration):
        await waiting


class Dripping(Canned):
    """An error body without end."""

    async def pieces(self) -> AsyncIterator[bytes]:
        yield b'{"error": {"message": "no such parameter"}'
        while not self.closed:
            yield b" " * 65_536


async def test_an_error_body_without_end_does_not_hold_the_request():
    """A drip is bounded by time and by size; the status tells what is needed."""
    with pytest.raises(RefusedHere):
        await ask(Dripping(400, {}, []))


async def test_a_slow_error_body_is_given_up(monkeypatch):
    monkeypatch.setattr(client, "ERROR_SECONDS", 0.0)

    with pytest.raises(Busy):
        await ask(Slow(503))


class Listening(Wire):
    """Notes the time that a request is given."""

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> Canned:
        self.head = timeouts.head
        return self.answer


@given(tokens=st.integers(0, 200_000), stream=st.booleans())
async def test_an_answer_in_one_piece_has_time_for_as_many_tokens_as_may_come(tokens: int, stream: bool):
    """At ten tokens a second, which every hosted free source surpasses, none is cut off."""
    whole = EMPTY.replace(b'"content": ""', b'"content": "Hi"') % b"stop"
    wire = Listening(Canned(200, SSE, [event({"content": "Hi"}, "stop")]) if stream else Canned(200, JSON, [whole]))

    await Provider(ACCOUNT, wire).send(TARGET, asked(stream, output_tokens=tokens))

    limits = SPECS["groq"].timeouts
    assert wire.head == (limits.head if stream else pytest.approx(limits.head + tokens / 10))


# ── embeddings ──

VECTORS = b'{"object": "list", "model": "bge", "data": [%s], "usage": {"prompt_tokens": 3, "total_tokens": 3}}'
VECTOR = b'{"object": "embedding", "index": 0, "embedding": [0.1, -2e-3]}'


def embed(**fields: Any) -> EmbedRequest:
    body = msgspec.json.encode({"model": "bge", "input": "hi", **fields})
    view = decode_embedding_request(body)
    return EmbedRequest.of(view, decode_fields(body), view.items())


async def test_embeddings_come_back_as_they_were_sent():
    data = VECTORS % VECTOR
    reply = await Provider(MISTRAL, Wire(Canned(200, JSON, [data]))).send(TARGET, embed())

    assert isinstance(reply.whole, Embeddings)
    assert [numbers(vector) for vector in reply.whole.vectors] == [pytest.approx([0.1, -2e-3])]
    assert reply.whole.model == "bge"
    assert reply.whole.usage is not None
    assert reply.whole.usage.prompt_tokens == 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (VECTORS % b"", NoAnswer),
        (VECTORS % (VECTOR + b"," + VECTOR), NoAnswer),
        (b"<html>", Unreachable),
        (b'{"error": {"message": "overloaded", "code": 503}}', Busy),
    ],
)
async def test_fewer_or_more_vectors_than_texts_are_no_answer(body: bytes, expected: type[ProviderFailure]):
    with pytest.raises(expected) as caught:
        await Provider(MISTRAL, Wire(Canned(200, JSON, [body]))).send(TARGET, embed())

    assert caught.value.reached == "accepted"


async def test_a_provider_without_embeddings_is_not_asked_for_them():
    account = Account(SPECS["zai"], "http://zai.example", None)

    with pytest.raises(Unsupported) as caught:
        await Provider(account, Wire(Canned(200, JSON, []))).send(Target(account, "m"), embed())

    assert (caught.value.capability, caught.value.reached) == ("embed", "unsent")


@pytest.mark.parametrize(("given_", "count"), [("hi", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2]], 2)])
def test_what_is_to_be_embedded_is_counted(given_: Any, count: int):
    assert len(embed(input=given_).items) == count


@pytest.mark.parametrize("given_", [[], [1, "a"], [[1], "a"], 7, [["a"]]])
def test_what_cannot_be_embedded_is_refused(given_: Any):
    with pytest.raises(msgspec.ValidationError):
        embed(input=given_)


# ── what a model on a machine of our own is loaded with ──


class Noting(Wire):
    """Notes the contexts that are asked for."""

    def __init__(self) -> None:
        self.contexts: list[int] = []

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> Canned:
        self.contexts.append(msgspec.json.decode(request.body or b"")["options"]["num_ctx"])
        return Canned(200, JSON, [b'{"model":"m","message":{"role":"assistant","content":"ok"},"done":true}'])


async def test_a_context_goes_up_when_it_must_and_not_down_while_the_model_is_loaded():
    """Each change loads the model anew (ollama/ollama#9977)."""
    clock, wire = FakeClock(), Noting()
    account = Account(SPECS["ollama"], "http://ollama.example", None)
    provider = Provider(account, wire, now=clock.now)

    async def ask_for(tokens: int, model: str = "a") -> None:
        await provider.send(Target(account, model), asked(prompt_tokens=tokens))

    for tokens in (10, 20_000, 10):
        await ask_for(tokens)
        clock.advance(299.0)
    await ask_for(10, model="b")
    clock.advance(301.0)  # unloaded
    await ask_for(10)

    assert wire.contexts == [8192, 32_768, 32_768, 8192, 8192]
