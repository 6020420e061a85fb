"""Each simulated provider counts in its own way, on a clock that is given: the facts, one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from providers.simulator.base import Simulated
from providers.simulator.brain import Saying
from tests.clock import FakeClock
from tests.simulator.desk import FREE, Desk, at, moment, opened

CALIFORNIA = "America/Los_Angeles"


@pytest.fixture
async def desk(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[Desk]:
    async with opened(request.param, clock) as desk:
        yield desk


def untouched(other: Simulated) -> bool:
    return all(used == 0 for used, _ in other.quota.values())


# ── everywhere ──


@at(*FREE)
async def test_free_models_charge_nothing(desk: Desk):
    assert await desk.answers(2) == [200] * 2  # as many as the least of them allows in a minute
    assert desk.other.charged == 0


@at(*(name for name in FREE if name != "ollama"))
async def test_a_wrong_key_costs_nothing(desk: Desk):
    assert (await desk.ask(key="wrong")).status_code in (400, 401, 403)
    assert untouched(desk.other)


@at(*FREE)
async def test_a_model_that_nobody_knows_costs_nothing(desk: Desk):
    assert (await desk.ask("acme/unknown")).status_code in (400, 404)
    assert untouched(desk.other)


@at("google", "groq", "nvidia", "mistral", "cerebras")
async def test_what_a_limit_refuses_is_not_counted(desk: Desk):
    statuses = await desk.answers(60)
    used = {key: round(used) for key, (used, _) in desk.other.quota.items() if "token" not in key}

    assert 429 in statuses
    assert set(used.values()) == {statuses.count(200)}


# ── OpenRouter ──


@at("openrouter")
async def test_twenty_in_a_minute_of_the_clock_over_all_free_models(desk: Desk):
    desk.until("2026-11-23 12:00:50")
    assert await desk.answers(10) == [200] * 10
    assert await desk.answers(11, "qwen/qwen3.8-27b:free") == [200] * 10 + [429]

    error = (await desk.ask()).json()["error"]
    assert error["metadata"]["limit_source"] == "openrouter_free_tier_per_minute"
    assert int(error["metadata"]["headers"]["X-RateLimit-Reset"]) == moment("2026-11-23 12:01:00") * 1000
    desk.clock.advance(10)
    assert await desk.answers(1) == [200]


@at("openrouter")
async def test_fifty_in_a_day_of_utc_and_refused_ones_count(desk: Desk):
    desk.until("2026-11-23 23:58:00")
    assert (await desk.answers(49)).count(200) == 20
    desk.clock.advance(60)
    assert await desk.answers(2) == [200, 429]

    error = (await desk.ask()).json()["error"]
    assert error["metadata"]["limit_source"] == "openrouter_free_tier_daily"
    assert int(error["metadata"]["headers"]["X-RateLimit-Reset"]) == moment("2026-11-24") * 1000
    assert await daily(desk) == {"limit": 50, "remaining": 0, "used": 52}
    desk.until("2026-11-24")
    assert await daily(desk) == {"limit": 50, "remaining": 50, "used": 0}
    assert await desk.answers(1) == [200]


async def daily(desk: Desk) -> dict[str, int]:
    """What OpenRouter tells of the day, which costs nothing to ask."""
    told = await desk.http.get("key", headers={"authorization": f"Bearer {desk.other.key}"})
    return told.json()["data"]["free_model_daily_requests"]


@at("openrouter")
async def test_a_paid_model_charges_and_no_free_limit_counts_it(desk: Desk):
    desk.other.eat(50, FREE["openrouter"])
    answer = await desk.ask("openai/gpt-9")

    assert answer.json()["usage"]["cost"] == desk.other.charged > 0
    assert (await daily(desk))["used"] == 50


@at("openrouter")
async def test_a_ceiling_of_nothing_keeps_a_paid_model_from_charging(desk: Desk):
    answer = await desk.ask("openai/gpt-9", provider={"max_price": {"prompt": 0, "completion": 0}})

    assert answer.status_code == 404
    assert desk.other.charged == 0


# ── Google ──


def violated(answer: httpx.Response) -> tuple[str, str]:
    """Which limit a refusal names, and when it says to come back."""
    assert answer.status_code == 429
    failure, retry = answer.json()["error"]["details"]
    return failure["violations"][0]["quotaId"], retry["retryDelay"]


@at("google")
async def test_five_in_any_minute_and_the_wait_that_is_told_is_true(desk: Desk):
    for _ in range(5):
        assert await desk.answers(1) == [200]
        desk.clock.advance(7)

    assert violated(await desk.ask()) == ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "25s")
    assert await desk.answers(1, "gemini-3.5-flash") == [200]
    desk.clock.advance(24)
    assert await desk.answers(1) == [429]
    desk.clock.advance(1)
    assert await desk.answers(1) == [200]


@at("google")
async def test_a_quarter_million_tokens_of_prompt_in_a_minute(desk: Desk):
    assert await desk.answers(1, said="a" * 800_000) == [200]
    desk.clock.advance(20)

    refused = await desk.ask(said="a" * 240_000)
    assert violated(refused) == ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "40s")
    assert await desk.answers(1, said="a" * 200_000) == [200]
    assert await desk.answers(1, "gemma-4-31b-it", said="a" * 68_000) == [429], "Gemma has 16 000"


@at("google")
@pytest.mark.parametrize(
    ("day", "hours"), [("2026-11-01", 25), ("2026-11-23", 24), ("2027-03-14", 23)], ids=["long", "plain", "short"]
)
async def test_twenty_in_a_day_of_california_however_long(desk: Desk, day: str, hours: int):
    desk.until(day, CALIFORNIA)
    desk.other.eat(20, FREE["google"])
    desk.clock.advance(hours * 3600 - 1)
    row, wait = violated(await desk.ask())

    assert row == "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
    assert wait == "42s", "which says nothing about a day"
    desk.clock.advance(1)
    assert await desk.answers(1) == [200]


@at("google")
async def test_an_overloaded_model_counts_against_the_day(desk: Desk):
    desk.other.fail("busy", times=3)

    assert await desk.answers(4) == [503] * 3 + [200]
    assert desk.other.quota[f"{FREE['google']}/day"] == (4, 20)


@at("google")
async def test_flash_lite_has_more_and_pro_has_nothing(desk: Desk):
    assert await desk.answers(16, "gemini-3.5-flash-lite") == [200] * 15 + [429]
    assert desk.other.quota["gemini-3.5-flash-lite/day"] == (15, 500)
    assert "limit: 0" in (await desk.ask("gemini-3.1-pro-preview")).json()["error"]["message"]


# ── Groq ──


@at("groq")
async def test_headers_count_requests_by_the_day_and_tokens_by_the_minute(desk: Desk):
    desk.other.brain = lambda _: Saying("brief")  # what is reserved and not said is not given back
    told = (await desk.ask(said="a" * 3598 * 4, max_tokens=128)).headers

    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-limit-tokens"]) == ("1000", "8000")
    assert (told["x-ratelimit-remaining-requests"], told["x-ratelimit-reset-requests"]) == ("999", "1m26.4s")
    assert (told["x-ratelimit-remaining-tokens"], told["x-ratelimit-reset-tokens"]) == ("4274", "27.945s")
    assert "retry-after" not in told
    other = (await desk.ask("groq/compound")).headers
    assert (other["x-ratelimit-limit-requests"], other["x-ratelimit-limit-tokens"]) == ("250", "70000")


@at("groq")
async def test_tokens_refill_without_pause(desk: Desk):
    assert await desk.answers(1, said="a" * 24_000, max_tokens=1) == [200]
    refused = await desk.ask(said="a" * 16_000, max_tokens=1)

    assert refused.json()["error"]["type"] == "tokens"
    assert "tokens per minute (TPM): Limit 8000, Used 6001, Requested 4001." in refused.json()["error"]["message"]
    assert "try again in 15.015s" in refused.json()["error"]["message"]
    assert refused.headers["retry-after"] == "16"
    assert await desk.answers(1, "openai/gpt-oss-20b", said="a" * 16_000, max_tokens=1) == [200]
    desk.clock.advance(15)
    assert await desk.answers(1, said="a" * 16_000, max_tokens=1) == [429]
    desk.clock.advance(0.1)
    assert await desk.answers(1, said="a" * 16_000, max_tokens=1) == [200]


@at("groq")
async def test_a_request_that_never_fits_is_too_large_and_costs_nothing(desk: Desk):
    refused = await desk.ask(said="a" * 4000, max_tokens=7001)

    assert refused.status_code == 413
    assert (refused.json()["error"]["type"], refused.json()["error"]["code"]) == ("tokens", "rate_limit_exceeded")
    assert untouched(desk.other)


@at("groq")
async def test_thirty_requests_in_a_minute(desk: Desk):
    desk.other.eat(30, FREE["groq"])
    refused = await desk.ask()

    assert "requests per minute (RPM): Limit 30, Used 30" in refused.json()["error"]["message"]
    assert refused.headers["x-ratelimit-remaining-requests"] == "970"


@at("groq")
async def test_the_days_requests_come_back_one_by_one(desk: Desk):
    desk.other.eat(1000, FREE["groq"])
    desk.clock.advance(61)
    refused = await desk.ask()
    assert "requests per day (RPD): Limit 1000" in refused.json()["error"]["message"]
    assert refused.headers["retry-after"] == "26"

    desk.clock.advance(25.5)
    assert await desk.answers(2) == [200, 429]


# ── NVIDIA, Hugging Face, Ollama ──


@at("nvidia")
async def test_forty_in_any_minute_over_all_models_and_not_a_word_about_it(desk: Desk):
    assert await desk.answers(20) == [200] * 20
    desk.clock.advance(30)
    assert await desk.answers(21, "openai/gpt-oss-20b") == [200] * 20 + [429]
    desk.clock.advance(30)
    assert await desk.answers(21) == [200] * 20 + [429]

    refused = await desk.ask()
    assert refused.json() == {"status": 429, "title": "Too Many Requests"}
    assert not any("ratelimit" in name or name == "retry-after" for name in refused.headers)


@at("nvidia")
async def test_workers_that_are_all_busy_are_no_limit_of_the_account(desk: Desk):
    async with desk.occupied(desk.other.workers):
        refused = await desk.ask()

    assert refused.status_code == 503
    assert "Worker local total request limit reached (16/16)" in refused.json()["error"]["message"]
    assert untouched(desk.other)


@at("huggingface")
async def test_ten_cents_of_a_month_pay_what_is_answered(desk: Desk):
    answer = await desk.ask(said="a" * 4000)
    usage = answer.json()["usage"]
    price = usage["prompt_tokens"] * 0.1e-6 + usage["completion_tokens"] * 0.3e-6

    assert desk.other.quota["account/month"] == (pytest.approx(price), 0.10)
    assert answer.headers["x-inference-provider"] == "together"
    assert set(await desk.answers(100)) == {200}, "requests have no limit of their own"


@at("huggingface")
async def test_a_used_up_month_is_402_until_the_next(desk: Desk):
    desk.until("2026-11-23")
    desk.other.credit.take(0.10, desk.clock())
    desk.until("2026-11-30 23:59:59")
    refused = await desk.ask()
    assert refused.status_code == 402
    assert refused.json()["error"].startswith("You have depleted your monthly included credits.")
    assert desk.other.charged == 0

    desk.until("2026-12-01")
    assert await desk.answers(1) == [200]


@at("huggingface")
@pytest.mark.parametrize("policy", ["fastest", "cheapest", "preferred"])
async def test_a_policy_is_not_the_name_of_who_serves(desk: Desk, policy: str):
    assert (await desk.ask(f"{FREE['huggingface']}:{policy}")).headers["x-inference-provider"] == "together"
    assert (await desk.ask(f"{FREE['huggingface']}:cerebras")).headers["x-inference-provider"] == "cerebras"


@at("ollama")
async def test_ollama_limits_only_what_is_under_way(desk: Desk):
    assert set(await desk.answers(100)) == {200}
    desk.other.max_queue = 3
    async with desk.occupied(3):
        refused = await desk.ask()
        assert refused.status_code == 503
        assert refused.json() == {"error": "server busy, please try again.  maximum pending requests exceeded"}
    assert await desk.answers(1) == [200]


# ── Mistral, Cerebras, Cloudflare, Z.ai ──


def of_limits(answer: httpx.Response) -> dict[str, str]:
    """What the headers of *answer* say of limits."""
    prefix = "x-ratelimit-"
    return {name.removeprefix(prefix): value for name, value in answer.headers.items() if name.startswith(prefix)}


@at("mistral")
async def test_mistral_counts_minutes_of_the_clock_for_each_model(desk: Desk):
    desk.until("2026-11-23 12:00:55")
    assert await desk.answers(49) == [200] * 49
    assert of_limits(await desk.ask())["remaining-req-minute"] == "0"

    refused = await desk.ask()
    assert (refused.status_code, refused.json()["code"]) == (429, "1300")
    assert of_limits(refused) == {"limit-req-minute": "50", "remaining-req-minute": "0"}
    assert "retry-after" not in refused.headers
    assert await desk.answers(1, "ministral-8b-latest") == [200]
    desk.clock.advance(5)
    assert await desk.answers(1) == [200]


@at("mistral")
async def test_mistral_counts_what_is_said_too_and_not_what_might_be(desk: Desk):
    answer = await desk.ask(said="a" * 80_000, max_tokens=40_000)
    took = answer.json()["usage"]["total_tokens"]
    assert took == 20_000 + 20_003
    assert of_limits(answer)["remaining-tokens-minute"] == str(50_000 - took)

    refused = await desk.ask(said="a" * 80_000)
    assert of_limits(refused) == {"limit-tokens-minute": "50000", "remaining-tokens-minute": "0"}


@at("cerebras")
async def test_cerebras_tells_of_minute_hour_and_day_unless_its_queue_is_full(desk: Desk):
    assert await desk.answers(4) == [200] * 4
    desk.clock.advance(33.716)
    told, refused = of_limits(await desk.ask()), of_limits(await desk.ask())
    desk.other.fail("busy")
    queued = await desk.ask()

    limits = {name.removeprefix("limit-"): value for name, value in told.items() if name.startswith("limit-")}
    assert limits == {
        "requests-minute": "5", "requests-hour": "150", "requests-day": "2400",
        "tokens-minute": "30000", "tokens-hour": "1000000", "tokens-day": "1000000",
    }  # fmt: skip
    assert (refused["remaining-requests-minute"], refused["remaining-requests-hour"]) == ("0", "145")
    assert all(float(told[f"reset-{name}"]) > 0 for name in limits)
    assert (queued.status_code, queued.json()["code"]) == (429, "queue_exceeded")
    assert queued.headers["x-should-retry"] == "false"
    assert of_limits(queued) == {}


@at("cerebras")
async def test_cerebras_refuses_by_the_hour_too(desk: Desk):
    desk.until("2026-11-23 09:00:00")
    desk.other.eat(150, FREE["cerebras"])
    desk.clock.advance(3599)
    assert await desk.answers(1) == [429]
    desk.clock.advance(1)
    assert await desk.answers(6) == [200] * 5 + [429]


@at("cloudflare")
async def test_ten_thousand_neurons_in_a_day_of_utc(desk: Desk):
    desk.until("2026-11-23 09:00:00")
    assert await desk.answers(1) == [200]
    used, limit = desk.other.quota["account/neurons"]
    assert 0 < used < limit == 10_000

    desk.other.neurons.take(limit, desk.clock())
    desk.until("2026-11-23 23:59:59")
    refused = await desk.ask()
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, 4006)
    desk.until("2026-11-24")
    assert await desk.answers(1) == [200]


@at("zai")
async def test_one_at_a_time_and_nothing_that_costs(desk: Desk):
    async with desk.occupied(1):
        assert (await desk.ask()).json()["error"]["code"] == "1302"
    paid = await desk.ask("glm-5.2")

    assert (paid.status_code, paid.json()["error"]["code"]) == (429, "1113")
    assert await desk.answers(50) == [200] * 50
    assert desk.other.charged == 0
