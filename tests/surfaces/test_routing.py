"""Who may serve a request, as its caller and their key have it, and why the others do not: through the real gateway."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256

import httpx

from gateway.request.plan import SHORTLIST

ASK = {"model": "auto", "messages": [{"role": "user", "content": "hi there"}]}
PINNED = ASK | {"model": "groq/openai/gpt-oss-20b", "max_tokens": 5}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
AT_ONCE = {"x-freeway-max-wait": "0"}


async def post(demo, body=ASK, path="/v1/chat/completions", **headers) -> httpx.Response:
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=20, verify=False) as client:
        return await client.post(path, json=body, headers=headers)


async def listed(demo):
    """*demo*, once it has heard of every provider."""
    async with asyncio.timeout(10), httpx.AsyncClient(base_url=demo.base_url, verify=False) as client:
        waiting = set(demo.world.providers)
        while waiting:
            sources = (await client.get("/health")).json()["sources"]
            waiting -= {source["provider"] for source in sources if source["models"]}
    return demo


async def explained(demo, body=ASK, **headers) -> dict:
    response = await post(demo, body, "/v1/route/explain", **headers)
    assert response.status_code == 200, response.text
    return response.json()


def kinds(explanation) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for reason in explanation["excluded"]:
        found.setdefault(reason["kind"], set()).add(reason["deployment"])
    return found


def completions(demo, name) -> int:
    return len([c for c in demo.world.providers[name].calls if "completions" in c.path or "generateContent" in c.path])


# ── OpenRouter's fields ──


async def test_without_fallbacks_only_the_providers_that_are_named_are_asked(start):
    demo = await start(("groq", "google", "nvidia"))
    demo.world.providers["groq"].fail("server_error", times=50)
    provider = {"order": ["groq"], "allow_fallbacks": False}

    refused = await post(demo, ASK | {"provider": provider}, **AT_ONCE)
    served = await post(demo, ASK | {"provider": provider | {"allow_fallbacks": True}}, **AT_ONCE)

    assert refused.status_code == 503
    assert refused.json()["error"]["availability"]["excluded_by"].keys() == {"failed"}
    assert served.status_code == 200
    assert completions(demo, "groq") >= 1


async def test_without_fallbacks_and_without_an_order_one_is_asked(start):
    demo = await start(("groq", "nvidia"))
    for name in demo.world.providers:
        demo.world.providers[name].fail("server_error", times=50)

    response = await post(demo, ASK | {"provider": {"allow_fallbacks": False}}, **AT_ONCE)

    assert response.status_code == 503
    assert completions(demo, "groq") + completions(demo, "nvidia") == 1


async def test_parameters_that_are_required_leave_out_who_does_not_take_them(start):
    demo = await listed(await start(("groq", "google")))
    body = ASK | {"frequency_penalty": 0.5, "provider": {"require_parameters": True}}

    found = await explained(demo, body)

    assert {one["provider"] for one in found["ranked"]} == {"google"}
    assert any("frequency_penalty" in reason["reason"] for reason in found["excluded"])
    assert (await post(demo, body)).headers["x-freeway-provider"] == "google"


# ── a client's policy ──


async def test_a_clients_key_bounds_models_providers_and_waiting(start, tmp_path, clock):
    own = tmp_path / "own.toml"
    own.write_text(
        "".join(
            f'[[client]]\nname = "{name}"\nkey_sha256 = "{sha256(name.encode()).hexdigest()}"\n{policy}\n'
            for name, policy in {
                "googler": 'providers = ["goo*"]',
                "small": 'models = ["gpt-oss-20b"]\nmax_wait = 0',
                "nobody": 'providers = ["mistral"]',
            }.items()
        )
    )
    demo = await start(("google", "groq"), clock, FREEWAY_CONFIG=str(own))

    served = await post(demo, authorization="Bearer googler")
    small = await post(demo, authorization="Bearer small")
    refused = await post(demo, authorization="Bearer nobody")
    for _ in range(29):
        await post(demo, PINNED, authorization="Bearer small")
    full = await post(demo, PINNED, authorization="Bearer small", **{"x-freeway-max-wait": "3600"})

    assert served.headers["x-freeway-provider"] == "google"
    assert small.headers["x-freeway-model"] == "gpt-oss-20b"
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_allowed")
    assert refused.json()["error"]["availability"]["excluded_by"].keys() == {"policy"}
    assert full.status_code == 429


# ── explain ──


async def test_an_explanation_names_who_would_be_chosen_and_reserves_and_sends_nothing(start):
    demo = await listed(await start(("groq", "google")))

    for _ in range(31):
        pinned = await explained(demo, PINNED)
    found = await explained(demo)

    assert pinned["chosen"] == "groq/openai/gpt-oss-20b"  # 30 a minute are free there
    assert completions(demo, "groq") + completions(demo, "google") == 0
    assert found["chosen"] == found["ranked"][0]["deployment"]
    assert {"score", "fitness", "price", "seconds"} <= found["ranked"][0].keys()
    assert (await post(demo)).headers["x-freeway-provider"] == found["ranked"][0]["provider"]


async def test_every_deployment_is_either_ranked_or_excluded_and_for_one_reason(start):
    demo = await listed(await start())
    body = ASK | {"messages": [{"role": "user", "content": [IMAGE]}], "provider": {"data_collection": "deny"}}

    able, found = await explained(demo), await explained(demo, body)
    first, second = ([one["deployment"] for one in (*each["ranked"], *each["excluded"])] for each in (able, found))

    assert len(first) == len(set(first))
    assert sorted(first) == sorted(second)
    assert len(able["ranked"]) == SHORTLIST  # as many as are compared
    assert kinds(able).keys() == {"rank"}
    assert kinds(found).keys() >= {"capability", "privacy"}


async def test_who_rests_is_full_or_is_out_is_told_with_the_moment_it_is_back(start, clock):
    demo = await start(("groq",), clock)
    now = clock.now()
    for _ in range(30):
        await post(demo, PINNED)
    demo.world.providers["groq"].fail("busy", times=1, model="openai/gpt-oss-120b")
    demo.world.providers["groq"].fail("gone", times=1, model="qwen/qwen3.8-27b")
    for model in ("groq/openai/gpt-oss-120b", "groq/qwen/qwen3.8-27b"):
        assert (await post(demo, ASK | {"model": model}, **AT_ONCE)).status_code in (404, 429, 503)

    found = await explained(demo)
    until = {reason["deployment"]: (reason["kind"], reason["until"]) for reason in found["excluded"]}

    assert until["groq/qwen/qwen3.8-27b"] == ("withdrawn", now + 86_400)
    cooling, resumes = until["groq/openai/gpt-oss-120b"]
    full, opens = until["groq/openai/gpt-oss-20b"]
    assert (cooling, full) == ("cooling", "quota")
    assert now < resumes
    assert now < opens <= now + 61
    assert found["opens_at"] == min(resumes, opens)


async def test_where_no_source_can_serve_it_the_explanation_says_what_the_caller_would_be_told(start):
    demo = await start(("groq",))
    body = {"model": "gpt-oss-120b", "messages": [{"role": "user", "content": [IMAGE]}]}

    found = await explained(demo, body)

    assert found["chosen"] is None
    assert found["told"]["message"] == (await post(demo, body)).json()["error"]["message"]
    assert (await post(demo, ASK | {"model": "gpt-9"}, "/v1/route/explain")).status_code == 404


async def test_an_explanation_needs_the_clients_key_and_a_request_that_can_be_understood(start):
    demo = await start(("groq",), FREEWAY_API_KEY="fw-right")

    assert (await post(demo, path="/v1/route/explain")).status_code == 401
    bad = await post(demo, {"messages": []}, "/v1/route/explain", authorization="Bearer fw-right")
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "messages")


# ── trace ──


async def test_who_asks_for_it_is_told_whom_the_answer_passed_over(start):
    demo = await start(("groq", "nvidia"))
    demo.world.providers["groq"].fail("server_error", times=1)
    body = ASK | {"model": "groq/openai/gpt-oss-20b", "models": ["auto"]}

    traced = await post(demo, body, **{"x-freeway-trace": "true"})
    streamed = await post(demo, ASK | {"stream": True}, **{"x-freeway-trace": "true"})
    plain = await post(demo, body)

    told = json.loads(traced.headers["x-freeway-trace"])
    assert told["failed"][0]["deployment"] == "groq/openai/gpt-oss-20b"
    assert "skipped" in json.loads(streamed.headers["x-freeway-trace"])
    assert "x-freeway-trace" not in plain.headers
    odd = await post(demo, body, **{"x-freeway-trace": "maybe"})
    assert (odd.status_code, odd.json()["error"]["param"]) == (400, "x-freeway-trace")


async def test_an_error_is_traced_too(start):
    demo = await start(("groq",))
    demo.world.providers["groq"].fail("server_error", times=9)

    response = await post(demo, PINNED, **AT_ONCE, **{"x-freeway-trace": "true"})

    assert json.loads(response.headers["x-freeway-trace"])["failed"]


# ── errors ──


async def test_what_is_unsupported_counts_why_by_kind(start):
    demo = await start(("groq",))
    response = await post(demo, ASK | {"messages": [{"role": "user", "content": [SOUND]}]})

    availability = response.json()["error"]["availability"]
    assert (response.status_code, availability["code"], availability["retryable"]) == (400, "unsupported", False)
    assert availability["excluded_by"] == {"capability": len(availability["excluded"])}
