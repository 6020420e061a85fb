"""What may not train never reaches a source that trains, whatever stands in for what."""

from __future__ import annotations

from tests.laws.sources import Said, Scene, Source, error

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
