"""Each provider's own package before the simulated provider: it must find all that it finds before the real one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import groq
import httpx
import ollama
import openai
import pytest
from google import genai
from google.genai import errors, types
from msgspec import Struct

from providers.simulator.base import Simulated
from providers.simulator.server import serve
from providers.simulator.world import World

CHATS = {
    "openrouter": "nvidia/nemotron-3-super-120b-a12b:free",
    "google": "gemini-3.8-flash",
    "groq": "openai/gpt-oss-120b",
    "nvidia": "nvidia/nemotron-3-super-120b-a12b",
    "huggingface": "Qwen/Qwen3.8-27B:together",
    "ollama": "qwen3.8:8b",
    "mistral": "mistral-small-latest",
    "cerebras": "gpt-oss-120b",
    "cloudflare": "@cf/openai/gpt-oss-120b",
    "zai": "glm-4.7-flash",
}
PLAIN: Any = {"verify": False}  # reading certificates takes longer than a test, and nothing here is encrypted
HELLO = "Grüezi, wie geht's? 日本語 🙂"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "a city, say Zürich"}},
    "required": ["city"],
}
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "description": "here", "parameters": CITY}}


class Said(Struct, kw_only=True):
    """An answer, as far as every package tells it."""

    text: str = ""
    finish: str = ""
    prompt: int = 0
    output: int = 0
    total: int = 0
    calls: list[tuple[str, Any]] = []


class Completions:
    """OpenAI's package and Groq's, which are written alike."""

    def __init__(self, client: Any, *, asks_for_usage: bool) -> None:
        self.client = client
        self.more: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks_for_usage else {}

    async def models(self) -> list[str]:
        return [model.id for model in (await self.client.models.list()).data]

    async def ask(self, model: str, **more: Any) -> Said:
        messages = [{"role": "user", "content": HELLO}]
        answer = await self.client.chat.completions.create(model=model, messages=messages, **more)
        (choice,), usage = answer.choices, answer.usage
        return Said(
            text=choice.message.content or "", finish=choice.finish_reason, prompt=usage.prompt_tokens,
            output=usage.completion_tokens, total=usage.total_tokens,
            calls=[(c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or ()],
        )  # fmt: skip

    async def stream(self, model: str, **more: Any) -> Said:
        messages = [{"role": "user", "content": HELLO}]
        more |= {"stream": True, **self.more}
        said, calls = Said(), dict[int, list[str]]()
        async for chunk in await self.client.chat.completions.create(model=model, messages=messages, **more):
            if usage := chunk.usage or (getattr(chunk, "x_groq", None) and chunk.x_groq.usage):
                said.prompt, said.output, said.total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
            for choice in chunk.choices:
                said.text += choice.delta.content or ""
                said.finish = choice.finish_reason or said.finish
                for call in choice.delta.tool_calls or ():
                    whole = calls.setdefault(call.index, ["", ""])
                    whole[0] += call.function.name or ""
                    whole[1] += call.function.arguments or ""
        said.calls = [(name, json.loads(arguments)) for name, arguments in calls.values()]
        return said


class Gemini:
    """Google's package, which speaks its own protocol and pages its list."""

    def __init__(self, client: genai.Client) -> None:
        self.client = client

    async def models(self) -> list[str]:
        pages = await self.client.aio.models.list(config={"page_size": 3})
        return [(model.name or "").removeprefix("models/") async for model in pages]

    async def ask(self, model: str, **more: Any) -> Said:
        return self._heard(Said(), await self.client.aio.models.generate_content(**self._asked(model, **more)))

    async def stream(self, model: str, **more: Any) -> Said:
        said = Said()
        async for piece in await self.client.aio.models.generate_content_stream(**self._asked(model, **more)):
            self._heard(said, piece)
        return said

    def _asked(self, model: str, tools: Any = None) -> dict[str, Any]:
        function = types.FunctionDeclaration(name="get_weather", description="here", parameters_json_schema=CITY)
        offered: Any = [types.Tool(function_declarations=[function])] if tools else None
        return {"model": model, "contents": HELLO, "config": types.GenerateContentConfig(tools=offered)}

    def _heard(self, said: Said, piece: types.GenerateContentResponse) -> Said:
        assert piece.candidates
        assert piece.usage_metadata
        (candidate,), usage = piece.candidates, piece.usage_metadata
        for part in (candidate.content and candidate.content.parts) or ():
            said.text += part.text or ""
            if part.function_call:
                said.calls = [*said.calls, (part.function_call.name or "", part.function_call.args)]
        said.finish = candidate.finish_reason.value if candidate.finish_reason else said.finish
        said.prompt, said.output = usage.prompt_token_count or 0, usage.candidates_token_count or 0
        said.total = usage.total_token_count or 0
        return said


