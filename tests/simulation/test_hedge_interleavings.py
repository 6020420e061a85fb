"""Two sources that are asked at the same time: in whatever order things happen, each call ends once and nothing leaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.events import Event, Hedged
from gateway.request.engine import Answer
from gateway.request.pipeline import answer
from gateway.request.stream import arrivals
from gateway.request.tried import Attempt
from gateway.words import GatewayError, Refused
from providers import failures as f
from providers.chat import (
    Chunk,
    ChunkChoice,
    Completion,
    Delta,
    Step,
    Usage,
    Whole,
)
from providers.client import Reply
from providers.simulator.world import World
from tests import calls
from tests.clock import FakeClock
from tests.simulation.inside import Inside

T = TypeVar("T")

PLENTY = '[{ limit = "1000000/minute" }, { limit = "1000/in-flight" }]'
NAMES = ("groq", "mistral", "google")
TOO_LONG = 15.0


class Call:
    """One that is under way at *name*."""

    def __init__(self, name: str) -> None:
        self.name, self.cancelled, self.replied, self.closed = name, False, False, 0
        self.comes = asyncio.get_running_loop().create_future()

    def answers(self) -> None:
        if not self.comes.done():
            self.replied = True
            step = Step(Chunk(choices=[ChunkChoice(delta=Delta(content="hi"))]), b"{}")
            self.comes.set_result(Reply((), None, [step], nothing(), self._close))

    def fails(self, failure: Exception) -> None:
        if not self.comes.done():
            self.comes.set_exception(failure)

    def _close(self) -> None:
        self.closed += 1


async def nothing() -> AsyncIterator[list[Step]]:
    for steps in list[list[Step]]():
        yield steps


class Stage:
    """A gateway whose providers say what a test tells them to, when it does."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.calls, self.hedges = FakeClock(), list[Call](), list[str]()
        self.looked_at = self.clock()
        own = folder / "own.toml"
        own.write_text("".join(f"[provider.{name}]\nlimit_headers = []\nquota = {PLENTY}\n" for name in NAMES))
        self.gateway = Inside(World(self.clock, names=NAMES), self.clock, folder, FREEWAY_CONFIG=str(own))
        announcer: Any = self.gateway.engine.tell
        announcer._observers = (self._hear,)

    async def open(self) -> None:
        await self.gateway.look(*NAMES)
        for name, provider in self.gateway.discovery._providers.items():
            setattr(provider, "send", lambda *_, name=name: self._send(name))  # noqa: B010, mypy has no other way
        deployments = self.gateway.engine.view.catalog.deployments()
        self.models = tuple(next(d.name for d in deployments if d.provider.name == name) for name in NAMES)

    async def answer(self, failed: Sequence[Attempt] = ()) -> Answer:
        """The answer to a request that all the models may serve, in their order."""
        asked = calls.call(*self.models, deadline=self.clock() + 30, max_tokens=10, stream=True)
        found = await answer(asked, self.gateway.engine, failed)
        async for _ in arrivals(found, self.gateway.engine):
            pass
        await turns()  # a second one that was over in the same moment may still want to supersede the first
        us = asyncio.current_task()
        assert us is not None
        assert us.cancelling() == 0  # being superseded is no reason to leave
        return found

    async def begin(self) -> asyncio.Task[Answer]:
        """A request of which the first source says nothing for too long, so that the second is asked, too."""
        asking = asyncio.create_task(self.answer())
        await turns()
        self.clock.advance(TOO_LONG)
        await turns()
        assert [call.name for call in self.calls] == ["groq", "mistral"]
        return asking

    async def at_rest(self) -> None:
        """Everything has ended, exactly once."""
        await turns()
        assert not self.gateway.ledger._journal.held
        levels = await self.gateway.ledger.levels(self.gateway.engine.view.catalog.buckets())
        assert {level.used for level in levels.values() if level.unit == "in-flight"} == {0}
        assert all(call.comes.done() for call in self.calls)
        assert all(call.closed == 1 for call in self.calls if call.replied and not call.cancelled)
        assert self.clock.timers == 0
        assert len(self.hedges) <= 1

    async def recover(self) -> None:
        """As if each had answered since, and it is not known how quickly; their lists are read as often as they must be."""
        if self.clock() - self.looked_at > 1800:
            self.looked_at = self.clock()
            await self.gateway.look(*NAMES)
        health = self.gateway.engine.view.health
        for name in self.models:
            health.served(name, self.clock())
        health._mine.clear()
        health._paces.clear()
        self.calls.clear()
        self.hedges.clear()

    def _hear(self, event: Event) -> None:
        self.gateway._hear(event)
        if isinstance(event, Hedged):
            self.hedges.append(event.outcome)

    async def _send(self, name: str) -> Reply:
        call = Call(name)
        self.calls.append(call)
        try:
            return await call.comes
        except asyncio.CancelledError:
            call.cancelled = True
            raise


