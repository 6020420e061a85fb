"""What one replica learned of a provider, the others know: cooldowns, and how quickly it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gateway.routing.health import SILENT, TRIAL_FOR
from gateway.routing.hedging import UNKNOWN
from gateway.state.sqlite import SqliteState
from gateway.state.store import GATHER_EVERY, StateFailure
from gateway.words import NoCapacity
from providers.simulator.world import World
from tests.clock import FakeClock, eventually
from tests.simulation.inside import Inside

MODEL = "groq/openai/gpt-oss-120b"


class Leisurely(World):
    """Its providers take their time: *seconds* for each call, by name. What is asked next while it is *silent* hangs."""

    def __init__(self, *args, **more) -> None:
        super().__init__(*args, **more)
        self.time: FakeClock = more["clock"] if "clock" in more else args[0]
        self.seconds: dict[str, float] = {}
        self.silent = False
        self.hanging = 0

    async def app(self, scope, receive, send) -> None:
        if self.silent:
            self.hanging += 1
            await asyncio.Event().wait()
        self.time.advance(self.seconds.get(scope["path"].split("/")[1], 0.0))
        await super().app(scope, receive, send)


class Absent:
    """A store that is not there."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        return self._refuse

    async def _refuse(self, *_: object) -> None:
        raise StateFailure("away")

    async def aclose(self) -> None: ...


@pytest.fixture
def world() -> World:
    return Leisurely(FakeClock(), names=["groq", "openrouter"])


@pytest.fixture
def begin(world, tmp_path) -> Callable:
    """Another replica, or one after a restart."""
    shared = SqliteState(tmp_path / "memory.sqlite", world.clock)

    async def started(state=shared) -> Inside:
        made = Inside(world, world.clock, tmp_path, state=state)
        await made.look("groq", "openrouter")
        return made

    return started


@pytest.fixture
async def replicas(begin) -> tuple[Inside, Inside]:
    return await begin(), await begin()


async def exchanged(*gateways: Inside) -> None:
    for gateway in (*gateways, *gateways):
        await gateway.parts.state.exchange()


def asked(world: World) -> int:
    return sum(call.path.endswith("/chat/completions") for call in world.providers["groq"].calls)


async def all_ask(*gateways: Inside) -> list[bool]:
    """Who was answered."""
    return list(await asyncio.gather(*(gateway.ask(MODEL, "Say: yes", 8) for gateway in gateways)))


def rests_until(gateway: Inside) -> float:
    blocked = gateway.engine.view.health.blocked(MODEL, gateway.clock())
    return (blocked.until or gateway.clock()) - gateway.clock() if blocked else 0.0


async def test_no_other_replica_asks_a_source_that_failed_one(world, replicas):
    one, other = replicas
    world.providers["groq"].fail("busy", times=99)
    await all_ask(one)
    assert asked(world) == 1
    await exchanged(one, other)

    with pytest.raises(NoCapacity) as told:
        await other.answer(MODEL)

    assert asked(world) == 1
    assert "cooling" in told.value.excluded[0].reason


async def test_of_all_replicas_one_trials_when_it_is_due_and_the_pause_grows_for_all(world, replicas):
    world.providers["groq"].fail("busy", times=5)
    await all_ask(*replicas[:1])
    pauses = []
    for trials in range(2, 6):
        await exchanged(*replicas)
        pauses.append(rests_until(replicas[1]))
        world.clock.advance(pauses[-1] - 1)
        assert await all_ask(*replicas) == [False, False]
        assert asked(world) == trials - 1
        world.clock.advance(1)
        await all_ask(*replicas, *replicas)
        assert asked(world) == trials
    assert pauses == [5, 10, 20, 40]

    await exchanged(*replicas)
    world.clock.advance(rests_until(replicas[0]))
    assert sum(await all_ask(*replicas)) == 1
    await exchanged(*replicas)
    assert await all_ask(*replicas) == [True, True]


