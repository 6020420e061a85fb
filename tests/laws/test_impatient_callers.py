"""Who is known to leave soon is sent where an answer comes in time, and others go on as they did."""

from __future__ import annotations

import asyncio

import pytest

from gateway.request.explain import explain
from gateway.routing.patience import FLOOR
from tests.laws.sources import START, Said, Scene, Source, answer_to, clients

BETTER = '[[model]]\nmodels = ["better*"]\nquality = 0.9\n[[model]]\nmodels = ["quick*"]\nquality = 0.6\n'


async def opened(folder, seconds: float, hedge: str = "off") -> tuple[Scene, Source, Source]:
    """One source is better and takes so many *seconds*, which is known; the other takes half a second."""
    better = Source(name="better", models=("better-model",), seconds=seconds)
    quick = Source(name="quick", models=("quick-model",), seconds=0.5)
    more = BETTER + clients("alice", "bob")
    scene = await Scene(folder, better, quick, requests=f'hedge = "{hedge}"', more=more).open()
    for model in ("better/better-model", "quick/quick-model"):
        await scene.told(*(scene.ask("before", model=model, key="bob") for _ in range(4)))
    return scene, better, quick


async def leave(scene: Scene, better: Source, after: float, times: int = 4) -> None:
    """Callers of alice's leave *after* so many seconds in which the better source says nothing."""
    usual, better.rule = better.rule, lambda body: Said(200, answer_to(body), seconds=100.0)
    for _ in range(times):
        gone = scene.ask("leaves", model="better/better-model", key="alice", wait=None)
        await scene.passes(after)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        await scene.passes(60.0)
    better.rule = usual
    await scene.told(scene.ask("is well again", model="better/better-model", key="bob"))


@pytest.mark.parametrize(("after", "goes_to"), [(8.0, "quick"), (20.0, "better"), (FLOOR - 1.0, "better")])
async def test_an_answer_that_comes_too_late_for_its_caller_is_asked_for_elsewhere(tmp_path, after, goes_to):
    """Who leaves within the first seconds may have had other reasons."""
    scene, better, _ = await opened(tmp_path, 6.0)
    await leave(scene, better, after)

    told = await explain(scene.gateway.asked("auto", client="alice"), scene.gateway.engine)
    alice, bob = await scene.told(*(scene.ask("hi", key=key, wait=None) for key in ("alice", "bob")))

    assert alice.heard.headers["x-freeway-provider"] == goes_to
    assert bob.heard.headers["x-freeway-provider"] == "better"
    held_back = {one.provider: one.held_back for one in told.ranked}
    if goes_to == "quick":
        (said,) = held_back["better"]
        assert said.startswith("its answer may come after the caller has left, who most probably stays for 7")
    else:
        assert held_back == {"better": [], "quick": []}
    await scene.close()


@pytest.mark.parametrize(("key", "after"), [("alice", 7.5), ("bob", 10.5)])
async def test_another_is_asked_while_there_is_time_for_its_answer(tmp_path, key, after):
    """The better source takes 5 seconds mostly; this time it says nothing. Bob's callers never left."""
    scene, better, quick = await opened(tmp_path, 5.0, hedge="plentiful")
    await leave(scene, better, 13.0)
    better.rule = lambda body: Said(200, answer_to(body), seconds=100.0)
    asked_at = scene.clock()
    quick.calls.clear()

    told = await scene.one("hi", key=key, wait=None, model="auto")

    assert told.status == 200
    assert quick.calls[-1].at - asked_at == pytest.approx(after, abs=0.6), START
    await scene.close()
