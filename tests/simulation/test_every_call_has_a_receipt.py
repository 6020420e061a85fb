"""Whatever becomes of a call, once it left there is one receipt of it, and what never left has none."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from gateway.events import Announcer
from gateway.observe.receipts import Receipts
from gateway.observe.receipts_audit import audit
from gateway.words import GatewayError
from providers.failures import ProviderFailure
from providers.simulator.world import World
from tests.clock import FakeClock
from tests.simulation.inside import Inside

SOURCES = ("groq", "openrouter", "nvidia", "huggingface")
FAULTS = (
    None, None, "busy", "rate_limited:minute", "empty", "html", "bad_json", "error_200", "server_error", "gone", "moderation",
    "price_turned", "error_in_stream", "limited_in_stream",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
async def test_calls_at_the_providers_and_receipts_are_the_same_ones(seed: int, tmp_path: Path):
    chance, clock = random.Random(seed), FakeClock()
    world = World(clock, names=SOURCES)
    gateway = Inside(world, clock, tmp_path)
    receipts = Receipts(tmp_path / "receipts", clock, gateway.parts.state)
    assert isinstance(gateway.engine.tell, Announcer)
    gateway.engine.tell.add(receipts)
    await gateway.look(*SOURCES)
    for _ in range(120):
        clock.advance(chance.choice((0.1, 3, 40)))
        if fault := chance.choice(FAULTS):
            world.providers[chance.choice(SOURCES)].fail(fault, times=1)
        more = {"stream": True} if chance.random() < 0.5 else {}
        with contextlib.suppress(GatewayError, ProviderFailure):
            await gateway.answer("auto", "word " * chance.choice((1, 50)), max_tokens=chance.choice((20, 500)), **more)
        if chance.random() < 0.2:
            await receipts.write()
    await receipts.aclose()
    found = audit(tmp_path / "receipts", {})
    left = [call for other in world.providers.values() for call in other.calls if call.method == "POST"]
    (run,) = found.runs

    assert found.whole
    assert (run.count, run.notes) == (len(left), [])
    assert run.count > 80
    assert sum(call.charged for call in left) == pytest.approx(found.spent)
    assert sum(call.charged > 0 for call in left) <= 1


async def test_what_cannot_be_said_at_a_source_never_left(tmp_path: Path):
    clock = FakeClock()
    world = World(clock, names=["groq"])
    gateway = Inside(world, clock, tmp_path)
    receipts = Receipts(tmp_path / "receipts", clock, gateway.parts.state)
    assert isinstance(gateway.engine.tell, Announcer)
    gateway.engine.tell.add(receipts)
    await gateway.look("groq")
    world.providers["groq"].fail("reset", times=1)
    with pytest.raises(GatewayError):
        await gateway.answer("groq/openai/gpt-oss-120b", messages=[{"role": "user", "content": [{"type": "odd"}]}])
    await receipts.aclose()

    assert receipts._left == 0
    assert not list((tmp_path / "receipts").glob("*-*.jsonl"))
