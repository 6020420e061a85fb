"""What the provider counts is debited, and what its headers say is learned, whatever came of the call."""

from __future__ import annotations

import json

import pytest

from tests.conftest import ROOT
from tests.laws.sources import MINUTE, START, Said, Scene, Source, completion, error, events

ASKED = {"model": "free-model", "messages": [{"content": "hi"}], "max_tokens": 1}
EMPTY = completion(ASKED, "")
HEADERS = 'limit_headers = [{ unit = "requests", window = "minute", remaining = "x-remaining" }]'
NONE_LEFT = {"x-remaining": "0"}
OVERLOADED = error("the model is overloaded", code=503)


async def two_a_minute(folder, *script: Said) -> tuple[Scene, Source]:
    """A source with two requests a minute that first says *script*, and another one behind it."""
    source = Source(
        name="first", quota='[{ limit = "2/minute", window = "clock" }]', a_minute=2, script=list(script), more=HEADERS
    )
    return await Scene(folder, source, Source(name="second")).open(), source


IN_ORDER = {"order": ["first", "second"]}


@pytest.mark.parametrize("said", [Said(200, EMPTY), Said(200, OVERLOADED)], ids=["empty", "error in band"])
async def test_what_is_no_answer_moves_on_to_the_next_source(tmp_path, said):
    scene, source = await two_a_minute(tmp_path, said)

    told = await scene.one(provider=IN_ORDER)

    assert (told.status, told.heard.headers["x-freeway-provider"]) == (200, "second")
    assert len(source.calls) == 1


@pytest.mark.parametrize("said", [Said(200, EMPTY), Said(200, OVERLOADED)], ids=["empty", "error in band"])
async def test_what_is_no_answer_is_debited(tmp_path, said):
    """The source counted it: of its two requests a minute one is left, and no second one is sent into its refusal."""
    scene, source = await two_a_minute(tmp_path, said)
    await scene.one(provider=IN_ORDER)
    await scene.until(START + 45.0)  # it has cooled

    told = [await scene.one(model="first/free-model", wait=0) for _ in range(2)]

    assert source.refused == 0
    assert [one.status for one in told] == [200, 429]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_an_errors_headers_say_is_learned(tmp_path, status):
    scene, source = await two_a_minute(tmp_path, Said(status, error("no"), NONE_LEFT, counted=False))
    await scene.one(provider=IN_ORDER)
    await scene.until(START + 45.0)

    told = await scene.one(model="first/free-model", wait=0)

    assert (told.status, len(source.calls)) == (429, 1)


IN_BAND = {
    "empty": (Said(200, EMPTY, NONE_LEFT), False),
    "error": (Said(200, OVERLOADED, NONE_LEFT), False),
    "error as the first event": (Said(200, events([OVERLOADED]), NONE_LEFT), True),
}


@pytest.mark.parametrize(("said", "stream"), IN_BAND.values(), ids=IN_BAND.keys())
async def test_what_the_headers_of_no_answer_say_is_learned(tmp_path, said, stream):
    """None is left in this minute: once it has cooled it is not asked again before the next."""
    scene, source = await two_a_minute(tmp_path, said)
    await scene.one(provider=IN_ORDER, stream=stream)
    await scene.until(START + 45.0)

    told = await scene.one(model="first/free-model", wait=0)
    await scene.until(START + 2 * MINUTE)
    later = await scene.one(model="first/free-model", wait=0)

    assert (told.status, later.status) == (429, 200)
    assert len(source.calls) == 2


async def test_the_minutes_refusal_of_cohere_does_not_close_the_month(tmp_path):
    """Its sentence speaks of calls a minute; a minute later it is asked again."""
    payload = json.loads((ROOT / "tests/payloads/others/cohere_429.json").read_bytes())
    cohere = Source(
        name="cohere",
        own='[provider.cohere]\nbase_url = "http://cohere.example/v1"\nkeyless = true\n',
        script=[Said(payload["status"], payload["body"], payload["headers"], counted=False)],
    )
    scene = await Scene(tmp_path, cohere).open()
    model = "cohere/command-a-03-2025"

    refused = await scene.one(model=model, wait=0)
    await scene.passes(2 * MINUTE)
    told = await scene.one(model=model, wait=0)

    assert (refused.status, told.status) == (429, 200), told
