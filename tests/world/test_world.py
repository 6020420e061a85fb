"""One seed gives one history, callers leave as drawn, answers are judged, and every trouble is met."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from msgspec import structs

from tests.world.judge import judge
from tests.world.report import summary
from tests.world.run import run
from tests.world.scenarios import CLIENTS, SCENARIOS
from tests.world.subjects import Ear, Failover, Tuned, refuse
from tests.world.world import World

MINUTES = 2.0


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
    found = summary(ran, len(ran.told))

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

    scenario = SCENARIOS[name]
    if name == "outage":  # half an hour of it, and of few callers
        scenario = structs.replace(scenario, load=structs.replace(scenario.load, rate=lambda _: 12.0))
    ran = run(scenario, Anywhere, "anywhere", 1, 32.0 if name == "outage" else 11.0)
    assert causes <= {call.cause for call in ran.calls}
