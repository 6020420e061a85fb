"""What holds of every provider's client, whatever is at the other end: with a wire that says what a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from msgspec import Struct

from providers.chat import decode_fields, decode_request
from providers.client import Provider, Reply
from providers.dialect import Account, HttpRequest, Request, Target
from providers.failures import CredentialRejected, Interrupted, ProviderFailure, Unreachable
from providers.spec import Timeouts
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

    def close(self) -> None:
        self.closed = True


class Wire:
    def __init__(self, answer: Canned) -> None:
        self.answer = answer

    async def send(self, call: HttpRequest, timeouts: Timeouts) -> Canned:
        return self.answer

    async def aclose(self) -> None: ...


async def ask(answer: Canned, stream: bool = False) -> Reply:
    account = Account(SPECS["groq"], "https://groq.example", KEY)
    body = ASK % msgspec.json.encode(stream)
    return await Provider(account, Wire(answer)).send(
        Target(account, "acme/model"), Request(decode_request(body), decode_fields(body))
    )


async def test_a_key_that_a_provider_repeats_goes_no_further():
    said = msgspec.json.encode({"error": {"message": f"Incorrect API key provided: {KEY}."}})

    with pytest.raises(CredentialRejected) as caught:
        await ask(Canned(401, {}, [said]))

    assert KEY not in str(caught.value)
    assert "Incorrect API key provided: ***." in caught.value.message


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

    with pytest.raises(Unreachable, match="empty"):
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
    """A list that is told once, and as unchanged to whoever knows it."""

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
