"""An index never mixes vector spaces, what was embedded once costs nothing again, and a batch is finished or fails whole."""

from __future__ import annotations

import asyncio
import json
import math
import operator
from base64 import b64decode
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from providers.simulator.world import World
from tests.clock import FakeClock

HOSTS = ("cloudflare", "nvidia", "ollama")
"""Some of those that serve bge-m3."""

ALL = (*HOSTS, "huggingface", "ovhcloud")
CITIES = ("Oslo", "Rome", "Basel", "Porto", "Turin", "Kyoto")
THINGS = ("harbour", "opera", "trains", "markets", "bridges", "rain")


@pytest.fixture
def allowing(tmp_path):
    """The environment in which OVHcloud is asked, too, which takes no key."""
    path = tmp_path / "allowing.toml"
    path.write_text("[provider.ovhcloud]\nenabled = true\n")
    return {"FREEWAY_CONFIG": str(path)}


async def ask(base_url: str, texts: list[Any], model: str = "bge-m3", **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    async with httpx.AsyncClient(base_url=base_url, timeout=30, headers=headers) as client:
        return await client.post("/v1/embeddings", json={"model": model, "input": texts, **more})


def vectors(response: httpx.Response) -> list[list[float]]:
    assert response.status_code == 200, response.text
    return [entry["embedding"] for entry in response.json()["data"]]


def embedded(world: World) -> int:
    """Requests for embeddings that providers answered."""
    paths = ("embeddings", "/api/embed", "batchEmbedContents")
    return sum(call.served for one in world.providers.values() for call in one.calls if call.path.endswith(paths))


def other_weights(name: str) -> Any:
    """What makes the model of *name* another one, under the same name."""

    def arrange(world: World) -> None:
        provider = world.providers[name]
        provider.models = [replace(m, weights="other") if "bge-m3" in m.id else m for m in provider.models]

    return arrange


async def test_whichever_hosts_are_gone_the_vectors_are_the_same(start):
    demo = await start(HOSTS)
    texts = ["Oslo", "Rome"]
    first = vectors(await ask(demo.base_url, texts, provider={"only": ["nvidia"]}))
    for gone in ("nvidia", "cloudflare"):
        del demo.world.providers[gone]
        fresh = [f"{text} {gone}" for text in texts]
        assert len(vectors(await ask(demo.base_url, [*texts, *fresh]))) == 4

    assert vectors(await ask(demo.base_url, texts)) == first


def nearest(query: list[float], index: dict[str, list[float]]) -> str:
    """The text of *index* whose vector is nearest to *query*."""
    return max(index, key=lambda text: math.fsum(map(operator.mul, query, index[text])))


@pytest.mark.parametrize("left", ALL)
async def test_whichever_four_of_five_hosts_are_gone_the_nearest_neighbours_are_the_same(start, allowing, left):
    demo = await start(ALL, **allowing)
    texts = [f"{thing} of {city}" for thing in THINGS for city in CITIES]
    first = next(name for name in ALL if name != left)
    made = vectors(await ask(demo.base_url, texts, provider={"only": [first]}))
    for gone in set(ALL) - {left}:
        del demo.world.providers[gone]

    asked = await ask(demo.base_url, [f"{city} {thing}" for thing in THINGS for city in CITIES])

    index = dict(zip(texts, made, strict=True))
    assert asked.headers["x-freeway-provider"] == left
    assert [nearest(query, index) for query in vectors(asked)] == texts


async def test_a_host_with_other_weights_is_found_out_at_once_and_never_mixed_in(start):
    changed: list[Any] = []
    demo = await start(HOSTS, arrange=other_weights("nvidia"), observers=[changed.append])
    right = vectors(await ask(demo.base_url, ["Oslo"], provider={"only": ["cloudflare"]}))[0]

    answers = [await ask(demo.base_url, [f"text {n}"], provider={"order": ["nvidia"]}) for n in range(6)]

    assert {one.headers["x-freeway-provider"] for one in answers} <= {"cloudflare", "ollama"}
    assert sum(call.path.endswith("/embeddings") for call in demo.world.providers["nvidia"].calls) == 1
    assert vectors(await ask(demo.base_url, ["Oslo"], encoding_format="float"))[0] == right
    assert any("do not fit" in str(event) for event in changed)


async def test_what_was_embedded_once_costs_nothing_again(start):
    demo = await start(("nvidia",))
    texts = [f"note {number}" for number in range(500)]
    first = vectors(await ask(demo.base_url, texts))
    asked = embedded(demo.world)

    again = await ask(demo.base_url, list(reversed(texts)))

    assert vectors(again) == list(reversed(first))
    assert embedded(demo.world) == asked
    assert again.headers["x-freeway-provider"] == "cache"
    assert again.headers["x-freeway-model"] == "bge-m3"


async def test_where_nothing_is_kept_the_same_text_is_asked_for_again(start, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[cache]\nembeddings = false\n")
    demo = await start(("nvidia",), FREEWAY_CONFIG=str(own))
    first = vectors(await ask(demo.base_url, ["a"]))
    asked = embedded(demo.world)

    assert vectors(await ask(demo.base_url, ["a"])) == first
    assert embedded(demo.world) == asked + 1


async def test_what_was_kept_is_not_for_those_who_may_not_ask_its_source(start):
    demo = await start(("nvidia", "groq"))
    await ask(demo.base_url, ["a"])

    refused = await ask(demo.base_url, ["a"], provider={"only": ["groq"]})

    assert refused.status_code == 400
    assert (await ask(demo.base_url, ["a"])).headers["x-freeway-provider"] == "cache"


async def test_one_text_that_many_ask_for_at_once_is_one_call(start):
    demo = await start(("nvidia",))
    await ask(demo.base_url, ["so that the host is known"])
    asked = embedded(demo.world)

    found = await asyncio.gather(*(ask(demo.base_url, ["the same"]) for _ in range(20)))

    assert len({tuple(vectors(one)[0]) for one in found}) == 1
    assert embedded(demo.world) == asked + 1


async def test_a_batch_is_split_to_what_its_source_takes_and_put_together_in_order(start):
    demo = await start(("nvidia",))
    texts = [f"{number}" for number in range(250)]

    found = vectors(await ask(demo.base_url, [*texts, "7"]))

    sizes = [len(call.body) for call in demo.world.providers["nvidia"].calls if call.path.endswith("/embeddings")]
    one = vectors(await ask(demo.base_url, ["7"]))[0]
    assert found[7] == found[250] == one
    assert len({tuple(vector) for vector in found}) == 250
    assert len(sizes) == 3


async def test_a_batch_that_partly_fails_is_finished_by_another_host_of_the_model(start):
    demo = await start(("nvidia", "cloudflare"))
    vectors(await ask(demo.base_url, ["known"], provider={"only": ["nvidia"]}))
    demo.world.providers["nvidia"].fail("server_error", times=100)

    found = vectors(await ask(demo.base_url, [f"{n}" for n in range(200)]))

    assert len({tuple(vector) for vector in found}) == 200


async def test_a_batch_fails_whole_and_what_was_made_is_not_asked_for_again(start):
    demo = await start(("nvidia",))
    provider = demo.world.providers["nvidia"]
    texts = [f"{n}" for n in range(150)]
    await ask(demo.base_url, texts[:93])
    provider.fail("server_error", times=100)
    failed = await ask(demo.base_url, texts, headers={"x-freeway-max-wait": "0"})
    provider.faults.clear()
    asked = len(provider.calls)

    again = await ask(demo.base_url, texts, headers={"x-freeway-max-wait": "30"})

    assert failed.status_code == 503
    assert len(vectors(again)) == 150
    assert len(provider.calls) == asked + 1


async def test_nothing_else_ever_stands_in(start):
    demo = await start(("nvidia", "mistral"))
    demo.world.providers["nvidia"].fail("server_error", times=100)

    found = await ask(demo.base_url, ["a"], headers={"x-freeway-max-wait": "0"})

    assert found.status_code == 503
    assert not [call for call in demo.world.providers["mistral"].calls if call.path.endswith("/embeddings")]


async def test_who_names_no_model_always_means_the_same(start):
    demo = await start(HOSTS)
    first = await ask(demo.base_url, ["a"], model="auto")
    for name in ("nvidia", "cloudflare"):
        del demo.world.providers[name]

    later = await ask(demo.base_url, ["b"], model="auto")

    assert first.headers["x-freeway-model"] == later.headers["x-freeway-model"] == "bge-m3"
    assert later.headers["x-freeway-provider"] == "ollama"


@pytest.mark.parametrize("alias", ['"auto"', '"auto:fast"', '["bge-m3", "mistral-embed"]'])
async def test_an_alias_means_one_model_whether_it_is_served_or_not(start, tmp_path, alias):
    own = tmp_path / "own.toml"
    own.write_text(f'[alias]\n"text-embedding-3-small" = {alias}\n')
    demo = await start(("nvidia", "mistral"), FREEWAY_CONFIG=str(own))
    first = await ask(demo.base_url, ["a"], model="text-embedding-3-small")
    demo.world.providers["nvidia"].fail("server_error", times=100)

    later = await ask(demo.base_url, ["b"], model="text-embedding-3-small", headers={"x-freeway-max-wait": "0"})
    kept = await ask(demo.base_url, ["a"], model="text-embedding-3-small")

    assert (first.status_code, first.json()["model"]) == (200, "bge-m3")
    assert later.status_code in (429, 503)
    assert vectors(kept) == vectors(first)


async def test_no_source_that_embeds_is_told_with_what_brings_one(start):
    demo = await start(("groq",))

    found = await ask(demo.base_url, ["a"], model="auto")

    assert found.status_code == 400
    assert "NVIDIA" in found.json()["error"]["message"]


@pytest.mark.parametrize("dimensions", [None, 8])
async def test_bytes_and_numbers_are_the_same_vector(start, dimensions):
    demo = await start(("nvidia",))
    more = {} if dimensions is None else {"dimensions": dimensions}
    (given,) = vectors(await ask(demo.base_url, ["a"], **more))
    coded = (await ask(demo.base_url, ["a"], encoding_format="base64", **more)).json()["data"][0]["embedding"]

    assert len(b64decode(coded)) == 4 * len(given)
    assert dimensions is None or len(given) == dimensions


async def test_token_numbers_go_only_to_a_host_whose_vectors_were_compared(start):
    demo = await start(("nvidia",))

    found = vectors(await ask(demo.base_url, [[1, 2], [3]]))

    bodies = [
        json.loads(one.body)["input"]
        for one in demo.world.providers["nvidia"].calls
        if one.path.endswith("/embeddings")
    ]
    assert len(found) == 2
    assert all(isinstance(item, str) for item in bodies[0])
    assert bodies[1:] == [[[1, 2], [3]]]


async def through(clock: FakeClock, task: asyncio.Task[httpx.Response]) -> httpx.Response:
    """What *task* gives, for which time goes on."""
    while not task.done():
        await asyncio.sleep(0.02)
        clock.advance(5)
    return await task


async def test_ten_thousand_texts_through_strict_limits_end_in_order_without_a_refusal(start):
    clock = FakeClock(1_795_440_000.0)
    demo = await start(("mistral",), clock=clock)
    texts = [f"document {number}" for number in range(10_000)]

    waits = {"x-freeway-max-wait": "3600"}
    asked = asyncio.create_task(ask(demo.base_url, texts, model="mistral-embed", headers=waits))
    found = vectors(await through(clock, asked))
    (last,) = vectors(await ask(demo.base_url, texts[-1:], model="mistral-embed"))

    assert len({tuple(vector) for vector in found}) == 10_000
    assert found[-1] == last
    assert demo.world.providers["mistral"].refused == 0


@pytest.mark.parametrize(("name", "model"), [("google", "gemini-embedding-001"), ("huggingface", "bge-m3")])
async def test_texts_of_which_a_minute_or_a_credit_holds_few_go_in_parts_that_fit(start, name, model):
    clock = FakeClock(1_795_440_000.0)
    demo = await start((name,), clock=clock)
    texts = [f"{number} " + "word " * 600 for number in range(40)]

    waits = {"x-freeway-max-wait": "3600"}
    found = vectors(await through(clock, asyncio.create_task(ask(demo.base_url, texts, model=model, headers=waits))))

    assert len({tuple(vector) for vector in found}) == 40
    assert demo.world.providers[name].refused == 0
    assert demo.world.providers[name].charged == 0


async def test_the_control_texts_are_debited_like_those_of_the_caller(start):
    clock = FakeClock(1_795_440_000.0)
    demo = await start(("google",), clock=clock)
    texts = [f"{number}" for number in range(100)]  # as many as a minute holds, without the control texts

    waits = {"x-freeway-max-wait": "600"}
    asked = asyncio.create_task(ask(demo.base_url, texts, model="gemini-embedding-001", headers=waits))
    found = vectors(await through(clock, asked))

    assert len({tuple(vector) for vector in found}) == 100
    assert demo.world.providers["google"].refused == 0
