"""
The page before the real gateway and simulated providers: what is done on the page is seen by a provider, in a file, or by a
program that calls, and what they do is seen on the page.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from providers.simulator.base import SimulatedModel
from providers.simulator.server import serve
from providers.simulator.world import World
from tests.acceptance.process import serving
from tests.clock import eventually

pytestmark = pytest.mark.browser

EVIL = '<img src=x onerror="alert(1)">'
PINNED = {"model": "groq/openai/gpt-oss-120b", "messages": [{"role": "user", "content": "Say hello."}]}
ASK = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}


async def post(origin: str, path: str, body: Any, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=origin, timeout=30) as client:
        return await client.post(path, json=body, headers=headers)


async def get(origin: str, path: str, **headers: str) -> Any:
    async with httpx.AsyncClient(base_url=origin, timeout=30) as client:
        return (await client.get(path, headers=headers)).json()


async def shown_key(page: Page) -> str:
    return await page.locator(".once code").text_content() or ""


async def test_a_question_of_the_playground_is_answered_by_a_provider_and_told_among_the_requests(start, opened):
    gateway = await start(("groq",))
    page = await opened(gateway.base_url, tab="playground")
    await page.get_by_label("Question").fill("Say hello.")
    await page.get_by_role("button", name="Ask").click()
    await expect(page.locator(".answer > .said")).to_contain_text("You said: Say hello.")
    await expect(page.locator(".answer")).to_contain_text("groq")
    identity = await page.locator(".answer code").text_content()
    await page.locator('#tabs a[href="#requests"]').click()
    row = page.locator(".requests .row")
    await row.get_by_role("button").first.click()

    await expect(row).to_contain_text(identity or "?")
    await expect(row).to_contain_text("served")
    assert gateway.world.providers["groq"].served == 1


async def test_a_request_of_a_program_is_seen_as_it_comes(start, opened):
    gateway = await start(("groq", "nvidia"))
    page = await opened(gateway.base_url, tab="requests")
    await expect(page.locator(".empty-title")).to_be_visible()
    for one in gateway.world.providers.values():
        one.fail("busy", times=1)
    answered = await post(gateway.base_url, "/v1/chat/completions", ASK)
    row = page.locator(".requests .row")
    await expect(row).to_contain_text("served")
    await expect(row).to_contain_text(f"{answered.headers['x-freeway-attempts']} attempts")
    await row.get_by_role("button").first.click()
    await row.get_by_role("button", name="Why this one?").click()

    await expect(row).to_contain_text("Busy")
    await expect(row).to_contain_text("would be asked first")
    assert "Say hello" not in (await page.content())
    assert sum(one.served for one in gateway.world.providers.values()) == 1  # explaining asks nobody


async def test_a_client_that_is_made_may_call_until_it_is_revoked(start, opened):
    gateway = await start(("groq",))
    page = await opened(gateway.base_url, tab="clients")
    await page.get_by_role("button", name="New client").click()
    await page.get_by_label("Name").fill("bob")
    await page.get_by_label("Limits").fill("1/minute")
    await page.get_by_role("button", name="Make it").click()
    key = {"authorization": f"Bearer {await shown_key(page)}"}
    first = await post(gateway.base_url, "/v1/chat/completions", ASK, **key)
    second = await post(gateway.base_url, "/v1/chat/completions", ASK, **{**key, "x-freeway-max-wait": "0"})
    await page.get_by_role("button", name="I have it").click()
    await page.get_by_role("article", name="bob").get_by_role("button", name="Revoke: bob").click()
    await page.get_by_role("button", name="Revoke for good").click()
    await expect(page.get_by_role("article", name="bob")).to_have_count(0)
    third = await post(gateway.base_url, "/v1/chat/completions", ASK, authorization="Bearer nobody")

    assert (first.status_code, second.status_code) == (200, 429)
    assert [one["name"] for one in await get(gateway.base_url, "/admin/v1/clients")] == []
    assert third.status_code in (200, 401)  # with no client left the door is as it was before
    assert (await post(gateway.base_url, "/v1/chat/completions", ASK, **key)).status_code == third.status_code


async def test_a_limit_that_a_provider_closed_is_opened_by_a_person(start, opened):
    gateway = await start(("openrouter",))
    gateway.world.providers["openrouter"].fail("rate_limited:day", times=1)
    await post(gateway.base_url, "/v1/chat/completions", ASK, **{"x-freeway-max-wait": "0"})
    page = await opened(gateway.base_url, tab="sources")
    card = page.get_by_role("article", name="OpenRouter")
    await expect(card).to_contain_text("Closed until")
    await card.get_by_role("button", name="Open it now").first.click()
    await expect(card).not_to_contain_text("Closed until")

    (source,) = [one for one in await get(gateway.base_url, "/admin/v1/sources") if one["name"] == "openrouter"]
    assert [one["bucket"] for one in source["buckets"] if one["closed_until"]] == []


async def test_a_new_model_is_found_once_its_source_is_looked_at_anew(start, opened):
    """Its name is hostile: it stays text wherever it is shown."""
    gateway = await start(("groq",))
    page = await opened(gateway.base_url, tab="models")
    await expect(page.locator(".models .row").first).to_be_visible()
    groq = gateway.world.providers["groq"]
    groq.models = [*(one for one in groq.models if one.id != "groq/compound"), SimulatedModel(id=EVIL)]
    await page.locator('#tabs a[href="#sources"]').click()
    await page.get_by_role("button", name="Refresh: Groq").click()
    await page.locator('#tabs a[href="#changes"]').click()
    await expect(page.locator(".change", has_text="groq/groq/compound")).to_contain_text("vanished")
    await expect(page.locator(".change", has_text=EVIL)).to_contain_text("appeared")
    await page.locator('#tabs a[href="#models"]').click()
    await page.get_by_role("searchbox").fill("onerror")

    await expect(page.locator(".models .row")).to_have_count(1)
    await page.locator(".models .row button").first.click()
    await expect(page.locator(".models .row")).to_contain_text(f"groq/{EVIL}")
    assert await page.locator("main img").count() == 0
    assert "&lt;img" in (await get_text(gateway.base_url, "/changes.atom"))


async def get_text(origin: str, path: str) -> str:
    async with httpx.AsyncClient(base_url=origin) as client:
        return (await client.get(path)).text


async def test_an_admin_signs_in_and_what_is_done_is_written_down(start, opened, watch, tmp_path: Path):
    watch.allowed.append("status of 401")
    secret = "the admin key of a test"
    gateway = await start(("groq",), FREEWAY_ADMIN_KEY=secret)
    page = await opened(gateway.base_url, tab="sources")
    await page.get_by_label("Admin key").fill("wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("wrong admin key")
    await page.get_by_label("Admin key").fill(secret)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Refresh: Groq").click()
    await expect(page.locator(".toast")).to_contain_text("Groq was asked for its list.")
    (cookie,) = await page.context.cookies()
    audit = tmp_path / "state" / "audit.jsonl"
    await eventually(lambda: "refresh" in audit.read_text())
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert await page.context.cookies() == []
    assert secret not in audit.read_text()
    assert any("session" in json.dumps(json.loads(line)) for line in audit.read_text().splitlines())


async def test_today_is_what_the_gateway_says_and_counts_on(start, opened):
    gateway = await start(("openrouter",))
    page = await opened(gateway.base_url)
    chat = next(
        one for one in (await get(gateway.base_url, "/admin/v1/overview"))["left"] if one["capability"] == "chat"
    )
    shown = re.sub(r"\D", "", (await page.locator("h1 b").text_content()) or "")
    assert int(shown) == chat["answers"]
    for _ in range(5):
        await post(gateway.base_url, "/v1/chat/completions", ASK)
    await page.reload()

    await expect(page.locator("h1 b")).not_to_have_text(f"{chat['answers']}")
    await expect(page.locator(".plot").first).to_contain_text("5 served")
    after = next(
        one for one in (await get(gateway.base_url, "/admin/v1/overview"))["left"] if one["capability"] == "chat"
    )
    assert after["answers"] < chat["answers"]


async def test_how_to_connect_is_what_the_gateway_says(start, opened):
    gateway = await start(("groq",))
    page = await opened(gateway.base_url, tab="connect")
    programs = await get(gateway.base_url, "/admin/v1/connect")
    chips = page.get_by_role("navigation", name="Programs").get_by_role("link")

    await expect(chips).to_have_count(len(programs))
    for one in programs:
        await chips.filter(has_text=re.compile(f"^{re.escape(one['title'])}$")).click()
        await expect(page.get_by_role("heading", name=one["title"], level=2)).to_be_visible()
        for text in one["files"].values():
            await expect(page.locator("pre", has_text=text.strip()[:40]).first).to_be_visible()


async def test_a_key_that_is_pasted_is_tried_stored_for_its_owner_alone_and_used(opened, tmp_path: Path):
    """The real program, as a new user has it: with a key of one source, and one more to be put in."""
    world = World(names=["groq", "openrouter"])
    stored = tmp_path / ".config" / "freeway" / "keys.env"
    async with serve(world) as others:
        variables: dict[str, Any] = world.environment(others)
        right = variables.pop("GROQ_API_KEY")
        with serving(tmp_path, **variables) as (origin, _, _log):
            page = await opened(origin, tab="setup")
            card = page.get_by_role("article", name="Groq")
            await card.get_by_text("I have a key").click()
            await card.get_by_label("Key of Groq").fill("gsk_mistyped")
            await card.get_by_role("button", name="Try and store it").click()
            await expect(card.locator(".note.bad")).to_be_visible()
            refused = (await post(origin, "/v1/chat/completions", PINNED)).status_code
            assert not stored.exists() or "gsk_mistyped" not in stored.read_text()
            await card.get_by_label("Key of Groq").fill(right)
            await card.get_by_role("button", name="Try and store it").click()
            await expect(card.locator(".note.next")).to_contain_text("keys.env")
            await expect(card).to_contain_text("key set")
            answered = await post(origin, "/v1/chat/completions", PINNED)
            await page.context.close()

    assert (refused, answered.status_code) == (404, 200)
    assert f"GROQ_API_KEY={right}" in stored.read_text().replace('"', "").replace("'", "")
    assert stored.stat().st_mode & 0o077 == 0
    assert world.providers["groq"].served == 1


async def test_a_setting_is_read_anew_and_shown_with_where_it_stands(opened, tmp_path: Path):
    world = World(names=["groq"])
    own = tmp_path / ".config" / "freeway" / "config.toml"
    own.parent.mkdir(parents=True)
    async with serve(world) as others:
        variables: dict[str, Any] = world.environment(others)
        with serving(tmp_path, **variables) as (origin, _, _log):
            page = await opened(origin, tab="setup")
            own.write_text("[requests]\nmax_wait = 61.0\n")
            await page.get_by_role("button", name="Read the files again").click()
            settings = page.get_by_role("region", name="Settings")
            await expect(settings).to_contain_text("requests.max_wait")
            await expect(settings).to_contain_text("config.toml:2")
            shown = {one["key"]: one["value"] for one in await get(origin, "/admin/v1/config")}
            await page.context.close()

    assert shown["requests.max_wait"] == "61.0"
