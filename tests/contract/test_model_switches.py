"""
What differs by model is data: thinking, the longest answer, what goes together, pictures, stop words. Each row is from the
provider's own pages or from a public report, which config/providers names.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.catalog.database import Database
from gateway.catalog.facts import deployment_of
from gateway.catalog.fitness import unfit, untaken
from gateway.catalog.learned import Learned
from gateway.catalog.names import Names
from gateway.request.call import capabilities_of, parameters_of
from gateway.settings import Settings
from gateway.state.store import StateStore
from gateway.words import Deployment, Wants
from providers import dialects
from providers import failures as f
from providers.chat import decode_fields, decode_request
from providers.client import Provider
from providers.dialect import Listed, Request, Target
from tests.clock import FakeClock
from tests.deployments import NO_BACKEND
from tests.payloads import SPECS, account

NOTHING_KNOWN = Database(b"{}", Names())
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
JSON = {"type": "json_object"}
INLINE, ELSEWHERE = "data:image/png;base64,AAAA", "https://acme.example/cat.png"


def nothing_learned() -> Learned:
    return Learned(StateStore(NO_BACKEND, FakeClock()))


def served(provider: str, model: str) -> Deployment | None:
    """*model* as *provider* serves it, by configuration alone."""
    listed = Listed(id=model, prompt_price=0.0, output_price=0.0)
    return deployment_of(listed, Provider(account(provider), None), 0.0, Settings(), NOTHING_KNOWN)  # type: ignore[arg-type]


def asked(**fields: Any) -> Request:
    content = msgspec.json.encode({"messages": [{"role": "user", "content": "hi"}], **fields})
    return Request(decode_request(content), decode_fields(content))


def sent(provider: str, model: str, **fields: Any) -> dict[str, Any]:
    """The body that asks *model* for *fields*."""
    deployment = served(provider, model)
    target = deployment.target if deployment else Target(account(provider), model)
    found: dict[str, Any] = msgspec.json.decode(
        dialects.by_name(SPECS[provider].dialect).build(target, asked(**fields)).body or b""
    )
    return found


def refusal(provider: str, model: str, **fields: Any) -> str:
    """Why *model* is not asked for *fields*; empty: it is."""
    deployment = served(provider, model)
    assert deployment is not None
    request = asked(**fields)
    wants = Wants(models=("auto",), capabilities=capabilities_of(request.view))
    found = unfit(deployment, wants, nothing_learned(), 0.0)
    return found.reason if found else ""


# ── how much to think, and not at all ──


@pytest.mark.parametrize(
    ("provider", "model", "effort", "expected"),
    [
        # NVIDIA's reference pages and public reports, 2026-04 to 2026-10
        ("nvidia", "deepseek-ai/deepseek-v4-flash", None, {"chat_template_kwargs": {"thinking": True}}),
        ("nvidia", "deepseek-ai/deepseek-v4-flash", "none", {"chat_template_kwargs": {"thinking": False}, "reasoning_effort": "none"}),
        ("nvidia", "deepseek-ai/deepseek-v4-flash", "low", {"chat_template_kwargs": {"thinking": True}, "reasoning_effort": "high"}),
        ("nvidia", "nvidia/nemotron-3-ultra-550b-a55b", None, {"chat_template_kwargs": {"enable_thinking": True}}),
        ("nvidia", "nvidia/nemotron-3-super-120b-a12b", None, {}),
        ("nvidia", "nvidia/nemotron-3-super-120b-a12b", "none", {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "none"}),
        ("nvidia", "nvidia/nemotron-3-super-120b-a12b", "medium", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "high"}),
        ("nvidia", "z-ai/glm-5.3-flash", "none", {"reasoning_effort": "low"}),
        ("nvidia", "z-ai/glm-5.1", "none", {"chat_template_kwargs": {"enable_thinking": False, "clear_thinking": False}}),
        ("nvidia", "moonshotai/kimi-k3", "none", {"chat_template_kwargs": {"thinking": False}}),
        ("nvidia", "moonshotai/kimi-k2.6", "xhigh", {"chat_template_kwargs": {"thinking": True}, "reasoning_effort": "xhigh"}),
        ("nvidia", "openai/gpt-oss-20b", "none", {"reasoning_effort": "low"}),
        ("nvidia", "mistralai/mistral-small-4-119b-2603", "minimal", {"reasoning_effort": "none"}),
        ("nvidia", "stepfun-ai/step-3.7-flash", "none", {"reasoning_effort": "minimal"}),
        ("nvidia", "stepfun-ai/step-5-preview", "high", {}),
        # Workers AI's model files, 2026-09
        ("cloudflare", "@cf/qwen/qwen3.8-27b", "max", {"chat_template_kwargs": {"enable_thinking": True}, "reasoning_effort": "xhigh"}),
        ("cloudflare", "@cf/google/gemma-4-26b-a4b-it", "none", {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"}),
        ("cloudflare", "@cf/meta/llama-3.3-70b-instruct-fp8-fast", "high", {}),
        # Mistral API schema, 2026-08
        ("mistral", "mistral-medium-latest", "medium", {"reasoning_effort": "high"}),
        ("mistral", "mistral-large-2512", "medium", {}),
        ("cohere", "command-a-plus-05-2026", "medium", {"reasoning_effort": "high"}),
        ("cohere", "command-r-08-2024", "high", {}),
        ("groq", "qwen/qwen3.8-27b", "max", {"reasoning_effort": "high"}),
        ("groq", "openai/gpt-oss-120b", "none", {"reasoning_effort": "low"}),
        ("cerebras", "qwen-3.8-27b", "minimal", {"reasoning_effort": "low"}),
    ],
)  # fmt: skip
def test_a_model_is_told_how_much_to_think_in_the_words_that_it_takes(
    provider: str, model: str, effort: str | None, expected: dict[str, Any]
):
    found = sent(provider, model, **({} if effort is None else {"reasoning_effort": effort}))

    assert {name: found[name] for name in ("reasoning_effort", "chat_template_kwargs") if name in found} == expected


@pytest.mark.parametrize("model", ["mistralai/mistral-small-4-119b-2603", "mistralai/mistral-large-3-675b"])
def test_mistrals_tokenizer_is_given_no_template_arguments_even_if_the_caller_has_some(model: str):
    """Alishahryar1/free-claude-code#89: a 400."""
    assert "chat_template_kwargs" not in sent("nvidia", model, chat_template_kwargs={"enable_thinking": True})


