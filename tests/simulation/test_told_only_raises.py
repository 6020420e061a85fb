"""What a provider says of tokens and of money only raises what is debited, whatever it says; and no answer is lost for it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.proof import cost_told, dearer, disproof, owed
from gateway.quota.nouns import Cost
from gateway.words import Deployment, GatewayError
from providers import dialect
from providers.chat import Usage
from providers.costs import COST, ESTIMATE
from providers.observations import Observation
from providers.simulator.world import World
from providers.spec import Timeouts
from tests.clock import FakeClock
from tests.deployments import deployment
from tests.simulation.inside import Arrived, InProcess, Inside

COUNTS = (
    b"prompt_tokens|completion_tokens|total_tokens|promptTokenCount|candidatesTokenCount|totalTokenCount|"
    b"prompt_eval_count|eval_count"
)

NONSENSE = (b"0", b"-5", b"true", b"false", b'"many"', b"[]", b"{}", b"-1e300", b"1e300", b"-" + b"9" * 31)
HUGE = (b"1000000000000", b"9223372036854775808", b"9" * 31)


class Telling(InProcess):
    """The wire, on which every count in an answer is *told* as something else."""

    told: bytes | None = None

    async def send(self, call: dialect.HttpRequest, timeouts: Timeouts) -> Arrived:
        arrived = await super().send(call, timeouts)
        if self.told is not None and call.method == "POST":
            arrived.body = re.sub(rb'("(?:%s)": ?)-?[\w.]+' % COUNTS, rb"\g<1>" + self.told, arrived.body)
        return arrived


class Scene:
    """One model at one provider, which tells what it is to tell."""

    def __init__(self, provider: str, folder: Path) -> None:
        self.clock = FakeClock()
        self.wire = Telling(World(self.clock, names=[provider]))
        self.provider, self.world = provider, self.wire._world
        self.gateway = Inside(self.world, self.clock, folder, wire=self.wire)

    @property
    def model(self) -> Deployment:
        """One that its provider really has."""
        served = tuple(model.id for model in self.world.providers[self.provider].models)
        found = self.gateway.engine.view.catalog.deployments()
        return next(d for d in found if d.target.model.startswith(served) and "tools" in d.capabilities)

    async def used(self, told: bytes, *, stream: bool) -> dict[str, float]:
        """What a call has debited of each bucket, days after the one before."""
        self.clock.advance(40 * 86_400)
        await self.gateway.look(self.provider)
        self.wire.told = told
        await self.gateway.answer(self.model.name, "word " * 40, max_tokens=30, stream=stream)
        levels = await self.gateway.ledger.levels(self.model.buckets)
        return {key: level.used for key, level in levels.items()}


@pytest.mark.parametrize("provider", ["groq", "google", "openrouter", "huggingface", "ollama", "cloudflare", "mistral"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_count_that_is_none_gives_nothing_back_and_loses_no_answer(provider: str, stream: bool, tmp_path: Path):
    scene = Scene(provider, tmp_path)
    untold = await scene.used(b"null", stream=stream)
    assert untold

    for told in NONSENSE:
        assert await scene.used(told, stream=stream) == pytest.approx(untold), told
    for told in HUGE:
        used = await scene.used(told, stream=stream)
        assert all(untold[key] - 1e-9 <= amount < 1e9 for key, amount in used.items()), told


@pytest.mark.parametrize("provider", ["groq", "google", "mistral"])
async def test_a_count_that_cannot_be_does_not_shut_a_source_for_long(provider: str, tmp_path: Path):
    scene = Scene(provider, tmp_path)
    await scene.used(b"9" * 31, stream=False)
    scene.wire.told = None
    scene.clock.advance(40 * 86_400)
    await scene.gateway.look(provider)

    await scene.gateway.answer(scene.model.name)


@pytest.mark.parametrize("cost", [-1, -1e9, True, False, "free", "", None, [], {}, "nan", "-0.5", 0])
async def test_a_cost_that_is_none_leaves_a_credit_as_it_was_and_shuts_nothing(cost: Any, tmp_path: Path):
    scene = Scene("huggingface", tmp_path)
    untold = await scene.used(b"null", stream=False)
    face: Any = scene.world.providers["huggingface"]
    plain = face.usage
    face.usage = lambda *told: {**plain(*told), "cost": cost, "estimated_cost": cost}

    assert await scene.used(b"null", stream=False) == pytest.approx(untold)
    assert not [change for change in scene.gateway.changed if change.kind in ("charged", "became paid")]


@pytest.mark.parametrize("counts", [b"0", b"null", b"-3"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["cost", "estimated_cost"])
async def test_a_cost_beside_counts_of_nothing_is_debited_and_takes_the_model_out(
    name: str, stream: bool, counts: bytes, tmp_path: Path
):
    scene = Scene("huggingface", tmp_path)
    face: Any = scene.world.providers["huggingface"]
    plain = face.usage
    face.usage = lambda *told: {**plain(*told), name: 0.05}
    used = await scene.used(counts, stream=stream)

    assert max(used[key] for key in used if "dollars" in key) == pytest.approx(0.05)
    with pytest.raises(GatewayError, match="list price"):
        await scene.gateway.answer(scene.model.name)


# ── the decision ──

COUNT = st.one_of(st.integers(-(10**40), 10**40), st.integers(-5, 500))
MONEY = st.one_of(
    st.none(), st.floats(allow_nan=True, allow_infinity=True), st.booleans(), st.text(max_size=5), st.just("0.25")
)
USAGE = st.builds(Usage, COUNT, COUNT, COUNT, cost=MONEY, estimated_cost=MONEY)
AMOUNT = st.floats(0, 1e6)
RESERVED = st.builds(Cost, AMOUNT, AMOUNT, AMOUNT, neurons=AMOUNT)
SAID = st.lists(
    st.builds(
        lambda unit, amount: Observation(unit, "answer", amount), st.sampled_from([COST, ESTIMATE]), st.floats(0, 9)
    )
)
PLAN = msgspec.structs.replace(deployment("groq/m"), context=8_000, prompt_price=1e-6, output_price=2e-6)
CREDIT = msgspec.structs.replace(PLAN, proof=msgspec.structs.replace(PLAN.proof, kind="credit"))


@given(st.sampled_from([PLAN, CREDIT]), RESERVED, st.none() | USAGE, SAID)
def test_whatever_is_told_the_debit_can_be_reckoned_with_and_money_only_grows(
    of: Deployment, reserved: Cost, usage: Usage | None, said: list[Observation]
):
    found, told = owed(of, reserved, usage, said), cost_told(of, usage, said)
    amounts = (found.prompt, found.output, found.dollars, found.neurons)

    assert all(math.isfinite(amount) and 0 <= amount < 1e10 for amount in amounts)
    assert told is None or 0 <= told <= found.dollars
    if usage is not None and isinstance(usage.cost, float) and usage.cost > 0:
        assert told
    if usage is None or usage.prompt_tokens <= 0:
        assert found.prompt == reserved.prompt
        assert found.dollars >= reserved.dollars
        assert found.neurons >= reserved.neurons
    if usage is None or usage.completion_tokens <= 0:
        assert found.output == reserved.output
    dearer(of, usage, said)
    assert (disproof(of, usage, said) is None) == (of is CREDIT or not told)
