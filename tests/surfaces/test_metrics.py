"""``GET /metrics`` of a running gateway."""

from __future__ import annotations

import asyncio

import httpx

from gateway.api import metrics as page
from tests.unit.test_metrics import samples

ASK = {"model": "groq/openai/gpt-oss-20b", "messages": [{"role": "user", "content": "hi"}]}


async def test_requests_are_seen_and_so_is_what_they_took_of_the_quota(start):
    demo = await start(("groq", "google"), FREEWAY_API_KEY="the-key")
    demo.world.providers["google"].fail("busy", times=1)
    async with httpx.AsyncClient(base_url=demo.base_url, headers={"x-api-key": "the-key"}) as client:
        first = {**ASK, "model": "auto", "provider": {"order": ["google", "groq"]}}
        for body in (first, ASK):
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        await client.post("/v1/chat/completions", json={**ASK, "model": "no-such-model-at-all"})
        answer = await client.get("/metrics", headers={"x-api-key": ""})  # as open as health
    seen = samples(answer.text)
    requests = seen["freeway_requests_total"]

    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert requests[("gpt-oss-20b", "served", "groq")] >= 1
    assert sum(number for (_, outcome, _), number in requests.items() if outcome == "served") == 2
    assert requests[("none", "model_not_found", "none")] == 1
    failed = {labels: number for labels, number in seen["freeway_attempts_total"].items() if number}
    assert failed == {("Busy", "google"): 1}
    assert seen["freeway_bucket_used"][("groq", "groq/openai/gpt-oss-20b/requests/day")] > 0.9  # it refills
    assert seen["freeway_overhead_seconds_count"][()] == 2
    assert 0 < seen["freeway_overhead_seconds_sum"][()] < 1
    assert seen["freeway_deployments"][("groq",)] > 1
    assert seen["freeway_source_up"] == {("groq",): 1, ("google",): 1, ("ollama",): 0}
    assert seen["freeway_spent_dollars_total"] == {(): 0}
    assert seen["freeway_saved_dollars_total"][()] > 0
    assert "no-such-model" not in answer.text
    assert "the-key" not in answer.text


async def test_a_store_that_hangs_does_not_keep_the_page_back(start, monkeypatch):
    """What was known the last time is shown instead, and many who ask at once are one look."""
    demo = await start(("groq",))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        before = samples((await client.get("/metrics")).text)
        monkeypatch.setattr(page, "PATIENCE", 0.02)
        monkeypatch.setattr("gateway.quota.ledger.Ledger.levels", lambda *_: asyncio.Event().wait())
        async with asyncio.timeout(5):
            pages = await asyncio.gather(*(client.get("/metrics") for _ in range(5)))

    assert before["freeway_bucket_used"]
    assert all(samples(answer.text)["freeway_bucket_used"] == before["freeway_bucket_used"] for answer in pages)
