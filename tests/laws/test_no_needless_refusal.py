"""
No request is refused while a source that could serve it before its deadline has room.

Hundreds of callers with deadlines, and sources that fail, recover, open at the edge of a minute or have one slot, on a clock
that jumps; what they were told is judged by omniscient.py.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from redis.asyncio import Redis

from gateway.quota.redis import SharedStore
from tests.laws.omniscient import SLACK, needless
from tests.laws.sources import START, Scene, Source, Told

NAMES = ("a", "b", "c", "d")
WAITS = (0.0, 2.0, 10.0, 30.0, 75.0, 150.0)
BEGIN = START + 1.0
"""All down times and callers come from here on, and end before ``SPAN`` has passed."""

SPAN = 240.0


class Half(Struct, frozen=True):
    """One source of a story: *downs* are a beginning and a length, in seconds."""

    seconds: float
    slots: int | None
    a_minute: int | None
    downs: tuple[tuple[float, float], ...]

    def source(self, name: str) -> Source:
        rows = [f'{{ limit = "{self.a_minute or 100_000}/minute", window = "clock", scope = "account" }}']
        if self.slots is not None:
            rows.append(f'{{ limit = "{self.slots}/in-flight", scope = "account" }}')
        return Source(
            name=name,
            models=(f"model-{name}",),
            quota=f"[{', '.join(rows)}]",
            seconds=self.seconds,
            slots=self.slots,
            a_minute=self.a_minute,
            down=_apart([(BEGIN + at, BEGIN + at + length) for at, length in self.downs]),
        )


class Caller(Struct, frozen=True):
    """A caller who comes *at* so many seconds, waits for so many, and takes only some of the sources; none: any."""

    at: float
    wait: float
    only: tuple[str, ...]


class Story(Struct, frozen=True):
    """What there is, and who comes."""

    sources: tuple[Half, ...]
    callers: tuple[Caller, ...]


def _apart(downs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same times without overlaps."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(downs):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


# ── stories ──

HALVES = st.builds(
    Half,
    seconds=st.sampled_from([0.3, 2.0, 5.0]),
    slots=st.sampled_from([1, 2, None]),
    a_minute=st.sampled_from([None, 1, 3, 10]),
    downs=st.lists(st.tuples(st.integers(0, 60).map(float), st.integers(1, 40).map(float)), max_size=2).map(tuple),
)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """One source or some, and callers who come in a few bursts, of whom many want the same source."""
    halves = draw(st.lists(HALVES, min_size=1, max_size=3))
    names = NAMES[: len(halves)]
    bursts = draw(st.lists(st.integers(0, 120), min_size=1, max_size=5, unique=True))
    callers = st.builds(
        Caller,
        at=st.builds(lambda burst, tenths: burst + tenths / 10, st.sampled_from(bursts), st.integers(0, 20)),
        wait=st.sampled_from(WAITS),
        only=st.sampled_from([(), *((name,) for name in names)]),
    )
    return Story(tuple(halves), tuple(draw(st.lists(callers, min_size=5, max_size=40))))


def long_story(seed: int) -> Story:
    """Hundreds of callers, of whom some come in bursts."""
    chance = random.Random(seed)
    halves = (
        Half(0.3, 1, None, ((chance.uniform(20, 60), 15.0), (chance.uniform(100, 160), 25.0))),
        Half(2.0, 2, chance.choice([20, 40]), ((chance.uniform(0, 100), 30.0),)),
        Half(0.5, None, chance.choice([5, 10]), ()),
        Half(5.0, 1, 3, ((chance.uniform(0, 180), 8.0),)),
    )
    bursts = [chance.uniform(0, 180) for _ in range(6)]
    callers = tuple(
        Caller(
            round(chance.choice(bursts) if chance.random() < 0.3 else chance.uniform(0, 180), 1),
            chance.choice(WAITS),
            tuple(chance.sample(NAMES, chance.choice([1, 2]))) if chance.random() < 0.4 else (),
        )
        for _ in range(400)
    )
    return Story(halves, callers)


# ── what becomes of them ──


async def told_in(story: Story, folder: Path, store: Any) -> tuple[list[Told], list[Source], float]:
    """What each caller of *story* was told, by sources that wrote down what happened until the last moment."""
    sources = [half.source(name) for name, half in zip(NAMES, story.sources, strict=False)]
    scene = await Scene(folder, *sources, store=store).open()
    asking = []
    for number, wish in sorted(enumerate(story.callers), key=lambda pair: pair[1].at):
        await scene.until(BEGIN + wish.at)
        choice: dict[str, Any] = {"provider": {"only": list(wish.only)}} if wish.only else {}
        asking.append((number, scene.ask(f"caller {number}", wait=wish.wait, **choice)))
    await scene.told(*(task for _, task in asking))
    await scene.until(max(scene.clock(), BEGIN + SPAN))
    end = scene.clock()
    await scene.close()
    return [task.result() for _, task in sorted(asking, key=lambda pair: pair[0])], sources, end


async def judged(story: Story, url: str | None) -> list[Told]:
    """Judge what becomes of *story*, with the ledger in Redis at *url*, else in memory: AssertionError says what is wrong."""
    store = None
    if url is not None:
        client = Redis.from_url(url)
        await client.flushall()
        store = SharedStore(client, own_time=False)
    with TemporaryDirectory() as folder:
        told, sources, end = await told_in(story, Path(folder), store)
    judge(story, told, sources, end)
    return told


def judge(story: Story, told: list[Told], sources: list[Source], end: float) -> None:
    """AssertionError says what was wrong with what the callers of *story* were *told* by *end*."""
    names = [source.name for source in sources]
    wrong = [needless(one, sources, wish.only or names, end) for one, wish in zip(told, story.callers, strict=True)]
    found = [one for one in wrong if one is not None]
    assert not found, f"{len(found)} of {len(told)} were refused needlessly, e.g. {found[:3]}"
    late = [one for one in told if one.status != 200 and one.at > one.deadline + SLACK]
    assert not late, f"{late[0]} heard too late"
    assert [source.refused for source in sources] == [0] * len(sources), "more was sent than a source allows"


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""Add ``Phase.shrink`` to find the shortest story that goes wrong; it takes half a minute."""