# ── what one request may not need both of ──


@pytest.mark.parametrize(
    ("provider", "model", "fields", "told"),
    [
        ("groq", "openai/gpt-oss-120b", {"response_format": SCHEMA, "stream": True}, "json_schema and stream"),
        ("groq", "qwen/qwen3.8-27b", {"response_format": SCHEMA, "tools": [TOOL]}, "json_schema and tools"),
        ("groq", "openai/gpt-oss-120b", {"response_format": SCHEMA}, ""),
        ("groq", "openai/gpt-oss-120b", {"response_format": JSON, "stream": True}, ""),
        ("groq", "qwen/qwen3.6-27b", {"response_format": SCHEMA}, "lacks json_schema"),
        ("cerebras", "gpt-oss-120b", {"response_format": SCHEMA, "tools": [TOOL]}, "json_schema and tools"),
        ("cerebras", "gpt-oss-120b", {"response_format": SCHEMA, "stream": True}, ""),
        ("cerebras", "qwen-3.8-27b", {"response_format": SCHEMA, "tools": [TOOL]}, ""),
        ("cloudflare", "@cf/meta/llama-3.1-8b-instruct-fp8", {"response_format": JSON, "stream": True}, "json_object and stream"),
        ("cloudflare", "@cf/meta/llama-3.1-8b-instruct-fp8", {"tools": [TOOL]}, "lacks tools"),
        ("cohere", "command-a-vision-07-2025", {"tools": [TOOL]}, "lacks tools"),
    ],
)  # fmt: skip
def test_a_request_goes_nowhere_where_its_wishes_exclude_each_other(
    provider: str, model: str, fields: dict[str, Any], told: str
):
    found = refusal(provider, model, **fields)

    assert told in found
    assert bool(found) == bool(told)


