"""
An account that can be charged is not used unless a person allows it, and what a provider says of a cost only raises what is
counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import settings as s
from gateway.catalog.discovery import KeptList
from gateway.catalog.proof import Certainty, certainty, owed
from gateway.quota.nouns import Cost
from gateway.words import GatewayError, UnknownModel
from providers import dialects
from providers import failures as f
from providers.chat import Usage
from providers.dialect import HttpResponse, Listing, Standing
from providers.simulator.huggingface import HuggingFace
from providers.simulator.world import World
from tests.clock import FakeClock
from tests.conftest import CONFIG
from tests.payloads import SPECS, account
from tests.simulation.inside import Inside

MODEL = "huggingface/openai/gpt-oss-120b:together"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(clock: FakeClock) -> World:
    return World(clock, names=["huggingface"])


@pytest.fixture
def face(world: World) -> HuggingFace:
    found = world.providers["huggingface"]
    assert isinstance(found, HuggingFace)
    return found


def asked(face: HuggingFace) -> int:
    return sum(call.method == "POST" for call in face.calls)


async def gateway_at(world: World, clock: FakeClock, folder: Path, own: str = "") -> Inside:
    (folder / "own.toml").write_text(own)
    made = Inside(world, clock, folder, FREEWAY_CONFIG=str(folder / "own.toml"))
    await made.look("huggingface")
    return made


async def test_an_account_that_can_pay_is_asked_nothing(world, face, clock, tmp_path):
    face.can_pay = True
    gateway = await gateway_at(world, clock, tmp_path)

    with pytest.raises(UnknownModel, match="nothing proves that it costs nothing"):
        await gateway.answer(MODEL)

    assert asked(face) == 0
    told = gateway.discovery.shut("huggingface")
    assert told is not None
    assert "credit = 0.10" in told
    assert [(c.kind, c.name) for c in gateway.changed] == [("withdrawn", "huggingface")]


async def test_one_that_can_pay_from_now_on_is_shut_at_the_next_look_and_open_when_it_no_longer_can(
    world, face, clock, tmp_path
):
    gateway = await gateway_at(world, clock, tmp_path)
    await gateway.answer(MODEL)

    face.can_pay = True
    await gateway.look("huggingface")
    with pytest.raises(GatewayError):
        await gateway.answer(MODEL)
    assert asked(face) == 1

    face.can_pay = None  # a hub that is away has not taken back what it said
    await gateway.look("huggingface")
    with pytest.raises(GatewayError):
        await gateway.answer(MODEL)
    assert asked(face) == 1

    face.can_pay = False
    await gateway.look("huggingface")
    await gateway.answer(MODEL)
    assert (asked(face), face.charged) == (2, 0)


async def test_it_stays_shut_over_a_restart(world, face, clock, tmp_path):
    face.can_pay = True
    gateway = await gateway_at(world, clock, tmp_path)
    kept = gateway.parts.state.entries("lists", KeptList)["huggingface"]

    assert kept.standing.can_pay is True
    gateway.discovery._take_in("huggingface", kept)
    with pytest.raises(GatewayError):
        await gateway.answer(MODEL)


async def test_a_hub_that_is_away_leaves_the_documented_credit(world, face, clock, tmp_path):
    face.can_pay = None
    gateway = await gateway_at(world, clock, tmp_path)
    await gateway.answer(MODEL)

    assert gateway.discovery.standing("huggingface").can_pay is None
    assert asked(face) == 1


async def test_a_person_may_allow_so_many_dollars_and_no_more_are_used(world, face, clock, tmp_path):
    face.can_pay = True
    gateway = await gateway_at(world, clock, tmp_path, "[provider.huggingface]\ncredit = 0.02\n")
    for _ in range(1000):
        clock.advance(1)
        await gateway.ask(MODEL, "word " * 500, 300)

    assert 0.018 < face.credit.used(clock()) <= 0.02
    assert face.charged == 0


def test_a_credit_where_none_is_drawn_on_is_a_mistake(tmp_path):
    (tmp_path / "own.toml").write_text("[provider.groq]\ncredit = 1.0\n")
    with pytest.raises(s.BadSettings, match="nothing is paid from a credit"):
        s.load(CONFIG, {"FREEWAY_CONFIG": str(tmp_path / "own.toml")}, tmp_path)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "https://huggingface.co"),
        ({"HF_ENDPOINT": "https://hub.acme.example/"}, "https://hub.acme.example"),
        ({"HF_BASE_URL": "http://127.0.0.1:9/hf/v1"}, "http://127.0.0.1:9"),
        ({"HF_BASE_URL": "http://127.0.0.1:9/hf/v1", "HF_ENDPOINT": "http://hub:8"}, "http://hub:8"),
    ],
)
def test_the_hub_is_asked_at_its_own_address_else_beside_the_router(environ, expected, tmp_path):
    assert s.load(CONFIG, environ, tmp_path).provider["huggingface"].hub == expected


def test_an_address_of_the_hub_that_is_none_is_told(tmp_path):
    with pytest.raises(s.BadSettings, match="HF_ENDPOINT"):
        s.load(CONFIG, {"HF_ENDPOINT": "hub"}, tmp_path)


# ── what the hub says ──


def listing(*answers: HttpResponse | f.ProviderFailure) -> Listing:
    """What discovery makes of *answers*, in their order."""
    of = account("huggingface")
    discovery = dialects.by_name("huggingface").discover(of)
    next(discovery)
    try:
        for answer in answers:
            question = discovery.throw(answer) if isinstance(answer, Exception) else discovery.send(answer)
            assert question.headers["authorization"] == "Bearer key"
    except StopIteration as stop:
        found: Listing = stop.value
        return found
    raise AssertionError("it asks for more")


LIST = HttpResponse(200, {}, b'{"data": []}')


@pytest.mark.parametrize(
    ("answer", "can_pay"),
    [
        (HttpResponse(200, {}, b'{"canPay": true}'), True),
        (HttpResponse(200, {}, b'{"canPay": "true"}'), True),
        (HttpResponse(200, {}, b'{"canPay": 1}'), True),
        (HttpResponse(200, {}, b'{"canPay": false, "isPro": false}'), False),
        (HttpResponse(200, {}, b'{"canPay": null}'), None),
        (HttpResponse(200, {}, b'{"isPro": true}'), None),
        (HttpResponse(200, {}, b'{"canPay": {}}'), None),
        (HttpResponse(200, {}, b"<html>"), None),
        (HttpResponse(200, {}, b"[]"), None),
        (HttpResponse(200, {}, b"\xff"), None),
        (HttpResponse(404, {}, b""), None),
        (HttpResponse(401, {}, b'{"error": "no"}'), None),
        (f.Unreachable("refused"), None),
    ],
)
def test_only_a_plain_word_shuts_or_proves(answer: HttpResponse | f.ProviderFailure, can_pay: bool | None):
    found = listing(LIST, answer)

    assert found.standing.can_pay is can_pay
    assert found.standing.because


def test_a_list_that_cannot_be_had_is_still_a_failure():
    with pytest.raises(f.Unreachable):
        listing(f.Unreachable("refused"))


# ── how sure it is, in words ──


@pytest.mark.parametrize(
    ("provider", "standing", "level"),
    [
        ("ollama", Standing(), "proven"),
        ("openrouter", Standing(), "proven"),
        ("groq", Standing(), "promised"),
        ("google", Standing(), "not knowable"),
        ("cloudflare", Standing(), "not knowable"),
        ("cerebras", Standing(), "not knowable"),
        ("huggingface", Standing(), "not knowable"),
        ("huggingface", Standing(False, "can pay nothing"), "proven"),
        ("huggingface", Standing(True, "has a card"), "not knowable"),
    ],
)
def test_how_far_it_is_known_that_an_account_costs_nothing(provider: str, standing: Standing, level: str):
    found = certainty(SPECS[provider], standing)

    assert found.level == level
    assert found.why


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_every_provider_says_what_is_read_or_what_is_left_to_faith(spec):
    assert isinstance(found := certainty(spec, Standing()), Certainty)
    assert found.why


# ── what is told only raises ──

RESERVED = Cost(100, 50, 0.5, neurons=7)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, RESERVED),
        (Usage(10, 5, 15), Cost(10, 5, 20e-3)),
        (Usage(0, 0, 0), RESERVED),
        (Usage(-5, -5, -10), RESERVED),
        (Usage(0, 5, 5), Cost(100, 5, 0.5, neurons=7)),
        (Usage(10, 0, 10), Cost(10, 50, 110e-3)),
        (Usage(10, 5, 15, cost=0.2), Cost(10, 5, 0.2)),
        (Usage(10, 5, 15, cost=0.001), Cost(10, 5, 20e-3)),
        (Usage(10, 5, 15, estimated_cost="0.3"), Cost(10, 5, 0.3)),
        (Usage(10, 5, 15, cost=-3.0), Cost(10, 5, 20e-3)),
        (Usage(10**30, 5, 15), Cost(131_072, 5, 131.082)),
        (Usage(10, 10**30, 15), Cost(10, 131_072, 262.154)),
        (Usage(0, 0, 0, estimated_cost=0.7), Cost(100, 50, 0.7, neurons=7)),
    ],
)
async def test_what_a_provider_says_only_raises_what_is_debited(
    usage: Usage | None, expected: Cost, world, face, clock, tmp_path
):
    gateway = await gateway_at(world, clock, tmp_path)
    (deployment,) = (d for d in gateway.engine.view.catalog.deployments() if d.name == MODEL)
    priced = msgspec.structs.replace(deployment, prompt_price=1e-3, output_price=2e-3)
    found = owed(priced, RESERVED, usage)

    assert (found.prompt, found.output, found.neurons) == (expected.prompt, expected.output, expected.neurons)
    assert found.dollars == pytest.approx(expected.dollars)


async def test_a_cost_above_the_list_price_takes_the_model_out(world, face, clock, tmp_path):
    gateway = await gateway_at(world, clock, tmp_path)
    plain = face.usage

    def dear(*told: Any) -> dict[str, Any]:
        return {**plain(*told), "estimated_cost": 0.004}

    face.usage = dear
    await gateway.answer(MODEL)
    with pytest.raises(GatewayError, match="list price"):
        await gateway.answer(MODEL)

    assert asked(face) == 1
    await gateway.answer("huggingface/Qwen/Qwen3.8-27B:together")
