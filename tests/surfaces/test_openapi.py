"""What is served is what is published."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from msgspec.structs import replace

from gateway.api import openapi
from gateway.app import create_app
from gateway.settings import load
from tests.conftest import CONFIG
from tests.surfaces import api_fuzz


def without_names(path: str) -> str:
    """*path* with one sign for each part that is left open, and without the verb of the Gemini API."""
    shown = path.split("{", maxsplit=1)[0] + "…" if "{" in path else path
    below = path.rpartition("/")[2]
    return shown + (f"/{below}" if below in ("input_items", "messages") and "{" in path else "")


def test_every_path_that_is_served_is_described_and_every_one_that_is_described_is_served(tmp_path):
    app = create_app(load(CONFIG, {"FREEWAY_STATE_DIR": str(tmp_path), "GROQ_API_KEY": "gsk"}, tmp_path))
    served = {without_names(route.path) for route in app.routes}
    spelled = {path for path in served if path.startswith("/v1/v1/") or (f"/v1{path}" in served and path[:4] != "/v1/")}
    described = {without_names(door.path) for door in openapi.DOORS}

    assert served - spelled == described


async def test_the_document_is_valid_and_needs_no_key(start):
    demo = await start(("groq",), FREEWAY_API_KEY="fw-right")
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        document = (await client.get("/openapi.json")).json()

    assert document["openapi"].startswith("3.1")
    refs = str(document).split("'#/components/schemas/")[1:]
    assert {ref.partition("'")[0] for ref in refs} <= document["components"]["schemas"].keys()
    schemathesis.openapi.from_dict(document).validate()


async def test_no_request_is_answered_outside_the_document():
    """The long form is ``python -m tests.surfaces.api_fuzz``."""
    found = await api_fuzz.run(examples=2, seed=16)

    assert found.failures == []
    assert {200, 400, 404} <= found.statuses.keys()
    assert not [status for status in found.statuses if status >= 500]


@pytest.mark.parametrize("broken", ["status", "body"])
async def test_an_answer_outside_the_document_is_found(broken, monkeypatch):
    """The check can fail: a document that says otherwise is told."""
    door = next(door for door in openapi.DOORS if door.path == "/api/version")
    other = {"codes": (204,)} if broken == "status" else {"answer": openapi._object({"name": openapi._TEXT})}
    doors = [replace(door, **other)]
    monkeypatch.setattr(openapi, "DOORS", doors)
    monkeypatch.setattr(openapi.document, "__defaults__", (doors,))
    found = await api_fuzz.run(examples=1, seed=1)

    assert len(found.failures) == 1
    assert "/api/version" in found.failures[0]