class Local:
    """Ollama's package."""

    def __init__(self, client: ollama.AsyncClient) -> None:
        self.client = client

    async def models(self) -> list[str]:
        return [model.model or "" for model in (await self.client.list()).models]

    async def ask(self, model: str, **more: Any) -> Said:
        messages = [{"role": "user", "content": HELLO}]
        return self._heard(Said(), await self.client.chat(model, messages, **more))

    async def stream(self, model: str, **more: Any) -> Said:
        said = Said()
        async for line in await self.client.chat(model, [{"role": "user", "content": HELLO}], stream=True, **more):
            self._heard(said, line)
        return said

    def _heard(self, said: Said, line: ollama.ChatResponse) -> Said:
        said.text += line.message.content or ""
        said.calls = [*said.calls, *((c.function.name, c.function.arguments) for c in line.message.tool_calls or ())]
        said.finish = line.done_reason or said.finish
        said.prompt, said.output = line.prompt_eval_count or 0, line.eval_count or 0
        said.total = said.prompt + said.output
        return said


class Own(Struct):
    """A provider's other half, and its own package before it."""

    name: str
    other: Simulated
    package: Any
    url: str

    async def ask(self, **more: Any) -> Said:
        return await self.package.ask(CHATS[self.name], **more)

    async def stream(self, **more: Any) -> Said:
        return await self.package.stream(CHATS[self.name], **more)


@asynccontextmanager
async def package(name: str, url: str, key: str) -> AsyncIterator[Any]:
    """The package that *name* gives its users, pointed at *url*."""
    if name == "google":
        base, _, version = url.rpartition("/")
        once = types.HttpRetryOptions(attempts=1)
        async with httpx.AsyncClient(**PLAIN) as http:  # of what the package makes of its own, aiohttp warns
            options = types.HttpOptions(
                base_url=base, api_version=version, retry_options=once, client_args=PLAIN, httpx_async_client=http
            )
            with genai.Client(api_key=key, http_options=options) as client:
                yield Gemini(client)
    elif name == "ollama":
        async with ollama.AsyncClient(url, **PLAIN) as local:
            yield Local(local)
    elif name == "groq":
        base, http = url.removesuffix("/openai/v1"), groq.DefaultAsyncHttpxClient(**PLAIN)
        async with groq.AsyncGroq(base_url=base, api_key=key, max_retries=0, http_client=http) as groqs:
            yield Completions(groqs, asks_for_usage=False)
    else:
        plain = openai.DefaultAsyncHttpxClient(**PLAIN)
        async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, http_client=plain) as openais:
            always = ("openrouter", "mistral", "zai", "cerebras")
            yield Completions(openais, asks_for_usage=name not in always)


@pytest.fixture(params=CHATS)
async def own(request: pytest.FixtureRequest) -> AsyncIterator[Own]:
    name = request.param
    world = World(names=[name])
    async with serve(world) as origin:
        url = world.base_urls(origin)[name]
        async with package(name, url, world.keys().get(name, "")) as used:
            yield Own(name, world.providers[name], used, url)


def at(*names: str) -> pytest.MarkDecorator:
    """Run a test for some providers only."""
    return pytest.mark.parametrize("own", names, indirect=True)


def but(*names: str) -> pytest.MarkDecorator:
    """Run a test for all providers except some."""
    return at(*(name for name in CHATS if name not in names))


# ── lists ──


@but("cloudflare", "zai")
async def test_the_package_lists_the_models(own: Own):
    listed = await own.package.models()

    assert len(listed) == len(set(listed))
    assert CHATS[own.name].removesuffix(":together") in listed


@at("zai")
async def test_the_list_leaves_out_what_is_free(own: Own):
    listed = await own.package.models()

    assert listed
    assert CHATS["zai"] not in listed


@at("cloudflare")
async def test_where_there_is_no_list_the_package_says_so(own: Own):
    with pytest.raises(openai.NotFoundError):
        await own.package.models()


@at("nvidia", "google")
async def test_what_is_listed_may_be_gone(own: Own):
    gone = next(model.id for model in own.other.models if model.status == "gone")
    assert gone in await own.package.models()

    with pytest.raises((openai.APIStatusError, errors.ClientError)) as caught:
        await own.package.ask(gone)
    assert status_of(caught.value) == {"nvidia": 410, "google": 404}[own.name]


# ── answers ──


async def test_the_package_hears_a_whole_answer_and_what_it_took(own: Own):
    said = await own.ask()

    assert said.text == f"You said: {HELLO}"
    assert said.finish.lower() == "stop"
    assert said.prompt > 0
    assert said.output > 0
    assert said.total == said.prompt + said.output


async def test_streamed_the_pieces_join_to_the_same(own: Own):
    assert await own.stream() == await own.ask()


async def test_a_tool_is_called_with_arguments_that_are_json(own: Own):
    said = await own.ask(tools=[WEATHER])

    assert said.calls == [("get_weather", {"city": "a city, say Zürich"})]
    assert said.finish == FINISHES_ON_TOOLS.get(own.name, "tool_calls")


