"""Lists are read in the background for as long as the gateway runs, whatever comes back and whatever the clock does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest

from gateway.app import make_providers
from gateway.background import FIRST_PAUSE
from gateway.catalog.discovery import WAKE_PAUSE
from gateway.events import Changed
from gateway.words import GatewayError
from providers.client import Provider
from providers.dialect import Listed, Listing
from providers.failures import CredentialRejected, Unreachable
from providers.simulator.world import World
from tests.clock import FakeClock, eventually
from tests.simulation.inside import InProcess, Inside

HOUR, DAY = 3600.0, 86_400.0
NAMES = ("groq", "openrouter")


class Stage:
    """A gateway whose background runs, and the answers of a dialect that a test may break."""

    def __init__(self, gateway: Inside, world: World) -> None:
        self.gateway, self.world, self.clock = gateway, world, gateway.clock
        self.catalog, self.background = gateway.engine.view.catalog, gateway.parts.background

    def looks(self, name: str) -> int:
        return sum(call.path.endswith("/models") for call in self.world.providers[name].calls)

    def fresh(self, name: str) -> bool:
        served = self.catalog.served_by(name)
        return bool(served) and all(d.proof.fresh(self.clock()) for d in served)

    def failing(self) -> dict[str, int]:
        return {loop.loop: loop.failures for loop in self.background.failing()}

    async def quiet(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.quiet()


@pytest.fixture
async def stage(tmp_path) -> AsyncIterator[Stage]:
    clock = FakeClock()
    world = World(clock, names=list(NAMES))
    made = Stage(Inside(world, clock, tmp_path), world)
    made.gateway.discovery.serve(made.background, InProcess(world))
    await eventually(lambda: all(made.fresh(name) for name in NAMES))
    await made.quiet()
    yield made
    await made.background.stop()


def faulty(monkeypatch, error: Exception | None, *, name: str = "groq") -> None:
    """The list of *name* is read by a dialect with a bug, until that is None."""
    discover = Provider.discover

    async def breaks(self: Provider) -> Listing:
        if self.name == name and error is not None:
            raise error
        return await discover(self)

    monkeypatch.setattr(Provider, "discover", breaks)


@pytest.mark.parametrize("error", [KeyError("data"), TypeError("'<' not supported"), RecursionError(), OSError()])
async def test_a_dialect_that_raises_ends_neither_the_loop_nor_the_last_good_list(stage, monkeypatch, error):
    with monkeypatch.context() as patch:
        faulty(patch, error)
        await stage.passes(0.55 * HOUR)  # the list is due
        assert stage.failing() == {"model list of groq": 1}
        assert "could not be read" in (stage.gateway.discovery.looked["groq"] or "")
        assert stage.fresh("groq")
        assert await stage.gateway.ask("groq/openai/gpt-oss-20b", "Say: yes", 20)
        await stage.passes(FIRST_PAUSE)
        assert stage.failing() == {"model list of groq": 2}
    looks = stage.looks("groq")

    await stage.passes(2 * FIRST_PAUSE)
    assert stage.looks("groq") == looks + 1
    assert stage.gateway.discovery.looked["groq"] is None
    await stage.passes(1.9 * HOUR)  # the first list has proved nothing for long
    assert stage.fresh("groq")


async def test_a_key_that_tells_its_usage_as_text_does_not_end_discovery(stage, monkeypatch):
    router = stage.world.providers["openrouter"]
    told = router._key()
    with monkeypatch.context() as patch:
        patch.setattr(router, "_key", lambda: {**told, "usage": "0.5"})
        await stage.passes(0.55 * HOUR)
        assert stage.fresh("openrouter")
    looks = stage.looks("openrouter")

    await stage.passes(0.55 * HOUR)
    assert stage.looks("openrouter") > looks
    await stage.passes(0.55 * HOUR)
    assert stage.gateway.discovery.looked["openrouter"] is None
    assert stage.fresh("openrouter")


async def test_an_entry_with_a_value_of_a_wrong_type_is_left_out_and_the_others_stay(stage, monkeypatch):
    discover = Provider.discover

    async def odd(self: Provider) -> Listing:
        listing = await discover(self)
        wrong = Listed(id="openai/odd", context=cast(Any, "131072"))
        return msgspec.structs.replace(listing, models=(wrong, *listing.models))

    monkeypatch.setattr(Provider, "discover", odd)
    before = len(stage.catalog.served_by("groq"))
    await stage.gateway.look("groq")

    assert len(stage.catalog.served_by("groq")) == before
    assert await stage.gateway.ask("auto", "Say: yes", 20)
    assert stage.gateway.parts.state.entries("lists", msgspec.Raw).keys() >= {"groq"}
    assert stage.gateway.parts.state.unreadable == 0


async def test_what_raises_at_the_first_list_does_not_keep_requests_waiting_for_it(tmp_path, monkeypatch):
    clock = FakeClock()
    world = World(clock, names=["groq"])
    gateway = Inside(world, clock, tmp_path)
    faulty(monkeypatch, KeyError("data"))
    gateway.engine.view.catalog.complete.clear()
    gateway.discovery.serve(gateway.parts.background, InProcess(world))

    await asyncio.wait_for(gateway.engine.view.catalog.complete.wait(), 5)
    await gateway.parts.background.stop()


async def test_a_list_is_on_the_disk_before_a_request_is_answered_by_it(stage):
    """A process that is killed once it has served has not learned in vain."""
    backend, groq = stage.gateway.parts.state._backend, stage.world.providers["groq"]
    groq.models = groq.models[:1]
    write, served_while_writing = backend.write, []

    async def slow(topic: str, entries: dict[str, bytes | None]) -> None:
        await asyncio.sleep(0)
        served_while_writing.append(len(stage.catalog.served_by("groq")))
        await write(topic, entries)

    backend.write = slow
    await stage.gateway.look("groq")

    assert served_while_writing[0] > len(stage.catalog.served_by("groq"))


# ── a request that meets an expired proof ──


async def test_a_machine_that_slept_is_served_within_seconds_of_the_first_request(stage):
    stage.clock.set_by(3 * HOUR)
    assert not stage.fresh("groq")

    stage.gateway.discovery.wake("groq")
    await stage.quiet()

    assert stage.fresh("groq")
    assert stage.looks("openrouter") == 1


async def test_many_who_wake_are_one_look_and_none_follows_within_the_pause(stage):
    stage.clock.set_by(3 * HOUR)
    for _ in range(20):
        stage.gateway.discovery.wake("groq")
        await asyncio.sleep(0)
    for _ in range(20):
        stage.gateway.discovery.wake("groq")
        await stage.quiet()
    assert stage.looks("groq") == 2

    await stage.passes(WAKE_PAUSE)
    stage.gateway.discovery.wake("groq")
    await stage.quiet()
    assert stage.looks("groq") == 3


async def test_a_look_that_fails_is_repeated_as_soon_as_a_request_wants_it(stage, monkeypatch):
    stage.clock.set_by(3 * HOUR)
    with monkeypatch.context() as patch:
        faulty(patch, Unreachable("the network is not up yet"))
        stage.gateway.discovery.wake("groq")
        await stage.quiet()
        assert stage.gateway.discovery.looked["groq"] == "the network is not up yet"
    stage.gateway.discovery.wake("groq")
    await stage.quiet()
    assert not stage.fresh("groq")

    await stage.passes(WAKE_PAUSE)
    stage.gateway.discovery.wake("groq")
    await stage.quiet()
    assert stage.fresh("groq")


async def test_waking_what_is_not_there_is_nothing(stage):
    stage.gateway.discovery.wake("unknown")


# ── the clock is set ──


@pytest.mark.parametrize("seconds", [HOUR, DAY, -HOUR, -DAY])
async def test_a_clock_that_is_set_ends_nothing_and_proofs_are_renewed(stage, seconds):
    stage.clock.set_by(seconds)
    for _ in range(3):
        await stage.passes(0.55 * HOUR)

    assert all(stage.fresh(name) for name in NAMES)
    assert stage.failing() == {}


async def test_a_clock_that_is_set_back_does_not_make_a_proof_last_longer(stage):
    stage.clock.set_by(-DAY)
    assert not stage.fresh("groq")

    stage.gateway.discovery.wake("groq")
    await stage.quiet()
    assert stage.fresh("groq")


async def test_a_list_from_the_future_is_not_believed_and_a_true_one_takes_its_place(stage, tmp_path):
    backend = stage.gateway.parts.state._backend
    await stage.gateway.parts.state.flush()
    stage.clock.set_by(-DAY)
    later = Inside(World(stage.clock, names=["groq"]), stage.clock, tmp_path, state=backend)
    await later.parts.state.exchange()
    assert later.engine.view.catalog.served_by("groq") == ()

    await later.look("groq")
    await stage.gateway.parts.state.exchange()
    await later.parts.state.exchange()
    assert stage.fresh("groq")
    assert all(d.proof.fresh(stage.clock()) for d in later.engine.view.catalog.served_by("groq"))


# ── what another version left ──


async def test_changes_and_models_that_are_gone_are_read_where_they_can_be(stage, tmp_path):
    backend = stage.gateway.parts.state._backend
    stage.gateway.parts.history(Changed("appeared", "groq/a", "why", stage.clock()))
    for topic in ("changes", "gone", "withdrawn", "abilities", "outages", "paces", "lists"):
        stage.gateway.parts.state.set(topic, "of-another-version", {"format": 9})
    await stage.gateway.parts.state.exchange()
    later = Inside(World(stage.clock, names=["groq"]), stage.clock, tmp_path, state=backend)

    await later.parts.state.exchange()

    assert "groq/a" in {change.name for change in later.parts.history.changes()}
    assert later.parts.state.unreadable == 7
    assert (await backend.read("gone"))["of-another-version"] == b'{"format":9}'


async def test_a_key_that_the_list_is_refused_to_is_told_once(stage):
    groq = stage.world.providers["groq"]
    groq.key = "gsk_another"
    for _ in range(3):
        with pytest.raises(CredentialRejected):
            await stage.gateway.discovery.look("groq")
    told = [change for change in stage.gateway.changed if change.name == "groq"]

    assert [change.kind for change in told] == ["withdrawn"]
    assert "Invalid API Key" in told[0].detail


async def test_a_key_that_is_taken_again_serves_at_once_whoever_finds_out(stage):
    """Its list is refused to whoever has no right key: one that comes ends what a request was told before."""
    groq, learned = stage.world.providers["groq"], stage.catalog.learned
    right, groq.key = groq.key, "gsk_another"
    with pytest.raises(GatewayError):
        await stage.gateway.answer("groq/openai/gpt-oss-20b")
    assert "groq" in learned.out(stage.clock())
    judgement = stage.gateway.parts.sources.judgement("groq", stage.clock())
    assert (judgement.state, "Invalid API Key" in judgement.reason) == ("key refused", True)

    groq.key = right
    await stage.gateway.discovery.look("groq")

    assert stage.gateway.parts.sources.judgement("groq", stage.clock()).state == "on"
    await stage.gateway.answer("groq/openai/gpt-oss-20b")
    assert [change.kind for change in stage.gateway.changed if change.name == "groq"] == ["withdrawn", "readmitted"]


async def test_what_the_old_key_is_told_late_says_nothing_of_the_new_one(stage, monkeypatch):
    """A list and a request are under way when the key is changed; both are refused after it, and the new key serves."""
    inside, groq, learned = stage.gateway, stage.world.providers["groq"], stage.catalog.learned
    old, refused = inside.discovery.providers["groq"], asyncio.Event()

    async def late(*_: Any) -> Any:
        await refused.wait()
        raise CredentialRejected("Invalid API Key", status=401, account_wide=True)

    monkeypatch.setattr(old, "send", late)
    monkeypatch.setattr(old, "discover", late)
    under_way = [
        asyncio.create_task(inside.answer("groq/openai/gpt-oss-20b")),
        asyncio.create_task(inside.discovery.look("groq")),
    ]
    await stage.quiet()
    groq.key = "gsk_another0123456789"
    settings = msgspec.structs.replace(inside.settings, keys={**inside.settings.keys, "groq": groq.key})
    providers = make_providers(settings, InProcess(stage.world), {}, known=inside.discovery.providers)
    inside.parts.adopt(settings, {name: one for name, one in providers.items() if name in stage.world.providers})
    assert inside.discovery.providers["openrouter"] is providers["openrouter"]
    await eventually(lambda: stage.fresh("groq"))
    refused.set()
    await asyncio.gather(*under_way, return_exceptions=True)

    assert not learned.out(stage.clock())
    assert inside.discovery.looked["groq"] is None
    await inside.answer("groq/openai/gpt-oss-20b")
    assert groq.calls[-1].headers["authorization"] == f"Bearer {groq.key}"
