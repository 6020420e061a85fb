"""Every endpoint of the admin API that is published is driven: as it is described, behind the guard, and without any secret."""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec
import pytest

from gateway.api import openapi
from gateway.api.admin.described import FAMILY
from gateway.api.doors import Door
from gateway.commands.demo import SIX

ADMIN_KEY, CLIENT_KEY = "admin-key-that-stays-hidden", "fw-client-key-that-stays-hidden"
REDIS_PASSWORD = "redis-password-that-stays-hidden"
KEY = {"authorization": f"Bearer {ADMIN_KEY}"}
PROMPT = "Mrs Featherstone of 12 Hill Road"
ASK = {"model": "auto", "messages": [{"role": "user", "content": PROMPT}]}

DOORS = [door for door in openapi.DOORS if door.errors == FAMILY]
NAMES = {"name": "groq", "program": "opencode"}
"""What stands for the open part of a path, unless something below says otherwise."""

BODIES: dict[str, Any] = {
    "post /admin/v1/session": {"key": ADMIN_KEY},
    "post /admin/v1/buckets/open": {"bucket": "groq/openai/gpt-oss-20b/requests/minute"},
    "post /admin/v1/models/readmit": {"name": "groq"},
    "post /admin/v1/explain": ASK,
    "post /admin/v1/clients": {"name": "bob", "limits": ["20/minute"]},
    "patch /admin/v1/clients/{name}": {"limits": ["3/minute"]},
    "put /admin/v1/sources/{name}/key": {"key": "gsk_another_key_that_stays_hidden"},
    "put /admin/v1/clients/{name}/embeddings": {"model": "auto"},
}
OTHERWISE = {
    "post /admin/v1/models/readmit": 404,  # nothing is out
    "delete /admin/v1/sources/{name}/key": 409,  # this gateway has no file of keys
}
"""The status of what cannot be done here, and says why."""

LAST = ("delete /admin/v1/clients/{name}", "delete /admin/v1/sources/{name}/key", "delete /admin/v1/session")


def named(door: Door) -> str:
    return f"{door.method} {door.path}"


def path_of(door: Door, request: str) -> str:
    names = {**NAMES, "request_id": request}
    if "/clients/" in door.path:
        names["name"] = "bob"
    return re.sub(r"{(\w+)}", lambda found: names[found[1]], door.path)


def kind_of(door: Door) -> Any:
    return list[door.answer] if door.many else door.answer  # type: ignore[name-defined]


@pytest.mark.parametrize("away", [False, True], ids=["well", "redis away"])
async def test_every_endpoint_answers_as_it_is_described_and_no_secret_is_in_any_answer(start, away):
    """A new key is shown once, to who makes it: that of a client is in the answer to that, and in no other. A store that is away is told."""
    redis = {"FREEWAY_REDIS_URL": f"redis://user:{REDIS_PASSWORD}@127.0.0.1:9/0"} if away else {}
    demo = await start(SIX, FREEWAY_API_KEY=CLIENT_KEY, FREEWAY_ADMIN_KEY=ADMIN_KEY, **redis)
    keys = [value for name, value in demo.world.environment("").items() if name.endswith(("_KEY", "_TOKEN"))]
    secrets = [*keys, ADMIN_KEY, CLIENT_KEY, REDIS_PASSWORD]
    answers: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:
        asked = await client.post("/v1/chat/completions", json=ASK, headers={"x-api-key": CLIENT_KEY})
        assert asked.status_code == 200
        request = asked.headers["x-request-id"]
        for door in sorted(DOORS, key=lambda door: (named(door) in LAST, "{" in door.path)):
            if door.endless:
                async with client.stream("GET", door.path, headers=KEY) as stream:
                    answers[named(door)] = await anext(stream.aiter_text())
                continue
            body = BODIES.get(named(door), {} if door.method != "get" else None)
            answer = await client.request(door.method.upper(), path_of(door, request), json=body, headers=KEY)
            answers[named(door)] = answer.text + str(answer.headers)
            if named(door) in OTHERWISE:
                assert answer.status_code == OTHERWISE[named(door)], (named(door), answer.text)
                continue
            if away and answer.status_code == 503:
                continue
            assert answer.status_code in door.codes, (named(door), answer.text)
            if answer.status_code != 204:
                assert answer.headers["content-type"].partition(";")[0] == door.media
            if isinstance(door.answer, type):
                msgspec.json.decode(answer.content, type=kind_of(door))
    told = {door: [secret for secret in secrets if secret in text] for door, text in answers.items()}

    assert not any(told.values()), told
    assert not [door for door, text in answers.items() if PROMPT in text]
    assert len(keys) >= 5
    assert len(answers) == len(DOORS)
    assert not away or "Redis" in answers["get /admin/v1/overview"] or "redis" in answers["get /admin/v1/overview"]


@pytest.mark.parametrize("door", [door for door in DOORS if not door.keyless], ids=named)
async def test_every_endpoint_is_behind_the_guard(start, door):
    demo = await start(("groq",), FREEWAY_ADMIN_KEY=ADMIN_KEY)
    body = BODIES.get(named(door), {} if door.method != "get" else None)
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20) as client:

        async def status(**headers: str) -> int:
            answer = await client.request(door.method.upper(), path_of(door, "req_1"), json=body, headers=headers)
            assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}
            return answer.status_code

        assert await status() == 401
        assert await status(authorization="Bearer wrong") == 401
        assert await status(origin="https://evil.example", **KEY) == 403
        assert await status(host="evil.example", **KEY) == 403
