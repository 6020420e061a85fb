"""
Whatever providers, lists and callers do: no money leaves. Where the first charge is the only evidence that could be had,
there is no second.
"""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from gateway.quota.sqlite import EmbeddedStore
from gateway.state.sqlite import SqliteState
from gateway.words import GatewayError, NoSource, UnknownModel
from providers.simulator.base import Simulated
from providers.simulator.openrouter import PAID
from providers.simulator.world import World
from tests.clock import FakeClock
from tests.simulation.inside import Inside

FREE = "google/gemma-4-31b-it:free"
SUCCESSOR = "nvidia/nemotron-3-super-120b-a12b"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(clock) -> World:
    return World(clock)


@pytest.fixture
async def gateway(world, clock, tmp_path) -> Inside:
    made = Inside(world, clock, tmp_path)
    await made.look("openrouter", "groq", "huggingface", "ollama")
    return made


def charged(provider: Simulated) -> int:
    return sum(call.charged > 0 for call in provider.calls)


def asked(provider: Simulated) -> int:
    return sum(call.method == "POST" for call in provider.calls)


def turn(provider: Simulated, model: str, price: tuple[float, float]) -> None:
    provider.models = [msgspec.structs.replace(m, price=price) if m.id == model else m for m in provider.models]


async def test_a_price_that_turned_since_the_list_was_read(gateway, world):
    router = world.providers["openrouter"]
    turn(router, FREE, PAID)

    with pytest.raises(GatewayError, match="gemma-4-31b-it"):
        await gateway.answer(f"openrouter/{FREE}")

    assert (asked(router), charged(router)) == (1, 0)
    assert ("withdrawn", f"openrouter/{FREE}") in {(c.kind, c.name) for c in gateway.changed}


async def test_a_price_in_the_next_list(gateway, world):
    router = world.providers["openrouter"]
    turn(router, FREE, PAID)
    await gateway.look("openrouter")

    with pytest.raises(UnknownModel, match="nothing proves that it costs nothing"):
        await gateway.answer(FREE)

    assert asked(router) == 0
    assert [(c.kind, c.name) for c in gateway.changed] == [("became paid", f"openrouter/{FREE}")]


async def test_a_free_variant_that_ends_and_names_a_paid_successor(gateway, world):
    router = world.providers["openrouter"]
    router.fail("ended", model=f"{SUCCESSOR}:free")

    with pytest.raises(GatewayError, match="free variant ended"):
        await gateway.answer(f"{SUCCESSOR}:free")
    with pytest.raises(GatewayError, match="free variant ended"):
        await gateway.answer(f"{SUCCESSOR}:free")

    assert [call.model for call in router.calls if call.method == "POST"] == [f"{SUCCESSOR}:free"]
    assert charged(router) == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_list_that_lies_is_believed_once(gateway, world, clock, stream):
    router = world.providers["openrouter"]
    router.fail("price_turned", times=1000)

    await gateway.answer(FREE, stream=stream)
    for _ in range(3):
        clock.advance(3600)
        await gateway.look("openrouter")
        with pytest.raises(NoSource, match=r"cost 0\.0021 dollars although"):
            await gateway.answer(FREE, stream=stream)

    assert (asked(router), charged(router)) == (1, 1)
    assert [c.name for c in gateway.changed if c.kind == "charged"] == ["openrouter"]


async def test_other_sources_go_on_when_one_is_shut(gateway, world):
    world.providers["openrouter"].fail("price_turned")
    await gateway.answer(FREE)

    answer = await gateway.answer("auto")

    assert answer.deployment.provider.name != "openrouter"


async def test_no_replica_asks_again_after_the_first_charge(world, clock, tmp_path):
    store, state = EmbeddedStore(tmp_path / "ledger"), SqliteState(tmp_path / "memory", clock)
    one, other = (Inside(world, clock, tmp_path, store=store, state=state) for _ in range(2))
    for replica in (one, other):
        await replica.look("openrouter")
    world.providers["openrouter"].fail("price_turned", times=1000)

    await one.answer(FREE)
    await one.ledger.flush()
    with pytest.raises(GatewayError):
        await other.answer(FREE)  # it has not heard of it yet: its buckets are shut all the same

    assert asked(world.providers["openrouter"]) == 1
    await one.parts.state.exchange()
    await other.parts.state.exchange()
    with pytest.raises(NoSource, match="although it was proved to be free"):
        await other.answer(FREE)


async def test_it_is_not_forgotten_by_a_restart_and_a_person_may_lift_it(world, clock, tmp_path):
    def start() -> Inside:
        return Inside(world, clock, tmp_path, state=SqliteState(tmp_path / "memory", clock))

    before = start()
    await before.look("openrouter")
    world.providers["openrouter"].fail("price_turned")
    await before.answer(FREE)
    await before.parts.aclose()

    after = start()
    await after.parts.state.exchange()
    after.discovery.know(after.discovery._providers)
    with pytest.raises(NoSource, match="although it was proved to be free"):
        await after.answer(FREE)
    assert after.engine.view.catalog.learned.readmit("openrouter")
    await after.answer(FREE)


async def test_a_plan_that_was_upgraded_under_us(gateway, world):
    groq = world.providers["groq"]
    groq.upgrade()

    await gateway.answer("groq/openai/gpt-oss-120b")
    for model in ("groq/openai/gpt-oss-120b", "groq/openai/gpt-oss-20b"):
        with pytest.raises(NoSource, match="a plan that is paid for"):
            await gateway.answer(model)

    assert (asked(groq), charged(groq)) == (1, 1)


