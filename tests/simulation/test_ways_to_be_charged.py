"""
Ways in which a call that was free can turn into a paid one, done by the simulated providers. None leaves, or, where only the answer
can tell, the first one is the last. docs/cost.md lists them.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from gateway.app import make_providers
from gateway.words import GatewayError
from providers.dialect import HttpRequest, Target
from providers.failures import ProviderFailure
from providers.simulator.base import Refusal, Simulated, SimulatedModel
from providers.simulator.world import World
from providers.spec import Timeouts
from tests.calls import call
from tests.clock import FakeClock
from tests.payloads import SPECS
from tests.simulation.inside import ORIGIN, Arrived, InProcess, Inside

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


PRICED_WISHES: tuple[dict[str, Any], ...] = (
    {"service_tier": "priority"}, {"web_search_options": {}}, {"search_parameters": {"mode": "on"}},
    {"plugins": [{"id": "web"}]}, {"compound_custom": {"tools": {"enabled_tools": ["web_search"]}}},
    {"tools": [{"type": "web_search"}]}, {"tools": [{"type": "browser_search"}, {"google_search": {}}]},
)  # fmt: skip


@pytest.mark.parametrize("name", [
    "openrouter", "google", "groq", "nvidia", "huggingface", "mistral", "cerebras", "cloudflare", "cohere", "zai",
])  # fmt: skip
async def test_no_provider_is_sent_a_wish_that_has_a_price(name: str, world: World, clock: FakeClock, tmp_path: Path):
    """Tiers of service, searches, and tools that the provider itself would carry out."""
    provider, gateway = world.providers[name], Inside(world, clock, tmp_path)
    for wish in PRICED_WISHES:
        clock.advance(3_600)
        await gateway.look(name)
        served = tuple(model.id for model in provider.models)
        found = gateway.engine.view.catalog.deployments()
        chosen = next(d for d in found if d.target.model.startswith(served) and d.provider.name == name)
        await gateway.answer(chosen.name, max_tokens=20, **wish)

    sent = [msgspec.json.decode(call.body) for call in provider.calls if call.method == "POST"]
    assert len(sent) == len(PRICED_WISHES)
    for body in sent:
        assert not {"service_tier", "web_search_options", "search_parameters", "compound_custom"} & body.keys()
        assert not body.get("tools")
        assert body.get("plugins", []) in ([], [{"id": "web", "enabled": False}])


@pytest.mark.parametrize("suffix", [":online", ":nitro", ":floor", ":extended", ":thinking"])
@pytest.mark.parametrize("base", [MODEL, MODEL.removesuffix(":free")])
async def test_a_variant_of_a_free_model_that_has_a_price(
    base: str, suffix: str, world: World, clock: FakeClock, tmp_path: Path
):
    router, gateway = world.providers["openrouter"], Inside(world, clock, tmp_path)
    await gateway.look("openrouter")
    for name in (f"{base}{suffix}", f"openrouter/{base}{suffix}"):
        await gateway.ask(name, "hi", 20)

    assert {call.model for call in router.calls if call.method == "POST"} <= {MODEL}
    assert charged(router) == 0


async def test_a_model_that_is_free_until_a_day_is_asked_no_longer(
    world: World, clock: FakeClock, tmp_path: Path, monkeypatch
):
    """Its price stays zero in the list: the list is of before, and the day is over."""
    router = world.providers["openrouter"]
    plain = router.entry  # type: ignore[attr-defined]
    last = f"{datetime.fromtimestamp(clock.now(), UTC):%Y-%m-%d}"

    def dated(model: SimulatedModel) -> dict[str, Any]:
        return {**plain(model), "expiration_date": last if model.id == MODEL else None}

    monkeypatch.setattr(router, "entry", dated)
    gateway = Inside(world, clock, tmp_path)
    await gateway.look("openrouter")
    await gateway.answer(f"openrouter/{MODEL}")
    clock.advance(86_400 - clock.now() % 86_400 + 1)
    await gateway.look("openrouter")

    with pytest.raises(GatewayError):
        await gateway.answer(f"openrouter/{MODEL}")
    assert asked(router) == 1


async def test_a_model_whose_neurons_nobody_published(world: World, clock: FakeClock, tmp_path: Path, monkeypatch):
    """Whoever names it in the configuration."""
    cloudflare, new = world.providers["cloudflare"], "@cf/acme/brand-new-70b"
    monkeypatch.setattr(
        cloudflare, "models", [*cloudflare.models, msgspec.structs.replace(cloudflare.models[0], id=new)]
    )
    own = tmp_path / "own.toml"
    own.write_text(f'[provider.cloudflare]\nstatic_models = ["{new}", "{cloudflare.models[0].id}"]\n')
    gateway = Inside(world, clock, tmp_path, FREEWAY_CONFIG=str(own))
    await gateway.look("cloudflare")

    with pytest.raises(GatewayError):
        await gateway.answer(f"cloudflare/{new}")
    assert asked(cloudflare) == 0
    await gateway.answer(f"cloudflare/{cloudflare.models[0].id}")


class Seeing(InProcess):
    """A wire that keeps what was sent by it."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.sent: list[HttpRequest] = []

    async def send(self, call: HttpRequest, timeouts: Timeouts) -> Arrived:
        self.sent.append(call)
        return await super().send(call, timeouts)


@pytest.mark.parametrize("name", ["ovhcloud", "llm7", "kilo"])
async def test_a_key_where_none_is_needed_is_never_sent(name: str, world: World, clock: FakeClock, tmp_path: Path):
    """With a key OVHcloud bills. None is taken from the environment, whatever it is called; at its address is a provider with keys."""
    address = SPECS[name].base_url_env or ""
    variables: dict[str, Any] = {f"{name.upper()}_{end}": "billed" for end in ("API_KEY", "API_TOKEN", "TOKEN")}
    variables |= {"OVH_AI_ENDPOINTS_ACCESS_TOKEN": "billed", "FREEWAY_KEYLESS": "1", address: f"{ORIGIN}/mistral/v1"}
    settings, wire = Inside(world, clock, tmp_path, **variables).settings, Seeing(world)
    provider = make_providers(settings, wire, {})[name]
    for ask in (provider.discover(), provider.send(Target(provider.account, "m"), call("m").request)):
        with contextlib.suppress(ProviderFailure):
            await ask

    assert len(wire.sent) == 2
    assert not any(b"billed" in msgspec.json.encode([one.url, one.headers]) for one in wire.sent)
    assert {call.status for call in world.providers["mistral"].calls} == {401}


@pytest.mark.parametrize("name", ["groq", "openrouter", "mistral"])
async def test_a_402_is_the_last_answer_of_that_day(
    name: str, world: World, clock: FakeClock, tmp_path: Path, monkeypatch
):
    """A trial that is over, a plan that ended, a balance below zero."""
    provider, gateway = world.providers[name], Inside(world, clock, tmp_path)
    await gateway.look(name)
    served = tuple(model.id for model in provider.models)
    chosen = next(
        d
        for d in gateway.engine.view.catalog.deployments()
        if d.provider.name == name and d.target.model.startswith(served)
    )

    def refuse(why: str, model: SimulatedModel) -> NoReturn:
        raise Refusal(402, {"error": {"message": "Payment required", "code": 402}})

    monkeypatch.setattr(provider, "refuse", refuse)
    provider.fail("busy", times=99)
    for _ in range(5):
        clock.advance(3_600)
        await gateway.look(name)
        await gateway.ask(chosen.name, "hi", 20)

    assert asked(provider) == 1
    assert charged(provider) == 0
