"""A source that takes requests and says nothing takes few of them, and those who asked it are served elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from gateway.quota.buckets import Bucket
from gateway.quota.nouns import NoRoom, Offer, Refusal
from gateway.routing.hedging import LEAST_WHOLE
from tests.laws.sources import START, Said, Scene, Source, Told, answer_to, error

PREFERRED = '[[model]]\nmodels = ["best*"]\nquality = 0.9\n[[model]]\nmodels = ["*"]\nquality = 0.3\n'
HEDGED = 'hedge = "plentiful"'
FOREVER = 1e6


def steady(name: str = "steady", seconds: float = 1.0) -> Source:
    """One answer at a time."""
    quota = '[{ limit = "1/in-flight", scope = "account" }]'
    return Source(name=name, models=(f"{name}-model",), quota=quota, slots=1, seconds=seconds)


def silent(*models: str) -> Source:
    """It accepts whatever comes, and never answers."""
    return Source(name="silent", models=models or ("best-model",), rule=never)


def never(body: dict[str, Any]) -> Said:
    return Said(200, answer_to(body), seconds=FOREVER)


async def knowing(scene: Scene, source: Source, seconds: float = 0.3) -> None:
    """*source* answered in so many seconds before, and goes on as it is now."""
    before, source.rule = source.rule, lambda body: Said(200, answer_to(body), seconds=seconds)
    for model in source.models:
        told = await scene.told(*(scene.ask("before", model=f"{source.name}/{model}") for _ in range(3)))
        assert {one.status for one in told} == {200}
    source.rule = before
    await scene.until(START + 60.0)
    source.calls.clear()


async def calls_at(scene: Scene, count: int, each: float, **more: object) -> list[asyncio.Task[Told]]:
    asking = []
    for number in range(count):
        asking.append(scene.ask(f"call {number}", **more))  # type: ignore[arg-type]
        await scene.passes(each)
    return asking


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("models", [1, 4])
async def test_of_forty_calls_a_silent_source_takes_one_or_two_and_all_are_served(tmp_path, stream, models):
    hangs, serves = silent(*(f"best-{n}" for n in range(models))), steady()
    scene = await Scene(tmp_path, hangs, serves, requests=HEDGED, more=PREFERRED).open()

    await knowing(scene, hangs)

    told = await scene.told(*await calls_at(scene, 40, 0.5, wait=60.0, stream=stream))

    assert [one.status for one in told] == [200] * 40
    assert len([call for call in hangs.calls if call.at < START + 70.0]) <= (2 if models == 1 else 3)
    assert len(hangs.calls) <= 5  # in more than a minute


async def test_of_a_source_that_never_spoke_patience_lasts_longer_and_all_are_served_still(tmp_path):
    hangs = silent()
    scene = await Scene(tmp_path, hangs, steady(), requests=HEDGED, more=PREFERRED).open()

    told = await scene.told(*await calls_at(scene, 40, 0.5, wait=60.0))

    assert [one.status for one in told] == [200] * 40
    assert len(hangs.calls) <= 8


async def test_a_call_that_hangs_waits_in_the_queue_for_what_opens_first(tmp_path):
    hangs, serves = silent(), steady(seconds=4.0)
    scene = await Scene(tmp_path, hangs, serves, requests=HEDGED, more=PREFERRED).open()

    first = scene.ask("hangs", wait=60.0)
    await scene.passes(9.0)
    second = scene.ask("is at work when the first loses patience", wait=60.0, model="steady/steady-model")
    told = await scene.told(first, second)

    assert [one.status for one in told] == [200, 200]
    assert told[0].after == pytest.approx(9.0 + 4.0 + 4.0, abs=0.1)


async def test_one_that_hangs_for_twice_as_long_takes_what_is_dear_too(tmp_path, store):
    hangs, dear = silent(), Source(name="dear", models=("dear-model",), quota='[{ limit = "4/day" }]')
    scene = await Scene(tmp_path, hangs, dear, requests=HEDGED, more=PREFERRED, store=store).open()
    assert (await scene.one("makes it dear", model="dear/dear-model")).status == 200

    told = await scene.one("hangs", wait=60.0)

    assert told.status == 200
    assert told.after == pytest.approx(20.0, abs=1.0)
    await scene.close()


@pytest.mark.parametrize("speaks", [True, False])
async def test_a_provider_that_answers_others_is_asked_for_another_model(tmp_path, store, speaks):
    """One model of it is cold. Where nothing comes from it at all, none of its models is asked, too."""
    cold = Said(
        200, answer_to({"model": "cold-model", "messages": [{"role": "user", "content": "which"}]}), seconds=50.0
    )
    both = Source(
        name="both",
        models=("cold-model", "warm-model"),
        rule=lambda body: cold if body["model"] == "cold-model" else None,
    )
    more = '[[model]]\nmodels = ["cold*"]\nquality = 0.9\n[[model]]\nmodels = ["warm*"]\nquality = 0.4\n'
    scene = await Scene(tmp_path, both, requests=HEDGED, more=more, store=store).open()

    asked = scene.ask("which is cold", wait=60.0)
    await scene.passes(2.0)
    if speaks:
        assert (await scene.one("which is warm", model="both/warm-model")).status == 200
    (told,) = await scene.told(asked)

    assert told.status == 200
    assert told.after == pytest.approx(10.4 if speaks else 2 * 10.4, abs=0.1)
    await scene.close()


async def test_what_was_full_when_the_first_was_asked_is_the_second_once_it_opens(tmp_path, store, monkeypatch):
    """Another gateway took the last place of a minute, which the ledger alone knows. The next minute begins before patience ends."""
    hangs, minute = silent(), Source(name="minute", models=("best-of-all",), quota='[{ limit = "1/minute" }]')
    more = '[[model]]\nmodels = ["best-of-all"]\nquality = 0.95\n' + PREFERRED
    scene = await Scene(tmp_path, hangs, minute, requests=HEDGED, more=more, store=store).open()
    await knowing(scene, hangs)
    await scene.until(START + 118.0)
    reserve, refused = scene.gateway.ledger.reserve, list[Bucket]()

    async def reserving(offers: Iterable[Offer], *more: Any) -> Any:
        offered = [*offers]
        if refused:
            return await reserve(offered, *more)
        refused.append(offered[0].buckets[0])
        return NoRoom((Refusal(refused[0], START + 120.0),))

    monkeypatch.setattr(scene.gateway.ledger, "reserve", reserving)
    async with asyncio.timeout(20):  # it would wait for a moment that is past, and again
        told = await scene.one("hangs", wait=60.0)

    assert refused[0].account == "minute"
    assert told.heard.headers["x-freeway-provider"] == "minute"
    assert told.after == pytest.approx(LEAST_WHOLE, abs=0.1)
    assert len(hangs.calls) == 1
    await scene.close()


async def test_what_turns_out_dear_is_given_back_once_and_left_alone(tmp_path, store, monkeypatch):
    """Two searches that are woken by what each gives back would take it in turns, and time stand still."""
    hangs, dear = silent(), Source(name="dear", models=("dear-model",), quota='[{ limit = "4/day" }]')
    scene = await Scene(tmp_path, hangs, dear, requests=HEDGED, more=PREFERRED, store=store).open()
    refund, given_back = scene.gateway.ledger.refund, []

    def refunding(held: Any, *more: Any) -> None:
        given_back.append(held.id)
        assert len(given_back) < 20
        refund(held, *more)

    monkeypatch.setattr(scene.gateway.ledger, "refund", refunding)

    told = await scene.told(*(scene.ask(f"hangs {n}", wait=60.0) for n in range(2)))

    assert [one.status for one in told] == [200, 200]
    assert len(given_back) == 2  # one for each that hangs
    await scene.close()


def listed(*models: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": model, "object": "model"} for model in models]}


async def test_the_model_list_tells_within_seconds_that_an_address_is_there_again(tmp_path, store):
    off = Source(name="off", listing=listed("a", "b"))
    scene = await Scene(tmp_path, off, store=store).open()
    off.address, looks = "refuses", len(off.looked_at)
    assert (await scene.one("meets it", model="off/a", wait=0)).status == 503

    waits = scene.ask("waits", model="off/b", wait=120.0)
    await scene.passes(20.0)
    off.address = "there"
    (told,) = await scene.told(waits)

    assert told.status == 200
    assert told.after <= 20.0 + 11.0
    assert len(off.calls) == 2  # the one that met it, and the one that waited
    assert 3 <= len(off.looked_at) - looks <= 10
    await scene.close()


async def test_a_short_interruption_is_over_within_a_second_or_two(tmp_path, store):
    off = Source(name="off", listing=listed("a", "b"))
    scene = await Scene(tmp_path, off, store=store).open()
    off.address = "refuses"
    await scene.one("meets it", model="off/a", wait=0)
    off.address = "there"

    told = await scene.one("waits", model="off/b")

    assert told.status == 200
    assert told.after <= 2.0
    await scene.close()


async def test_an_address_that_sends_nothing_at_all_takes_few_and_then_none(tmp_path, store):
    mute = Source(name="mute", models=(), listing=listed(*(f"best-{n}" for n in range(4))))
    scene = await Scene(tmp_path, mute, steady(), requests=HEDGED, more=PREFERRED, store=store).open()
    await knowing_all(scene, mute)
    mute.address = "silent"

    told = await scene.told(*await calls_at(scene, 40, 0.5, wait=60.0))

    assert [one.status for one in told] == [200] * 40
    assert len(mute.calls) == 0  # none came through
    assert mute.hung <= 4  # in more than a minute
    await scene.close()


async def knowing_all(scene: Scene, source: Source) -> None:
    for entry in source.listing["data"]:
        for _ in range(3):
            assert (await scene.one("before", model=f"{source.name}/{entry['id']}")).status == 200
    await scene.until(START + 60.0)
    source.calls.clear()


async def test_a_caller_who_leaves_after_overdue_silence_teaches_as_a_failure_does(tmp_path):
    hangs = silent()
    scene = await Scene(tmp_path, hangs).open()

    asking = scene.ask("leaves")
    await scene.passes(15.0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    told = await scene.one("comes after", wait=0)

    assert told.status == 429
    assert "silent for 15 s" in told.heard.body.decode()
    assert len(hangs.calls) == 1


async def test_one_who_can_neither_wait_nor_go_elsewhere_is_sent_to_a_source_that_is_late(tmp_path):
    slow = Source(name="slow", seconds=5.0)
    scene = await Scene(tmp_path, slow).open()
    await knowing(scene, slow)

    first = scene.ask("first")
    await scene.passes(2.0)
    second = scene.ask("cannot wait", wait=0)

    assert [one.status for one in await scene.told(first, second)] == [200, 200]
    assert [call.at - START - 60.0 for call in slow.calls] == pytest.approx([0.0, 2.0])


async def test_those_who_waited_for_a_late_answer_are_sent_when_it_comes(tmp_path):
    slow = Source(name="slow", seconds=5.0)
    scene = await Scene(tmp_path, slow).open()
    await knowing(scene, slow)

    told = await scene.told(*await calls_at(scene, 6, 0.5))

    assert [one.status for one in told] == [200] * 6
    assert sorted(call.at - START - 60.0 for call in slow.calls) == pytest.approx([0.0, 0.5, 5.0, 5.0, 5.0, 5.0])


async def test_a_refused_connection_concerns_all_models_there_and_spends_one_attempt(tmp_path):
    off = Source(name="off", models=tuple(f"best-{n}" for n in range(6)), rule=lambda body: Said(0))
    scene = await Scene(tmp_path, off, steady(), more=PREFERRED).open()

    told = await scene.one()

    assert (told.status, told.heard.headers["x-freeway-attempts"]) == (200, "2")
    assert len(off.calls) == 1
    assert (await scene.one("next")).heard.headers["x-freeway-attempts"] == "1"


async def test_one_request_finds_out_that_an_address_is_there_again_for_all_its_models(tmp_path):
    off = Source(name="off", models=("a", "b"), script=[Said(0)], seconds=1.0)
    scene = await Scene(tmp_path, off).open()
    assert (await scene.one(model="off/a", wait=0)).status == 503
    await scene.passes(11.0)

    told = await scene.told(*(scene.ask(f"call {n}", model=f"off/{'ab'[n % 2]}") for n in range(4)))

    assert [one.status for one in told] == [200] * 4
    assert sorted(call.at - off.calls[1].at for call in off.calls[1:]) == pytest.approx([0.0, 1.0, 1.0, 1.0])


async def test_a_refusal_shows_that_the_address_is_there(tmp_path):
    off = Source(name="off", models=("a", "b"), script=[Said(0), Said(503, error("busy"))])
    scene = await Scene(tmp_path, off).open()
    await scene.one(model="off/a", wait=0)
    await scene.passes(11.0)

    assert (await scene.one("is refused", model="off/a", wait=0)).status != 200
    assert (await scene.one("goes on", model="off/b", wait=0)).status == 200


async def test_a_model_on_this_machine_that_loads_is_not_silent(tmp_path):
    own = Source(name="local").settings().replace('kind = "plan"', 'kind = "local"').replace(".example", ".internal")
    local = Source(name="local", seconds=60.0, own=own)
    scene = await Scene(tmp_path, local).open()
    told = await scene.told(*await calls_at(scene, 4, 2.0))

    assert [one.status for one in told] == [200] * 4
    assert [call.at - START for call in local.calls] == pytest.approx([0.0, 2.0, 4.0, 6.0])


async def test_a_revoked_key_is_met_by_one_request_and_not_by_eleven_that_waited(tmp_path):
    minutely = '[{ limit = "11/minute", window = "clock" }]'
    keyed = Source(name="keyed", models=("best-model", "best-other"), quota=minutely, seconds=0.1)
    scene = await Scene(tmp_path, keyed, more=PREFERRED).open()
    asked: dict[str, Any] = {"model": "keyed/best-model", "wait": 70.0}
    await scene.told(*(scene.ask(f"takes the minute {n}", **asked) for n in range(11)))
    waiting = [scene.ask(f"waits {n}", **asked) for n in range(11)]
    await scene.passes(1.0)
    keyed.rule = lambda body: Said(401, error("Incorrect API key provided", code="invalid_api_key"), seconds=0.1)

    told = await scene.told(*waiting)

    assert {one.status for one in told} == {503}
    assert len(keyed.calls) == 11 + 1
    assert max(one.at for one in told) < START + 61.0
