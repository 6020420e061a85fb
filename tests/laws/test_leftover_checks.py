"""What models can do is asked out of quota that the next reset would take, and out of nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.catalog.checks import MOST_A_DAY
from gateway.request.checks import DAY, LOOK_EVERY, CapabilityChecker
from tests.laws.sources import Scene, Source

DAILY = '[{ limit = "20/day", window = "calendar" }]'
TO_MIDNIGHT = 38_400.0
"""Seconds from the beginning of a scene to midnight (UTC)."""


def checker(scene: Scene, a_day: int = MOST_A_DAY) -> CapabilityChecker:
    return CapabilityChecker(scene.gateway.engine, scene.gateway.parts.state, a_day)


async def scene_of(folder, store, quota: str, used: int = 0, at: float = 0.0, **more: Any) -> tuple[Scene, Source]:
    """A source with that *quota*, of which so many are *used*, some seconds later."""
    source = Source(name="asked", quota=quota, **more)
    scene = await Scene(folder, source, store=store, more="[catalog]\nproof = 1e6\n").open()
    for number in range(used):
        assert (await scene.one(f"uses {number}", wait=0)).status == 200
    await scene.passes(at)
    source.calls.clear()
    return scene, source


@pytest.mark.parametrize(
    ("quota", "used", "at", "asks"),
    [
        (DAILY, 0, 0.0, False),  # half a day may still be wanted
        (DAILY, 0, TO_MIDNIGHT - 1800, True),
        (DAILY, 10, TO_MIDNIGHT - 1800, True),
        (DAILY, 19, TO_MIDNIGHT - 1800, False),  # at this pace it will be used up
        ('[{ limit = "20/minute", window = "clock" }]', 10, 0.0, True),
        ('[{ limit = "20/minute", window = "clock" }]', 11, 0.0, False),
        ('[{ limit = "20/minute", window = "rolling" }]', 11, 0.0, False),
        ('[{ limit = "100/day", window = "refill" }]', 5, 0.0, True),
        ('[{ limit = "100/day", window = "refill" }]', 7, 0.0, False),
        ('[{ limit = "20/minute" }, { limit = "20/day", window = "calendar" }]', 0, 0.0, False),
        ('[{ limit = "1000/minute" }, { limit = "10000/day", unit = "neurons", window = "calendar" }]', 0, TO_MIDNIGHT - 60, False),
        ('[{ limit = "1/month", unit = "dollars", window = "calendar" }]', 0, TO_MIDNIGHT - 60, False),
        ('[{ limit = "2/in-flight" }]', 0, 0.0, False),  # nothing is reset
    ],
)  # fmt: skip
async def test_a_check_takes_what_nobody_will_have_taken_by_the_reset(tmp_path, store, quota, used, at, asks):
    scene, source = await scene_of(tmp_path, store, quota, used, at)

    done = await checker(scene).check("asked")

    assert (done is not None, len(source.calls)) == (asks, int(asks))
    await scene.close()


async def test_no_check_takes_a_place_from_a_request_under_way(tmp_path, store):
    quota = '[{ limit = "20/minute" }, { limit = "4/in-flight" }]'
    source = Source(name="asked", quota=quota, seconds=5.0)
    scene = await Scene(tmp_path, source, store=store).open()
    under_way = scene.ask("is under way")
    await scene.passes(1.0)

    assert await checker(scene).check("asked") is None
    await scene.told(under_way)
    await scene.close()


async def test_an_account_is_asked_five_a_day_whatever_the_settings_say(tmp_path, store):
    scene, source = await scene_of(
        tmp_path, store, '[{ limit = "60/minute" }]', models=tuple(f"m{n}" for n in range(5))
    )
    asks = checker(scene, 100)

    for _ in range(int(DAY / LOOK_EVERY) - 1):
        await asks.check("asked")
        await scene.passes(LOOK_EVERY)

    assert len(source.calls) == MOST_A_DAY == 5
    await scene.close()


async def test_a_model_on_this_machine_is_not_loaded_to_be_asked(tmp_path, store):
    own = Source(name="asked", quota='[{ limit = "4/in-flight" }]').settings()
    own = own.replace('kind = "plan"', 'kind = "local"').replace(".example", ".internal")
    source = Source(name="asked", own=own)
    scene = await Scene(tmp_path, source, store=store).open()

    assert await checker(scene).check("asked") is None
    assert source.calls == []
    await scene.close()
