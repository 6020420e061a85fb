"""What few sources can do is kept for requests that need it, by the bucket that they would draw on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.request.explain import explain
from tests.laws.sources import START, Said, Scene, Source, answer_to, error

REFILLING = '[{ limit = "1000/day", window = "refill", scope = "account" }]'
TWENTY = '[{ limit = "20/day", window = "calendar", scope = "account" }]'
SEES = '[[provider.b.models]]\nids = ["sees-*"]\ncapabilities = ["vision", "tools", "json_object"]\n'
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
LOOK = [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, PICTURE]}]


async def opened(folder: Path, *blind: str, more: str = "") -> Scene:
    """A reads text, of 1000 a day 60 are used. B sees, 20 times a day; its *blind* models draw on the same day."""
    reads = Source(name="a", models=("text-model",), quota=REFILLING)
    sees = Source(name="b", models=("sees-model", *blind), quota=TWENTY, more=SEES)
    scene = await Scene(folder, reads, sees, more=more).open()
    await scene.told(*(scene.ask(f"used {n}", model="a/text-model") for n in range(60)))
    return scene


async def texts_then_pictures(scene: Scene) -> tuple[list[Any], list[Any]]:
    texts = await scene.told(*(scene.ask(f"text {n}") for n in range(15)))
    pictures = await scene.told(*(scene.ask("picture", messages=LOOK, wait=0) for _ in range(20)))
    return texts, pictures


@pytest.mark.parametrize("blind", [(), ("blind-model",)], ids=["it sees", "a blind model draws on its day"])
async def test_of_fifteen_texts_none_takes_the_day_of_twenty_pictures(tmp_path, blind):
    scene = await opened(tmp_path, *blind)

    told = await explain(scene.gateway.asked("auto"), scene.gateway.engine)
    texts, pictures = await texts_then_pictures(scene)

    assert "one of the last ways to vision" in told.ranked[-1].held_back[0]
    assert {one.heard.headers["x-freeway-provider"] for one in texts} == {"a"}
    assert [one.status for one in pictures] == [200] * 20


@pytest.mark.parametrize("pictures", [0, 20])
async def test_a_talent_is_rare_where_it_is_asked_for_oftener_than_its_ways_would_last(tmp_path, pictures):
    """Of 300 pictures a day, 20 in two minutes leave none for texts; without them a text may have one."""
    many = TWENTY.replace("20/day", "300/day")
    reads = Source(name="a", models=("text-model",), quota=REFILLING)
    sees = Source(name="b", models=("sees-model",), quota=many, more=SEES)
    better = '[[model]]\nmodels = ["sees*"]\nquality = 0.9\n[[model]]\nmodels = ["text*"]\nquality = 0.6\n'
    scene = await Scene(tmp_path, reads, sees, more=better).open()
    for number in range(20):
        await scene.passes(6.0)
        if number < pictures:
            assert (await scene.one(messages=LOOK)).status == 200

    told = await scene.one("text")

    assert told.heard.headers["x-freeway-provider"] == ("a" if pictures else "b")


@pytest.mark.parametrize(("texts", "goes_to"), [(60, "a"), (4, "b")])
async def test_where_much_is_asked_some_of_it_may_need_a_talent_though_none_did_yet(tmp_path, texts, goes_to):
    """Of 300 pictures a day none would be left after half a day of 30 texts a minute; after two texts a minute most would be."""
    reads = Source(name="a", models=("text-model",), quota=REFILLING)
    sees = Source(name="b", models=("sees-model",), quota=TWENTY.replace("20/day", "300/day"), more=SEES)
    better = '[[model]]\nmodels = ["sees*"]\nquality = 0.9\n[[model]]\nmodels = ["text*"]\nquality = 0.6\n'
    scene = await Scene(tmp_path, reads, sees, more=better).open()
    for number in range(texts):
        await scene.one(f"text {number}")
        await scene.passes(120.0 / texts)

    told = await scene.one("one more")

    assert told.heard.headers["x-freeway-provider"] == goes_to


async def test_a_model_that_fails_leaves_its_calls_to_another_there_before_the_last_ways_to_a_talent(tmp_path):
    """Only where neither is a last way another provider goes first."""
    reads = Source(name="a", models=("first-text", "second-text"), quota=REFILLING)
    sees = Source(name="b", models=("sees-model",), quota=TWENTY, more=SEES)
    other = Source(name="c", models=("other-text",), quota=REFILLING)
    ranks = "".join(
        f'[[model]]\nmodels = ["{name}*"]\nquality = {quality}\n'
        for name, quality in (("first", 0.9), ("second", 0.6), ("sees", 0.9), ("other", 0.3))
    )
    reads.rule = lambda body: Said(503, error("busy"), counted=False) if body["model"] == "first-text" else None
    scene = await Scene(tmp_path, reads, sees, more=ranks).open()
    (tmp_path / "beside").mkdir()
    beside = await Scene(tmp_path / "beside", reads, sees, other, more=ranks).open()

    alone, with_another = await scene.one("text"), await beside.one("text")

    assert alone.heard.headers["x-freeway-model"] == "second-text"
    assert with_another.heard.headers["x-freeway-model"] == "other-text"
    assert [called.status for called in reads.calls] == [503, 200, 503]


async def test_nor_are_they_there_for_a_second_request_beside_one_that_is_silent(tmp_path):
    """A source that is lost is another matter."""
    hangs = Source(name="a", models=("text-model",), quota=REFILLING)
    sees = Source(name="b", models=("sees-model",), quota=TWENTY, more=SEES)
    ranks = '[[model]]\nmodels = ["text*"]\nquality = 0.9\n[[model]]\nmodels = ["sees*"]\nquality = 0.3\n'
    hangs.rule = lambda body: Said(200, answer_to(body), seconds=1e6)
    scene = await Scene(tmp_path, hangs, sees, requests='hedge = "plentiful"', more=ranks).open()

    told = await scene.one("text", wait=60.0)

    assert (told.status, told.heard.headers["x-freeway-provider"]) == (200, "b")
    assert told.after == pytest.approx(2 * 10.4, abs=0.1)


async def test_where_nothing_else_has_room_a_text_takes_what_is_kept(tmp_path):
    scene = await opened(tmp_path)
    reads = scene.sources[0]
    reads.down.append((START, START + 600.0))

    told = await scene.one()

    assert (told.status, told.heard.headers["x-freeway-provider"]) == (200, "b")


async def test_in_the_last_hour_of_its_day_nothing_is_kept(tmp_path):
    scene = await opened(tmp_path, more='[[model]]\nmodels = ["sees*"]\nquality = 0.7\n')
    assert (await scene.one("at noon")).heard.headers["x-freeway-provider"] == "a"
    midnight = (START // 86_400 + 1) * 86_400
    await scene.until(midnight - 1800.0)
    await scene.gateway.look("a", "b")

    told = await scene.one()

    assert (told.status, told.heard.headers["x-freeway-provider"]) == (200, "b")
