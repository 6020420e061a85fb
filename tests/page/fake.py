"""
An admin API that says what a test wants, of the values that ``gateway.api.admin.views`` has, and remembers what it was asked:
so that the page can be held to states that a real gateway is rarely in. The page's files are the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get, post, route
from litestar.params import FromPath
from litestar.response import ServerSentEvent, ServerSentEventMessage, Stream

from gateway import dashboard
from gateway.api.admin import views
from gateway.quota.nouns import LevelView
from gateway.request.explain import Explanation, Needs, Ranked
from gateway.words import Exclusion

NOW = 1_795_780_800.0
"""A Friday, 12:00 UTC."""

KEY = "fw_0123456789abcdefghijklmnopqrstuv"


@dataclass
class Said:
    """All that the admin API says, and what it was asked (*asked*: method, path, body)."""

    overview: views.Overview
    sources: list[views.Source]
    models: list[views.Model]
    requests: list[views.RequestView]
    changes: list[views.Change]
    clients: list[views.ClientView]
    series: views.Series
    setup: list[views.SetupSource]
    connect: list[views.ConnectView]
    config: list[views.ConfigRow]
    explanation: Explanation
    admin_key: str | None = None
    shut: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    listeners: list[asyncio.Queue[tuple[str, Any]]] = field(default_factory=list)
    broken: str | None = None
    slow: float = 0.0
    answer: list[str] = field(default_factory=lambda: ["Because ", "blue light ", "is scattered ", "most."])
    signed_in: bool = False

    def tell(self, name: str, value: Any) -> None:
        """An event, to every page that listens."""
        for queue in self.listeners:
            queue.put_nowait((name, value))

    def hang_up(self) -> None:
        """End every stream of events."""
        for queue in self.listeners:
            queue.put_nowait(("end", None))

    def asked_for(self, method: str) -> list[tuple[str, Any]]:
        """What was asked for with *method*: paths and bodies."""
        return [(path, body) for verb, path, body in self.asked if verb == method]


def application(said: Said) -> Litestar:
    """The page before an admin API that says what *said* holds."""

    @route("/admin/v1/{path:path}", http_method=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def admin(request: Request[Any, Any, Any], path: FromPath[str]) -> Response[Any]:
        return await _answered(said, request, path.strip("/"))

    @get("/admin/v1/events")
    async def events() -> ServerSentEvent | Response[Any]:
        if said.broken:
            return _error(500, said.broken)
        queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        said.listeners.append(queue)

        async def told() -> AsyncIterator[ServerSentEventMessage]:
            try:
                yield ServerSentEventMessage(comment="here")
                while True:
                    name, value = await queue.get()
                    if name == "end":
                        return
                    yield ServerSentEventMessage(event=name, data=msgspec.json.encode(value).decode())
            finally:
                said.listeners.remove(queue)

        return ServerSentEvent(told())

    @post("/v1/chat/completions", status_code=200)
    async def chat(request: Request[Any, Any, Any]) -> Stream:
        said.asked.append(("POST", "chat", await request.json()))
        return Stream(_streamed(said), media_type="text/event-stream", headers=_SERVED)

    return Litestar([admin, events, chat, dashboard.router()], openapi_config=None, logging_config=None)


async def _answered(said: Said, request: Request[Any, Any, Any], name: str) -> Response[Any]:
    raw = await request.body()
    body = msgspec.json.decode(raw) if raw else None
    query = dict(request.query_params)
    said.asked.append((request.method, f"{name}?hours={query['hours']}" if "hours" in query else name, body))
    if name != "session":
        await asyncio.sleep(said.slow)
        if said.broken:
            return _error(500, said.broken)
        if said.admin_key and not said.signed_in:
            return _error(401, "sign in first")
    return _read(said, name, query) if request.method == "GET" else _write(said, request.method, name, body)


_SERVED = {
    "x-freeway-provider": "groq",
    "x-freeway-model": "gpt-oss-120b",
    "x-freeway-attempts": "1",
    "x-request-id": "req_1",
}


async def _streamed(said: Said) -> AsyncIterator[bytes]:
    for one in said.answer:
        yield b"data: " + msgspec.json.encode({"choices": [{"delta": {"content": one}}]}) + b"\n\n"
    usage = {"prompt_tokens": 12, "completion_tokens": 8}
    yield b"data: " + msgspec.json.encode({"choices": [], "usage": usage}) + b"\n\ndata: [DONE]\n\n"


def _error(status: int, message: str) -> Response[Any]:
    return Response({"error": {"message": message, "type": "x", "code": None}}, status_code=status)


def _read(said: Said, name: str, query: dict[str, str]) -> Response[Any]:
    if name == "session":
        may = said.signed_in or (said.admin_key is None and not said.shut)
        return Response({"signed_in": may, "needs_key": said.admin_key is not None, "said": said.shut})
    if name == "models":
        part, usable = query.get("q", "").lower(), "available" in query
        return Response([m for m in said.models if part in m.deployment.lower() and (m.available or not usable)])
    if name == "requests":
        before, client, provider = float(query.get("before", "inf")), query.get("client"), query.get("provider")
        fit = [
            one
            for one in said.requests
            if one.at < before
            and client in (None, one.client)
            and (not provider or (one.deployment or "").startswith(f"{provider}/"))
        ]
        return Response(fit[: int(query["limit"])])
    return Response(getattr(said, name)) if hasattr(said, name) else _error(404, f"nothing is at {name}")


def _write(said: Said, method: str, path: str, body: Any) -> Response[Any]:
    kind, _, rest = path.partition("/")
    name, _, verb = rest.partition("/")
    done: Response[Any] = Response(b"", status_code=204)
    match method, kind, verb:
        case "POST", "session", _:
            said.signed_in = body["key"] == said.admin_key
            return done if said.signed_in else _error(401, "This is not the admin key.")
        case "DELETE", "session", _:
            said.signed_in = False
        case "POST", "sources", "refresh" | "readmit":
            found = next(one for one in said.sources if one.name == name)
            return Response(msgspec.structs.replace(found, state="on", reason="", remedy=""))
        case "PUT", "sources", "key":
            return Response(_tried(name, body["key"]))
        case "POST", "clients", _:
            return Response(views.NewKey(name=name or body["name"], key=KEY), status_code=201)
        case "PATCH", "clients", _:
            return Response(next(one for one in said.clients if one.name == name))
        case "DELETE", "clients", _:
            said.clients = [one for one in said.clients if one.name != name]
        case "POST", "explain", _:
            return Response(said.explanation)
        case "POST", "reload", _:
            return Response({"changed": ["requests.max_wait"]})
    return done


def _tried(name: str, key: str) -> views.KeyTried:
    if key.startswith("good"):
        return views.KeyTried(accepted=True, said=f"{name} takes this key.", stored="~/.config/freeway/keys.env")
    return views.KeyTried(accepted=False, said=f"{name} refused this key: Invalid API Key", stored="")


# ── an ordinary afternoon ──


def level(bucket: str, used: float, limit: float, resets_in: float, **more: Any) -> LevelView:
    account, *_, unit, window = bucket.split("/")
    return LevelView(
        account=account,
        bucket=bucket,
        unit=unit,
        window=window,
        used=used,
        limit=limit,
        limit_from="documented",
        resets_at=NOW + resets_in,
        **more,
    )


PROVEN = views.Free(
    level="proven",
    because="every price in its list is 0",
    source="https://openrouter.ai/api/v1/models",
    since=NOW - 900,
)
PROMISED = views.Free(
    level="promised",
    because="the free plan refuses what it does not give",
    source="https://console.groq.com/docs/rate-limits",
    since=NOW - 900,
)
OWN = views.Free(level="proven", because="it runs on a machine of your own", since=NOW - 900)


def _source(name: str, title: str, **more: Any) -> views.Source:
    ordinary: dict[str, Any] = {
        "state": "on",
        "reason": "",
        "remedy": "",
        "key": "set",
        "key_variable": f"{name.upper()}_API_KEY",
        "key_from": "keys.env",
        "get_a_key": f"https://{name}.example/keys",
        "free": PROMISED,
        "trains": "no",
        "prompts": "kept for 30 days against abuse, not trained on",
        "models": 12,
        "buckets": [],
        "looked_at": NOW - 240,
    }
    return views.Source(name=name, title=title, **{**ordinary, **more})


def _sources() -> list[views.Source]:
    return [
        _source(
            "openrouter",
            "OpenRouter",
            free=PROVEN,
            models=31,
            trains="unknown",
            prompts="as each host of a model says; asked not to train where a request wants that",
            buckets=[
                level("openrouter/*/requests/day", 34, 50, 43_200),
                level("openrouter/*/requests/minute", 3, 20, 22),
            ],
        ),
        _source(
            "google",
            "Google AI Studio",
            key_variable="GEMINI_API_KEY",
            trains="yes",
            prompts="used to improve products while the account is free",
            models=9,
            buckets=[
                level(
                    "google/gemini-3.8-flash/requests/day",
                    250,
                    250,
                    68_400,
                    closed_until=NOW + 68_400,
                    closed_because="the provider said that the day's requests are used up",
                ),
                level("google/gemini-3.8-flash-lite/requests/day", 412, 1000, 68_400),
                level("google/gemma-4-31b-it/requests/day", 1200, 14_400, 68_400),
                level("google/gemini-3.8-flash-lite/tokens/minute", 41_000, 250_000, 31),
                level("google/gemma-4-31b-it/tokens/minute", 900, 15_000, 31),
            ],
        ),
        _source(
            "groq",
            "Groq",
            models=14,
            buckets=[
                level("groq/openai/gpt-oss-120b/tokens/minute", 6_950, 8_000, 14),
                level("groq/openai/gpt-oss-120b/requests/day", 311, 1_000, 51_000),
                level("groq/qwen/qwen3.8-27b/requests/day", 96, 1_000, 61_000),
            ],
        ),
        _source(
            "nvidia",
            "NVIDIA NIM",
            models=41,
            buckets=[level("nvidia/*/requests/minute", 7, 40, 41)],
            prompts="not told",
            trains="unknown",
        ),
        _source(
            "mistral",
            "Mistral",
            state="key refused",
            reason="Mistral refused the key at 11:42: Unauthorized",
            remedy="make another key and put it in here",
            models=0,
            free=None,
            trains="unknown",
            prompts="trained on, unless that is switched off in the account",
        ),
        _source(
            "huggingface",
            "Hugging Face",
            key="missing",
            key_variable="HF_TOKEN",
            key_from="",
            state="no key",
            reason="HF_TOKEN is not set",
            remedy="make a key and put it in here",
            models=0,
            free=None,
            looked_at=None,
        ),
        _source(
            "ollama",
            "Ollama on this machine",
            key="none needed",
            key_variable=None,
            key_from="",
            get_a_key="",
            free=OWN,
            models=3,
            buckets=[level("ollama/*/in-flight/in-flight", 1, 2, 0)],
            prompts="stay on this machine",
        ),
    ]


def _model(deployment: str, **more: Any) -> views.Model:
    provider, _, name = deployment.partition("/")
    ordinary: dict[str, Any] = {
        "operations": ["chat"],
        "capabilities": ["json_object", "stream", "tools"],
        "context": 131_072,
        "max_output": 32_768,
        "trains": "no",
        "free": PROMISED,
        "available": True,
        "why_not": "",
        "opens_at": None,
    }
    return views.Model(
        deployment=deployment,
        model=name.rpartition("/")[2].removesuffix(":free"),
        provider=provider,
        **{**ordinary, **more},
    )


def _models() -> list[views.Model]:
    return [
        _model("groq/openai/gpt-oss-120b", capabilities=["json_object", "json_schema", "reasoning", "stream", "tools"]),
        _model(
            "openrouter/google/gemma-4-31b-it:free",
            capabilities=["tools", "vision"],
            free=PROVEN,
            trains="unknown",
            context=262_144,
        ),
        _model(
            "google/gemini-3.8-flash",
            capabilities=["audio", "json_object", "reasoning", "tools", "vision"],
            context=1_048_576,
            trains="yes",
            available=False,
            why_not="250 requests a day are used up",
            opens_at=NOW + 68_400,
        ),
        _model("nvidia/nvidia/nv-embedqa-e5-v5", operations=["embed"], capabilities=[], context=512, max_output=None),
        _model("nvidia/deepseek-ai/deepseek-v4.1-flash", trains="unknown"),
        _model("ollama/qwen3.8:4b", capabilities=["tools"], context=40_960, free=OWN),
        _model(
            "mistral/mistral-small-latest",
            available=False,
            why_not="Mistral refused the key at 11:42: Unauthorized",
            trains="unknown",
        ),
    ]


def request(number: int, **more: Any) -> views.RequestView:
    """A request of the last hours."""
    deployment = (
        "groq/openai/gpt-oss-120b",
        "openrouter/google/gemma-4-31b-it:free",
        "nvidia/deepseek-ai/deepseek-v4.1-flash",
    )[number % 3]
    ordinary: dict[str, Any] = {
        "id": f"req_5f0c{number:06x}",
        "at": NOW - 13 * number,
        "client": ("alice", "home-assistant", "opencode")[number % 3],
        "asked": ("auto", "auto:fast", "gpt-oss-120b")[number % 3],
        "operation": "chat",
        "state": "served",
        "status": 200,
        "deployment": deployment,
        "model": deployment.rpartition("/")[2].removesuffix(":free"),
        "attempts": [views.Attempt(deployment=deployment, outcome="served", message="")],
        "waited": 0.0,
        "first_content": 0.21 + number % 7 / 10,
        "took": 0.9 + number % 5,
        "prompt_tokens": 812 + 31 * (number % 11),
        "output_tokens": 96 + 17 * (number % 13),
        "tokens_per_second": 118.0,
    }
    return views.RequestView(**{**ordinary, **more})


def _requests() -> list[views.RequestView]:
    busy = views.Attempt(
        deployment="openrouter/google/gemma-4-31b-it:free",
        outcome="Busy",
        message="Provider returned error: temporarily rate-limited upstream",
    )
    rows = [request(number) for number in range(64)]
    rows[0] = request(0, state="serving", status=None, took=None, output_tokens=None, tokens_per_second=None)
    rows[1] = request(
        1,
        state="waiting",
        status=None,
        deployment=None,
        model=None,
        attempts=[],
        waited=4.2,
        first_content=None,
        took=None,
        prompt_tokens=None,
        output_tokens=None,
        tokens_per_second=None,
    )
    rows[3] = request(
        3,
        attempts=[busy, views.Attempt(deployment="groq/openai/gpt-oss-120b", outcome="served", message="")],
        waited=1.3,
    )
    rows[5] = request(
        5,
        state="no_capacity",
        status=429,
        deployment=None,
        model=None,
        attempts=[busy],
        took=0.02,
        first_content=None,
        prompt_tokens=None,
        output_tokens=None,
        tokens_per_second=None,
    )
    return rows


def _series() -> views.Series:
    points = []
    for number in range(48):
        day = max(0.0, 1 - abs(number - 30) / 22)
        at = NOW - (48 - number) * 1800
        points.append(
            views.Point(
                at=at,
                served={
                    "groq": int(30 * day + number % 5),
                    "openrouter": int(14 * day),
                    "google": int(22 * day * (number < 40)),
                    "nvidia": number % 7,
                    "ollama": number % 3,
                },
                refused=1 if number == 41 else 0,
                retried=int(5 * day) + number % 2,
                waited=(number % 9) * 0.6 * day,
                waiters=int(4 * day),
                prompt_tokens=int(40_000 * day) + 900,
                output_tokens=int(9_000 * day) + 300,
                used={"groq": 25 * day, "google": 14 * day},
                lost={"openrouter": 11.0} if number == 24 else {},
            )
        )
    return views.Series(seconds=1800.0, points=points)


def _clients() -> list[views.ClientView]:
    ordinary: dict[str, Any] = {
        "declared": False,
        "priority": "normal",
        "no_train": False,
        "models": [],
        "providers": [],
        "limits": [],
        "wait": None,
        "max_wait": None,
        "share": None,
        "expires": None,
    }
    limits = [
        views.LimitView(limit="20/minute", used=4, remaining=16, resets_at=NOW + 31),
        views.LimitView(limit="500/day", used=451, remaining=49, resets_at=NOW + 43_200),
    ]
    return [
        views.ClientView(name="alice", **ordinary, requests=182, tokens=412_000, last_seen=NOW - 20),
        views.ClientView(
            name="opencode",
            **{**ordinary, "limits": limits, "share": 0.5, "max_wait": 3600.0, "priority": "low"},
            requests=451,
            tokens=2_100_000,
            last_seen=NOW - 4,
        ),
        views.ClientView(
            name="home-assistant",
            **{**ordinary, "declared": True, "no_train": True, "wait": 5.0},
            requests=61,
            tokens=39_000,
            last_seen=NOW - 1300,
        ),
    ]


def _explanation() -> Explanation:
    def ranked(deployment: str, score: float, seconds: float | None, *, warm: bool = False) -> Ranked:
        provider, _, model = deployment.partition("/")
        return Ranked(
            deployment=deployment,
            provider=provider,
            model=model,
            preference=(0, 0),
            score=score,
            fitness=0.76,
            price=0.05,
            seconds=seconds,
            warm=warm,
            last_resort=False,
        )

    return Explanation(
        needs=Needs(
            models=("auto",),
            instead_of=None,
            capabilities=["tools"],
            parameters=[],
            prompt_tokens=812,
            output_tokens=1024,
            no_train=False,
            prefer="balance",
        ),
        chosen="groq/openai/gpt-oss-120b",
        ranked=[
            ranked("groq/openai/gpt-oss-120b", 0.8, 0.9, warm=True),
            ranked("nvidia/deepseek-ai/deepseek-v4.1-flash", 0.7, None),
        ],
        excluded=[
            Exclusion("google/gemini-3.8-flash", "quota", "250 requests a day are used up", NOW + 68_400),
            Exclusion("mistral/mistral-small-latest", "withdrawn", "the key was refused"),
        ],
        opens_at=NOW + 68_400,
    )


def _setup() -> list[views.SetupSource]:
    def source(name: str, title: str, gives: str, trains: str, **more: Any) -> views.SetupSource:
        ordinary: dict[str, Any] = {
            "key": "missing",
            "key_variable": f"{name.upper()}_API_KEY",
            "get_a_key": f"https://{name}.example/keys",
            "could_cost": "nothing: there is no way to pay on this plan",
            "near_misses": [],
        }
        return views.SetupSource(name=name, title=title, gives=gives, trains=trains, **{**ordinary, **more})

    return [
        source("groq", "Groq", "about 1 000 answers a day of each model, with tools", "does not train", key="set"),
        source(
            "google",
            "Google AI Studio",
            "about 1 650 answers a day, 250 of them with pictures and sound",
            "trains on prompts while it is free",
            key_variable="GEMINI_API_KEY",
            near_misses=["GOOGLE_API_KEY"],
        ),
        source(
            "huggingface",
            "Hugging Face",
            "0.10 dollars of credit a month, about 200 answers",
            "does not train",
            key_variable="HF_TOKEN",
            could_cost="an account that has a payment method is not used",
        ),
        source(
            "ollama",
            "Ollama on this machine",
            "as much as the machine can",
            "stays here",
            key="none needed",
            key_variable=None,
            get_a_key="",
        ),
    ]


def _connect() -> list[views.ConnectView]:
    opencode = '{\n  "provider": {\n    "freeway": {\n      "npm": "@ai-sdk/openai-compatible",\n      "options": { "baseURL": "http://127.0.0.1:8000/v1" },\n      "models": { "auto": { "limit": { "context": 131072, "output": 32768 } } }\n    }\n  },\n  "model": "freeway/auto"\n}\n'
    return [
        views.ConnectView(
            program="opencode",
            title="OpenCode",
            files={"~/.config/opencode/opencode.json": opencode},
            environment={},
            steps=[],
        ),
        views.ConnectView(
            program="claude-code",
            title="Claude Code",
            files={},
            environment={"ANTHROPIC_BASE_URL": "http://127.0.0.1:8000", "ANTHROPIC_AUTH_TOKEN": "any"},
            steps=["Start `claude` in a folder."],
        ),
        views.ConnectView(
            program="home-assistant",
            title="Home Assistant",
            files={},
            environment={},
            steps=[
                "Settings, Devices and services, Add integration, Ollama.",
                "URL: http://127.0.0.1:11434",
                "Choose the model auto.",
            ],
        ),
    ]


def ordinary() -> Said:
    """What an admin API says on an ordinary afternoon."""
    return Said(
        overview=views.Overview(
            version="0.9.0",
            now=NOW,
            started=NOW - 93_000,
            status="ok",
            problems=[],
            next_step="Mistral refuses its key: make another one and put it in under Sources.",
            left=[
                views.Left(capability="chat", answers=1940, until=NOW + 61_200, said="about 1 940 answers until 05:00"),
                views.Left(capability="tools", answers=1120, until=NOW + 61_200, said=""),
                views.Left(capability="vision", answers=14, until=NOW + 61_200, said=""),
                views.Left(capability="private", answers=760, until=NOW + 51_000, said=""),
                views.Left(capability="embeddings", answers=None, until=None, said=""),
            ],
            spent=0.0,
            credit=0.0,
            saved=12.4,
            store="embedded",
            replicas=1,
            live=1,
            waiting=1,
        ),
        sources=_sources(),
        models=_models(),
        requests=_requests(),
        changes=[
            views.Change(
                kind="appeared",
                name="openrouter/qwen/qwen3.8-27b:free",
                detail="32 000 tokens of context",
                at=NOW - 3000,
            ),
            views.Change(
                kind="became paid",
                name="openrouter/deepseek/deepseek-r2:free",
                detail="0.0000004 dollars a token of prompt",
                at=NOW - 8000,
            ),
            views.Change(kind="capability lost", name="nvidia/moonshotai/kimi-k2.6", detail="tools", at=NOW - 90_000),
            views.Change(kind="vanished", name="groq/qwen/qwen3-32b", detail="", at=NOW - 95_000),
        ],
        clients=_clients(),
        series=_series(),
        setup=_setup(),
        connect=_connect(),
        config=[
            views.ConfigRow(key="requests.max_wait", value="60.0", source="config.toml:2"),
            views.ConfigRow(key="client_key", value="***", source="environment"),
        ],
        explanation=_explanation(),
    )
