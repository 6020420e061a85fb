"""Where more ask than can be served, the source works for callers who are still there, and the others hear it at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import Struct, field
from redis.asyncio import Redis

from gateway.quota.redis import SharedStore
from tests.laws.sources import START, Said, Scene, Source, Told, answer_to, clients

SLOT = '[{ limit = "1/in-flight", scope = "account" }]'
NAMES = ("a", "b", "c")

LEARNT = 60
"""Seconds within which it is known how long callers of 8 and 25 s stay: two of them must have left first."""


class Rush(Struct):
    """What callers were *told*; None: they had left. *source* is the only one."""

    source: Source
    told: list[Told | None] = field(default_factory=list)

    @property
    def served(self) -> list[float]:
        """Seconds that each took who was served, in the order of their arrival."""
        return [one.after for one in self.told if one is not None and one.status == 200]

    def refused(self, since: float) -> list[Told]:
        """Those who came *since* so many seconds, and were refused."""
        return [one for one in self.told if one is not None and one.status != 200 and one.came >= START + since]


async def rush(
    scene: Scene, patience: Sequence[float], *, by_client: bool = False, seconds: int = 120, **more: Any
) -> Rush:
    """
    A caller comes each second, says nothing of how long it stays, and leaves after as many seconds as its *patience* is, in
    turn; *by_client*: those of one patience are one client's.
    """
    asking: list[Any] = []
    for second in range(seconds + 100):
        await scene.until(START + second)
        for came, stays, task in asking:
            if not task.done() and scene.clock() >= came + stays:
                task.cancel()
        if second < seconds:
            turn = second % len(patience)
            client = {"key": NAMES[turn]} if by_client else {}
            asking.append((scene.clock(), patience[turn], scene.ask(f"{second}", **{"wait": None, **client, **more})))
        await scene.quiet()
    found = await asyncio.gather(*(task for *_, task in asking), return_exceptions=True)
    return Rush(scene.sources[0], [None if isinstance(one, BaseException) else one for one in found])


def local() -> Source:
    return Source(name="local", quota=SLOT, slots=1, seconds=2.0)


CASES = {
    "8 s": ((8.0,), False),
    "25 s": ((25.0,), False),
    "90 s": ((90.0,), False),
    "mixed": ((8.0, 25.0, 90.0), False),
    "by client": ((8.0, 25.0, 90.0), True),
}


@pytest.fixture(params=["embedded", "redis"])
async def store(request: pytest.FixtureRequest) -> Any:
    if request.param == "embedded":
        return None
    client = Redis.from_url(request.getfixturevalue("redis_url"))
    await client.flushall()
    return SharedStore(client, own_time=False)


@pytest.mark.parametrize("case", CASES)
async def test_a_source_of_two_seconds_serves_at_its_full_pace_whenever_callers_leave(tmp_path, store, case):
    """With one and the same configuration; and those who cannot be served are told so within a second."""
    patience, by_client = CASES[case]
    source = local()
    scene = await Scene(tmp_path, source, store=store, more=clients(*NAMES) if by_client else "").open()

    found = await rush(scene, patience, by_client=by_client)
    await scene.close()

    assert (
        sum((call.over or math.inf) <= START + 120 for call in source.calls) >= 58
    )  # a shared store hears 10 ms late of each end
    assert source.most_in_flight == 1
    assert len(source.calls) - len(found.served) <= 2  # begun for callers who had left by the end
    assert len(found.served) >= 58
    told_late = [one for one in found.refused(LEARNT) if one.after > 1.0]
    # Who is passed over by newer calls is told once nothing will come any more. Of a shared store a gateway hears 10 ms later
    # that a place is free: a caller who comes at that moment is held for the next.
    most = 0.25 if store is None else 0.35
    assert len(told_late) <= most * len(found.refused(LEARNT)), told_late


@pytest.mark.parametrize("patience", [8.0, 25.0], ids=str)
async def test_once_callers_leave_none_stands_in_a_queue_that_serves_all_late(tmp_path, patience):
    scene = await Scene(tmp_path, local()).open()

    waited = (await rush(scene, (patience,))).served

    assert sorted(waited)[len(waited) // 2] <= 4.0


async def test_clients_of_any_patience_have_the_same_share(tmp_path):
    scene = await Scene(tmp_path, local(), more=clients(*NAMES)).open()

    found = await rush(scene, (8.0, 25.0, 90.0), by_client=True)

    of_each = [sum(one is not None and one.status == 200 for one in found.told[turn::3]) for turn in range(3)]
    assert min(of_each) >= 13, of_each


async def test_who_is_told_hears_when_it_would_have_begun(tmp_path):
    """The retry-after is when those who wait ahead have been served: then one who comes is served within its time."""
    source = local()
    scene = await Scene(tmp_path, source).open()
    await scene.one("its pace is known", wait=60.0)
    waiting = [scene.ask(f"{n}", wait=60.0) for n in range(8)]
    await scene.passes(0.1)

    told = await scene.one("has ten seconds", wait=10.0)
    retry_after = float(told.heard.headers["retry-after"])
    assert (told.status, told.after) == (429, 0.0)
    assert 13.0 <= retry_after <= 17.0
    await scene.passes(retry_after)
    again = await scene.one("has ten seconds, again", wait=10.0)

    assert again.status == 200
    await scene.told(*waiting)


async def test_an_idle_source_is_never_withheld_on_a_guess(tmp_path):
    """The callers of 8 s are known; one whose answer would take 20 s is given to the idle source all the same."""
    source = local()
    scene = await Scene(tmp_path, source).open()
    await rush(scene, (8.0,), seconds=40)
    source.rule = lambda body: Said(200, answer_to(body), seconds=20.0)
    for n in range(3):
        await scene.told(scene.ask(f"slow {n}", wait=None))

    assert (await scene.one("slow", wait=None)).status == 200


async def test_as_long_as_none_is_lost_the_first_who_came_is_the_first_to_be_served(tmp_path):
    source = local()
    scene = await Scene(tmp_path, source).open()
    asking: list[Any] = []
    for _ in range(8):
        asking.append(scene.ask(f"{len(asking)}", wait=60.0))
        await scene.passes(1.0)

    await scene.told(*asking)

    assert [call.tag for call in source.calls] == [f"{n}" for n in range(8)]


async def test_what_was_learned_of_patience_is_shared_and_survives_a_restart(tmp_path):
    """It is in the state store, under no client's name."""
    scene = await Scene(tmp_path, local(), more=clients("alice")).open()
    for _ in range(3):
        busy = [scene.ask("busy", key="alice", wait=None) for _ in range(6)]
        await scene.passes(9.0)
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
    state = scene.gateway.parts.state
    state._gather()

    told = state.entries("patience", list)

    assert len(told) == 1
    assert "alice" not in str(told)
