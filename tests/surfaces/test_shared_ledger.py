"""Gateways that share one ledger, and a gateway whose Redis is not there."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway import settings as s
from gateway.events import Event, StateChanged, StoreChanged
from gateway.stores import make_store
from tests import containers
from tests.clock import eventually
from tests.conftest import CONFIG

ASK = {"model": "groq/openai/gpt-oss-120b", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20}
NOW = {"x-freeway-max-wait": "0"}


async def asked(demo, times: int = 1) -> list[int]:
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20, headers=NOW) as client:
        answers = [client.post("/v1/chat/completions", json=ASK) for _ in range(times)]
        return [answer.status_code for answer in await asyncio.gather(*answers)]


async def health(demo) -> dict:
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        return (await client.get("/health")).json()


async def test_a_gateway_answers_while_its_redis_is_not_there(start):
    heard: list[Any] = []
    demo = await start(("groq",), observers=[heard.append], FREEWAY_REDIS_URL="redis://user:hunter2@127.0.0.1:9/0")
    began = time.monotonic()

    assert await asked(demo) == [200]

    assert time.monotonic() - began < 5
    report = await health(demo)
    assert (report["status"], report["ledger"]["store"]) == ("degraded", "redis")
    assert "connect" in report["ledger"]["lost"].lower()
    assert "connect" in report["state_lost"].lower()  # as loud as the ledger
    assert "hunter2" not in str(report)
    assert [event.lost for event in heard if isinstance(event, StateChanged)] == [report["state_lost"]]
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        page = (await client.get("/metrics")).text
    assert 'freeway_store_up{of="ledger"} 0.0' in page
    assert 'freeway_store_up{of="state"} 0.0' in page
    assert [event.store for event in heard if isinstance(event, StoreChanged)] == ["redis"]
    assert not any("hunter2" in str(event) for event in heard)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:6379", "http://127.0.0.1", "redis+sentinel://127.0.0.1:26379", "redis+ring://127.0.0.1"]
)
def test_an_address_that_is_none_of_redis_is_told(url):
    settings = s.load(CONFIG, {"FREEWAY_REDIS_URL": url}, Path("/nowhere"))

    with pytest.raises(s.BadSettings, match="FREEWAY_REDIS_URL: expected"):
        make_store(settings)


def _lost(heard: list[Event], kind: type[StoreChanged | StateChanged]) -> bool:
    """Whether the last that was *heard* of it is that it was lost."""
    told = [event.lost for event in heard if isinstance(event, kind)]
    return bool(told) and told[-1] is not None


@pytest.mark.engine
@pytest.mark.usefixtures("patient")
async def test_gateways_on_one_redis_count_together_and_go_on_without_it(start):
    heard: list[Any] = []
    with containers.redis() as server:
        one = await start(("groq",), FREEWAY_REDIS_URL=server.url, observers=[heard.append])
        other = await start(("groq",), FREEWAY_REDIS_URL=server.url)
        served = [
            status for statuses in zip(await asked(one, 20), await asked(other, 20), strict=True) for status in statuses
        ]

        assert served.count(200) == 30
        assert (await health(one))["status"] == "ok"
        server.signal("KILL")
        await eventually(lambda: _lost(heard, StoreChanged) and _lost(heard, StateChanged))
        assert (await asked(one))[0] in (200, 429)  # what has flowed back meanwhile
        server.start_again()
        await eventually(lambda: not _lost(heard, StoreChanged) and not _lost(heard, StateChanged), 20)
        assert (await health(one))["status"] == "ok"


@pytest.mark.engine
@pytest.mark.usefixtures("patient")
async def test_redis_never_hears_a_key_a_client_or_a_caller(start):
    """Whatever is sent there, by MONITOR: no credential, no prompt, no answer, and of what providers say 200 characters."""
    prompt, answer = "Say: zanzibar-prompt", "zanzibar-prompt"
    with containers.redis() as server:
        heard: list[str] = []
        async with Redis.from_url(server.url) as client, client.monitor() as monitor:

            async def hear() -> None:
                while True:
                    heard.append((await monitor.next_command())["command"])

            hearing = asyncio.create_task(hear())
            demo = await start(("groq",), FREEWAY_REDIS_URL=server.url, FREEWAY_API_KEY="client-secret-key-of-one")
            headers = {"authorization": "Bearer client-secret-key-of-one", **NOW}
            async with httpx.AsyncClient(base_url=demo.base_url, headers=headers, timeout=20) as caller:
                for fault in (None, "busy", "unauthorized"):
                    if fault:
                        demo.world.providers["groq"].fail(fault)
                    body = {**ASK, "messages": [{"role": "user", "content": prompt}]}
                    served = await caller.post("/v1/chat/completions", json=body)
                    assert (served.status_code == 200) == (fault is None)
            await asyncio.sleep(1.2)  # until the state has been told, too
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    told = "\n".join(heard)
    assert "evalsha" in told.lower()
    assert '"because"' in told.replace("\\", "")  # what providers said is in it
    for secret in ("sim-key", "client-secret", prompt, answer):
        assert secret not in told
    assert max(map(len, re.findall(r'because\W+"?([^"\\]*)', told))) <= 200