# ── pictures: bytes, or an address that somebody would have to fetch ──


@pytest.mark.parametrize(
    ("provider", "model", "inline", "by_address"),
    [
        ("google", "gemini-3.5-flash", True, True),
        ("google", "gemma-4-31b-it", True, False),
        ("groq", "qwen/qwen3.8-27b", True, True),
        ("groq", "openai/gpt-oss-20b", False, False),
        ("cerebras", "qwen-3.8-27b", True, False),
        ("mistral", "mistral-small-latest", True, True),
        ("cloudflare", "@cf/meta/llama-4-scout-17b-16e-instruct", True, False),
        ("nvidia", "moonshotai/kimi-k2.6", True, False),
        ("nvidia", "deepseek-ai/deepseek-v4.1-flash", False, False),
        ("zai", "glm-4.6v-flash", True, False),
        ("cohere", "command-a-plus-05-2026", True, False),
    ],
)
def test_a_picture_is_sent_in_the_form_that_the_model_takes(provider: str, model: str, inline: bool, by_address: bool):
    def looks(url: str) -> bool:
        content = [{"type": "image_url", "image_url": {"url": url}}]
        return not refusal(provider, model, messages=[{"role": "user", "content": content}])

    assert (looks(INLINE), looks(ELSEWHERE)) == (inline, by_address)


# ── sizes, and fields that are not taken ──


@pytest.mark.parametrize(
    ("provider", "model", "context", "output"),
    [
        ("groq", "openai/gpt-oss-120b", None, 65_536), ("groq", "qwen/qwen3.8-27b", None, 16_384),
        ("cerebras", "gpt-oss-120b", 65_536, 32_768), ("cerebras", "qwen-3.8-27b", 65_536, 32_768),
        ("cloudflare", "@cf/zai-org/glm-4.7-flash", 131_072, 131_072), ("zai", "glm-4.7-flash", 200_000, 131_072),
        ("cohere", "command-a-reasoning-08-2025", 256_000, 32_000), ("cohere", "command-r7b-12-2024", 128_000, 4_000),
        ("nvidia", "deepseek-ai/deepseek-v4-flash", 1_048_576, 16_384), ("mistral", "mistral-small-latest", None, 262_144),
        ("google", "gemma-4-31b-it", 262_144, 32_768),
    ],
)  # fmt: skip
def test_the_longest_answer_of_a_model_is_known(provider: str, model: str, context: int | None, output: int):
    deployment = served(provider, model)

    assert deployment is not None
    assert (deployment.context, deployment.max_output) == (context, output)


@pytest.mark.parametrize(
    ("provider", "model", "field", "taken"),
    [
        ("zai", "glm-4.7-flash", "tool_choice", False),  # "Tool choice must be auto"
        ("cohere", "command-a-03-2025", "tool_choice", False),
        ("groq", "openai/gpt-oss-20b", "tool_choice", True),
        ("cerebras", "gpt-oss-120b", "parallel_tool_calls", False),
        ("cerebras", "qwen-3.8-27b", "parallel_tool_calls", True),
        ("cloudflare", "@cf/qwen/qwen3.8-27b", "parallel_tool_calls", True),
        ("cloudflare", "@cf/meta/llama-3.3-70b-instruct-fp8-fast", "parallel_tool_calls", False),
    ],
)
def test_tools_are_forced_and_held_apart_only_where_the_model_can_be_told(
    provider: str, model: str, field: str, taken: bool
):
    fields: dict[str, Any] = {"tools": [TOOL], field: "required" if field == "tool_choice" else False}
    deployment, request = served(provider, model), asked(**fields)
    assert deployment is not None
    wants = Wants(models=("auto",), parameters=parameters_of(request.view, request.fields))

    assert (field in sent(provider, model, **fields)) == taken
    assert (field not in untaken(deployment, wants, nothing_learned(), 0.0)) == taken


