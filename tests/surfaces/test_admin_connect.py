"""How programs are pointed at the gateway, by the admin API: the same as the command writes."""

from __future__ import annotations

from typing import Any

import httpx

from gateway.programs.program import Target, programs, view
from tests.conftest import CONFIG


async def get(demo: Any, path: str, **how: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        return await client.get(path, **how)


async def test_connect_tells_what_the_command_writes(start, tmp_path):
    demo = await start(("groq",))
    shown = (await get(demo, "/admin/v1/connect", params={"model": "auto:smart"})).json()
    one = (await get(demo, "/admin/v1/connect/opencode")).json()

    origin = demo.base_url.rstrip("/")
    assert [row["program"] for row in shown] == list(programs(CONFIG))
    assert all("auto:smart" in str(row) or row["program"] == "n8n" for row in shown)
    expected = view("opencode", programs(CONFIG)["opencode"], Target(origin=origin))
    assert one["files"] == expected.files
    assert one["steps"] == expected.steps


async def test_a_program_that_is_not_known_is_told_with_the_nearest_name(start):
    demo = await start(("groq",))
    answer = await get(demo, "/admin/v1/connect/opencod")

    assert answer.status_code == 404
    assert "did you mean opencode?" in answer.json()["error"]["message"]


async def test_where_clients_need_keys_the_place_of_the_key_is_shown(start):
    demo = await start(("groq",), FREEWAY_API_KEY="a-key-that-is-never-shown")
    shown = (await get(demo, "/admin/v1/connect/codex")).text

    assert "YOUR_KEY" in shown
    assert "a-key-that-is-never-shown" not in shown
