"""What is given away is no credit, and no request takes a credit alone."""

from __future__ import annotations

from typing import Any

from tests.laws.sources import Said, Scene, Source, error

HUB = """
[provider.hub]
title = "Hub"
dialect = "huggingface"
base_url = "http://hub.example/v1"
docs = "none"
keyless = true
quota = [{ unit = "dollars", limit = "0.10/month", scope = "account", window = "calendar" }]
[provider.hub.free]
kind = "credit"
because = "it has a credit"
"""
DEPLETED = Said(402, error("You have depleted your monthly included credits."), counted=False)


def listed(model: str, *, dollars_a_million: float, is_free: bool = False) -> dict[str, Any]:
    offer = {
        "provider": "maker",
        "status": "live",
        "context_length": 131_072,
        "pricing": {"input": dollars_a_million, "output": dollars_a_million},
        "is_free": is_free,
        "supports_tools": True,
    }
    return {"id": f"maker/{model}", "object": "model", "providers": [offer]}


def hub() -> Source:
    models = [
        listed("paid", dollars_a_million=1.0),
        listed("also-paid", dollars_a_million=1.0),
        listed("gift", dollars_a_million=1.0, is_free=True),
    ]
    return Source(name="hub", own=HUB, listing={"object": "list", "data": models})


async def test_the_first_402_takes_out_what_the_credit_pays_and_not_what_is_given_away(tmp_path, store):
    source = hub()
    scene = await Scene(tmp_path, source, store=store).open()
    source.script.append(DEPLETED)

    refused = await scene.one(model="hub/maker/paid:maker", wait=0.0)
    other = await scene.one(model="hub/maker/also-paid:maker", wait=0.0)
    gift = await scene.one(model="hub/maker/gift:maker", wait=0.0)

    assert (refused.status, other.status, gift.status) == (503, 503, 200)
    assert [call.status for call in source.calls] == [402, 200]
    await scene.close()


async def test_a_402_for_what_was_given_away_takes_out_that_alone(tmp_path, store):
    source = hub()
    scene = await Scene(tmp_path, source, store=store).open()
    source.script.append(DEPLETED)

    gift = await scene.one(model="hub/maker/gift:maker", wait=0.0)
    paid = await scene.one(model="hub/maker/paid:maker", wait=0.0)
    again = await scene.one(model="hub/maker/gift:maker", wait=0.0)

    assert (gift.status, paid.status, again.status) == (503, 200, 503)
    await scene.close()


async def test_what_is_given_away_is_taken_before_the_credit_and_after_it_is_used_up(tmp_path, store):
    source = hub()
    scene = await Scene(tmp_path, source, store=store).open()
    prompt = "word " * 3_000

    told = [await scene.one(f"{prompt}{number}", wait=0.0) for number in range(60)]

    assert {one.heard.headers["x-freeway-model"] for one in told} == {"gift-maker"}
    await scene.close()


async def test_one_long_prompt_never_takes_the_months_credit(tmp_path, store):
    source = hub()
    scene = await Scene(tmp_path, source, store=store).open()

    long = await scene.one("word " * 40_000, model="hub/maker/paid:maker", wait=0.0)
    short = await scene.one("hi", model="hub/maker/paid:maker", wait=0.0)

    assert (long.status, short.status) == (400, 200)
    assert "25% of the month's credit" in long.heard.body.decode()
    await scene.close()


async def test_a_long_prompt_that_a_credit_would_not_bear_goes_elsewhere(tmp_path, store):
    source = hub()
    scene = await Scene(tmp_path, source, Source(name="other", models=("paid",)), store=store).open()

    told = await scene.one("word " * 40_000, models=["hub/maker/paid:maker", "other/paid"], model="", trace=True)

    assert told.heard.headers["x-freeway-provider"] == "other"
    assert "month's credit" in str(told.trace)
    await scene.close()
