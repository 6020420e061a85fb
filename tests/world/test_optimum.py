"""The optimum is fair: no subject beats it, and one that knows all comes near it."""

from __future__ import annotations

import pytest

from tests.world import catalogue as c
from tests.world.callers import Client, Kind, Load
from tests.world.models import Fault
from tests.world.optimum import optimum
from tests.world.run import Run, run
from tests.world.scenarios import CLIENTS, MIX, SCENARIOS, TEXT, Scenario
from tests.world.sources import Source
from tests.world.subjects import SIMPLE, Failover, Greedy

MINUTES = 1.0


def load(rate: float, mix: dict[Kind, float] = MIX, clients: dict[Client, float] = CLIENTS) -> Load:
    return Load(rate=lambda _: rate, kinds=lambda _: mix, clients=clients)


def right(ran: Run) -> int:
    return sum(told.verdict == "right" for told in ran.told)


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_subject_serves_more_than_the_optimum(name):
    best = optimum(SCENARIOS[name], 5, MINUTES)

    for subject, make in SIMPLE.items():
        ran = run(SCENARIOS[name], make, subject, 5, MINUTES)
        assert 0 < right(ran) <= best + 1e-6
        assert best <= len(ran.told)


def test_who_knows_all_comes_near_the_optimum_where_there_is_room_for_all():
    easy = Scenario(name="easy", bar=1.0, sources=lambda: [c.google(), c.groq(), c.nvidia(cold=0.0)], load=load(25.0))
    ran = run(easy, Greedy, "greedy", 1, 5.0)

    assert right(ran) / optimum(easy, 1, 5.0) > 0.97


def test_who_knows_nothing_loses_half_in_calm():
    ran = run(SCENARIOS["calm"], Failover, "naive", 1, 10.0)

    assert right(ran) / optimum(SCENARIOS["calm"], 1, 10.0) < 0.5


def test_where_less_can_be_had_than_is_asked_the_optimum_is_less():
    alone = Scenario(name="alone", bar=1.0, sources=lambda: [c.zai()], load=load(40.0, {TEXT: 1.0}))
    asked = len(list(alone.load.requests(1, 600.0)))

    assert 0.1 * asked < optimum(alone, 1, 10.0) < 0.8 * asked


def test_an_outage_lowers_the_optimum_by_what_it_takes():
    fault = Fault(kind="hang", begin=0.0, end=300.0)
    down = Scenario(name="down", bar=1.0, sources=lambda: [c.groq(fault)], load=load(10.0, {TEXT: 1.0}))
    asked = list(down.load.requests(1, 600.0))
    lost = sum(one.at + one.patience < 300.0 for one in asked)

    assert optimum(down, 1, 10.0) <= len(asked) - lost


def test_who_does_not_know_how_long_answers_will_be_can_have_less_where_not_all_can_be_served():
    rushed = Scenario(name="rushed", bar=1.0, sources=lambda: [c.machine()], load=load(40.0, {TEXT: 1.0}))

    assert optimum(rushed, 1, 10.0, foreseen=False) < 0.95 * optimum(rushed, 1, 10.0)


def test_where_all_answers_are_alike_there_is_nothing_to_foresee():
    def steady() -> list[Source]:
        machine = c.machine()
        for model in list(machine.models):
            machine.change(model, spread=0.0)
        return [machine]

    alike = Kind(name="alike", words=(90, 90))
    rushed = Scenario(name="rushed", bar=1.0, sources=steady, load=load(40.0, {alike: 1.0}))

    assert optimum(rushed, 1, 10.0, foreseen=False) == pytest.approx(optimum(rushed, 1, 10.0))