async def turns(number: int = 30) -> None:
    """Let everything happen that can."""
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.fixture
async def stage(tmp_path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    await made.open()
    yield made
    await made.at_rest()


async def test_the_first_may_still_answer_and_the_second_call_is_cancelled(stage):
    asking = await stage.begin()
    stage.calls[0].answers()
    found = await asking

    assert found.deployment.provider.name == "groq"
    assert [(a.deployment.provider.name, type(a.failure)) for a in found.attempts] == [("mistral", f.Superseded)]
    assert [call.cancelled for call in stage.calls] == [False, True]
    assert stage.hedges == ["lost"]
    assert stage.gateway.engine.view.health.pace(stage.models[1]) is None  # it had no time to show whether it is quick


async def test_if_the_first_fails_the_second_goes_on(stage):
    asking = await stage.begin()
    stage.calls[0].fails(f.Busy("no"))
    await turns()
    blocked = stage.gateway.engine.view.health.blocked(stage.models[0], stage.clock())
    assert blocked is not None  # what follows is done at once
    assert not asking.done()
    stage.calls[1].answers()
    found = await asking

    assert found.deployment.provider.name == "mistral"
    assert [type(attempt.failure) for attempt in found.attempts] == [f.Busy]
    assert (stage.gateway.failed, stage.hedges) == (["Busy"], ["won"])


async def test_if_the_second_fails_the_first_goes_on(stage):
    asking = await stage.begin()
    stage.calls[1].fails(f.Busy("no"))
    await turns()
    assert stage.gateway.engine.view.health.blocked(stage.models[1], stage.clock()) is not None
    assert not asking.done()
    stage.calls[0].answers()
    found = await asking

    assert found.deployment.provider.name == "groq"
    assert [type(attempt.failure) for attempt in found.attempts] == [f.Busy]
    assert (stage.gateway.failed, stage.hedges) == (["Busy"], ["lost"])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_if_both_fail_the_next_is_asked_and_no_other_as_well(stage, order):
    asking = await stage.begin()
    for place in order:
        stage.calls[place].fails(f.Unreachable("gone"))
        await turns()
    stage.clock.advance(TOO_LONG)
    await turns()
    assert [call.name for call in stage.calls] == ["groq", "mistral", "google"]
    stage.calls[2].answers()

    assert len((await asking).attempts) == 2


async def test_what_the_second_says_against_the_request_does_not_cost_the_answer_of_the_first(stage):
    asking = await stage.begin()
    stage.calls[1].fails(f.ContentRefused("no"))
    await turns()
    assert not asking.done()
    stage.calls[0].answers()

    assert (await asking).deployment.provider.name == "groq"


async def test_what_the_second_says_against_the_request_is_told_if_the_first_fails(stage):
    asking = await stage.begin()
    stage.calls[1].fails(f.ContentRefused("no"))
    await turns()
    stage.calls[0].fails(f.Busy("no"))

    with pytest.raises(Refused):
        await asking


async def test_what_the_first_says_against_the_request_is_told_at_once(stage):
    asking = await stage.begin()
    stage.calls[0].fails(f.CallersFault("no such parameter"))

    with pytest.raises(Refused):
        await asking
    await turns()
    assert stage.calls[1].cancelled


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_if_both_answer_at_the_same_moment_one_serves_and_the_other_is_closed(stage, order):
    asking = await stage.begin()
    for place in order:
        stage.calls[place].answers()
    found = await asking
    await turns()

    assert len(found.attempts) == 1
    assert [call.closed or call.cancelled for call in stage.calls] == [1, 1]


async def test_a_bug_of_ours_in_asking_the_second_is_heard_of_and_does_not_cost_the_answer_of_the_first(stage):
    heard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: heard.append(told["exception"]))
    asking = await stage.begin()
    stage.calls[1].fails(ZeroDivisionError())
    await turns()
    stage.calls[0].answers()

    assert (await asking).deployment.provider.name == "groq"
    await turns()
    assert [type(error) for error in heard] == [ZeroDivisionError]


