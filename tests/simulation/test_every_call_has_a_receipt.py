"""Whatever becomes of a call, once it left there is one receipt of it, and what never left has none."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from gateway.app import make_receipts
from gateway.events import Announcer
from gateway.observe.receipts_audit import audit
from gateway.quota.debited import debited_in_file
from gateway.quota.sqlite import EmbeddedStore
from gateway.words import GatewayError
from providers import dialect
from providers.failures import ProviderFailure, Unreachable
from providers.simulator.world import World
from providers.spec import Timeouts
from tests.clock import FakeClock
from tests.simulation.inside import Arrived, InProcess, Inside

SOURCES = ("groq", "openrouter", "nvidia", "huggingface")
FAULTS = (
    None, None, "busy", "rate_limited:minute", "empty", "html", "bad_json", "error_200", "server_error", "gone", "moderation",
    "price_turned", "error_in_stream", "limited_in_stream",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
async def test_calls_at_the_providers_and_receipts_are_the_same_ones(seed: int, tmp_path: Path):
    chance, clock = random.Random(seed), FakeClock()
    world = World(clock, names=SOURCES)
    gateway = Inside(world, clock, tmp_path, store=EmbeddedStore(tmp_path / "ledger.sqlite"))
    receipts = make_receipts(gateway.settings, gateway.parts)
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
    found = audit(tmp_path / "receipts", {}, debited_in_file(tmp_path / "ledger.sqlite"))
    left = [call for other in world.providers.values() for call in other.calls if call.method == "POST"]
    (run,) = found.runs

    assert found.whole
    assert (run.count, run.without_receipt, run.notes) == (len(left), 0, [])
    assert run.debited is not None
    assert run.debited >= run.count
    assert run.count > 80
    assert sum(call.charged for call in left) == pytest.approx(found.spent)
    assert sum(call.charged > 0 for call in left) <= 1


class Nowhere(InProcess):
    """A wire that has no connection for calls."""

    async def send(self, call: dialect.HttpRequest, timeouts: Timeouts) -> Arrived:
        if call.method == "POST":
            failure = Unreachable("no connection could be made")
            failure.reached = "unsent"
            raise failure
        return await super().send(call, timeouts)


async def test_what_cannot_be_sent_never_left_and_is_accounted_for(tmp_path: Path):
    clock = FakeClock()
    world = World(clock, names=["groq"])
    store = EmbeddedStore(tmp_path / "ledger.sqlite")
    gateway = Inside(world, clock, tmp_path, store=store, wire=Nowhere(world))
    receipts = make_receipts(gateway.settings, gateway.parts)
    assert isinstance(gateway.engine.tell, Announcer)
    gateway.engine.tell.add(receipts)
    await gateway.look("groq")
    with pytest.raises(GatewayError):
        await gateway.answer("groq/openai/gpt-oss-120b")
    await receipts.aclose()

    assert receipts._left == 0
    (run,) = audit(tmp_path / "receipts", {}, debited_in_file(tmp_path / "ledger.sqlite")).runs
    assert (run.count, run.debited, run.without_receipt, run.notes) == (0, 1, 0, [])