async def test_a_streamed_tool_call_joins_to_the_same(own: Own):
    assert await own.stream(tools=[WEATHER]) == await own.ask(tools=[WEATHER])


FINISHES_ON_TOOLS = {"google": "STOP", "ollama": "stop"}


@at("groq")
async def test_groq_tells_usage_in_a_field_of_its_own_unasked(own: Own):
    asked = {"model": CHATS["groq"], "messages": [{"role": "user", "content": HELLO}], "stream": True}
    told = [chunk async for chunk in await own.package.client.chat.completions.create(**asked)]

    assert [chunk.usage for chunk in told if chunk.usage] == []
    assert [chunk.x_groq.usage.total_tokens > 0 for chunk in told if chunk.x_groq and chunk.x_groq.usage] == [True]


@at("google")
async def test_gemini_takes_a_schema_in_any_of_its_packages_spellings(own: Own):
    typed = types.Schema(type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)})
    for spelled in ({"response_json_schema": CITY}, {"response_schema": typed}):
        config = types.GenerateContentConfig(response_mime_type="application/json", **spelled)
        answer = await own.package.client.aio.models.generate_content(
            model=CHATS["google"], contents=HELLO, config=config
        )
        assert json.loads(answer.text).keys() == {"city"}


# ── refusals ──

LIMITED = {"google": errors.ClientError, "groq": groq.RateLimitError}
MINUTE = {"openrouter": 20, "google": 5, "groq": 30, "nvidia": 40, "mistral": 50, "cerebras": 5}


def status_of(error: Any) -> int:
    return error.code if isinstance(error, errors.APIError) else error.status_code


async def refused(own: Own, kind: type[Exception], *, key: str | None = None, streamed: bool = False) -> Any:
    """The error of *kind* that the package raises, whether it has asked for a stream or not."""
    async with package(own.name, own.url, key or own.other.key or "") as used:
        with pytest.raises(kind) as caught:
            await (used.stream if streamed else used.ask)(CHATS[own.name])
    return caught.value


@pytest.mark.parametrize("streamed", [False, True])
@but("google", "nvidia", "ollama")
async def test_a_wrong_key_is_the_packages_authentication_error(own: Own, streamed: bool):
    package_of = groq if own.name == "groq" else openai
    error = await refused(own, package_of.AuthenticationError, key="wrong", streamed=streamed)

    assert error.status_code == 401
    assert own.other.served == 0


@at("google")
async def test_google_calls_a_wrong_key_an_invalid_argument(own: Own):
    error = await refused(own, errors.ClientError, key="AQ.wrong")

    assert (error.code, error.status) == (400, "INVALID_ARGUMENT")
    assert error.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


@at("nvidia")
async def test_nvidia_tells_a_mistyped_key_from_a_malformed_one(own: Own):
    mistyped = await refused(own, openai.PermissionDeniedError, key="nvapi-wrong")
    malformed = await refused(own, openai.AuthenticationError, key="wrong")

    assert mistyped.response.json()["detail"] == "Authorization failed"
    assert malformed.response.json()["detail"] == "Authentication failed"


@pytest.mark.parametrize("streamed", [False, True])
@at(*MINUTE)
async def test_a_used_up_minute_is_the_packages_rate_limit_error(own: Own, streamed: bool):
    own.other.eat(MINUTE[own.name], CHATS[own.name])
    error = await refused(own, LIMITED.get(own.name, openai.RateLimitError), streamed=streamed)

    assert status_of(error) == 429
    assert own.other.served == 0


@at("huggingface", "cloudflare", "zai")
async def test_a_limit_that_is_no_minutes_is_the_same_error(own: Own):
    own.other.fail("rate_limited:minute")

    assert status_of(await refused(own, openai.RateLimitError)) == 429


@at("ollama")
async def test_ollama_says_that_its_queue_is_full(own: Own):
    own.other.fail("busy", times=2)
    for streamed in (False, True):
        error = await refused(own, ollama.ResponseError, streamed=streamed)
        assert error.status_code == 503
        assert "maximum pending requests exceeded" in error.error


@at("huggingface")
async def test_a_used_up_credit_is_payment_required(own: Own):
    own.other.fail("would_cost")
    error = await refused(own, openai.APIStatusError)

    assert error.status_code == 402
    assert error.response.json()["error"].startswith("You have depleted your monthly included credits.")


@at("openrouter", "groq", "nvidia", "mistral", "cerebras", "google", "ollama")
async def test_once_the_trouble_is_over_the_same_client_is_answered(own: Own):
    own.other.fail("busy")
    with pytest.raises((openai.APIStatusError, groq.APIStatusError, errors.APIError, ollama.ResponseError)):
        await own.ask()

    assert (await own.ask()).text == f"You said: {HELLO}"
