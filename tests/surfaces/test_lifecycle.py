"""What holds of every surface that has a model answer, whatever its spelling: the laws of the one HTTP lifecycle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import httpx
import pytest
from msgspec import Struct

from gateway.api import http
from gateway.api.auth import Authenticator
from gateway.api.drain import Drain
from gateway.api.http import Host, Surface, route
from gateway.api.openai_chat import ChatCompletions
from gateway.api.openai_completions import Completions
from gateway.api.openai_responses import Responses
from gateway.api.responses_archive import Archive
from gateway.events import Bug, Ended
from gateway.observe import log
from gateway.observe.log import LogObserver
from gateway.request import whole as in_pieces
from gateway.settings import Settings
from providers.simulator.brain import Saying
from providers.simulator.world import World
from tests.clock import FakeClock, eventually
from tests.simulation.flowing import Flowing
from tests.simulation.inside import Inside

PROMPT = "Mrs Featherstone of 12 Hill Road asks what her blood test means."


class Kind(Struct):
    """A surface, and the smallest request of it."""

    surface: type[Surface]
    ask: dict[str, Any]
    failed: str = '"error"'  # what stands once in a stream that is not complete
    no_source: str = "no_source"  # what its error calls that
    served: Any = None  # the class that the application makes, if it is another one
    allow: str = "POST"  # the methods that it has

    @property
    def path(self) -> str:
        return self.surface.path


class Stateless(Responses):
    """As the application makes it, but that it keeps nothing."""

    def __init__(self) -> None:
        super().__init__(Archive(None, Settings()), FakeClock())


class Unkept(ChatCompletions):
    """The same."""

    def __init__(self) -> None:
        super().__init__(Archive(None, Settings()))


KINDS = [
    Kind(
        Unkept,
        {"model": "gpt-oss-20b", "messages": [{"role": "user", "content": PROMPT}]},
        served=ChatCompletions,
        allow="GET, POST",
    ),
    Kind(Completions, {"model": "gpt-oss-20b", "prompt": PROMPT}),
    Kind(Stateless, {"model": "gpt-oss-20b", "input": PROMPT}, "event: response.failed\n", "server_error", Responses),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.surface.__name__)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


class Stage(Struct):
    """A running gateway before one provider, and what its observers heard."""

    demo: Any
    kind: Kind
    heard: list[Any]

    @property
    def provider(self) -> Any:
        return self.demo.world.providers["groq"]

    @property
    def ended(self) -> list[Ended]:
        return [event for event in self.heard if isinstance(event, Ended)]

    async def post(self, body: Any = None, *, patience: float = 20, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(self.kind.ask | (body or {})).encode()
        async with httpx.AsyncClient(base_url=self.demo.base_url, timeout=patience) as client:
            return await client.post(self.kind.path, content=content, headers=headers)


@pytest.fixture
def staged(start: Callable[..., Any], kind: Kind) -> Callable[..., Any]:
    async def begin(clock: FakeClock | None = None, **environ: str) -> Stage:
        heard: list[Any] = []
        return Stage(await start(("groq",), clock, observers=[heard.append], **environ), kind, heard)

    return begin


def cancelled(stage: Stage) -> bool:
    return any(call.cancelled for call in stage.provider.calls)


# ── in ──


async def test_every_method_that_there_is_not_is_told_which_one_is_allowed(staged):
    stage = await staged()
    async with httpx.AsyncClient(base_url=stage.demo.base_url) as client:
        for method in {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} - set(stage.kind.allow.split(", ")):
            response = await client.request(method, stage.kind.path)
            assert (response.status_code, response.headers["allow"]) == (405, stage.kind.allow)
            if method != "HEAD":
                assert stage.kind.surface.expects in response.json()["error"]["message"]


async def test_without_the_right_key_nothing_is_read_and_nothing_is_sent(staged):
    stage = await staged(FREEWAY_API_KEY="fw-right")

    none, wrong = await stage.post(b"not even JSON"), await stage.post(authorization="Bearer wrong")
    right = [await stage.post(authorization="Bearer fw-right"), await stage.post(**{"x-api-key": "fw-right"})]

    assert [none.status_code, wrong.status_code] == [401, 401]
    assert none.json()["error"]["code"] == "invalid_api_key"
    assert [response.status_code for response in right] == [200, 200]


async def test_a_body_is_read_up_to_its_bound_and_no_further(staged, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[server]\nmax_body = 1000\n")
    stage = await staged(FREEWAY_CONFIG=str(own))
    body = json.dumps(stage.kind.ask).encode()

    fits, too_long = await stage.post(body.ljust(1000)), await stage.post(body.ljust(1001))

    assert fits.status_code == 200
    assert (too_long.status_code, too_long.json()["error"]["code"]) == (413, "request_too_large")


async def test_junk_is_a_400_that_names_the_field(staged):
    stage = await staged()
    for body in (b"{", b"[]", b"null", b"", b"\xff", b'{"a": ' + b"[" * 100_000):
        response = await stage.post(body)
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert (await stage.post({"temperature": "hot"})).json()["error"]["param"] == "temperature"
    assert (await stage.post({"provider": {"sort": "age"}})).json()["error"]["param"] == "provider.sort"
    assert (await stage.post(**{"x-freeway-max-wait": "long"})).json()["error"]["param"] == "x-freeway-max-wait"


# ── out ──


async def test_every_answer_has_an_id_and_says_what_served_it(staged):
    stage = await staged()
    for body in ({}, {"stream": True}):
        headers = (await stage.post(body)).headers
        assert headers["x-request-id"].startswith("req_")
        assert (headers["x-freeway-provider"], headers["x-freeway-model"]) == ("groq", "gpt-oss-20b")
        assert headers["x-freeway-attempts"] == "1"
    assert (await stage.post({"model": "gpt-9"})).headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_answer_is_an_error_answer(staged, stream):
    stage = await staged()

    response = await stage.post({"model": "gpt-9", "stream": stream})

    assert (response.status_code, response.headers["content-type"]) == (404, "application/json")
    assert response.json()["error"].keys() >= {"message", "type", "param", "code"}


async def test_silence_is_broken_by_a_comment_each_time_it_has_lasted_and_not_before(staged, clock):
    """On the gateway's clock: nothing here waits for real seconds."""
    stage = await staged(clock)
    stage.provider.fail("hang_stream", times=9)
    async with (
        httpx.AsyncClient(base_url=stage.demo.base_url, timeout=10) as client,
        asyncio.timeout(10),
    ):
        asking = asyncio.create_task(_first_bytes(client, stage))
        await eventually(lambda: any("completions" in c.path for c in stage.provider.calls))
        clock.advance(9.9)
        await asyncio.sleep(0.05)
        assert not asking.done()
        clock.advance(0.2)
        stream = await asking
        assert await anext(stream) == stage.kind.surface.comment.decode()
        clock.advance(10)
        assert await anext(stream) == stage.kind.surface.comment.decode()
        await cast(Any, stream).aclose()
    await eventually(lambda: cancelled(stage))
    await eventually(lambda: [event.outcome for event in stage.ended] == ["left"])


