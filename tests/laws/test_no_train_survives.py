"""What may not train never reaches a source that trains, whatever stands in for what."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from gateway.request.explain import explain
from tests.laws.sources import Said, Scene, Source, error, router

GONE = Said(404, error("the model does not exist", code="model_not_found"), counted=False)


async def scene_of(folder, no_train: str) -> tuple[Scene, Source, Source]:
    """A virtual model of one's own whose only model is about to go, and a source that trains with one like it."""
    discreet = Source(name="discreet", models=("llama-3.3-70b-instruct",), script=[GONE])
    training = Source(name="training", models=("llama-3.1-70b-instruct",), trains="yes")
    more = f'[virtual."mine"]\nmodels = ["llama-3.3-70b-instruct"]\nno_train = {no_train}\n'
    scene = await Scene(folder, discreet, training, requests="substitute = true", more=more).open()
    return scene, discreet, training


async def test_where_training_is_allowed_the_nearest_model_stands_in(tmp_path):
    scene, discreet, _ = await scene_of(tmp_path, "false")

    told = [await scene.one(model="mine") for _ in range(2)]

    assert told[1].status == 200, told
    assert told[1].heard.headers["x-freeway-provider"] == "training"
    assert len(discreet.calls) == 1


async def test_the_no_train_of_a_virtual_model_survives_substitution(tmp_path):
    scene, discreet, training = await scene_of(tmp_path, "true")

    told = [await scene.one(model="mine") for _ in range(3)]

    assert training.calls == []
    assert all(one.status != 200 for one in told)
    assert len(discreet.calls) == 1


# ── a source that enforces it for the single request ──

RESTRICTED = Said(
    404,
    error("No endpoints found matching your data policy", availability={"code": "privacy_restricted"}),
    counted=False,
)
CAREFUL, OTHER = "careful-key-of-a-client", "another-key-of-a-client"


def client(key: str, no_train: str) -> str:
    return f'[[client]]\nname = "{key}"\nkey_sha256 = "{sha256(key.encode()).hexdigest()}"\nno_train = {no_train}\n'


KEYS = client(CAREFUL, "true") + client(OTHER, "false")
VIRTUAL = '[virtual."mine"]\nmodels = ["*"]\nno_train = true\n'
CAUSES: dict[str, dict[str, Any]] = {
    "field": {"provider": {"data_collection": "deny"}},
    "zdr": {"provider": {"zdr": True}},
    "client key": {"key": CAREFUL},
    "virtual model": {"model": "mine"},
}


def enforcing(restricts: bool = False) -> tuple[Source, list[dict[str, Any]]]:
    """A router, and the bodies that it got. One that *restricts* has no endpoint for requests that may not train."""
    bodies: list[dict[str, Any]] = []

    def rule(body: dict[str, Any]) -> Said | None:
        bodies.append(body)
        return RESTRICTED if restricts and body["provider"].get("data_collection") == "deny" else None

    return router(rule), bodies


@pytest.mark.parametrize("cause", CAUSES)
async def test_a_source_that_enforces_it_is_asked_to_whatever_caused_it(tmp_path, store, cause):
    source, bodies = enforcing()
    scene = await Scene(tmp_path, source, store=store, more=VIRTUAL + KEYS).open()

    told = await scene.one(**{"key": OTHER, **CAUSES[cause]})
    plain = await scene.one("plain", key=OTHER)

    assert (told.status, plain.status) == (200, 200)
    first, second = (body["provider"] for body in bodies)
    assert (first["data_collection"], first["zdr"]) == ("deny", True)
    assert "data_collection" not in second
    assert "zdr" not in second
    await scene.close()


@pytest.mark.parametrize("cause", CAUSES)
async def test_one_that_has_no_endpoint_for_it_is_left_to_the_others_alone(tmp_path, store, cause):
    source, bodies = enforcing(restricts=True)
    discreet = Source(name="discreet", models=("plain",))
    scene = await Scene(tmp_path, source, discreet, store=store, more=VIRTUAL + KEYS).open()
    asked = {"key": OTHER, "models": ["maker/free-model:free", "plain"], "model": ""}
    if "model" in CAUSES[cause]:
        del asked["models"]
    asked |= CAUSES[cause]

    told = [await scene.one(f"{n}", **asked) for n in range(2)]
    plain = await scene.one("plain", key=OTHER, model="router/maker/free-model:free")

    assert [one.heard.headers["x-freeway-provider"] for one in told] == ["discreet"] * 2
    assert plain.status == 200
    assert len(bodies) <= 2  # the one that found out, if it was asked first, and the one that does not mind
    assert not scene.gateway.engine.view.catalog.learned.out(scene.clock())
    await scene.close()


OWN = """
[virtual."mine"]
no_train = true
[alias]
"private" = "mine"
"""
NAMES = ["mine", "private"]


def trains() -> Source:
    return Source(name="a", trains="yes")


@pytest.mark.parametrize("name", NAMES)
async def test_it_survives_a_failure_of_the_only_source_that_may_serve(tmp_path, name):
    a, b = trains(), Source(name="b", script=[Said(500, error("no"))] * 9)
    scene = await Scene(tmp_path, a, b, more=OWN).open()

    told = await scene.one(model=name, wait=0.0)

    assert told.status in (429, 503)
    assert (len(a.calls), len(b.calls) > 0) == (0, True)


@pytest.mark.parametrize("name", NAMES)
async def test_it_survives_a_hedge(tmp_path, name):
    a, b = trains(), Source(name="b", seconds=60.0)
    scene = await Scene(tmp_path, a, b, requests='hedge = "always"', more=OWN).open()

    told = await scene.one(model=name)

    assert (told.status, len(a.calls), len(b.calls)) == (200, 0, 1)


@pytest.mark.parametrize("name", NAMES)
async def test_it_survives_a_stream_that_breaks_and_is_resumed(tmp_path, name):
    said = b'data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Once"}}]}\n\n'
    a, b = trains(), Source(name="b", script=[Said(200, said)])
    scene = await Scene(tmp_path, a, b, requests="resume = true", more=OWN).open()

    told = await scene.one(model=name, stream=True)

    assert b"Once" in told.heard.body
    assert len(a.calls) == 0


@pytest.mark.parametrize("models", [["mine", "auto"], ["auto", "mine"]], ids=str)
async def test_it_holds_for_the_whole_request_wherever_in_a_list_the_name_stands(tmp_path, models):
    """What one name of a request demands, the request demands: nothing of it is loosened on the way."""
    a, b = trains(), Source(name="b", script=[Said(500, error("no"))] * 9)
    scene = await Scene(tmp_path, a, b, more=OWN).open()

    await scene.one(model=models[0], models=models[1:], wait=0.0)

    assert len(a.calls) == 0


@pytest.mark.parametrize("name", NAMES)
async def test_explaining_says_so_and_names_no_such_source_among_those_that_would_be_asked(tmp_path, name):
    scene = await Scene(tmp_path, trains(), Source(name="b"), more=OWN).open()

    told = await explain(scene.gateway.asked(name, "hi"), scene.gateway.engine)

    assert {one.provider for one in told.ranked} == {"b"}
    assert {(one.deployment.partition("/")[0], one.kind) for one in told.excluded} >= {("a", "privacy")}
