"""An answer that is none costs its caller another attempt, and nobody else the source."""

from __future__ import annotations

from typing import Any

from tests.laws.sources import Said, Scene, Source, completion

PLAIN, THINKS = 'capabilities = ["tools"]', 'capabilities = ["tools", "reasoning"]'


def silent(body: dict[str, Any]) -> Said:
    return Said(200, completion(body, ""))


def thinking(body: dict[str, Any]) -> Said:
    """Its thought takes all that a small bound allows."""
    found = completion(body, "" if (body.get("max_tokens") or 1000) < 100 else "yes")
    found["choices"][0]["finish_reason"] = "length"
    return Said(200, found)


def model(name: str, can: str, **more: Any) -> Source:
    return Source(name=name, more=f'models = [{{ ids = ["*"], {can} }}]', **more)


def order(*names: str) -> dict[str, Any]:
    return {"provider": {"order": list(names)}}


async def test_an_empty_answer_moves_on_and_its_source_is_asked_by_the_next(tmp_path):
    a = model("a", PLAIN, rule=silent)
    scene = await Scene(tmp_path, a, model("b", PLAIN)).open()

    told = [await scene.one(**order("a", "b")) for _ in range(2)]

    assert [one.heard.headers["x-freeway-provider"] for one in told] == ["b", "b"]
    assert len(a.calls) == 2


async def test_a_source_that_says_nothing_again_and_again_is_left_alone_for_a_while(tmp_path):
    a = model("a", PLAIN, rule=silent)
    scene = await Scene(tmp_path, a, model("b", PLAIN)).open()

    for _ in range(6):
        await scene.one(**order("a", "b"))

    assert len(a.calls) == 3


async def test_what_answers_in_between_is_forgiven_anew(tmp_path):
    a = model("a", PLAIN)
    scene = await Scene(tmp_path, a, model("b", PLAIN)).open()
    for _ in range(3):
        a.script += [Said(200, completion({"model": "m", "messages": []}, "")) for _ in range(2)]
        for _ in range(3):
            await scene.one(**order("a", "b"))

    assert len(a.calls) == 9


async def test_the_callers_own_bound_explains_an_empty_answer(tmp_path):
    a = model("a", THINKS, rule=thinking)
    scene = await Scene(tmp_path, a).open()

    told = [await scene.one(max_tokens=1) for _ in range(5)]

    assert [one.status for one in told] == [200] * 5
    assert '"length"' in told[0].heard.body.decode()
    assert len(a.calls) == 5


async def test_a_model_that_thinks_is_not_the_first_choice_for_a_small_bound(tmp_path):
    a, b = model("a", THINKS, rule=thinking, models=("gpt-oss-120b",)), model("b", PLAIN, models=("gpt-oss-20b",))
    scene = await Scene(tmp_path, a, b).open()

    small, large = [await scene.one(max_tokens=bound, model="auto:smart") for bound in (5, 500)]

    assert [one.heard.headers["x-freeway-provider"] for one in (small, large)] == ["b", "a"]


async def test_a_model_whose_thinking_can_be_switched_off_is_told_to_answer_at_once(tmp_path):
    seen: list[Any] = []
    switch = 'reasoning = [{ ids = ["*"], efforts = ["none", "high"], source = "made up" }]'
    a = Source(
        name="a",
        models=("gpt-oss-120b",),
        more=f'models = [{{ ids = ["*"], {THINKS} }}]\n{switch}',
        rule=lambda body: seen.append(body.get("reasoning_effort")),
    )
    scene = await Scene(tmp_path, a, model("b", PLAIN, models=("gpt-oss-20b",))).open()

    await scene.one(max_tokens=5)
    await scene.one(max_tokens=5, reasoning_effort="high")
    await scene.one(max_tokens=500)

    assert seen == ["none", "high", None]
