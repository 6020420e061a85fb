"""A refusal that comes at once takes nothing from its caller: others are asked, and it is no attempt."""

from __future__ import annotations

from typing import Any

import pytest

from tests.laws.sources import START, Said, Scene, Source, error

PREFERRED = '[[model]]\nmodels = ["best*"]\nquality = 0.9\n[[model]]\nmodels = ["*"]\nquality = 0.3\n'


def refusing(name: str, models: int = 1, seconds: float = 0.007) -> Source:
    rule = lambda body: Said(503, error("overloaded"), seconds=seconds)  # noqa: E731 - it is a value
    return Source(name=name, models=tuple(f"best-{name}-{n}" for n in range(models)), rule=rule)


async def test_a_call_that_eight_accounts_refuse_at_once_is_served_by_the_ninth(tmp_path):
    refuse = [refusing(f"account{n}") for n in range(8)]
    scene = await Scene(tmp_path, *refuse, Source(name="idle", models=("plain",)), more=PREFERRED).open()

    told = await scene.one()

    assert (told.status, told.heard.headers["x-freeway-provider"]) == (200, "idle")
    assert [len(source.calls) for source in refuse] == [1] * 8


async def test_refusals_that_took_a_while_are_attempts(tmp_path):
    refuse = [refusing(f"account{n}", seconds=1.0) for n in range(8)]
    scene = await Scene(tmp_path, *refuse, Source(name="idle", models=("plain",)), more=PREFERRED).open()

    assert (await scene.one()).status == 503
    assert sum(len(source.calls) for source in refuse) == 5


async def test_ten_instant_refusals_are_enough(tmp_path):
    alone = refusing("alone", models=15)
    scene = await Scene(tmp_path, alone).open()

    assert (await scene.one(wait=0)).status == 503
    assert len(alone.calls) == 10


async def test_an_account_that_refused_twice_is_not_asked_again_while_another_will_have_room(tmp_path):
    refuses = refusing("refuses", models=6)
    opens = Source(name="opens", models=("plain",), quota='[{ limit = "1/minute", window = "clock" }]')
    scene = await Scene(tmp_path, refuses, opens, more=PREFERRED).open()
    assert (await scene.one("takes the minute", model="opens/plain")).status == 200
    await scene.until(START + 50.0)

    told = await scene.one("waits for the next")

    assert (told.status, told.heard.headers["x-freeway-provider"]) == (200, "opens")
    assert told.after == pytest.approx(10.0, abs=0.2)
    assert len(refuses.calls) == 2


async def test_where_only_one_attempt_is_allowed_one_is_made(tmp_path):
    refuses = refusing("refuses", models=2)
    scene = await Scene(tmp_path, refuses, Source(name="idle", models=("plain",)), more=PREFERRED).open()

    told = await scene.one(provider={"allow_fallbacks": False})

    assert told.status == 503
    assert len(refuses.calls) == 1


def limited(a_minute: int, models: int = 4) -> Source:
    """An account of which each model has so many a minute, and not the forty that are configured."""
    served: dict[str, int] = {}

    def rule(body: dict[str, Any]) -> Said | None:
        served[body["model"]] = served.get(body["model"], 0) + 1
        return Said(429, error("too many"), counted=False) if served[body["model"]] > a_minute else None

    names = tuple(f"best-{n}" for n in range(models))
    return Source(name="limited", models=names, quota='[{ limit = "40/minute", window = "clock" }]', rule=rule)


async def test_a_limit_that_is_lower_than_configured_is_a_hint_for_the_models_beside_it(tmp_path, store):
    source = limited(12)
    scene = await Scene(tmp_path, source, store=store).open()

    async def burst(model: int) -> list[int]:
        return [(await scene.one(f"{n}", model=f"limited/best-{model}", wait=0.0)).status for n in range(20)]

    of_models = [await burst(model) for model in range(4)]

    assert source.refused == 1
    assert [statuses.count(200) for statuses in of_models] == [12] * 4
    await scene.close()


async def test_a_hint_is_tried_upwards_fast_and_gives_way_to_what_was_served(tmp_path, store):
    source = limited(12)
    scene = await Scene(tmp_path, source, store=store).open()
    more = [(await scene.one(f"{n}", model="limited/best-1", wait=0.0)).status for n in range(9)]
    for n in range(13):
        await scene.one(f"{n}", model="limited/best-0", wait=0.0)
    source.rule = lambda body: None

    served = []
    for minute in range(1, 4):
        await scene.until(START + 60.0 * minute + 0.5)
        told = [(await scene.one(f"{n}", model="limited/best-2", wait=0.0)).status for n in range(40)]
        served.append(told.count(200))

    assert (more, source.refused) == ([200] * 9, 1)
    assert served[0] < 40  # it was believed at first
    assert served[-1] == 40
    await scene.close()
