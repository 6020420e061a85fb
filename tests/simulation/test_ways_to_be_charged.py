"""
Ways in which a call that was free can turn into a paid one, done by the simulated providers. None leaves, or, where only the answer
can tell, the first one is the last. docs/cost.md lists them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.words import GatewayError
from providers.simulator.base import Simulated, SimulatedModel
from providers.simulator.world import World
from tests.clock import FakeClock
from tests.simulation.inside import Inside

MODEL = "google/gemma-4-31b-it:free"
FACE = "openai/gpt-oss-120b"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(clock: FakeClock) -> World:
    return World(clock)


def asked(provider: Simulated) -> int:
    return sum(call.method == "POST" for call in provider.calls)


def charged(provider: Simulated) -> int:
    return sum(call.charged > 0 for call in provider.calls)


PRICES: dict[str, Any] = {
    "a tiny price of the prompt": {"prompt": "0.0000001", "completion": "0"},
    "a tiny price of the answer": {"prompt": "0", "completion": "0.0000001"},
    "a price in another notation": {"prompt": "1e-9", "completion": "0"},
    "a price that changes": {"prompt": "-1", "completion": "-1"},
    "a price as a number": {"prompt": 1e-7, "completion": 0},
    "no price of the prompt": {"completion": "0"},
    "no price of the answer": {"prompt": "0"},
    "no prices": {},
    "null for a price": {"prompt": None, "completion": "0"},
    "null for prices": None,
    "a word for a price": {"prompt": "free", "completion": "free"},
    "an empty price": {"prompt": "", "completion": "0"},
    "a truth for a price": {"prompt": False, "completion": False},
    "not a number": {"prompt": "nan", "completion": "0"},
    "a price of infinity": {"prompt": "inf", "completion": "0"},
    "a list for a price": {"prompt": ["0"], "completion": "0"},
    "a price of each request": {"prompt": "0", "completion": "0", "request": "0.01"},
    "a price of a picture": {"prompt": "0", "completion": "0", "image": "0.001"},
    "a price of a search": {"prompt": "0", "completion": "0", "web_search": "0.004"},
    "a price of thoughts": {"prompt": "0", "completion": "0", "internal_reasoning": "0.000001"},
    "a price of the cache": {"prompt": "0", "completion": "0", "input_cache_write": "0.000001"},
    "a price of sound": {"prompt": "0", "completion": "0", "audio": "0.0001"},
    "a price that nobody knows": {"prompt": "0", "completion": "0", "new_thing": "0.1"},
    "an unknown price that is null": {"prompt": "0", "completion": "0", "new_thing": None},
    "a price for long prompts": {
        "prompt": "0",
        "completion": "0",
        "overrides": [{"min_prompt_tokens": 9, "prompt": "1"}],
    },
    "a price at night": {"prompt": "0", "completion": "0", "overrides": [{"utc_start": "22:00", "completion": "1"}]},
    "an override that is none": {"prompt": "0", "completion": "0", "overrides": ["odd"]},
}


@pytest.mark.parametrize("pricing", PRICES.values(), ids=PRICES.keys())
async def test_a_price_in_openrouters_list(pricing: Any, world: World, clock: FakeClock, tmp_path: Path, monkeypatch):
    router = world.providers["openrouter"]
    plain = router.entry  # type: ignore[attr-defined]

    def priced(model: SimulatedModel) -> dict[str, Any]:
        entry: dict[str, Any] = plain(model)
        return {**entry, "pricing": pricing} if model.id == MODEL else entry

    monkeypatch.setattr(router, "entry", priced)
    gateway = Inside(world, clock, tmp_path)
    await gateway.look("openrouter")

    with pytest.raises(GatewayError):
        await gateway.answer(f"openrouter/{MODEL}")
    assert asked(router) == 0


OFFERS: dict[str, dict[str, Any]] = {
    "no price": {},
    "half a price": {"pricing": {"input": 0.1}},
    "null for a price": {"pricing": {"input": None, "output": 0.1}},
    "a truth for a price": {"pricing": {"input": False, "output": False}},
    "a negative price": {"pricing": {"input": -1, "output": -1}},
    "a price as text": {"pricing": {"input": "0", "output": "0"}},
    "given away, in a word": {"is_free": "true"},
    "given away, as a number": {"is_free": 1},
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
async def test_an_offer_at_hugging_face_of_unknown_price(
    offer: dict[str, Any], world: World, clock: FakeClock, tmp_path: Path, monkeypatch
):
    face = world.providers["huggingface"]
    plain = face.entry  # type: ignore[attr-defined]

    def priced(model: SimulatedModel) -> dict[str, Any]:
        found: dict[str, Any] = plain(model)
        made = {"provider": "together", "status": "live", "supports_tools": True, **offer}
        return {**found, "providers": [made]} if model.id == FACE else found

    monkeypatch.setattr(face, "entry", priced)
    gateway = Inside(world, clock, tmp_path)
    await gateway.look("huggingface")

    with pytest.raises(GatewayError):
        await gateway.answer(f"huggingface/{FACE}:together")
    assert asked(face) == 0


@pytest.mark.parametrize("wish", [
    {"plugins": [{"id": "web"}]}, {"models": ["openai/gpt-9"]}, {"route": "fallback"}, {"transforms": ["middle-out"]},
    {"web_search_options": {}}, {"provider": {"max_price": {"prompt": 99}}}, {"service_tier": "priority"},
])  # fmt: skip
async def test_a_caller_that_wishes_for_what_has_a_price(
    wish: dict[str, Any], world: World, clock: FakeClock, tmp_path: Path
):
    router = world.providers["openrouter"]
    gateway = Inside(world, clock, tmp_path)
    await gateway.look("openrouter")
    await gateway.answer(f"openrouter/{MODEL}", **wish)
    (sent,) = (msgspec.json.decode(call.body) for call in router.calls if call.method == "POST")

    assert sent["provider"]["max_price"] == {"prompt": 0, "completion": 0, "request": 0, "image": 0, "audio": 0}
    assert sent["plugins"] == [{"id": "web", "enabled": False}]
    assert not {"models", "route", "transforms", "web_search_options", "service_tier"} & sent.keys()


@pytest.mark.parametrize(
    ("provider", "model"),
    [("groq", "groq/openai/gpt-oss-20b"), ("mistral", "mistral/ministral-8b-latest")],
)
async def test_billing_that_was_switched_on_is_seen_at_the_first_answer(
    provider: str, model: str, world: World, clock: FakeClock, tmp_path: Path
):
    gateway = Inside(world, clock, tmp_path)
    await gateway.look(provider)
    other = world.providers[provider]
    other.upgrade()

    await gateway.answer(model)
    for _ in range(3):
        with pytest.raises(GatewayError, match="a plan that is paid for"):
            await gateway.answer(model)
    assert (asked(other), charged(other)) == (1, 1)


@pytest.mark.parametrize("model", ["@cf/openai/gpt-oss-120b", "@cf/qwen/qwen3.8-27b"])
async def test_on_workers_paid_no_more_than_the_free_neurons_are_used(
    model: str, world: World, clock: FakeClock, tmp_path: Path
):
    cloudflare = world.providers["cloudflare"]
    cloudflare.upgrade()
    gateway = Inside(world, clock, tmp_path)
    await gateway.look("cloudflare")
    for _ in range(1500):
        clock.advance(1)
        await gateway.ask(f"cloudflare/{model}", "word " * 300, 400)

    assert cloudflare.charged == 0
    assert 9_000 < cloudflare.neurons.used(clock()) <= 10_000  # type: ignore[attr-defined]


async def test_a_prepaid_credit_at_hugging_face_used_by_another_program(world: World, clock: FakeClock, tmp_path: Path):
    """Where nothing can be paid, the provider refuses; the account is left alone from then on."""
    face = world.providers["huggingface"]
    gateway = Inside(world, clock, tmp_path)
    await gateway.look("huggingface")
    face.credit.take(0.0999, clock())  # type: ignore[attr-defined]
    for _ in range(200):
        clock.advance(1)
        await gateway.ask(f"huggingface/{FACE}:together", "word " * 500, 300)

    assert asked(face) < 8


async def test_a_quota_of_a_project_with_billing_shuts_google(
    world: World, clock: FakeClock, tmp_path: Path, monkeypatch
):
    google = world.providers["google"]
    gateway = Inside(world, clock, tmp_path)
    await gateway.look("google")
    model = next(d.name for d in gateway.engine.view.catalog.deployments() if d.provider.name == "google")
    google.fail("would_cost", times=9)
    for _ in range(3):
        await gateway.ask(model, "hi", 20)

    assert asked(google) == 1
