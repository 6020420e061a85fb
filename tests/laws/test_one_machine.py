"""A machine of one's own that has one model loaded at a time."""

from __future__ import annotations

from typing import Any

from gateway.request.explain import explain
from tests.laws.sources import Said, Scene, Source, answer_to

LOAD, ANSWER = 8.0, 3.0
PREFERRED = '[[model]]\nmodels = ["other*"]\nquality = 0.61\n[[model]]\nmodels = ["*"]\nquality = 0.6\n'


class Loading:
    """What is loaded, and how often something else was."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, body: dict[str, Any]) -> Said:
        model = body["model"]
        seconds = ANSWER if self.asked and self.asked[-1] == model else LOAD + ANSWER
        self.asked.append(model)
        return Said(200, answer_to(body), seconds=seconds)


async def test_while_calls_wait_for_the_model_that_is_loaded_no_other_is_tried_out(tmp_path):
    rule = Loading()
    quota = '[{ limit = "1/in-flight", scope = "account" }]'
    local = Source(name="local", models=("first-model", "other-model"), rule=rule, quota=quota)
    local.own = local.settings().replace('kind = "plan"', 'kind = "local"').replace(".example", ".internal")
    scene = await Scene(tmp_path, local, more=PREFERRED).open()
    await scene.one("loads", model="local/first-model", wait=0.0)

    told = await scene.told(*(scene.ask(f"call {n}", wait=60.0) for n in range(8)))

    assert [one.status for one in told] == [200] * 8
    assert rule.asked == ["first-model"] * 9


async def test_what_takes_the_place_of_several_short_answers_counts_for_them(tmp_path):
    """The model that sees would have to be loaded, and answers more slowly: its turn comes later, and that is told."""
    rule = Loading()
    quota = '[{ limit = "1/in-flight", scope = "account" }]'
    sees = '[[provider.local.models]]\nids = ["other-*"]\ncapabilities = ["vision"]\n'
    local = Source(name="local", models=("first-model", "other-model"), rule=rule, quota=quota, more=sees)
    local.own = local.settings().replace('kind = "plan"', 'kind = "local"').replace(".example", ".internal")
    scene = await Scene(tmp_path, local, more=PREFERRED).open()
    for model in ("other", "first", "first", "first"):
        await scene.one("is known", model=f"local/{model}-model", wait=0.0)
    waiting = [scene.ask(f"{n}", wait=60.0) for n in range(2)]
    await scene.passes(0.5)

    said = []
    for needs in ({"tools"}, {"vision"}):
        call = scene.gateway.asked("auto", "hi", capabilities=frozenset(needs))
        told = await explain(call, scene.gateway.engine)
        assert told.expected is not None
        said.append(told.expected.said)

    assert "short answers" not in said[0]
    assert (
        "it counts for 3 short answers" in said[1]
    )  # about 8 s of loading and 3 s, where others take 3 s or a little more
    await scene.told(*waiting)
