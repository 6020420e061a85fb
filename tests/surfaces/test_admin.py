"""What the admin API tells, and what it does."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import httpx
import msgspec
import pytest

from gateway.api.admin import views
from gateway.commands.demo import SIX
from gateway.quota.nouns import LevelView

ASK = {"model": "auto", "messages": [{"role": "user", "content": "Mrs Featherstone asks"}]}
JSON = {"content-type": "application/json"}


def admin(demo: Any, **more: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"{demo.base_url}/admin/v1", timeout=20, headers=JSON, **more)


async def read(client: httpx.AsyncClient, path: str, kind: Any, method: str = "GET", body: Any = None) -> Any:
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=kind)


async def ask(demo: Any, **body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        return await client.post("/v1/chat/completions", json={**ASK, **body})


async def test_the_overview_says_what_is_left_and_that_all_is_well(start):
    demo = await start(("groq", "openrouter", "google"))
    async with admin(demo) as client:
        before = await read(client, "/overview", views.Overview)
        answers = [await ask(demo) for _ in range(8)]  # what flows back meanwhile may make up for one
        after = await read(client, "/overview", views.Overview)

    assert {answer.status_code for answer in answers} == {200}
    left = {one.capability: one for one in before.left}
    assert before.status == "ok"
    assert {"chat", "tools", "vision", "private"} <= left.keys()
    assert 0 < left["vision"].answers < left["chat"].answers
    assert 0 < left["private"].answers < left["chat"].answers
    assert left["chat"].said.startswith("about ")
    assert sum(one.answers or 0 for one in after.left) < sum(one.answers or 0 for one in before.left)
    assert (after.spent, after.live, after.waiting) == (0.0, 0, 0)


async def test_a_local_machine_is_without_bound(start):
    async with admin(await start(("ollama",))) as client:
        overview = await read(client, "/overview", views.Overview)
    chat = next(one for one in overview.left if one.capability == "chat")

    assert (chat.answers, chat.until) == (None, None)
    assert "without bound" in chat.said


async def test_who_has_nothing_is_told_the_one_thing_to_do(start):
    """An Ollama that was never there is no problem."""
    async with admin(await start(())) as client:
        overview = await read(client, "/overview", views.Overview)

    assert (overview.status, overview.problems) == ("no source", [])
    assert "freeway setup" in overview.next_step
    assert {one.said for one in overview.left} == {"no source is in use that answers"}


async def test_health_check_and_sources_say_the_same_of_a_key_that_is_refused(start):
    demo = await start(("groq", "google"))
    demo.world.providers["groq"].key = "another"
    async with admin(demo) as client:
        await client.post("/sources/groq/refresh")
        sources = {one.name: one for one in await read(client, "/sources", list[views.Source])}
        overview = await read(client, "/overview", views.Overview)
        health = (await client.get(f"{demo.base_url}/health")).json()
    groq = sources["groq"]
    told = next(one for one in health["sources"] if one["provider"] == "groq")

    assert (groq.state, groq.key, groq.key_variable) == ("key refused", "set", "GROQ_API_KEY")
    assert (told["state"], told["problem"]) == (groq.state, groq.reason)
    assert any(groq.reason in problem for problem in overview.problems)
    assert overview.next_step.startswith("Groq: set another key")
    assert sources["google"].state == "on"
    assert sources["mistral"].state == "no key"
    assert sources["mistral"].get_a_key in sources["mistral"].remedy


async def test_a_source_shows_its_buckets_its_policy_and_why_it_is_free(start):
    demo = await start(("groq",))
    await ask(demo)
    async with admin(demo) as client:
        groq = await read(client, "/sources/groq", views.Source)
        unknown = await client.get("/sources/nobody")

    assert (groq.state, groq.trains, groq.prompts) == ("on", "no", "train nothing, are not kept, stay in US")
    assert groq.free is not None
    assert groq.free.level == "promised"
    assert groq.free.since == groq.looked_at
    assert groq.models > 0
    assert any(level.used for level in groq.buckets)
    assert {level.account for level in groq.buckets} == {"groq"}
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")


async def test_a_key_that_is_right_again_serves_once_the_source_is_refreshed(start):
    demo = await start(("groq", "google"))
    groq = demo.world.providers["groq"]
    right, groq.key = groq.key, "another"
    async with admin(demo) as client:
        refused = await read(client, "/sources/groq/refresh", views.Source, "POST", {})
        groq.key = right
        served = await read(client, "/sources/groq/refresh", views.Source, "POST", {})

    assert (refused.state, served.state) == ("key refused", "on")
    assert (await ask(demo, provider={"only": ["groq"]})).status_code == 200


async def test_what_was_taken_out_is_let_in_by_hand(start):
    demo = await start(("groq", "google"))
    demo.world.providers["groq"].fail("would_cost", times=1)
    assert (await ask(demo, provider={"only": ["groq"]}, model="groq/openai/gpt-oss-20b")).status_code >= 400
    async with admin(demo) as client:
        models = await read(client, "/models?q=gpt-oss-20b&available=false", list[views.Model])
        out = [model for model in models if model.provider == "groq"]
        sources = await read(client, "/sources/groq", views.Source)
        name = "groq" if sources.state == "shut" else out[0].deployment
        if sources.state == "shut":
            assert (await read(client, "/sources/groq/readmit", views.Source, "POST", {})).state == "on"
        else:
            assert (await client.post("/models/readmit", json={"name": name})).status_code == 204
            assert (await client.post("/models/readmit", json={"name": name})).status_code == 404
        again = await read(client, "/models?q=gpt-oss-20b", list[views.Model])

    assert all(model.available for model in again if model.provider == "groq")
    assert out[0].why_not
    assert (await ask(demo, provider={"only": ["groq"]}, model="groq/openai/gpt-oss-20b")).status_code == 200


async def test_a_bucket_that_was_closed_by_mistake_is_opened(start):
    demo = await start(("openrouter", "groq"))
    demo.world.providers["openrouter"].fail("price_turned", times=1)
    await ask(demo, provider={"only": ["openrouter"]})
    async with admin(demo) as client:
        charged = await read(client, "/sources/openrouter", views.Source)
        closed = [level for level in charged.buckets if level.closed_until]
        opened = [await read(client, "/buckets/open", LevelView, "POST", {"bucket": level.bucket}) for level in closed]
        unknown = await client.post("/buckets/open", json={"bucket": "no/such"})

    assert charged.state == "shut"
    assert "cost 0.0021 dollars" in charged.reason
    assert closed
    assert [(one.bucket, one.closed_until) for one in opened] == [(one.bucket, None) for one in closed]
    assert unknown.status_code == 404


async def test_models_are_found_by_words_and_say_why_they_do_not_serve(start):
    async with admin(await start(SIX)) as client:
        every = await read(client, "/models", list[views.Model])
        vision = await read(client, "/models?q=vision%20google", list[views.Model])
        none = await read(client, "/models?q=no-such-model", list[views.Model])

    assert len({one.deployment for one in every}) == len(every) > 10
    assert none == []
    assert "google" in {one.provider for one in vision}
    assert all("google" in one.deployment and "vision" in one.capabilities for one in vision)
    assert all(one.available == (one.why_not == "") for one in every)


async def test_explain_tells_what_would_serve_and_keeps_no_prompt(start):
    demo = await start(("groq", "google"))
    async with admin(demo) as client:
        found = (await client.post("/explain", json=ASK)).json()
        wrong = await client.post("/explain", json={"model": "auto"})

    assert found["chosen"] in {one["deployment"] for one in found["ranked"]}
    assert "Featherstone" not in json.dumps(found)
    assert wrong.status_code == 400


async def test_changes_are_told_as_json_and_as_a_feed(start):
    demo = await start(("groq", "google"))
    groq = demo.world.providers["groq"]
    groq.key = "another"
    await ask(demo, model="groq/openai/gpt-oss-20b")
    async with admin(demo) as client:
        changes = await read(client, "/changes", list[views.Change])
        feed = await client.get(f"{demo.base_url}/changes.atom")
    root = ET.fromstring(feed.text)
    name = {"a": "http://www.w3.org/2005/Atom"}

    assert "withdrawn" in {change.kind for change in changes}
    assert feed.headers["content-type"].startswith("application/atom+xml")
    assert len(root.findall("a:entry", name)) == len(changes)
    for need in ("a:id", "a:title", "a:updated"):
        assert root.find(need, name) is not None
        assert all(entry.find(need, name) is not None for entry in root.findall("a:entry", name))


@pytest.mark.parametrize("path", ["/sources/groq/refresh", "/buckets/open", "/models/readmit", "/explain"])
async def test_a_body_that_is_wrong_says_where(start, path):
    async with admin(await start(("groq",))) as client:
        for body in ("{", '{"bucket": 1, "name": 2}', "[]"):
            answer = await client.post(path, content=body)
            assert answer.status_code == 400 or path.endswith("refresh")
