"""A limit that a provider does not tell is learned from its refusals, and costs few of them."""

from __future__ import annotations

import pytest

from tests.laws.sources import START, Said, Scene, Source, error


async def minutes(scene: Scene, count: int, a_minute: int, wait: float = 0.0) -> list[int]:
    """How many were served in each minute."""
    served = []
    for minute in range(count):
        asking = []
        for number in range(a_minute):
            await scene.until(START + 60.0 * minute + 60.0 / a_minute * number + 0.1)
            asking.append(scene.ask(f"{minute}:{number}", wait=wait))
        served.append(sum(one.status == 200 for one in await scene.told(*asking)))
    return served


@pytest.mark.parametrize("window", ["clock", "rolling"])
async def test_twelve_a_minute_pass_where_forty_are_configured_and_two_are_refused_in_all(tmp_path, window):
    source = Source(name="hidden", quota=f'[{{ limit = "40/minute", window = "{window}" }}]', a_minute=12)
    scene = await Scene(tmp_path, source).open()

    served = await minutes(scene, 10, 60)

    assert source.refused <= 2
    assert sum(served) >= 0.9 * 10 * 12, served


async def test_a_limit_that_rises_is_found_again_one_by_one(tmp_path):
    source = Source(name="hidden", quota='[{ limit = "20/minute", window = "clock" }]', a_minute=12)
    scene = await Scene(tmp_path, source).open()
    await minutes(scene, 1, 30)
    source.a_minute = None

    await scene.until(START + 60.0)
    served = []
    for minute in range(1, 14):
        asking = []
        for number in range(30):
            await scene.until(START + 60.0 * minute + 2.0 * number + 0.1)
            asking.append(scene.ask(f"{minute}:{number}", wait=0.0))
        served.append(sum(one.status == 200 for one in await scene.told(*asking)))

    assert source.refused == 1
    assert served == sorted(served)
    assert served[-1] == 20


async def test_one_refusal_at_a_quarter_of_the_limit_is_a_hiccup(tmp_path):
    source = Source(name="hidden", quota='[{ limit = "40/minute", window = "rolling" }]')
    scene = await Scene(tmp_path, source).open()
    await scene.told(*(scene.ask(f"{n}") for n in range(3)))
    source.script.append(Said(429, error("too many"), counted=False))
    await scene.one("is refused", wait=0)
    await scene.passes(70.0)

    told = await scene.told(*(scene.ask(f"after {n}", wait=0) for n in range(40)))

    assert sum(one.status == 200 for one in told) == 40
