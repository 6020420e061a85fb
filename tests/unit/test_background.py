"""The supervisor: a loop outlives whatever it raises, and that it fails is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.background import FIRST_PAUSE, GOOD_FOR, LONGEST_PAUSE, Background
from gateway.events import Event, LoopFailed
from tests.clock import FakeClock


class Stage:
    """A supervisor, and a loop whose every run ends by what *fate* says."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[LoopFailed] = []
        self.background = Background(self.clock, self._hear)
        self.runs = 0
        self.raising: asyncio.Queue[BaseException] = asyncio.Queue()

    def _hear(self, event: Event) -> None:
        assert isinstance(event, LoopFailed)
        self.told.append(event)

    async def loop(self) -> None:
        self.runs += 1
        raise await self.raising.get()

    async def fails(self, error: BaseException) -> None:
        self.raising.put_nowait(error)
        await settled()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    made.background.run("loop", made.loop)
    await settled()
    yield made
    await made.background.stop()


async def test_a_loop_that_raises_is_started_again_after_a_pause_and_its_traceback_is_told(stage):
    await stage.fails(KeyError("a dialect's bug"))
    assert stage.runs == 1

    stage.clock.advance(FIRST_PAUSE)
    await settled()
    assert stage.runs == 2
    (event,) = stage.told
    assert (event.loop, event.failures, event.restarts_in) == ("loop", 1, FIRST_PAUSE)
    assert "Traceback" in event.error
    assert "raise await self.raising.get()" in event.error
    assert "a dialect's bug" in event.error


async def test_pauses_double_up_to_a_bound_and_begin_anew_after_a_long_good_run(stage):
    for _ in range(12):
        await stage.fails(TypeError())
        stage.clock.advance(LONGEST_PAUSE)
        await settled()
    pauses = [event.restarts_in for event in stage.told]
    assert pauses[:4] == [FIRST_PAUSE * 2**n for n in range(4)]
    assert pauses[-1] == LONGEST_PAUSE == max(pauses)

    stage.clock.advance(GOOD_FOR)
    await stage.fails(TypeError())
    assert stage.told[-1].restarts_in == FIRST_PAUSE


async def test_what_fails_is_known_by_name_and_the_words_of_the_error_are_not_given_away(stage):
    assert stage.background.failing() == []
    await stage.fails(ValueError("secret"))
    (found,) = stage.background.failing()
    assert (found.loop, found.failures, found.dying) == ("loop", 1, False)
    assert found.failure.startswith("ValueError at test_background.py:")
    assert "secret" not in found.failure

    stage.clock.advance(FIRST_PAUSE)
    await settled()
    await stage.fails(ValueError())
    (found,) = stage.background.failing()
    assert (found.failures, found.dying) == (2, True)

    stage.clock.advance(2 * FIRST_PAUSE)
    await settled()
    stage.clock.advance(GOOD_FOR)
    assert stage.background.failing() == []


async def test_a_log_that_cannot_be_written_does_not_end_the_loop():
    def broken(_: Event) -> None:
        raise OSError("stderr is closed")

    stage = Stage()
    stage.background = Background(stage.clock, broken)
    stage.background.run("loop", stage.loop)
    await stage.fails(KeyError())
    stage.clock.advance(FIRST_PAUSE)
    await settled()

    assert stage.runs == 2
    await stage.background.stop()


async def test_a_loop_that_is_cancelled_ends_and_is_not_told(stage):
    await stage.fails(asyncio.CancelledError())
    stage.clock.advance(LONGEST_PAUSE)
    await settled()

    assert (stage.runs, stage.told) == (1, [])


async def test_loops_stop_one_after_the_other_the_youngest_first():
    background, ended = Background(FakeClock(), lambda _: None), []

    def loop(name: str):
        async def forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)  # cleaning up takes a moment
                ended.append(name)

        return forever

    for name in ("first", "second", "third"):
        background.run(name, loop(name))
    await settled()
    before = asyncio.all_tasks()
    await background.stop()
    await background.stop()

    assert ended == ["third", "second", "first"]
    assert len(asyncio.all_tasks()) == len(before) - 3


async def test_a_name_is_one_loops(stage):
    with pytest.raises(ValueError, match="runs already"):
        stage.background.run("loop", stage.loop)


STORIES = st.lists(
    st.tuples(st.sampled_from(["fails", "runs well"]), st.floats(-2 * 86_400.0, 2 * 86_400.0)), max_size=30
)


@given(STORIES)
def test_however_it_fails_and_wherever_the_clock_is_set_it_is_soon_running_again(story):
    """A pause is never shorter than the first nor longer than the longest, and the loop runs after it."""

    async def play() -> None:
        stage = Stage()
        stage.background.run("loop", stage.loop)
        await settled()
        for what, jump in story:
            stage.clock.set_by(jump)
            if what == "runs well":
                stage.clock.advance(abs(jump))
                continue
            runs = stage.runs
            await stage.fails(RuntimeError())
            pause = stage.told[-1].restarts_in
            assert FIRST_PAUSE <= pause <= LONGEST_PAUSE
            stage.clock.advance(pause)
            await settled()
            assert stage.runs == runs + 1
        await stage.background.stop()

    asyncio.run(play())