def test_penalties_stay_away_from_models_whose_schema_has_none():
    assert "presence_penalty" not in sent("nvidia", "nvidia/nemotron-3-super-120b-a12b", presence_penalty=0.5)
    assert "presence_penalty" in sent("nvidia", "openai/gpt-oss-20b", presence_penalty=0.5)


def test_zai_takes_one_stop_word_in_a_list_and_another_source_is_asked_for_more():
    assert sent("zai", "glm-4.7-flash", stop="END")["stop"] == ["END"]
    with pytest.raises(f.Unsupported) as caught:
        sent("zai", "glm-4.7-flash", stop=["END", "STOP"])
    assert caught.value.capability == "stop"
    assert sent("groq", "openai/gpt-oss-20b", stop="END")["stop"] == "END"


@pytest.mark.parametrize(("model", "stream", "told"), [("glm-4.7-flash", True, True), ("glm-4.7-flash", False, False), ("glm-4.5-flash", True, False)])  # fmt: skip
def test_calls_come_in_pieces_where_the_model_has_to_be_told(model: str, stream: bool, told: bool):
    """earendil-works/pi#2732"""
    assert ("tool_stream" in sent("zai", model, tools=[TOOL], stream=stream)) == told
    assert "tool_stream" not in sent("zai", model, stream=stream)


# ── JSON that has to be asked for in words ──


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "user", "content": "two moons"}], ["Answer in JSON.", "two moons"]),
        (
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "two moons"}],
            ["Be brief.\n\nAnswer in JSON.", "two moons"],
        ),
        ([{"role": "user", "content": "two moons as json"}], ["two moons as json"]),
    ],
)
def test_mistral_is_told_in_words_that_json_is_wanted(messages: list[dict[str, Any]], expected: list[str]):
    found = sent("mistral", "mistral-small-latest", messages=messages, response_format=JSON)
    assert [message["content"] for message in found["messages"]] == expected

    untouched = sent("mistral", "mistral-small-latest", messages=messages)
    assert [message["content"] for message in untouched["messages"]] == [one["content"] for one in messages]


# ── neurons ──

NEURONS = {  # for a million tokens of the prompt, and of the answer: Workers AI pricing page, 2026-09
    "@cf/zai-org/glm-4.7-flash": (5_500, 36_400),
    "@cf/google/gemma-4-26b-a4b-it": (9_091, 27_273),
    "@cf/meta/llama-3.1-8b-instruct-fp8": (13_778, 26_128),
    "@cf/openai/gpt-oss-20b": (18_182, 27_273),
    "@cf/meta/llama-4-scout-17b-16e-instruct": (24_545, 77_273),
    "@cf/meta/llama-3.3-70b-instruct-fp8-fast": (26_668, 204_805),
    "@cf/openai/gpt-oss-120b": (31_818, 68_182),
    "@cf/mistralai/mistral-small-3.1-24b-instruct": (31_876, 50_488),
    "@cf/qwen/qwen3.8-27b": (40_909, 290_909),
    "@cf/nvidia/nemotron-3-120b-a12b": (45_455, 136_364),
    "@cf/baai/bge-large-en-v1.5": (18_582, 0),
}


@pytest.mark.parametrize(("model", "million"), NEURONS.items())
def test_a_prompt_and_an_answer_draw_the_neurons_of_their_model(model: str, million: tuple[float, float]):
    deployment = served("cloudflare", model)
    assert deployment is not None

    assert deployment.cost(1e6, 0).of("neurons") == pytest.approx(million[0])
    assert deployment.cost(0, 1e6).of("neurons") == pytest.approx(million[1])
    assert deployment.cost(10, 20, most=1e6).of("neurons") == pytest.approx(million[1] + million[0] * 1e-5)


def test_no_model_of_cloudflares_is_asked_whose_neurons_are_not_known():
    assert all(served("cloudflare", model) for model in SPECS["cloudflare"].static_models)
    assert served("cloudflare", "@cf/acme/new") is None