STORES = ["embedded", "redis"]


@pytest.fixture
def ledger_url(request: pytest.FixtureRequest) -> str | None:
    """Where the ledger is; None: in memory."""
    if request.param == "embedded":
        return None
    request.getfixturevalue("patient")
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.mark.parametrize("ledger_url", STORES, indirect=True)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_hundreds_of_callers_none_is_refused_while_there_is_room(seed, ledger_url):
    told = asyncio.run(judged(long_story(seed), ledger_url))

    assert len(told) == 400
    assert sum(one.status == 200 for one in told) > 100  # it is a story of serving
    assert sum(one.status != 200 for one in told) > 10  # and of refusing those who could not be served


def of_minutes(story: Story) -> Story:
    """The same without slots, and with nothing that fails."""
    halves = tuple(msgspec.structs.replace(half, slots=None, downs=()) for half in story.sources)
    return msgspec.structs.replace(story, sources=halves)


@settings(max_examples=40, deadline=None, phases=PHASES, suppress_health_check=[*HealthCheck])
@given(story=stories())
def test_none_is_refused_while_there_is_room_where_nothing_fails_and_all_windows_are_minutes(story):
    asyncio.run(judged(of_minutes(story), None))


@pytest.mark.parametrize("ledger_url", STORES, indirect=True)
@settings(max_examples=40, deadline=None, phases=PHASES, suppress_health_check=[*HealthCheck])
@given(story=stories())
def test_none_is_refused_while_there_is_room(story, ledger_url):
    asyncio.run(judged(story, ledger_url))


def test_who_can_choose_takes_no_start_that_those_with_less_choice_take_before_it_gives_up():
    """Both sources open once a minute. Of those ahead three give up between the two openings that the last one may have."""
    one_a_minute = Half(5.0, 2, 1, ())
    callers = (
        Caller(61.2, 2.0, ("b",)),
        Caller(61.3, 2.0, ("a",)),
        Caller(62.5, 75.0, ("a",)),
        Caller(62.5, 75.0, ("b",)),
        Caller(62.7, 75.0, ("a",)),
        Caller(86.2, 150.0, ("a",)),
        Caller(86.3, 150.0, ("a",)),
        Caller(86.5, 75.0, ()),
        Caller(86.6, 150.0, ()),
    )
    asyncio.run(judged(Story((one_a_minute, one_a_minute), callers), None))
