"""A first token that hangs: another source is asked, too, and whatever comes of it, nothing leaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.events import Event, Hedged
from providers.simulator.brain import Saying
from providers.simulator.world import World
from tests.clock import FakeClock, eventually
from tests.simulation.flowing import Caller, Flowing, Heard
from tests.simulation.inside import Inside

PLENTY = '[{ limit = "1000/minute" }, { limit = "1000000/day" }, { limit = "60/in-flight" }]'
SCARCE = '[{ limit = "5/day" }, { limit = "60/in-flight" }]'
ONE = '[{ limit = "1/in-flight", scope = "account" }]'
TOO_LONG = 15.0
"""Seconds: more than a source that nobody knows may be silent for, be it for a stream or for a short answer."""


class Bench:
    """A gateway before some providers, who are asked in this order."""

    def __init__(
        self, clock: FakeClock, folder: Path, names: tuple[str, ...], quotas: dict[str, str], hedge: str
    ) -> None:
        self.clock, self.names, self.hedges = clock, names, list[Hedged]()
        self.world = World(clock, names=names)
        for provider in self.world.providers.values():
            provider.brain = lambda view: Saying("all is well")
        own = folder / "own.toml"
        own.write_text(
            f'[server]\nkeep_alive = 3600\n[requests]\nhedge = "{hedge}"\n'
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

        announcer: Any = self.gateway.engine.tell
        announcer._observers = (also,)

    def ask(self, leave_after: int | None = None, wait: str = "30", model: str = "auto", **more) -> asyncio.Task[Heard]:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 100,
            "provider": {"order": list(self.names)},
            **more,
        }
        headers: dict[str, Any] = {"x-freeway-max-wait": wait, "x-freeway-trace": "true"}
        return asyncio.create_task(self.caller.ask(body, leave_after, **headers))

    def first_of(self, name: str) -> str:
        """A deployment of the provider called *name*."""
        return next(d.name for d in self.gateway.engine.view.catalog.deployments() if d.provider.name == name)

    def asked(self, name: str) -> list[bool]:
        """For each call that *name* got, whether it was cancelled."""
        calls = self.world.providers[name].calls
        return [call.cancelled for call in calls if "completions" in call.path or "chat" in call.path]

    async def silence(self, name: str, seconds: float = TOO_LONG) -> None:
        """*name* is asked, and so many seconds pass."""
        await eventually(lambda: self.asked(name))
        self.clock.advance(seconds)

    async def alone(self, asking: asyncio.Task[Heard], *others: str) -> None:
        """Of *others* none is asked as well, though there is time for it; then the caller leaves."""
        for _ in range(50):  # steps of the loop: a second one is asked within a few
            await asyncio.sleep(0)
        assert not asking.done()
        assert {name: self.asked(name) for name in others} == {name: [] for name in others}
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert self.hedges == []

    async def at_rest(self) -> None:
        """Nothing is under way, nothing is held, and no timer is left."""
        await eventually(lambda: not self.wire.open)
        await eventually(lambda: not self.gateway.ledger._journal.held)
        levels = await self.gateway.ledger.levels(self.gateway.engine.view.catalog.buckets())
        assert {level.used for level in levels.values() if level.unit == "in-flight"} == {0}
        assert self.clock.timers == 0

    async def used(self, name: str) -> float:
        """Requests that were counted at *name* today."""
        levels = await self.gateway.ledger.levels(self.gateway.engine.view.catalog.buckets())
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
    assert lost["kind"] == "Superseded"
    assert lost["reason"].startswith("silent for 15.0 s; asked too: mistral/")
    assert [hedge.outcome for hedge in bench.hedges] == ["won"]
    await bench.at_rest()
    assert (bench.asked("groq"), bench.asked("mistral"), bench.asked("google")) == ([True], [False], [])
    assert (await bench.used("groq"), await bench.used("mistral")) == (1, 1)


async def test_what_was_too_slow_is_known_to_be_slow_and_one_finds_out_whether_it_still_is(opened):
    bench = await opened()
    health = bench.gateway.engine.view.health
    bench.world.providers["groq"].fail("hang")

    asking = bench.ask(stream=True)
    await bench.silence("groq")
    lost = json.loads((await asking).headers["x-freeway-trace"])["failed"][0]["deployment"]

    assert health.pace(lost).first_content == pytest.approx(TOO_LONG, abs=0.1)
    assert "silent" in health.blocked(lost, bench.clock()).reason
    assert health.blocked(lost, bench.clock() + 10.0) is None


async def test_nobody_else_is_asked_while_it_may_only_be_slow(opened):
    bench = await opened()
    bench.world.providers["groq"].fail("hang")

    asking = bench.ask(stream=True)
    await bench.silence("groq", 9.0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert bench.asked("mistral") == []
    bench.clock.advance(1.5)

    assert (await asking).headers["x-freeway-provider"] == "mistral"


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

    asking = bench.ask()
    await eventually(lambda: bench.asked("groq"))
    assert bench.clock.timers == 1 + (hedge != "off")  # one tells the others of its silence
    await bench.silence("groq")
    if second is None:
        await bench.alone(asking, "mistral", "google")
    else:
        assert (await asking).headers["x-freeway-provider"] == second
    for name in {"mistral", "google"} - {second}:
        assert bench.asked(name) == []
        assert await bench.used(name) == 0


async def test_a_model_on_this_machine_is_asked_whatever_it_has_left(opened):
    bench = await opened("groq", "ollama", ollama='[{ limit = "3/day" }, { limit = "1/in-flight" }]')
    bench.world.providers["groq"].fail("hang")

    asking = bench.ask()
    await bench.silence("groq")

    assert (await asking).headers["x-freeway-provider"] == "ollama"


async def test_one_that_has_no_room_is_waited_for_in_the_queue(opened):
    bench = await opened("groq", "mistral", mistral=ONE)
    bench.world.providers["mistral"].fail("hang")
    busy = bench.ask(provider={"only": ["mistral"]})
    await eventually(lambda: bench.asked("mistral"))
    bench.world.providers["groq"].fail("hang")

    asking = bench.ask()
    await bench.silence("groq")
    await eventually(lambda: bench.gateway.engine.queue.waiting)

    assert bench.asked("mistral") == [False]
    await leave(busy)
    assert (await asking).headers["x-freeway-provider"] == "mistral"


async def test_what_others_do_not_wait_for_is_not_kept_for_them(opened):
    bench = await opened(groq='[{ limit = "1/minute", scope = "account" }]')
    bench.world.providers["groq"].fail("hang")
    asking = bench.ask()
    await eventually(lambda: bench.asked("groq"))
    waiting = bench.ask(wait="120", provider={"only": ["groq"]})
    await eventually(lambda: bench.gateway.engine.queue.waiting)

    await bench.silence("groq")

    assert (await asking).headers["x-freeway-provider"] == "mistral"
    await leave(waiting)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "groq/openai/gpt-oss-20b", "models": ["auto"], "provider": {"allow_fallbacks": False}},
        {"provider": {"only": ["groq"]}},
        {"model": "groq/openai/gpt-oss-20b"},
    ],
    ids=str,
)
async def test_who_wants_one_source_gets_no_other(opened, fields):
    bench = await opened()
    bench.world.providers["groq"].fail("hang")

    asking = bench.ask(**fields)
    await bench.silence("groq")

    await bench.alone(asking, "mistral", "google")
    assert bench.asked("groq") == [True]


async def test_one_that_failed_before_is_not_asked_as_well(opened):
    bench = await opened()
    groq, mistral, google = (bench.first_of(name) for name in bench.names)
    bench.world.providers["groq"].fail("context")
    bench.world.providers["mistral"].fail("hang")

    asking = bench.ask(model=groq, models=[mistral, google], provider={})
    await bench.silence("mistral")
    heard = await asking

    assert (heard.headers["x-freeway-provider"], heard.headers["x-freeway-attempts"]) == ("google", "3")
    assert len(bench.asked("groq")) == 1


@pytest.mark.parametrize("ago", [1.0, 60.0], ids=["cools", "is to be probed"])
async def test_one_that_has_not_recovered_is_not_asked_as_well(opened, ago):
    bench = await opened()
    groq, mistral, google = (bench.first_of(name) for name in bench.names)
    bench.gateway.engine.view.health.failed(mistral, "down", 30.0, bench.clock() - ago)
    bench.world.providers["groq"].fail("hang")

    asking = bench.ask(model=groq, models=[mistral, google], provider={})
    await bench.silence("groq")

    assert (await asking).headers["x-freeway-provider"] == "google"
    assert bench.asked("mistral") == []


async def test_the_budget_of_attempts_counts_both(opened, monkeypatch):
    bench = await opened()
    limits = bench.gateway.engine.limits
    msgspec.structs.force_setattr(bench.gateway.engine, "limits", msgspec.structs.replace(limits, max_attempts=1))
    bench.world.providers["groq"].fail("hang")

    asking = bench.ask()
    await bench.silence("groq")

    await bench.alone(asking, "mistral", "google")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_cancels_both(opened, stream):
    bench = await opened()
    bench.world.providers["groq"].fail("hang")
    bench.world.providers["mistral"].fail("hang")

    asking = bench.ask(stream=stream)
    await bench.silence("groq")
    await eventually(lambda: bench.asked("mistral"))
    await leave(asking)
    await bench.at_rest()

    assert (bench.asked("groq"), bench.asked("mistral")) == ([True], [True])
    assert (await bench.used("groq"), await bench.used("mistral")) == (1, 1)  # what was sent counts as sent
    assert [hedge.outcome for hedge in bench.hedges] == ["lost"]


async def test_over_real_connections_with_what_is_shipped_the_call_that_hung_ends(start, clock):
    demo = await start(("groq", "mistral"), clock)
    groq = demo.world.providers["groq"]
    groq.fail("hang")
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": "hi"}],
        "provider": {"order": ["groq", "mistral"]},
    }

    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        await eventually(lambda: any("completions" in call.path for call in groq.calls))
        clock.advance(30)
        response = await asking
        page = (await client.get("/metrics")).text
    await eventually(lambda: groq.in_flight == 0, within=4.5)

    assert response.headers["x-freeway-provider"] == "mistral"
    assert [call.cancelled for call in groq.calls if "completions" in call.path] == [True]
    assert 'freeway_hedges_total{outcome="won"} 1.0' in page


async def leave(*asking: asyncio.Task[Heard]) -> None:
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