async def test_what_the_one_says_that_is_closed_is_heard_if_it_has_cost_money(stage):
    asking = await stage.begin()
    whole = Whole(Completion(usage=Usage(prompt_tokens=3, completion_tokens=4, cost=0.01)), b"{}")
    stage.calls[1].comes.set_result(Reply((), whole, [], None, lambda: None))
    stage.calls[0].answers()

    assert (await asking).deployment.provider.name == "groq"
    await turns()
    assert "mistral" in stage.gateway.engine.view.catalog.learned.out(stage.clock())


async def test_who_leaves_at_the_moment_at_which_the_second_answers_has_left(stage):
    for later in range(5):
        asking = await stage.begin()
        stage.calls[1].answers()
        await turns(later)
        if asking.cancel():
            with pytest.raises(asyncio.CancelledError):
                await asking
        await stage.at_rest()
        await stage.recover()


async def test_a_superseded_call_may_go_on_with_what_the_other_broke_off(stage):
    asking = await stage.begin()
    stage.calls[1].answers()
    found = await asking
    stage.calls.clear()
    stage.clock.advance(11)  # it was silent for too long, and is left alone for a while

    going_on = asyncio.create_task(stage.answer(found.attempts))
    await turns()
    stage.calls[0].answers()

    assert (await going_on).deployment.provider.name == "groq"


KINDS = (f.Busy, f.Unreachable, f.ContextTooLong, f.CallersFault)
PLACES = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("answers"), PLACES),
    st.tuples(st.just("fails"), PLACES, st.sampled_from(KINDS)),
    st.tuples(st.just("passes"), st.sampled_from([1.0, 5.0, TOO_LONG])),
    st.tuples(st.just("leaves")),
    st.tuples(st.just("turns"), st.integers(1, 6)),
)


class Scene:
    """A stage, and a loop of its own for it."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.stage = self.run(self._open(folder))

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(what)

    async def _open(self, folder: Path) -> Stage:
        stage = Stage(folder)
        await stage.open()
        return stage


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("stage"))
    with made.runner:
        yield made


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, max_size=8), st.booleans())
def test_in_whatever_order_things_happen_each_call_and_each_debit_ends_once(scene, steps, hedged):
    scene.run(play(scene.stage, steps, hedged))


async def play(stage: Stage, steps: list[tuple], hedged: bool) -> None:
    asking = await stage.begin() if hedged else asyncio.create_task(stage.answer())
    await turns(30 * (not hedged))
    for what, *how in steps:
        match what:
            case "answers" if how[0] < len(stage.calls):
                stage.calls[how[0]].answers()
            case "fails" if how[0] < len(stage.calls):
                stage.calls[how[0]].fails(how[1]("no"))
            case "passes":
                stage.clock.advance(how[0])
            case "leaves":
                asking.cancel()
            case "turns":
                await turns(how[0])
    for _ in range(1000):
        if asking.done():
            break
        for call in stage.calls:
            call.answers()
        await turns()
    else:
        q = stage.gateway.engine.queue
        raise AssertionError(
            f"never ends: {q.waiting} {q._lines} {q._ready} {q._trying} {[(c.name, c.comes) for c in stage.calls]} {asking}"
        )
    with suppress(GatewayError, asyncio.CancelledError):
        await asking
    await stage.at_rest()
    await stage.recover()
