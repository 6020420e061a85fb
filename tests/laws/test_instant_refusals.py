"""A refusal that comes at once takes nothing from its caller: others are asked, and it is no attempt."""

from __future__ import annotations

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
