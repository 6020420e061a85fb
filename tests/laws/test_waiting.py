"""A call that can wait is served when there is room, and is not told of a moment that another request found out for itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.laws.sources import START, Said, Scene, Source, error

HTML = Said(200, b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", {"content-type": "text/html"})


def statuses(told: list[Any]) -> list[int]:
    return [one.status for one in told]


# ── what runs at once ──


async def test_three_calls_on_one_slot_are_served_one_after_the_other(tmp_path):
    source = Source(name="local", quota='[{ limit = "1/in-flight", scope = "account" }]', slots=1, seconds=0.3)
    scene = await Scene(tmp_path, source).open()

    told = await scene.told(*(scene.ask(f"call {n}") for n in range(3)))

    assert statuses(told) == [200, 200, 200], told
    assert [one.after for one in told] == pytest.approx([0.3, 0.6, 0.9])
    assert (source.most_in_flight, source.refused, len(source.calls)) == (1, 0, 3)


async def test_of_three_calls_on_two_slots_the_third_begins_when_the_first_is_over(tmp_path):
    source = Source(name="local", quota='[{ limit = "2/in-flight", scope = "account" }]', slots=2, seconds=3.0)
    scene = await Scene(tmp_path, source).open()

    told = await scene.told(*(scene.ask(f"call {n}") for n in range(3)))

    assert statuses(told) == [200, 200, 200], told
    assert sorted(one.after for one in told) == pytest.approx([3.0, 3.0, 6.0])
    assert (source.most_in_flight, source.refused) == (2, 0)


async def test_the_end_of_a_lease_is_never_told_as_a_moment_to_come_back(tmp_path):
    """A caller who cannot wait for a slot is refused: without a moment, or with one that an answer may take."""
    source = Source(name="local", quota='[{ limit = "1/in-flight", scope = "account" }]', slots=1, seconds=3.0)
    scene = await Scene(tmp_path, source).open()
    first = scene.ask("first")
    await scene.passes(1.0)

    told = await scene.one("second", wait=1.0)

    assert told.status == 429
    assert float(told.heard.headers.get("retry-after", "0")) < 600, told
    assert statuses(await scene.told(first)) == [200]


# ── recovery ──


async def test_all_who_wait_for_the_end_of_a_recovery_trial_are_served(tmp_path):
    source = Source(name="shaky", seconds=0.3, down=[(START, START + 5.0)])
    scene = await Scene(tmp_path, source).open()
    assert (await scene.one("finds out", wait=0)).status in (429, 503)
    await scene.until(START + 10.0)

    told = await scene.told(*(scene.ask(f"call {n}") for n in range(4)))

    assert statuses(told) == [200] * 4, told
    assert max(one.after for one in told) <= 2.0


async def test_who_failed_at_one_source_does_not_doom_those_who_wait_for_it(tmp_path):
    """
    A is cooling; B is used up until tomorrow. The first of five to try A is told rubbish: for that one only B is left. The
    other four still have A.
    """
    a = Source(name="a", script=[HTML])
    b = Source(name="b", models=("other-model",), quota='[{ limit = "1/day", window = "calendar" }]')
    scene = await Scene(tmp_path, a, b).open()
    assert (await scene.one("takes the day", model="b/other-model")).status == 200
    assert (await scene.one("meets rubbish", model="a/free-model", wait=0)).status == 503
    a.script.append(HTML)
    await scene.passes(1.0)

    told = await scene.told(*(scene.ask(f"call {n}", wait=200.0) for n in range(5)))

    assert len([one for one in told if one.status == 200]) >= 4, told


# ── a choice of many ──


def graded(names: list[str], quota: str) -> list[Source]:
    """One source for each of *names*, with a model of the same name."""
    return [Source(name=name, models=(f"{name}-model",), quota=quota) for name in names]


PREFERRED = '[[model]]\nmodels = ["small*"]\nquality = 0.9\n[[model]]\nmodels = ["*"]\nquality = 0.3\n'
"""The small ones are worth more, so that they are compared first."""


async def test_behind_twenty_that_are_too_small_those_that_fit_are_found(tmp_path):
    small = graded([f"small{n:02}" for n in range(20)], '[{ unit = "tokens", limit = "100/minute" }]')
    large = graded([f"large{n}" for n in range(5)], '[{ unit = "tokens", limit = "100000/minute" }]')
    scene = await Scene(tmp_path, *small, *large, more=PREFERRED).open()

    told = await scene.one("fits only the large ones", max_tokens=500)

    assert told.status == 200, told
    assert told.heard.headers["x-freeway-provider"].startswith("large")


async def test_behind_twenty_that_are_half_used_those_that_are_untouched_are_found(tmp_path):
    quota = '[{ unit = "tokens", limit = "1000/minute", window = "refill" }]'
    used = graded([f"small{n:02}" for n in range(20)], quota)
    untouched = graded([f"large{n}" for n in range(5)], quota)
    scene = await Scene(tmp_path, *used, *untouched, more=PREFERRED).open()
    first = [scene.ask("uses half", model=f"{one.name}/{one.models[0]}", max_tokens=500) for one in used]
    assert statuses(await scene.told(*first)) == [200] * 20

    told = await scene.one("needs more than half", wait=0, max_tokens=700)

    assert told.status == 200, told
    assert told.heard.headers["x-freeway-provider"].startswith("large")


async def test_attempts_are_not_all_spent_on_one_provider_that_fails(tmp_path):
    """One that is down has more models than a request has attempts, each of them worth more than what is up."""
    down = Source(name="down", models=tuple(f"small-{n}" for n in range(6)), rule=lambda body: Said(503, error("no")))
    scene = await Scene(tmp_path, down, Source(name="up", models=("large",)), more=PREFERRED).open()

    told = await scene.one()

    assert (told.status, told.heard.headers.get("x-freeway-provider")) == (200, "up"), told


# ── what is told ──


async def test_the_trace_says_what_an_answer_waited_for(tmp_path):
    source = Source(name="minutely", quota='[{ limit = "1/minute", window = "clock" }]', a_minute=1)
    scene = await Scene(tmp_path, source).open()
    await scene.one("takes the minute")
    await scene.until(START + 40.0)

    told = await scene.one("waits for the next", trace=True)

    assert told.status == 200
    assert told.after == pytest.approx(20.0, abs=1.0)
    waited = told.trace["waited"]
    entries = waited if isinstance(waited, list) else [waited]
    assert sum(entry["seconds"] for entry in entries) == pytest.approx(told.after, abs=0.1)
    assert "minutely" in json.dumps(entries)


async def test_an_answer_that_did_not_wait_says_so_by_saying_nothing(tmp_path):
    scene = await Scene(tmp_path, Source(name="ready")).open()

    assert not (await scene.one(trace=True)).trace.get("waited")