async def test_the_free_plan_is_not_taken_for_a_paid_one(gateway, world):
    for _ in range(5):
        await gateway.answer("groq/openai/gpt-oss-20b", max_tokens=50)

    assert asked(world.providers["groq"]) == 5
    assert not gateway.changed


async def test_a_credit_is_spent_to_the_last_cent_and_no_further(gateway, world, clock):
    face = world.providers["huggingface"]
    served = 0
    for _ in range(3000):
        clock.advance(1)
        served += await gateway.ask("huggingface/openai/gpt-oss-120b:together", "word " * 500, 300)

    assert charged(face) == 0
    assert face.credit.used(clock()) <= 0.10
    assert face.credit.used(clock()) > 0.098, served


@pytest.mark.parametrize("name", ["openai/gpt-9", "openrouter/openai/gpt-9", "mine", "ours"])
async def test_a_paid_model_by_its_name_or_by_an_alias(world, clock, tmp_path, name):
    own = tmp_path / "own.toml"
    own.write_text('[alias]\nmine = "openai/gpt-9"\nours = ["openrouter/openai/gpt-9"]\n')
    gateway = Inside(world, clock, tmp_path, FREEWAY_CONFIG=str(own))
    await gateway.look("openrouter")

    with pytest.raises(UnknownModel, match="nothing proves that it costs nothing there"):
        await gateway.answer(name)

    assert asked(world.providers["openrouter"]) == 0


async def test_who_names_the_paid_variant_of_a_model_gets_the_free_one(gateway, world):
    await gateway.answer(SUCCESSOR)

    assert charged(world.providers["openrouter"]) == 0


async def test_two_gateways_with_different_lists(world, clock, tmp_path):
    state = SqliteState(tmp_path / "memory", clock)
    fresh, stale = (Inside(world, clock, tmp_path, state=state) for _ in range(2))
    await stale.look("openrouter")
    await stale.parts.state.exchange()
    router = world.providers["openrouter"]
    turn(router, FREE, PAID)
    clock.advance(60)
    await fresh.look("openrouter")

    with pytest.raises(GatewayError):
        await stale.answer(FREE)
    assert (asked(router), charged(router)) == (1, 0)

    await fresh.parts.state.exchange()
    await stale.parts.state.exchange()
    with pytest.raises(UnknownModel, match="nothing proves"):
        await stale.answer(FREE)
    assert asked(router) == 1


async def test_a_list_that_is_told_late_does_not_take_the_place_of_a_newer_one(world, clock, tmp_path):
    state = SqliteState(tmp_path / "memory", clock)
    fresh, slow = (Inside(world, clock, tmp_path, state=state) for _ in range(2))
    await slow.look("openrouter")
    turn(world.providers["openrouter"], FREE, PAID)
    clock.advance(60)
    await fresh.look("openrouter")
    for gateway in (fresh, slow, fresh, fresh, slow):
        await gateway.parts.state.exchange()

    for gateway in (fresh, slow):
        with pytest.raises(UnknownModel, match="nothing proves"):
            await gateway.answer(FREE)


async def test_a_proof_that_is_not_renewed_ends(gateway, world, clock):
    clock.advance(7201)

    with pytest.raises(NoSource, match="proof has expired"):
        await gateway.answer(FREE)

    assert asked(world.providers["openrouter"]) == 0


async def test_what_stands_for_a_model_elsewhere_is_not_local(gateway, world):
    ollama = world.providers["ollama"]
    elsewhere = next(model.id for model in ollama.models if model.runs_at)

    with pytest.raises(UnknownModel):
        await gateway.answer(f"ollama/{elsewhere}")

    assert not any(call.path == "/api/chat" for call in ollama.calls)


async def test_what_is_sent_cannot_cost_anything(gateway, world):
    fallbacks = {"models": [SUCCESSOR], "plugins": [{"id": "web"}], "web_search_options": {}}
    await gateway.answer(FREE, provider={"max_price": {"prompt": 9}, "allow_fallbacks": True}, **fallbacks)

    (sent,) = (msgspec.json.decode(c.body) for c in world.providers["openrouter"].calls if c.method == "POST")

    assert sent["model"] == FREE
    assert set(sent["provider"]["max_price"].values()) == {0}
    assert sent.pop("plugins") == [{"id": "web", "enabled": False}]
    assert not sent.keys() & fallbacks.keys()


@pytest.mark.parametrize("seed", range(5))
async def test_prices_that_come_and_go(world, clock, tmp_path, seed):
    chance = random.Random(seed)
    gateway = Inside(world, clock, tmp_path)
    router = world.providers["openrouter"]
    ids = [model.id for model in router.models if model.id.endswith(":free")]
    await gateway.look("openrouter")
    served = 0
    for _ in range(150):
        clock.advance(chance.uniform(1, 600))
        match chance.randrange(4):
            case 0:
                turn(router, chance.choice(ids), PAID if chance.random() < 0.5 else (0.0, 0.0))
            case 1:
                await gateway.look("openrouter")
            case _:
                served += await gateway.ask(chance.choice([*ids, "auto"]), "Say: yes", 20)

    assert charged(router) == 0
    assert served > 20


async def test_what_was_saved_is_told(gateway, tmp_path: Path):
    for _ in range(3):
        await gateway.answer("groq/openai/gpt-oss-120b", "word " * 200, max_tokens=100)

    (cost,) = await gateway.parts.costs.report()

    assert (cost.provider, cost.model, cost.requests, cost.spent) == ("groq", "gpt-oss-120b", 3, 0.0)
    assert 3e-5 < cost.saved < 3e-3
