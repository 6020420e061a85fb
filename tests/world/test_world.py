"""The world is fair: no subject beats the optimum, one that knows all comes near it, and one seed gives one history."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.world import catalogue as c
from tests.world.callers import Client, Kind, Load
from tests.world.judge import judge
from tests.world.models import Fault
from tests.world.optimum import optimum
from tests.world.report import summary
from tests.world.run import Run, run
from tests.world.scenarios import CLIENTS, MIX, SCENARIOS, TEXT, Scenario
from tests.world.subjects import SIMPLE, Ear, Failover, Greedy, Tuned, refuse
from tests.world.world import World

MINUTES = 2.0


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
    ran = run(easy, Greedy, "greedy", 1, 10.0)

    assert right(ran) / optimum(easy, 1, 10.0) > 0.97


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


def test_one_seed_gives_one_history_and_another_another():
    def history(seed: int) -> list[Any]:
        ran = run(SCENARIOS["outage"], Tuned, "tuned", seed, MINUTES)
        return [(told.verdict, told.heard.over_at, told.heard.text) for told in ran.told]

    assert history(1) == history(1) != history(2)


class Deaf:
    """Never says anything."""

    async def open(self, world: World) -> None: ...

    async def close(self) -> None: ...

    async def ask(self, body: dict[str, Any], client: str, ear: Ear) -> None:
        await ear.left.wait()


def test_callers_leave_when_their_patience_ends_and_tell_nobody_before():
    ran = run(SCENARIOS["calm"], Deaf, "deaf", 1, MINUTES)

    for told in ran.told:
        assert told.verdict == "late"
        assert told.seconds == pytest.approx(told.asking.patience, abs=1e-6)
        assert "patience" not in str(told.asking.body())
    medians = {client.name: client.patience for client in CLIENTS}
    for name, median in medians.items():
        own = sorted(told.asking.patience for told in ran.told if told.asking.client == name)
        assert 0.5 * median < own[len(own) // 2] < 2.0 * median


class Lying(Deaf):
    """Says the same to all, at once."""

    async def ask(self, body: dict[str, Any], client: str, ear: Ear) -> None:
        ear.begin(200)
        stream = b'data: {"choices": [{"delta": {"content": "so"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        ear.take(
            stream if body["stream"] else b'{"choices": [{"message": {"content": "so"}, "finish_reason": "stop"}]}'
        )


class Breaking(Deaf):
    """Begins, and does not end."""

    async def ask(self, body: dict[str, Any], client: str, ear: Ear) -> None:
        ear.begin(200)
        ear.take(b'data: {"choices": [{"delta": {"content": "so"}, "finish_reason": null}]}\n\n')


class Refusing(Deaf):
    async def ask(self, body: dict[str, Any], client: str, ear: Ear) -> None:
        refuse(ear)


@pytest.mark.parametrize(
    ("make", "verdicts"), [(Lying, {"wrong"}), (Breaking, {"cut", "refused"}), (Refusing, {"refused"})]
)
def test_the_judge_tells_wrong_from_cut_and_cut_from_refused(make, verdicts):
    ran = run(SCENARIOS["calm"], make, "bad", 1, 1.0)

    assert {told.verdict for told in ran.told} == verdicts
    assert all(judge(told.asking, told.heard) == told.verdict for told in ran.told)
    assert {told.verdict for told in ran.told if told.asking.stream} == verdicts - {"refused"} or make is Refusing


def test_the_report_names_a_cause_for_each_that_is_lost_and_counts_every_minute():
    ran = run(SCENARIOS["rush"], Tuned, "tuned", 1, MINUTES)
    found = summary(ran, optimum(SCENARIOS["rush"], 1, MINUTES))

    lost = sum(count for verdict, count in found.verdicts.items() if verdict != "right")
    assert sum(found.causes.values()) == lost
    told = Counter[str]()
    for minute in found.p_minutes:
        told.update(minute)
    assert {verdict: told[verdict] for verdict in found.verdicts} == found.verdicts
    assert sum(asked for _, asked in found.kinds.values()) == found.asked


@pytest.mark.parametrize(
    ("name", "causes"),
    [
        ("outage", {"hangs", "down", "key revoked", "connection refused"}),
        ("hintless", {"429 without a hint", "429 4 requests/minute (secret)", "429 16 requests/minute (secret)"}),
        ("breaks", {"broke", "503 by chance"}),
        ("calm", {"no such model", "no vision", "left by its caller"}),
    ],
)
def test_the_troubles_of_a_scenario_are_met_by_who_does_not_know_them(name, causes):
    class Anywhere(Failover):
        """Tries all in a random order."""

        async def _answer(self, body: dict[str, Any], ear: Ear) -> None:
            able = self.world.deployments()
            self.world.luck.shuffle(able)
            for one in able[:6]:
                if await self.attempt(one, body, ear) == 200:
                    return
            refuse(ear)

    ran = run(SCENARIOS[name], Anywhere, "anywhere", 1, 32.0 if name == "outage" else 14.0)
    assert causes <= {call.cause for call in ran.calls}
