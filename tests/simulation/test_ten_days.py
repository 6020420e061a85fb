"""
Ten simulated days with each provider's own way of counting, and another program that uses the same account.

Two twins see what the provider sees. *Alone* counts only our calls: what it would have refused, we should have known.
*Ideal* is asked by a caller who knows at every moment whether there is room: what it served is what could be had.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from providers.simulator.base import Simulated
from providers.simulator.quotas import fits
from providers.simulator.world import ALL, World
from tests.clock import FakeClock
from tests.simulation.inside import Inside

DAYS = 10
DAY, HOUR, MINUTE = 86_400.0, 3600.0, 60.0
TEXT = "Tell me what you know about counting. " * 40
REFRESH = 1800.0

KINDS: dict[str, Callable[[FakeClock], Simulated]] = {kind.name: kind for kind in ALL}


class Days(Struct, frozen=True):
    """How one account is used: questions at *every* so many seconds and in *bursts* a day, and what others *eat*."""

    provider: str
    model: str
    every: float
    bursts: int
    burst: int  # questions
    eat: int  # requests of others a day
    gap: float = 1.5  # seconds between two questions of a burst, on average
    max_tokens: int = 200


ACCOUNTS = [
    Days("openrouter", "google/gemma-4-31b-it:free", every=1300, bursts=1, burst=30, eat=12),
    Days("google", "gemini-3.5-flash", every=2400, bursts=2, burst=9, eat=5),
    Days("google", "gemini-3.5-flash-lite", every=600, bursts=12, burst=40, eat=60),
    Days("groq", "openai/gpt-oss-120b", every=400, bursts=4, burst=30, eat=60, max_tokens=400),
    Days("nvidia", "nvidia/nemotron-3-super-120b-a12b", every=3600, bursts=3, burst=120, eat=30, gap=0.8),
    Days("mistral", "mistral-small-latest", every=3600, bursts=3, burst=120, eat=30, gap=0.8),
    Days("cerebras", "gpt-oss-120b", every=1800, bursts=5, burst=20, eat=20),
]


def arrivals(days: Days, chance: random.Random) -> Iterator[tuple[float, str]]:
    """Moments from the start, in order, and what happens: ``ask``, ``eat`` or ``look``."""
    events: list[tuple[float, str]] = []
    for day in range(DAYS):
        at = day * DAY
        while (at := at + chance.expovariate(1 / days.every)) < (day + 1) * DAY:
            events.append((at, "ask"))
        for _ in range(days.bursts):
            start = day * DAY + chance.uniform(0, DAY - HOUR)
            events += [(start := start + chance.uniform(0.1, 1.9) * days.gap, "ask") for _ in range(days.burst)]
        events += [(day * DAY + chance.uniform(0, DAY), "eat") for _ in range(days.eat)]
    events += [(at * REFRESH + 0.5, "look") for at in range(int(DAYS * DAY / REFRESH))]
    yield from sorted(events)


class Witness:
    """The provider and its twins, and what they saw."""

    def __init__(self, days: Days, clock: FakeClock) -> None:
        self.days, self.clock = days, clock
        self.world = World(clock, names=[days.provider])
        self.real = self.world.providers[days.provider]
        self.alone, self.ideal = KINDS[days.provider](clock), KINDS[days.provider](clock)
        self.tokens = 0.0
        self.asked = self.served = self.could = self.avoidable = self.again = self.refused = 0
        self.shut_until = 0.0

    def room(self, provider: Simulated) -> bool:
        return all(fits(meter, amount, self.clock()) for meter, amount in self.debits(provider))

    def debits(self, provider: Simulated) -> list:
        return provider.meters_of(provider.model(self.days.model), 1, self.tokens)

    def eaten(self) -> None:
        """The other program takes one request, where there is room for it."""
        for provider in (self.real, self.ideal):
            if self.room(provider):
                provider.eat(1, self.days.model, int(self.tokens))

    def ideally(self) -> None:
        if self.room(self.ideal):
            self.could += 1
            self.ideal.eat(1, self.days.model, int(self.tokens))

    async def asked_by(self, inside: Inside) -> None:
        self.asked += 1
        self.ideally()
        known, calls, refused = self.room(self.alone), len(self.real.calls), self.real.refused
        moment = self.clock()
        served = await inside.ask(f"{self.days.provider}/{self.days.model}", TEXT, self.days.max_tokens)
        self.served += served
        if served or (self.days.provider == "openrouter" and len(self.real.calls) > calls):  # which counts refusals
            self.alone.eat(1, self.days.model, int(self.tokens))
        if self.real.refused > refused:
            self.refused += 1
            self.avoidable += not known
            self.again += moment < self.shut_until
            self.shut_until = max(
                meter.resets_at(moment, amount)
                for meter, amount in self.debits(self.real)
                if not fits(meter, amount, moment)
            )


@pytest.mark.parametrize("days", ACCOUNTS, ids=lambda days: f"{days.provider}-{days.model}")
async def test_nothing_is_refused_that_counting_could_avoid_and_next_to_nothing_is_left(days: Days, tmp_path: Path):
    clock = FakeClock()
    start = clock()
    witness = Witness(days, clock)
    inside = Inside(witness.world, clock, tmp_path)
    await inside.look(days.provider)
    before = {key: used for key, (used, _) in witness.real.quota.items()}
    assert await inside.ask(f"{days.provider}/{days.model}", TEXT, days.max_tokens)
    witness.tokens = _tokens(witness.real, before)
    for twin in (witness.alone, witness.ideal):
        twin.eat(1, days.model, int(witness.tokens))

    for at, what in arrivals(days, random.Random(days.model)):
        clock.advance(max(0.0, start + 5 + at - clock()))
        match what:
            case "ask":
                await witness.asked_by(inside)
            case "eat":
                witness.eaten()
            case _:
                await inside.look(days.provider)

    assert witness.could < witness.asked  # else the limits were never met
    assert (witness.avoidable, witness.again) == (0, 0)
    assert witness.served >= 0.99 * witness.could
    await inside.ledger.aclose()


def _tokens(real: Simulated, before: dict[str, float]) -> float:
    """What one question takes from the meters that count tokens; requests take one."""
    return max(used - before.get(key, 0.0) for key, (used, _) in real.quota.items())
