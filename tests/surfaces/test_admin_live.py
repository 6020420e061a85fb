"""Requests as they are served, what happens as it happens, and what happened."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from time import process_time
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn

from gateway.api.admin import live, views
from gateway.api.admin.live import Listener
from gateway.api.drain import Drain
from gateway.app import create_app
from gateway.commands.demo import SIX
from gateway.settings import load
from providers.simulator.server import listening
from tests.clock import FakeClock
from tests.conftest import CONFIG
from tests.surfaces.test_admin import admin, ask, read

PROMPT = "Mrs Featherstone asks"


@asynccontextmanager
async def looking_on(client: httpx.AsyncClient) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    """The events of the stream, which ends with the context: a gateway does not stop as long as somebody is connected."""
    async with asyncio.timeout(20), aclosing(events(client)) as stream:
        yield stream


async def events(client: httpx.AsyncClient) -> AsyncGenerator[tuple[str, Any], None]:
    """The events of the stream; a comment is ('', None)."""
    async with client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))
            elif line.startswith(":"):
                yield "", None


async def test_a_request_is_told_with_all_but_its_prompt(start):
    demo = await start(("groq", "google"))
    demo.world.providers["groq"].fail("busy", times=1)
    answered = await ask(demo, model="groq/openai/gpt-oss-20b", models=["auto"])
    refused = await ask(demo, model="no-such-model")
    async with admin(demo) as client:
        text = (await client.get("/requests")).text
        last, first = msgspec.json.decode(text, type=list[views.RequestView])
        same = await read(client, f"/requests/{answered.headers['x-request-id']}", views.RequestView)
        unknown = await client.get("/requests/req_0")

    assert same == first
    assert first.id == answered.headers["x-request-id"]
    assert (first.client, first.asked, first.operation) == ("anybody", "groq/openai/gpt-oss-20b", "chat")
    assert (first.state, first.status) == ("served", 200)
    assert first.attempts[-1].outcome == "served"
    assert first.attempts[-1].deployment == first.deployment
    assert "Busy" in {attempt.outcome for attempt in first.attempts}
    assert first.took is not None
    assert first.took > 0
    assert (first.output_tokens or 0) > 0
    assert (first.tokens_per_second or 0) > 0
    assert (last.id, last.state, last.status) == (refused.headers["x-request-id"], "model_not_found", 404)
    assert PROMPT not in text
    assert unknown.status_code == 404


async def test_requests_are_found_by_client_by_source_and_page_by_page(start):
    demo = await start(("groq", "google"))
    for only in ("groq", "google", "groq", "google", "groq"):
        assert (await ask(demo, provider={"only": [only]})).status_code == 200
    async with admin(demo) as client:
        every = await read(client, "/requests", list[views.RequestView])
        groq = await read(client, "/requests?provider=groq", list[views.RequestView])
        nobody = await read(client, "/requests?client=nobody", list[views.RequestView])
        page = await read(client, "/requests?limit=2", list[views.RequestView])
        rest = await read(client, f"/requests?before={page[-1].at!r}", list[views.RequestView])
        wrong = await client.get("/requests?limit=0")

    assert [one.at for one in every] == sorted((one.at for one in every), reverse=True)
    assert (len(every), len(groq), nobody) == (5, 3, [])
    assert page + rest == every
    assert wrong.status_code == 400


async def test_a_request_that_is_under_way_is_seen(start):
    demo = await start(("groq",))
    demo.world.providers["groq"].fail("slow", times=1)
    async with admin(demo) as client:
        asking = asyncio.create_task(ask(demo))
        async with asyncio.timeout(10):
            seen: list[views.RequestView] = []
            while not seen:
                seen = await read(client, "/requests", list[views.RequestView])
            overview = await read(client, "/overview", views.Overview)
        live_now = seen[0].state in ("waiting", "serving")
        await asking
        (done,) = await read(client, "/requests", list[views.RequestView])

    assert not live_now or (seen[0].status, seen[0].took) == (None, None)
    assert overview.live in (0, 1)
    assert done.state == "served"


async def test_who_looks_on_hears_of_everything_and_of_no_prompt(start, monkeypatch):
    monkeypatch.setattr(live, "EVERY", 0.01)
    monkeypatch.setattr(live, "OVERVIEW_EVERY", 0.02)
    demo = await start(("groq", "google"))
    heard: dict[str, list[Any]] = {}
    async with admin(demo) as client, looking_on(client) as stream:
        async for kind, data in stream:
            heard.setdefault(kind, []).append(data)
            if kind == "source" and data["name"] == "groq" and "request" not in heard:
                assert (await ask(demo)).status_code == 200
                demo.world.providers["groq"].key = "another"
                await ask(demo, model="groq/openai/gpt-oss-20b")
            states = [one["state"] for one in heard.get("request", ()) if one["state"] == "served"]
            if states and "change" in heard and any(one["state"] == "key refused" for one in heard["source"]):
                break

    assert PROMPT not in str(heard)
    assert msgspec.convert(heard["overview"][0], views.Overview).status == "ok"
    assert msgspec.convert(heard["request"][-1], views.RequestView)
    assert msgspec.convert(heard["change"][0], views.Change).name.startswith("groq")


async def test_while_nobody_looks_on_nothing_is_gathered(start, monkeypatch):
    feeds: list[live.Feed] = []
    before = live.Feed.__init__

    def make(feed: live.Feed, desk: Any) -> None:
        feeds.append(feed)
        before(feed, desk)

    monkeypatch.setattr(live.Feed, "__init__", make)
    demo = await start(("groq",))
    (feed,) = feeds
    async with admin(demo) as client:
        await ask(demo)
        assert (feed._desk.recent.changed, feed._changed, feed._told) == (None, {}, {})
        async with looking_on(client) as stream:
            await anext(stream)
            assert feed._desk.recent.changed is not None
        async with asyncio.timeout(10):
            while feed._listeners:
                await ask(demo)  # until the gateway has noticed
        await ask(demo)
    assert (feed._desk.recent.changed, feed._changed) == (None, {})


async def test_a_listener_that_does_not_read_is_dropped_and_others_are_not(monkeypatch):
    monkeypatch.setattr(live, "MOST_UNREAD", 10)
    slow, quick = Listener(), Listener()
    for n in range(50):
        slow.tell(b"%d" % n)
        quick.tell(b"%d" % n)
        assert await quick.read() == b"%d" % n

    assert (slow.gone, quick.gone) == (True, False)
    assert not slow._unread  # what nobody will read is not kept


async def test_silence_is_filled_with_comments(monkeypatch):
    monkeypatch.setattr(live, "SILENCE", 0.001)
    listener = Listener()

    assert await listener.read() == b": \n\n"
    listener.tell(b"event: a\n\n")
    assert await listener.read() == b"event: a\n\n"


async def test_a_gateway_that_is_about_to_end_keeps_nobody_looking(tmp_path):
    """Told as the drain begins: a page that is open must not hold up the end."""
    drain = Drain()
    settings = load(CONFIG, {"FREEWAY_STATE_DIR": str(tmp_path), "MODELS_DEV_URL": ""}, tmp_path)
    app = create_app(settings, drain=drain)
    async with (
        listening(uvicorn.Config(app, lifespan="on", ws="none", log_level="warning")) as origin,
        httpx.AsyncClient(base_url=f"{origin}/admin/v1") as client,
        looking_on(client) as stream,
    ):
        await anext(stream)
        drain.begin()
        told = [kind async for kind, _ in stream]

    assert set(told) <= {"overview", "source", ""}


async def test_so_many_may_look_on_and_no_more(start, monkeypatch):
    monkeypatch.setattr(live, "MOST_LISTENERS", 1)
    demo = await start(("groq",))
    async with admin(demo) as client, looking_on(client) as stream:
        await anext(stream)
        second = await client.get("/events")

    assert (second.status_code, second.json()["error"]["code"]) == (429, "too_many_listeners")


@pytest.mark.parametrize(("hours", "seconds"), [(1, 300), (24, 300), (48, 600), (168, 2100)])
async def test_what_happened_is_told_in_points(start, hours, seconds):
    demo = await start(("groq",))
    await ask(demo)
    async with admin(demo) as client:
        series = await read(client, f"/series?hours={hours}", views.Series)

    assert series.seconds == seconds
    assert len(series.points) == round(hours * 3600 / seconds) + 1
    assert [b.at - a.at for a, b in zip(series.points, series.points[1:], strict=False)] == [seconds] * (
        len(series.points) - 1
    )
    assert sum(point.served.get("groq", 0) for point in series.points) == 1
    assert series.points[-1].output_tokens + series.points[-2].output_tokens > 0


async def test_a_page_left_open_for_an_hour_costs_next_to_nothing_and_grows_nothing(start, monkeypatch):
    """Under half a percent of a processor, with all that the gateway itself does in an hour, and no memory."""
    feeds: list[live.Feed] = []
    before = live.Feed.__init__

    def make(feed: live.Feed, desk: Any) -> None:
        feeds.append(feed)
        before(feed, desk)

    monkeypatch.setattr(live.Feed, "__init__", make)
    clock = FakeClock()
    await start(SIX, clock=clock)
    told = 0

    async def look_on() -> None:
        nonlocal told
        async for piece in feeds[0].listen():
            told += len(piece)

    async def pass_time(seconds: float) -> None:
        for _ in range(round(seconds / live.EVERY)):
            clock.advance(live.EVERY)
            for _ in range(4):
                await asyncio.sleep(0)

    looking = asyncio.create_task(look_on())
    await pass_time(600)
    began = process_time()
    await pass_time(3600)
    spent = process_time() - began
    gc.collect()
    tracemalloc.start()
    await pass_time(2000)  # by now every list was read anew, and is counted
    gc.collect()
    before_hour = tracemalloc.get_traced_memory()[0]
    await pass_time(3600)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before_hour
    tracemalloc.stop()
    looking.cancel()

    assert told > 100_000
    assert spent < 0.005 * 3600, spent
    assert grown < 200_000, grown
