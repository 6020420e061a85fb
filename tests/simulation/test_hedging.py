"""A first token that hangs: another source is asked, too, and whatever comes of it, nothing leaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.events import Event, Hedged
from gateway.pace import Point
from gateway.words import GatewayError
from providers import failures as f
from providers.simulator.brain import Saying
from providers.simulator.world import World
from tests.clock import FakeClock, eventually
from tests.simulation.flowing import Caller, Flowing, Heard
from tests.simulation.inside import Inside

PLENTY = '[{ limit = "1000/minute" }, { limit = "1000000/day" }, { limit = "60/in-flight" }]'
SCARCE = '[{ limit = "5/day" }, { limit = "60/in-flight" }]'
TOO_LONG = 15.0
"""Seconds: more than a source that nobody knows may be silent for, be it for a stream or for a short answer."""


class Bench:
    """A gateway before some providers, who are asked in this order."""

    def __init__(self, clock: FakeClock, folder: Path, names: tuple[str, ...], quotas: dict[str, str], hedge: str) -> None:
        self.clock, self.names, self.hedges = clock, names, list[Hedged]()
        self.world = World(clock, names=names)
        for provider in self.world.providers.values():
            provider.brain = lambda view: Saying("all is well")
        own = folder / "own.toml"
        own.write_text(
            f'[requests]\nhedge = "{hedge}"\n'
            + "".join(f"[provider.{n}]\nlimit_headers = []\nquota = {quotas.get(n, PLENTY)}\n" for n in names)
        )
        self.wire = Flowing(self.world)
        self.gateway = Inside(self.world, clock, folder, wire=self.wire, FREEWAY_CONFIG=str(own))
        self.caller = Caller(self.gateway)
        hear = self.gateway._hear

        def also(event: Event) -> None:
            hear(event)
            if isinstance(event, Hedged):
                self.hedges.append(event)

        self.gateway.engine.tell._observers = (also,)

    def ask(self, leave_after: int | None = None, wait: str = "30", model: str = "auto", **more) -> asyncio.Task[Heard]:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 100,
            "provider": {"order": list(self.names)},
            **more,
        }
        headers = {"x-freeway-max-wait": wait, "x-freeway-trace": "true"}
        return asyncio.create_task(self.caller.ask(body, leave_after, **headers))

    def asked(self, name: str) -> list[bool]:
        """For each call that *name* got, whether it was cancelled."""
        calls = self.world.providers[name].calls
        return [call.cancelled for call in calls if "completions" in call.path or "chat" in call.path]

    async def silence(self, name: str, seconds: float = TOO_LONG) -> None:
        """*name* is asked, and so many seconds pass."""
        await eventually(lambda: self.asked(name))
        self.clock.advance(seconds)

    async def at_rest(self) -> None:
        """Nothing is under way, nothing is held, and no timer is left."""
        await eventually(lambda: not self.wire.open)
        await eventually(lambda: not self.gateway.ledger._held)
        levels = await self.gateway.ledger.levels(self.gateway.engine.catalog.buckets())
        assert {level.used for level in levels.values() if level.unit == "in-flight"} == {0}
        assert self.clock.timers == 0

    async def used(self, name: str) -> float:
        """Requests that were counted at *name* today."""
        levels = await self.gateway.ledger.levels(self.gateway.engine.catalog.buckets())
        return max(v.used for v in levels.values() if (v.account, v.unit, v.window) == (name, "requests", "day"))


Open = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def opened(tmp_path, clock) -> AsyncIterator[Open]:
    benches: list[Bench] = []

    async def begin(*names: str, hedge: str = "plentiful", **quotas: str) -> Bench:
        bench = Bench(clock, tmp_path, names or ("groq", "mistral", "google"), quotas, hedge)
        benches.append(bench)
        await bench.gateway.look(*bench.names)
        return bench

    yield begin
    for bench in benches:
        await bench.at_rest()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["hang", "hang_stream"])
async def test_another_answers_what_hangs_and_the_call_that_hung_is_cancelled(opened, stream, fault):
    bench = await opened()
    bench.world.providers["groq"].fail(fault if stream else "hang")

    asking = bench.ask(stream=stream)
    await bench.silence("groq")
    heard = await asking

    assert heard.status == 200
    assert "all is well" in heard.body.decode()
    assert (heard.headers["x-freeway-provider"], heard.headers["x-freeway-attempts"]) == ("mistral", "2")
    (lost,) = json.loads(heard.headers["x-freeway-trace"])["failed"]
    assert lost["deployment"].startswith("groq/")
    assert lost["kind"] == "Overtaken"
    assert lost["reason"].startswith("silent for 15.0 s; asked too: mistral/")
    assert [hedge.outcome for hedge in bench.hedges] == ["won"]
    await bench.at_rest()
    assert (bench.asked("groq"), bench.asked("mistral"), bench.asked("google")) == ([True], [False], [])
    assert (await bench.used("groq"), await bench.used("mistral")) == (1, 1)


async def test_who_was_too_slow_is_known_to_be_slow_and_is_not_out(opened):
    bench = await opened()
    health = bench.gateway.engine.health
    bench.world.providers["groq"].fail("hang")

    asking = bench.ask(stream=True)
    await bench.silence("groq")
    lost = json.loads((await asking).headers["x-freeway-trace"])["failed"][0]["deployment"]

    assert health.pace(lost).first_content == pytest.approx(TOO_LONG, abs=0.1)
    assert health.blocked_until(lost, bench.clock()) is None


async def test_the_gateways_own_time_does_not_contain_the_silence(opened):
    bench = await opened()
    bench.world.providers["groq"].fail("hang")

    asking = bench.ask()
    await bench.silence("groq")
    await asking

    assert [ended.overhead for ended in bench.gateway.ended] == [0.0]


@pytest.mark.parametrize(
    ("hedge", "quotas", "second"),
    [
        ("off", {}, None),
        ("plentiful", {}, "mistral"),
        ("plentiful", {"mistral": SCARCE}, "google"),
        ("plentiful", {"mistral": SCARCE, "google": SCARCE}, None),
        ("always", {"mistral": SCARCE, "google": SCARCE}, "mistral"),
    ],
)
async def test_a_scarce_one_is_left_to_those_who_have_nobody_else(opened, hedge, quotas, second):
    bench = await opened(hedge=hedge, **quotas)
    bench.world.providers["groq"].fail("hang")

    asking = bench.ask(leave_after=None)
    await bench.silence("groq")
    if second is None:
        await bench.never(asking)
    else:
        assert (await asking).headers["x-freeway-provider"] == second
    for name in {"mistral", "google"} - {second}:
        assert bench.asked(name) == []
        assert await bench.used(name) == 0
