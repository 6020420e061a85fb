"""Each refusal on record means what its provider means by it: which class, which bucket, for whom, and until when."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from providers import dialects
from providers import failures as f
from providers.chat import decode_fields, decode_request
from providers.dialect import Account, HttpResponse, Request, Target
from providers.spec import Free, ProviderSpec
from providers.sse import ServerSentEvents
from tests.failures import told
from tests.payloads import FOLDER, SPECS, account, answer, body, is_envelope

ASK = b'{"messages": [{"role": "user", "content": "hi"}]}'
ASKED = Request(decode_request(ASK), decode_fields(ASK))

PROVIDERS = (
    "cerebras", "cloudflare", "groq", "huggingface", "mistral", "nvidia", "ollama-cloud", "openrouter", "zai",
)  # fmt: skip

Expectation = tuple[type[f.ProviderFailure], dict[str, Any]]

PER_MINUTE = {"unit": "requests", "window": "minute"}
PER_DAY = {"unit": "requests", "window": "day"}

RECORDED: dict[str, Expectation] = {
    "cerebras/cerebras_404_archived.json": (f.ModelGone, {}),
    "cerebras/cerebras_429_queue.json": (f.Busy, {}),
    "cloudflare/cloudflare_429_neurons.json": (
        f.RateLimited,
        {"unit": "neurons", "window": "day", "account_wide": True},
    ),
    "groq/groq_400_json_validate_failed.json": (f.NoAnswer, {}),
    "groq/groq_400_model_decommissioned.json": (f.ModelGone, {}),
    "groq/groq_401.json": (f.CredentialRejected, {"account_wide": True}),
    "groq/groq_404.json": (f.ModelGone, {}),
    "groq/groq_413.json": (f.TooLarge, {"retry_in": None}),
    "groq/groq_429_rpd.json": (f.RateLimited, {**PER_DAY, "limit": 1000.0, "retry_in": 86.4}),
    "groq/groq_429_rpm.json": (f.RateLimited, {**PER_MINUTE, "limit": 30.0, "retry_in": 2.0}),
    "groq/groq_429_tpm.json": (
        f.RateLimited,
        {"unit": "tokens", "window": "minute", "limit": 8000.0, "retry_in": 18.42},
    ),
    "groq/groq_503.json": (f.Busy, {}),
    "huggingface/hf_400_model_not_supported.json": (f.ModelGone, {}),
    "huggingface/hf_401.json": (f.CredentialRejected, {"account_wide": True}),
    "huggingface/hf_402.json": (f.WouldCost, {"account_wide": True}),
    "huggingface/hf_hub_429.json": (f.RateLimited, {"unit": "requests", "window": "5 minute", "retry_in": 55.0}),
    "mistral/mistral_429.json": (f.RateLimited, {**PER_MINUTE, "limit": 4.0, "retry_in": None}),
    "nvidia/nvidia_400_no_tools.json": (f.Unsupported, {"capability": "tools"}),
    "nvidia/nvidia_401.json": (f.CredentialRejected, {"account_wide": True}),
    "nvidia/nvidia_403.json": (f.CredentialRejected, {"account_wide": True}),
    "nvidia/nvidia_404_function.json": (f.NotEntitled, {}),
    "nvidia/nvidia_410.json": (f.ModelGone, {}),
    "nvidia/nvidia_429.json": (f.RateLimited, {**PER_MINUTE, "retry_in": None}),
    "nvidia/nvidia_503_worker.json": (f.Busy, {}),
    "ollama-cloud/ollama_cloud_403.json": (f.NotEntitled, {}),
    "ollama-cloud/ollama_cloud_429_session.json": (f.RateLimited, {"retry_in": 3600.0, "account_wide": True}),
    "ollama-cloud/ollama_cloud_429_weekly.json": (f.RateLimited, {"retry_in": 3600.0, "account_wide": True}),
    "openrouter/openrouter_200_error.json": (f.Unreachable, {"status": 502}),
    "openrouter/openrouter_400_context.json": (f.ContextTooLong, {}),
    "openrouter/openrouter_400_model_not_found.json": (f.ModelGone, {}),
    "openrouter/openrouter_401.json": (f.CredentialRejected, {"account_wide": True}),
    "openrouter/openrouter_401_missing.json": (f.CredentialRejected, {"account_wide": True}),
    "openrouter/openrouter_402.json": (f.WouldCost, {"account_wide": True}),
    "openrouter/openrouter_403_moderation.json": (f.ContentRefused, {}),
    "openrouter/openrouter_404_free_variant_ended.json": (f.ModelGone, {}),
    "openrouter/openrouter_404_no_endpoints.json": (f.ModelGone, {}),
    "openrouter/openrouter_404_tools.json": (f.Unsupported, {"capability": "tools"}),
    "openrouter/openrouter_429_day.json": (
        f.RateLimited,
        {**PER_DAY, "limit": 50.0, "until": 1795478400.0, "account_wide": True},
    ),
    "openrouter/openrouter_429_day_high_balance.json": (
        f.RateLimited,
        {**PER_DAY, "limit": 1000.0, "until": 1795478400.0, "account_wide": True},
    ),
    "openrouter/openrouter_429_generic.json": (f.RateLimited, {"unit": None, "window": None, "account_wide": True}),
    "openrouter/openrouter_429_min.json": (
        f.RateLimited,
        {**PER_MINUTE, "limit": 20.0, "until": 1795442760.0, "account_wide": True},
    ),
    "openrouter/openrouter_429_upstream.json": (f.Busy, {"retry_in": 12.0}),
    "openrouter/openrouter_503.json": (f.Busy, {"retry_in": 8.0}),
    "openrouter/openrouter_stream_error.sse": (f.Unreachable, {"status": 502}),
    "openrouter/openrouter_stream_error_429.sse": (f.Busy, {}),
    "zai/zai_400_1214.json": (f.ModelGone, {}),
    "zai/zai_429_1113.json": (f.WouldCost, {}),
    "zai/zai_429_1302.json": (f.RateLimited, {"unit": "in-flight", "window": "in-flight", "retry_in": 1.0}),
}

UPSTREAM = '{"error":{"message":"At most 1 image may be provided","type":"BadRequestError","code":400}}'
GROQ_DAY = (
    "Rate limit reached for model `m` in organization `o` service tier `on_demand` on tokens per day (TPD): "
    "Limit 200000, Used 199000, Requested 3000. Please try again in 9m38.016s."
)
HARNESS = "acme/model:free is only available on agentic harnesses"

# Wordings that are known, without a whole payload: provider, status, body, headers → what it means.
WORDED: list[tuple[str, int, Any, dict[str, str], type[f.ProviderFailure], dict[str, Any]]] = [
    (
        "openrouter",
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": UPSTREAM, "provider_name": "A"},
            }
        },
        {},
        f.RefusedHere,
        {"message": "At most 1 image may be provided", "parameter": None},
    ),
    ("groq", 400, {"error": {"message": "at most 4", "param": "stop"}}, {}, f.RefusedHere, {"parameter": "stop"}),
    ("nvidia", 400, {"message": "too many (parameter=n, value=9)"}, {}, f.RefusedHere, {"parameter": "n"}),
    ("mistral", 415, {"message": "no such media"}, {}, f.RefusedHere, {}),
    ("cerebras", 402, {"message": "Payment required"}, {}, f.WouldCost, {"account_wide": True}),
    ("cerebras", 403, "error code: 1010", {}, f.Unreachable, {}),
    ("cloudflare", 429, {"errors": [{"code": 3036, "message": "limit"}]}, {}, f.RateLimited, {"unit": "neurons"}),
    ("cloudflare", 429, {"errors": [{"code": 3040, "message": "no capacity"}]}, {}, f.Busy, {}),
    ("cloudflare", 400, {"errors": [{"code": 5007, "message": "No such model @cf/acme/m"}]}, {}, f.ModelGone, {}),
    ("cloudflare", 404, {"errors": [{"code": 3042, "message": "deprecated"}]}, {}, f.ModelGone, {}),
    ("cloudflare", 403, {"errors": [{"code": 5018, "message": "agree first"}]}, {}, f.NotEntitled, {}),
    ("cloudflare", 403, {"errors": [{"code": 5016, "message": "agree first"}]}, {}, f.NotEntitled, {}),
    ("cloudflare", 403, {"errors": [{"code": 3041, "message": "no access"}]}, {}, f.NotEntitled, {}),
    ("cloudflare", 403, {"errors": [{"code": 3023, "message": "blocked"}]}, {}, f.NotEntitled, {"account_wide": True}),
    ("cloudflare", 413, {"errors": [{"code": 3006, "message": "too large"}]}, {}, f.TooLarge, {}),
    ("cloudflare", 408, {"errors": [{"code": 3007, "message": "timeout"}]}, {}, f.Busy, {}),
    ("cloudflare", 408, {"errors": [{"code": 3008, "message": "aborted"}]}, {}, f.Busy, {}),
    ("cloudflare", 400, {"errors": [{"code": 5024, "message": "JSON Mode couldn't be met"}]}, {}, f.NoAnswer, {}),
    ("cloudflare", 403, {"errors": [{"code": 1, "message": "needs the Workers Paid plan"}]}, {}, f.WouldCost, {}),
    ("groq", 403, "error code: 1010", {}, f.Unreachable, {}),
    ("groq", 498, {"error": {"message": "flex tier capacity exceeded"}}, {}, f.Busy, {}),
    ("groq", 400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, {}, f.ContextTooLong, {}),
    ("groq", 400, {"error": {"message": "bad call", "code": "tool_use_failed"}}, {}, f.NoAnswer, {}),
    (
        "groq",
        400,
        {"error": {"message": "tool calling is not supported with this model"}},
        {},
        f.Unsupported,
        {"capability": "tools"},
    ),
    (
        "groq",
        429,
        {"error": {"message": GROQ_DAY, "type": "tokens", "code": "rate_limit_exceeded"}},
        {"retry-after": "579"},
        f.RateLimited,
        {"unit": "tokens", "window": "day", "limit": 200000.0, "retry_in": 578.016},
    ),
    (
        "groq",
        429,
        {"error": {"message": "Rate limit reached"}},
        {"retry-after": "Mon, 23 Nov 2026 16:00:00 GMT"},
        f.RateLimited,
        {"until": 1795449600.0, "retry_in": None},
    ),
    ("huggingface", 400, {"error": "Model not supported by provider groq"}, {}, f.ModelGone, {}),
    ("huggingface", 400, {"error": {"message": "no", "code": "model_not_found"}}, {}, f.ModelGone, {}),
    (
        "huggingface",
        403,
        {"error": "This authentication method does not have sufficient permissions to call Inference Providers"},
        {},
        f.CredentialRejected,
        {"account_wide": True},
    ),
    ("huggingface", 403, {"error": "Access to model acme/gated is restricted"}, {}, f.NotEntitled, {}),
    ("huggingface", 429, {"error": {"message": "slow down"}}, {}, f.Busy, {"retry_in": None}),
    ("huggingface", 503, {"error": "Model is loading"}, {}, f.Busy, {}),
    (
        "mistral",
        429,
        {"message": "Rate limit exceeded", "code": "1300"},
        {"x-ratelimit-limit-req-minute": "0", "x-ratelimit-remaining-req-minute": "0"},
        f.NotEntitled,
        {},
    ),
    (
        "mistral",
        429,
        {"message": "Rate limit exceeded", "code": "1300"},
        {"x-ratelimit-limit-tokens-minute": "50000", "x-ratelimit-remaining-tokens-minute": "0"},
        f.RateLimited,
        {"unit": "tokens", "window": "minute", "limit": 50000.0},
    ),
    ("mistral", 403, {"message": "Labs", "code": "1913"}, {}, f.NotEntitled, {}),
    # GENesis-AGI#1791, 2026-09
    ("mistral", 403, {"message": "tier_not_allowed", "code": "1910"}, {}, f.NotEntitled, {}),
    # SmartHopper#647, 2026-07
    (
        "mistral",
        400,
        {"message": "reasoning_effort='medium' is not supported for this model", "code": "3051"},
        {},
        f.RefusedHere,
        {"capability": None},
    ),
    ("modelscope", 429, {"errors": {"message": "Request limit exceeded."}}, {}, f.RateLimited, {"unit": None}),
    ("cohere", 400, {"message": "tool_choice is not supported"}, {}, f.RefusedHere, {}),
    # Alishahryar1/free-claude-code#89
    (
        "nvidia",
        400,
        {"error": {"message": "chat_template is not supported for Mistral tokenizers."}},
        {},
        f.RefusedHere,
        {},
    ),
    (
        "mistral",
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "Extra inputs are not permitted"}]},
        {},
        f.RefusedHere,
        {"capability": None},
    ),
    ("nvidia", 404, "404 page not found", {}, f.ModelGone, {}),
    ("nvidia", 202, "", {"nvcf-reqid": "11111111-2222"}, f.Unreachable, {"status": 202}),
    (
        "nvidia",
        400,
        {"status": 400, "title": "Bad Request", "detail": "Function id 'x': DEGRADED function cannot be invoked"},
        {},
        f.Busy,
        {},
    ),
    ("nvidia", 400, {"error": {"message": "Validation: Unsupported parameter(s): `n`"}}, {}, f.RefusedHere, {}),
    (
        "nvidia",
        400,
        {"error": {"message": "This model only supports single tool-calls at once!"}},
        {},
        f.Unsupported,
        {"capability": "parallel_tools"},
    ),
    ("nvidia", 400, {"error": {"message": "The maximum context length is 32768 tokens."}}, {}, f.ContextTooLong, {}),
    ("nvidia", 422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, {}, f.RefusedHere, {}),
    ("nvidia", 500, {"error": {"message": "ResourceExhausted: Worker local (267/32)"}}, {}, f.Busy, {}),
    ("nvidia", 529, {"error": {"message": "overloaded"}}, {}, f.Busy, {}),
    ("nvidia", 500, {"error": {"message": "internal"}}, {}, f.Unreachable, {}),
    (
        "openrouter",
        403,
        {"error": {"code": 403, "message": "Key limit exceeded (total limit)"}},
        {},
        f.WouldCost,
        {"account_wide": True},
    ),
    (
        "openrouter",
        402,
        {"error": {"code": 402, "message": "no", "metadata": {"limit_source": "openrouter_in_flight_budget"}}},
        {},
        f.WouldCost,
        {"account_wide": False},
    ),
    ("openrouter", 403, {"error": {"code": 403, "message": HARNESS}}, {}, f.NotEntitled, {}),
    (
        "openrouter",
        404,
        {"error": {"message": "blocked", "availability": {"code": "privacy_restricted"}}},
        {},
        f.NotEntitled,
        {},
    ),
    (
        "openrouter",
        404,
        {"error": {"message": "none left", "availability": {"code": "constraint_filtered"}}},
        {},
        f.Unsupported,
        {"capability": None},
    ),
    (
        "openrouter",
        429,
        {"error": {"message": "full", "availability": {"code": "capacity_exhausted", "retry_after": 30}}},
        {},
        f.Busy,
        {"retry_in": 30.0},
    ),
    (
        "openrouter",
        404,
        {"error": {"code": 404, "message": "No endpoints found that support image input"}},
        {},
        f.Unsupported,
        {"capability": "vision"},
    ),
    (
        "openrouter",
        404,
        {"error": {"code": 404, "message": "No endpoints found that can handle the requested parameters."}},
        {},
        f.Unsupported,
        {"capability": None},
    ),
    (
        "openrouter",
        429,
        {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day. Add 5 credits"}},
        {"x-ratelimit-limit": "50", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795478400000"},
        f.RateLimited,
        {**PER_DAY, "until": 1795478400.0},
    ),
    (
        "openrouter",
        401,
        {"error": {"code": 401, "message": "Provider returned error", "metadata": {"raw": "bad key"}}},
        {},
        f.Busy,
        {"account_wide": False},
    ),
    ("ovhcloud", 429, {"message": "API rate limit exceeded"}, {}, f.RateLimited, PER_MINUTE),
    ("ovhcloud", 401, {"message": "needs a key"}, {}, f.NotEntitled, {"account_wide": False}),
    ("llm7", 402, {"error": {"message": "balance"}}, {}, f.WouldCost, {"account_wide": False}),
    ("ollama-cloud", 401, {"error": "unauthorized"}, {}, f.CredentialRejected, {"account_wide": True}),
    ("openrouter", 529, {"error": {"code": 529, "message": "overloaded"}}, {}, f.Busy, {}),
    ("zai", 429, {"error": {"code": "1305", "message": "overloaded"}}, {}, f.Busy, {"retry_in": 60.0}),
    ("zai", 429, {"error": {"code": "1308", "message": "used up"}}, {}, f.RateLimited, {"retry_in": 3600.0}),
    ("zai", 429, {"error": {"code": "1310", "message": "used up"}}, {}, f.RateLimited, {"window": "month"}),
    ("zai", 429, {"error": {"code": "1311", "message": "plan"}}, {}, f.NotEntitled, {}),
    ("zai", 400, {"error": {"code": "1210", "message": "bad"}}, {}, f.RefusedHere, {}),
    ("zai", 400, {"error": {"code": "1210", "message": "Tool choice must be auto"}}, {}, f.RefusedHere, {}),
]


def on_record() -> set[str]:
    """Every payload of these providers that tells of a failure."""
    found = set()
    for provider in PROVIDERS:
        for path in (FOLDER / provider).iterdir():
            name = f"{provider}/{path.name}"
            if is_envelope(name):
                recorded = answer(name)
                if recorded.status >= 400 or b'"error"' in recorded.body:
                    found.add(name)
            elif path.suffix == ".sse" and b'"error":{' in path.read_bytes():
                found.add(name)
    return found


def failure_in(name: str) -> f.ProviderFailure:
    """The failure that the payload is taken for, the way it would come: by status, in a body, or in a stream."""
    of = account(name.partition("/")[0])
    dialect = dialects.by_name(of.spec.dialect)
    target = Target(of, "acme/model")
    try:
        if name.endswith(".sse"):
            reader, framing = dialect.reader(target, ASKED), ServerSentEvents()
            for event in (*framing.feed(body(name)), *framing.end()):
                reader.feed(event)
        recorded = answer(name)
        if recorded.status != 200:
            return dialect.classify(of, recorded)
        dialect.read(target, ASKED, recorded.body)
    except f.ProviderFailure as failure:
        return failure
    raise AssertionError(f"{name} was taken for an answer")


def test_every_refusal_on_record_has_a_meaning():
    assert on_record() == RECORDED.keys()


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_a_recorded_refusal_means_what_its_provider_means(name: str):
    expected, marks = RECORDED[name]
    failure = failure_in(name)

    assert type(failure) is expected
    assert told(failure, marks) == pytest.approx(marks)
    assert failure.account_wide == marks.get("account_wide", False)
    assert failure.message


@pytest.mark.parametrize(
    ("provider", "status", "content", "headers", "expected", "marks"),
    WORDED,
    ids=[f"{row[0]}-{row[1]}-{row[4].__name__}-{place}" for place, row in enumerate(WORDED)],
)
def test_a_known_wording_means_what_its_provider_means(provider, status, content, headers, expected, marks):
    encoded = content.encode() if isinstance(content, str) else msgspec.json.encode(content)
    of = account(provider)

    failure = dialects.by_name(of.spec.dialect).classify(of, HttpResponse(status, headers, encoded))

    assert type(failure) is expected
    assert told(failure, marks) == pytest.approx(marks)


JUNK = (
    b"", b"<html>Bad gateway</html>", b"[]", b"null", b'"no"', b'{"error":null}', b'{"error":[1]}', b"\xff\xfe",
    b'{"error":{"metadata":[]}}',
)  # fmt: skip


@pytest.mark.parametrize("status", [202, 302, 400, 401, 403, 404, 413, 418, 429, 500, 503, 599])
@pytest.mark.parametrize("provider", sorted(SPECS))
def test_junk_is_a_failure_like_any_other(provider: str, status: int):
    of = account(provider)
    for content in JUNK:
        failure = dialects.by_name(of.spec.dialect).classify(of, HttpResponse(status, {}, content))

        assert isinstance(failure, f.ProviderFailure)
        assert failure.status == status


@pytest.mark.parametrize("provider", sorted(SPECS))
def test_a_retry_after_is_read_where_nothing_better_is_known(provider: str):
    of = account(provider)

    failure = dialects.by_name(of.spec.dialect).classify(of, HttpResponse(503, {"retry-after": "7"}, b'{"error":{}}'))

    assert type(failure) is f.Busy
    assert failure.retry_in == 7


UNKNOWN = Account(
    ProviderSpec(title="Acme", base_url="https://acme.example", free=Free(kind="plan"), docs="", name="acme"),
    "https://acme.example",
    "key",
)
"""A provider of which nothing is known but its address."""


@pytest.mark.parametrize(
    ("name", "expected", "retry_in"),
    [
        ("cohere_429", f.RateLimited, None),
        ("modelscope_401_binding", f.CredentialRejected, None),
        ("opencode_zen_429", f.RateLimited, 6314.0),
        ("sambanova_402", f.WouldCost, None),
    ],
)
def test_a_refusal_of_a_provider_without_signs_of_its_own_is_understood(
    name: str, expected: type[f.ProviderFailure], retry_in: float | None
):
    failure = dialects.by_name("openai").classify(UNKNOWN, answer(f"others/{name}.json"))

    assert type(failure) is expected
    assert failure.retry_in == retry_in
    assert failure.message


VLLM = (
    "You passed 262145 input tokens and requested 0 output tokens. However, the model's context length is only 262144 "
    "tokens, resulting in a maximum input length of 262144 tokens. Please reduce the length of the input prompt."
)

SAID: list[tuple[str, type[f.ProviderFailure]]] = [
    # vllm-project/vllm#36197, earendil-works/pi#5677, Alishahryar1/free-claude-code#391
    (VLLM, f.ContextTooLong),
    ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens", f.ContextTooLong),
    ("The input (9000 tokens) is longer than the model's context length (8192 tokens).", f.ContextTooLong),
    ("Requested token count exceeds the model's maximum context length of 8192 tokens.", f.ContextTooLong),
    ("the request exceeds the available context size, try increasing it", f.ContextTooLong),
    ("Prompt exceeds max length", f.ContextTooLong),
    ("Current length is 9000 while limit is 8192", f.ContextTooLong),
    ("prompt is too long: 210000 tokens > 200000 maximum", f.ContextTooLong),
    ("too many tokens: total number of tokens in the prompt cannot exceed 4081", f.ContextTooLong),
    ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens", f.ContextTooLong),
    # NIM subtracts the prompt from its context, and tells what is left
    ("max_tokens must be at least 1, got -1841.", f.ContextTooLong),
    ("max_completion_tokens must be at least 1, got -77.", f.ContextTooLong),
    # musistudio/claude-code-router#901, anomalyco/models.dev#216
    ("Model id : Qwen/Qwen3-32B , has no provider supported", f.ModelGone),
    ("Invalid model: mistral-tiny-2312", f.ModelGone),
    ("The model `llama-2` does not exist or you do not have access to it.", f.ModelGone),
    ("The model `mixtral-8x7b-32768` has been decommissioned and is no longer supported.", f.ModelGone),
    ("acme/nothing is not a valid model ID", f.ModelGone),
    # songquanpeng/one-api#1764, yym68686/uni-api#140
    ("Organization has been restricted. Please reach out to support", f.CredentialRejected),
    ("Your account has been suspended", f.CredentialRejected),
    ("API key not valid. Please pass a valid API key.", f.CredentialRejected),
    ("Invalid API key provided", f.CredentialRejected),
    # about the request, whatever words of the above are in it
    ("At most 1 image may be provided in one request.", f.RefusedHere),
    ("max_tokens must be between -1 and 8192, got 9000", f.RefusedHere),
    ("max_tokens must be less than or equal to 8192, the maximum value for this model", f.RefusedHere),
    ("Invalid schema for function 'look': unknown keyword 'model'", f.RefusedHere),
    ("Tool names must be unique.", f.RefusedHere),
    ("Unexpected role 'user' after role 'tool'", f.RefusedHere),
    ("temperature: Input should be less than or equal to 1.5", f.RefusedHere),
    ("Failed to parse tool call arguments: key is not valid", f.RefusedHere),
    ("invalid model parameter: top_k", f.RefusedHere),
]


@pytest.mark.parametrize("provider", ["nvidia", "openrouter", "modelscope"])
@pytest.mark.parametrize(("sentence", "expected"), SAID, ids=[sentence[:40] for sentence, _ in SAID])
def test_a_sentence_means_the_same_at_whoever_runs_the_same_server(
    provider: str, sentence: str, expected: type[f.ProviderFailure]
):
    of = account(provider)
    error: dict[str, Any] = {"message": sentence, "type": "BadRequestError", "code": 400}
    if provider == "openrouter":
        error = {
            "message": "Provider returned error",
            "code": 400,
            "metadata": {"raw": msgspec.json.encode(error).decode()},
        }
    failure = dialects.by_name(of.spec.dialect).classify(
        of, HttpResponse(400, {}, msgspec.json.encode({"error": error}))
    )

    assert type(failure) is expected
    assert failure.message == sentence
    assert failure.account_wide == (expected is f.CredentialRejected)


@pytest.mark.parametrize(
    ("provider", "status", "content"),
    [
        ("groq", 403, b'{"error": {"message": "Access denied. Please check your network settings."}}'),
        ("groq", 403, b"<!DOCTYPE html><html><body>Access denied</body></html>"),
        ("cerebras", 403, b"<html>Forbidden</html>"),
        ("groq", 400, b'{"error": {"message": "Sorry.", "code": "organization_restricted"}}'),
        ("google", 400, b'{"error": {"code": 400, "message": "Not here.", "status": "FAILED_PRECONDITION"}}'),
    ],
)
def test_a_refusal_of_the_whole_account_is_told_to_be_one(provider: str, status: int, content: bytes):
    """Mintplex-Labs/anything-llm#2003: or every model of the account is asked in turn."""
    of = account(provider)

    assert dialects.by_name(of.spec.dialect).classify(of, HttpResponse(status, {}, content)).account_wide
