"""Images by address reach models whose API takes bytes alone, where the configuration allows it; and not otherwise."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from gateway import app
from providers.fetching import ImageFetcher
from providers.simulator.base import SimulatedModel

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SEEN = f"I see an image of {len(PNG)} bytes, sha256 {hashlib.sha256(PNG).hexdigest()[:12]}"
URL = "http://pictures.example/cat.png"


def asked(*urls: str) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {
        "model": "auto",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *parts]}],
    }


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were fetched."""
    urls: list[str] = []

    async def fetch(url: str) -> str:
        urls.append(url)
        return f"data:image/png;base64,{base64.b64encode(PNG).decode()}"

    def made() -> Any:
        fetcher = ImageFetcher()
        monkeypatch.setattr(fetcher, "fetch", fetch)
        return fetcher

    monkeypatch.setattr(app, "ImageFetcher", made)
    return urls


async def post(demo: Any, body: Any, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        return await client.post(path, json=body, headers={"x-freeway-trace": "true", **headers})


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[server]\nfetch_images = true\n")
    return str(path)


async def test_an_image_is_fetched_once_for_a_source_that_takes_bytes_and_the_trace_says_so(start, fetched, own):
    demo = await start(("ollama",), FREEWAY_CONFIG=own)
    response = await post(demo, asked(URL, URL))

    assert response.json()["choices"][0]["message"]["content"].startswith(SEEN)
    assert fetched == [URL]
    assert json.loads(response.headers["x-freeway-trace"])["made_up"] == ["images fetched: 1"]


async def test_each_surface_that_takes_an_address_is_served_so(start, fetched, own):
    demo = await start(("ollama",), FREEWAY_CONFIG=own)
    source = {"type": "image", "source": {"type": "url", "url": URL}}
    message = await post(
        demo, {"model": "auto", "max_tokens": 500, "messages": [{"role": "user", "content": [source]}]}, "/v1/messages"
    )
    item = {"role": "user", "content": [{"type": "input_image", "image_url": URL}]}
    response = await post(demo, {"input": [item]}, "/v1/responses")

    assert SEEN in message.text
    assert SEEN in response.text
    assert len(fetched) == 2


async def test_nothing_is_fetched_unless_it_is_switched_on(start, fetched):
    response = await post(await start(("ollama",)), asked(URL))

    assert (response.status_code, fetched) == (400, [])


async def test_nothing_is_fetched_for_a_source_that_looks_images_up_itself(start, fetched, own):
    def eyes(world: Any) -> None:
        world.providers["openrouter"].models = [
            model for model in world.providers["openrouter"].models if model.vision and model.status == "live"
        ] or [SimulatedModel(id="acme/sees:free", vision=True)]

    demo = await start(("openrouter",), arrange=eyes, FREEWAY_CONFIG=own)
    response = await post(demo, asked(URL.replace("http:", "https:")))

    assert response.status_code == 200
    assert fetched == []
    assert "made_up" not in json.loads(response.headers["x-freeway-trace"])


@pytest.mark.parametrize("told", [["127.0.0.1"], []])
async def test_what_may_not_be_fetched_is_told_without_its_address_and_teaches_nothing(start, monkeypatch, own, told):
    async def resolve(host: str, port: int) -> Sequence[str]:
        return told

    monkeypatch.setattr(app, "ImageFetcher", lambda: ImageFetcher(resolve))
    demo = await start(("ollama",), FREEWAY_CONFIG=own)
    refused = await post(demo, asked(URL))
    inline = await post(demo, asked(f"data:image/png;base64,{base64.b64encode(PNG).decode()}"))

    assert refused.status_code == 400
    assert "not public" in refused.text
    assert "pictures.example" not in refused.text
    assert demo.world.providers["ollama"].calls[-1].served
    assert SEEN in inline.text


async def test_more_images_than_are_fetched_for_one_request_are_refused(start, fetched, own):
    demo = await start(("ollama",), FREEWAY_CONFIG=own)
    response = await post(demo, asked(*(f"{URL}?{n}" for n in range(11))))

    assert (response.status_code, fetched) == (400, [])
    assert "more than 10" in response.text
