"""A limit that a provider does not tell is learned from its refusals, and costs few of them."""

from __future__ import annotations

from typing import Any

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


async def test_who_refuses_everybody_for_a_while_has_told_no_limit(tmp_path, store):
    """Twenty a minute were served before, and are again the minute after. What is refused is counted, too."""
    row = '{ limit = "20/minute", window = "clock", scope = "account", counts_refused = true }'
    source = Source(name="away", models=tuple(f"m-{n}" for n in range(5)), quota=f"[{row}]")
    scene = await Scene(tmp_path, source, store=store).open()
    away = Said(429, error("too many"), counted=False)
    source.rule = lambda body: away if START + 120.0 <= scene.clock() < START + 300.0 else None

    served = []
    for minute in range(7):
        asking = []
        for number in range(20):
            await scene.until(START + 60.0 * minute + 3.0 * number + 2.5)
            asking.append(scene.ask(f"{minute}:{number}", wait=0.0))
        served.append(sum(one.status == 200 for one in await scene.told(*asking)))

    assert served[2:5] == [0, 0, 0]
    assert min(served[:2] + served[-2:]) >= 19, served  # the last second of a minute counts in the next, too
    await scene.close()


async def test_one_refusal_at_a_quarter_of_the_limit_is_a_hiccup(tmp_path):
    source = Source(name="hidden", quota='[{ limit = "40/minute", window = "rolling" }]')
    scene = await Scene(tmp_path, source).open()
    await scene.told(*(scene.ask(f"{n}") for n in range(3)))
    source.script.append(Said(429, error("too many"), counted=False))
    await scene.one("is refused", wait=0)
    await scene.passes(70.0)

    told = await scene.told(*(scene.ask(f"after {n}", wait=0) for n in range(40)))

    assert sum(one.status == 200 for one in told) == 40


# ── whose limit it is, is not told either ──

ACCOUNT = '{ limit = "40/minute", window = "rolling", scope = "account" }'
MODELS = ', { limit = "40/minute", window = "rolling" }'
PREFERRED = '[[model]]\nmodels = ["hot*"]\nquality = 0.9\n[[model]]\nmodels = ["*"]\nquality = 0.5\n'


class Crowd:
    """An account with so many *a_minute*, whose *hot* models have fewer; refusals say nothing but no."""

    def __init__(self, scene: Scene, a_minute: int, hot: int | None) -> None:
        self.clock, self.a_minute, self.hot = scene.clock, a_minute, hot
        self.served: list[tuple[float, str]] = []

    def __call__(self, body: dict[str, Any]) -> Said | None:
        now, model = self.clock(), body["model"]
        self.served = [(at, name) for at, name in self.served if at > now - 60.0]
        here = sum(name == model for _, name in self.served)
        if len(self.served) >= self.a_minute or (model.startswith("hot") and self.hot is not None and here >= self.hot):
            return Said(429, {"status": 429, "title": "Too Many Requests"}, counted=False)
        self.served.append((now, model))
        return None


@pytest.mark.parametrize("rows", [ACCOUNT, ACCOUNT + MODELS], ids=["account", "account and models"])
async def test_models_in_demand_refuse_without_closing_their_account(tmp_path, store, rows):
    names = ("hot-1", "hot-2", "plain-1", "plain-2")
    source = Source(name="crowd", models=names, quota=f"[{rows}]")
    scene = await Scene(tmp_path, source, store=store, more=PREFERRED).open()
    source.rule = Crowd(scene, a_minute=20, hot=4)

    served = await minutes(scene, 5, 30, wait=5.0)

    assert sum(served) >= 0.85 * 5 * 20, served
    assert source.refused <= (15 if MODELS in rows else 30)
    await scene.close()


@pytest.mark.parametrize("models", [1, 2, 5])
async def test_an_account_that_refuses_for_all_its_models_is_learned_as_one(tmp_path, store, models):
    names = tuple(f"plain-{n}" for n in range(models))
    source = Source(name="crowd", models=names, quota=f"[{ACCOUNT}{MODELS}]")
    scene = await Scene(tmp_path, source, store=store).open()
    source.rule = Crowd(scene, a_minute=12, hot=None)

    served = await minutes(scene, 5, 30, wait=0.0)

    assert sum(served) >= 0.9 * 5 * 12, served
    assert source.refused <= 3 + 3
    await scene.close()


async def test_a_model_that_refuses_once_its_account_has_room_again_says_nothing_of_the_account(tmp_path, store):
    names = ("hot-1", "plain-1", "plain-2")
    source = Source(name="crowd", models=names, quota=f"[{ACCOUNT}{MODELS}]")
    scene = await Scene(tmp_path, source, store=store).open()
    source.rule = Crowd(scene, a_minute=24, hot=12)
    await scene.told(*(scene.ask(f"{n}", model="plain-1") for n in range(12)))
    await scene.until(START + 10.0)
    await scene.told(*(scene.ask(f"hot {n}", model="hot-1") for n in range(12)))
    await scene.until(START + 20.0)
    for name in names:
        await scene.one("one too many", model=name, wait=0.0)

    await scene.until(START + 62.0)
    told = [await scene.one("hot", model="hot-1", wait=0.0)]
    told += await scene.told(*(scene.ask(f"after {n}", model="plain-2", wait=0.0) for n in range(12)))

    assert [one.status for one in told] == [429] + 12 * [200]
    assert source.refused == 4
    await scene.close()