async def _first_bytes(client: httpx.AsyncClient, stage: Stage) -> AsyncIterator[str]:
    """The pieces of a streamed answer, once its head is there."""
    request = client.build_request("POST", stage.kind.path, json=stage.kind.ask | {"stream": True})
    response = await client.send(request, stream=True)
    assert response.status_code == 200
    return response.aiter_text()


async def test_a_comment_is_no_answer_an_error_after_it_is_the_last_event(staged, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[server]\nkeep_alive = 0.02\n[provider.groq.timeouts]\nhead = 0.2\n")
    stage = await staged(FREEWAY_CONFIG=str(own))
    stage.provider.fail("hang_stream", times=9)

    response = await stage.post({"stream": True}, **{"x-freeway-max-wait": "0"})

    assert response.status_code == 200
    assert response.text.startswith(stage.kind.surface.comment.decode())
    said = json.loads(response.text.strip().rpartition("data: ")[2])
    assert said.get("response", said)["error"]["code"] == stage.kind.no_source
    assert "[DONE]" not in response.text


# ── what is told in the end, exactly once ──


async def test_what_is_served_is_told_once_with_its_usage(staged):
    stage = await staged()
    for body in ({}, {"stream": True}):
        await stage.post(body)

    assert [(event.outcome, event.status) for event in stage.ended] == [("served", 200)] * 2
    assert all(event.usage.prompt_tokens > 0 and event.deployment == "groq/openai/gpt-oss-20b" for event in stage.ended)


async def test_what_fails_is_told_once_with_its_code(staged):
    stage = await staged(FREEWAY_API_KEY="fw")
    await stage.post()
    await stage.post(b"{", authorization="Bearer fw")
    await stage.post({"model": "gpt-9"}, authorization="Bearer fw")

    assert [event.outcome for event in stage.ended] == ["invalid_api_key", "bad_request", "model_not_found"]
    assert [event.client for event in stage.ended] == ["?", "default", "default"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_cancels_the_upstream_call_at_once_and_is_told_of_once(staged, stream):
    stage = await staged()
    stage.provider.fail("hang_stream" if stream else "hang", times=5)

    with pytest.raises(httpx.ReadTimeout):
        await stage.post({"stream": stream}, patience=0.3)
    await eventually(lambda: cancelled(stage), within=1.0)
    await eventually(lambda: stage.ended)

    assert [(event.outcome, event.status) for event in stage.ended] == [("left", 499)]


async def test_a_stream_that_breaks_is_told_once_and_ends_in_one_error(staged):
    stage = await staged()
    stage.provider.fail("cut", times=1)

    response = await stage.post({"stream": True})

    assert [(event.outcome, event.status) for event in stage.ended] == [("interrupted", 502)]
    assert stage.ended[0].deployment == "groq/openai/gpt-oss-20b"
    assert response.text.count(stage.kind.failed) == 1
    assert "[DONE]" not in response.text


# ── our own bugs ──


def bug(*_: object) -> None:
    raise RuntimeError(f"in the middle of {PROMPT}")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_is_a_500_in_the_surfaces_shape_and_its_traceback_is_told(staged, monkeypatch, stream, capsys):
    log.configure(json=True, secrets=["in the middle"])
    stage = await staged()
    monkeypatch.setattr(http if stream else in_pieces, "answer", bug)

    response = await stage.post({"stream": stream})
    (found,) = (event for event in stage.heard if isinstance(event, Bug))
    LogObserver()(found)
    line = json.loads(capsys.readouterr().err)

    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert response.headers["x-request-id"] in response.json()["error"]["message"]
    assert "RuntimeError" not in response.text
    assert [(event.outcome, event.status) for event in stage.ended] == [("internal_error", 500)]
    assert found.request == response.headers["x-request-id"]
    assert "in bug\n" in found.traceback
    assert "RuntimeError: in the middle of" in found.traceback
    assert "Featherstone" not in found.traceback
    assert (line["event"], line["level"], line["where"]) == ("bug", "error", stage.kind.path)
    assert "RuntimeError: ***" in line["traceback"]


async def test_a_bug_in_mid_stream_ends_it_in_one_error(staged, monkeypatch):
    stage = await staged()
    stage.provider.brain = lambda view: Saying("word " * 30)
    monkeypatch.setattr(stage.kind.served or stage.kind.surface, "render_end", bug)

    response = await stage.post({"stream": True})

    assert response.text.count(stage.kind.failed) == 1
    assert "[DONE]" not in response.text
    assert [event.outcome for event in stage.ended] == ["internal_error"]
    assert len([event for event in stage.heard if isinstance(event, Bug)]) == 1


async def test_an_observer_with_a_bug_of_its_own_spoils_no_answer_and_nothing_is_told_twice(staged, monkeypatch):
    stage = await staged()

    def broken(event: Any) -> None:
        assert not isinstance(event, Ended), "an observer's bug"

    monkeypatch.setattr(stage.demo.watcher.__class__, "__call__", lambda _, event: broken(event))
    response = await stage.post()
    monkeypatch.undo()

    assert response.status_code == 200
    assert [event.outcome for event in stage.ended] == ["served"]
    assert len([event for event in stage.heard if isinstance(event, Bug)]) >= 1


# ── without a server: what it sends, and when it is stopped ──


class Connection:
    """An ASGI server's side of one request."""

    def __init__(self, body: object) -> None:
        self.sent: list[Any] = []
        self.turns: list[int] = []  # of the event loop, when each was sent
        self._requests = [{"type": "http.request", "body": json.dumps(body).encode()}]
        self.turn = 0

    async def receive(self) -> Any:
        if self._requests:
            return self._requests.pop()
        return await asyncio.Event().wait()

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        self.turns.append(self.turn)

    def count_turns(self) -> None:
        self.turn += 1
        asyncio.get_running_loop().call_soon(self.count_turns)


SCOPE = {"type": "http", "method": "POST", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1)}


async def opened(tmp_path, clock) -> tuple[Inside, Any]:
    world = World(clock, names=["groq"])
    inside = Inside(world, clock, tmp_path, wire=Flowing(world))
    await inside.look("groq")
    return inside, world.providers["groq"]


def handler(inside: Inside, kind: Kind, drain: Drain | None = None) -> Any:
    authenticator = Authenticator(inside.settings, drain or Drain(), inside.clock)
    return route(
        kind.surface, Host(inside.engine, authenticator, inside.settings.server, inside.parts.allowances, inside.shares)
    ).fn


async def test_a_whole_answer_leaves_as_one_head_and_one_body_in_one_turn_of_the_loop(tmp_path, clock, kind):
    """So that a server, or the system below it, can write both at once."""
    inside, _ = await opened(tmp_path, clock)
    connection = Connection(kind.ask)
    connection.count_turns()

    await handler(inside, kind)(SCOPE, connection.receive, connection.send)

    assert [message["type"] for message in connection.sent] == ["http.response.start", "http.response.body"]
    assert connection.turns[0] == connection.turns[1]
    assert dict(connection.sent[0]["headers"])[b"content-length"] == str(len(connection.sent[1]["body"])).encode()


@pytest.mark.parametrize("stream", [False, True])
async def test_who_is_being_served_when_the_server_ends_is_told_so_once(tmp_path, clock, kind, stream):
    inside, groq = await opened(tmp_path, clock)
    groq.fail("hang_stream" if stream else "hang", times=5)
    connection = Connection(kind.ask | {"stream": stream})

    serving = asyncio.create_task(handler(inside, kind)(SCOPE, connection.receive, connection.send))
    await eventually(lambda: any("completions" in call.path for call in groq.calls))
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

    assert connection.sent[0]["status"] == 503
    assert dict(connection.sent[0]["headers"])[b"connection"] == b"close"
    assert json.loads(connection.sent[1]["body"])["error"]["code"] == "shutting_down"
    assert [event.outcome for event in inside.ended] == ["shutting_down"]


async def test_a_draining_gateway_takes_nothing_new(tmp_path, clock, kind):
    inside, groq = await opened(tmp_path, clock)
    drain, connection = Drain(), Connection(kind.ask)
    drain.begin()

    await handler(inside, kind, drain)(SCOPE, connection.receive, connection.send)

    assert connection.sent[0]["status"] == 503
    assert [event.outcome for event in inside.ended] == ["shutting_down"]
    assert not [call for call in groq.calls if "completions" in call.path]


async def test_a_caller_who_leaves_while_sending_is_told_of_once(tmp_path, clock, kind):
    inside, _ = await opened(tmp_path, clock)
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Any:
        return messages.pop()

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await handler(inside, kind)(SCOPE, receive, send)

    assert sent == []
    assert [(event.outcome, event.status) for event in inside.ended] == [("left", 499)]
