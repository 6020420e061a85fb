"""The examples in ``deploy/proxies``: a rolling restart loses nothing, and a stream comes as it is written."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.proxies import PROXIES
from tests.rolling import behind, rolled


@pytest.mark.parametrize("name", PROXIES)
async def test_a_rolling_restart_loses_nothing_and_a_stream_is_not_held_back(name: str, tmp_path: Path):
    if missing := PROXIES[name].missing():
        pytest.skip(missing)
    async with behind(PROXIES[name], tmp_path) as (origin, site, witness):
        async with httpx.AsyncClient(base_url=origin, timeout=30) as client:
            body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "stream"}]}
            async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
                lines = reply.aiter_lines()
                async for line in lines:
                    if '"first"' in line:  # while its provider waits to go on
                        break
                witness.go_on.set()
                rest = [line async for line in lines]
        told = await rolled(origin, site, rate=20, calls=60)

    assert any(" last" in line for line in rest)
    assert rest[-2:] == ["data: [DONE]", ""]
    assert told.lost == []
    assert told.restarts == 3
    assert told.answered >= 60
    assert max(witness.asked.values()) == 1, "a request was made twice"