async def test_a_replica_that_dies_while_it_trials_does_not_keep_others_away_for_good(world, replicas):
    one, other = replicas
    one.engine.view.health.failed(MODEL, "down", 5, world.clock())
    await exchanged(one, other)
    world.clock.advance(5)
    assert await one.engine.view.health.claim(MODEL, world.clock())  # and is never heard of again

    assert await all_ask(other, other) == [False, False]
    assert asked(world) == 0
    world.clock.advance(TRIAL_FOR)
    assert await all_ask(other) == [True]


async def test_what_was_not_sent_for_another_trials_was_given_back(world, replicas):
    one, other = replicas
    one.engine.view.health.failed(MODEL, "down", 5, world.clock())
    await exchanged(one, other)
    world.clock.advance(5)
    await one.engine.view.health.claim(MODEL, world.clock())
    await all_ask(other)

    levels = await other.ledger.levels(other.engine.view.catalog.buckets())
    assert {level.used for level in levels.values()} == {0.0}


async def test_without_a_store_each_trials_for_itself(world, begin):
    gateway = await begin(Absent())
    world.providers["groq"].fail("busy", times=1)
    assert await all_ask(gateway) == [False]
    world.clock.advance(rests_until(gateway))

    assert await all_ask(gateway) == [True]


async def test_who_leaves_before_a_trial_is_sent_lets_the_next_go(world, begin, monkeypatch):
    state = SqliteState(None, world.clock)
    one = await begin(state)
    one.engine.view.health.failed(MODEL, "down", 5, world.clock())
    world.clock.advance(5)
    asking = asyncio.Event()

    async def hangs(*_: object) -> bool:
        asking.set()
        return await asyncio.Future()

    monkeypatch.setattr(state, "claim", hangs)
    leaving = asyncio.create_task(one.answer(MODEL))
    await asking.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    monkeypatch.undo()

    levels = await one.ledger.levels(one.engine.view.catalog.buckets())
    assert {level.used for level in levels.values()} == {0.0}
    assert await all_ask(one) == [True]


async def test_a_cooldown_and_a_pace_survive_a_restart(world, begin):
    before = await begin()
    world.seconds = {"groq": 2.0}
    await all_ask(before)
    before.engine.view.health.failed(MODEL, "down", 60, world.clock())
    await before.parts.state.exchange()
    world.clock.advance(GATHER_EVERY)
    await before.parts.state.exchange()

    after = await begin()
    await after.parts.state.exchange()
    assert rests_until(after) == rests_until(before) > 0
    assert after.engine.view.health.expected(MODEL) == before.engine.view.health.expected(MODEL)


async def test_what_is_overdue_for_one_is_asked_by_no_other_until_something_comes(world, replicas):
    one, other = replicas
    world.silent = True
    waiting = asyncio.ensure_future(one.answer(MODEL, max_tokens=8))
    await eventually(lambda: world.hanging == 1)
    world.silent = False
    await exchanged(one, other)
    assert rests_until(other) == 0.0
    world.clock.advance(UNKNOWN + 1)
    await exchanged(one, other)

    with pytest.raises(NoCapacity) as told:
        await other.answer(MODEL)

    assert (asked(world), rests_until(other)) == (0, SILENT)
    assert f"silent for {UNKNOWN + 1:.0f} s" in told.value.excluded[0].reason
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    world.clock.advance(SILENT)
    await exchanged(one, other)
    assert sorted(await all_ask(one, other)) == [False, True]  # one finds out
    await exchanged(one, other)
    assert await all_ask(one, other) == [True, True]


async def test_who_is_slow_for_one_comes_later_for_all(world, replicas):
    one, other = replicas
    model = "qwen3.8-27b"  # both have it
    first = (await other.answer(model)).deployment.provider.name
    world.seconds = {first: 20.0}
    for _ in range(3):
        await one.answer(model)
    world.clock.advance(GATHER_EVERY)
    await exchanged(one, other)

    assert (await other.answer(model)).deployment.provider.name != first
