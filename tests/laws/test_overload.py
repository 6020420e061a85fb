"""Where more ask than can be served, the source works for callers who are still there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.laws.sources import START, Scene, Source

SLOT = '[{ limit = "1/in-flight", scope = "account" }]'


async def rush(scene: Scene, patience: Sequence[float], seconds: int = 120) -> list[float]:
    """
    A caller comes each second, and leaves after as many seconds as its *patience* is, in turn: how long those waited who
    were served.
    """
    asking: list[Any] = []
    for second in range(seconds + 100):
        await scene.until(START + second)
        for came, stays, task in asking:
            if not task.done() and scene.clock() >= came + stays:
                task.cancel()
        if second < seconds:
            asking.append((scene.clock(), patience[second % len(patience)], scene.ask(f"{second}", wait=30.0)))
        await scene.quiet()
    found = await asyncio.gather(*(task for *_, task in asking), return_exceptions=True)
    return [one.after for one in found if not isinstance(one, BaseException) and one.status == 200]


@pytest.mark.parametrize("patience", [(8.0,), (25.0,), (90.0,), (8.0, 25.0, 90.0)], ids=str)
async def test_a_source_of_two_seconds_serves_at_nearly_its_full_pace_whenever_callers_leave(tmp_path, patience):
    source = Source(name="local", quota=SLOT, slots=1, seconds=2.0)
    scene = await Scene(tmp_path, source).open()

    waited = await rush(scene, patience)

    assert len(waited) >= 0.9 * 60
    assert source.most_in_flight == 1


async def test_once_calls_are_lost_the_newest_are_served_at_once(tmp_path):
    source = Source(name="local", quota=SLOT, slots=1, seconds=2.0)
    scene = await Scene(tmp_path, source).open()

    waited = await rush(scene, (8.0,))

    assert sorted(waited)[len(waited) // 2] <= 4.0


async def test_as_long_as_none_is_lost_the_first_who_came_is_the_first_to_be_served(tmp_path):
    source = Source(name="local", quota=SLOT, slots=1, seconds=2.0)
    scene = await Scene(tmp_path, source).open()
    asking: list[Any] = []
    for _ in range(8):
        asking.append(scene.ask(f"{len(asking)}", wait=60.0))
        await scene.passes(1.0)

    await scene.told(*asking)

    assert [call.tag for call in source.calls] == [f"{n}" for n in range(8)]
