"""The providers of the scenarios, with what was known of them in November 2026."""

from __future__ import annotations

from msgspec import structs

from tests.world.machine import Machine
from tests.world.models import Fault, Model
from tests.world.providers import Cerebras, Google, Groq, HuggingFace, Nvidia, OpenRouter, Zai
from tests.world.quotas import DAY, HOUR, Limit

TOOLS = frozenset({"tools"})
TALK = frozenset[str]()
ALL = frozenset({"tools", "vision", "schema"})
STRICT = frozenset({"tools", "schema"})
SEES = frozenset({"tools", "vision"})
LIES = frozenset({"schema-ignored"})


def openrouter(
    *faults: Fault, daily: int = 1000, used: float = 0.0, pool: int | None = 6, breaks: float = 0.0
) -> OpenRouter:
    models = [
        Model(
            id="nvidia/nemotron-3-super-120b-a12b:free", can=STRICT, first=4.0, spread=0.6, pace=60, thinks=60, busy=0.04,
            breaks=breaks,
        ),
        # It lists structured outputs, and answers in prose (3 of 3, measured 2026-09-08).
        Model(
            id="cohere/north-mini-code:free", can=TOOLS, lists=STRICT, flaws=LIES, first=2.0,
            pace=80, trains=False, breaks=breaks,
        ),
        Model(id="google/gemma-4-31b-it:free", can=SEES, first=2.5, pace=50, slots=pool, busy=0.03, breaks=breaks),
        Model(id="inclusionai/ling-3.0-flash-fin:free", can=STRICT, first=2.0, pace=70, trains=False, breaks=breaks),
        Model(id="dots-studio/dots-3-note-preview:free", can=TALK, first=2.0, pace=60, trains=False, breaks=breaks),
    ]  # fmt: skip
    limits = [
        Limit(unit="requests", amount=20, window="clock", scope="account", counts_refused=True),
        Limit(
            unit="requests", amount=daily, window="day", seconds=DAY, scope="account", used=used, counts_refused=True
        ),
    ]
    return OpenRouter("openrouter", models, limits, faults)


def google(*faults: Fault, used: float = 0.0, lites: bool = True, gemmas: bool = True, breaks: float = 0.0) -> Google:
    """*used*: the share of every day's quota that is gone."""
    flash = ("gemini-3.8-flash", "gemini-3.7-flash")
    lite = ("gemini-3.5-flash-lite", "gemini-3.1-flash-lite") if lites else ()
    gemma = ("gemma-4-31b-it",) if gemmas else ()
    models = [
        *(
            Model(id=id_, can=ALL, first=1.6, pace=150, thinks=120, busy=0.03, context=1_048_576, breaks=breaks)
            for id_ in flash
        ),
        *(Model(id=id_, can=ALL, first=0.8, pace=200, busy=0.02, context=1_048_576, breaks=breaks) for id_ in lite),
        *(Model(id=id_, can=SEES, first=1.5, pace=60, busy=0.02, context=262_144, breaks=breaks) for id_ in gemma),
    ]
    zone = "America/Los_Angeles"
    rows = [(flash, 5, 20), (lite, 15, 500), (gemma, 15, 14_400)]
    limits = [
        *(Limit(unit="requests", amount=minute, window="rolling", models=ids) for ids, minute, _ in rows if ids),
        *(
            Limit(unit="requests", amount=day, window="day", seconds=DAY, zone=zone, models=ids, used=used * day)
            for ids, _, day in rows
            if ids
        ),
        Limit(unit="prompt", amount=250_000, window="rolling", models=(*flash, *lite)),
        *(Limit(unit="prompt", amount=16_000, window="rolling", models=gemma) for _ in gemma),
    ]
    return Google("google", models, limits, faults)


def groq(*faults: Fault, used: float = 0.0, breaks: float = 0.0) -> Groq:
    oss, qwen = ("openai/gpt-oss-120b", "openai/gpt-oss-20b"), ("qwen/qwen3.8-27b",)
    models = [
        *(Model(id=id_, can=STRICT, first=0.3, pace=400, thinks=60, trains=False, breaks=breaks) for id_ in oss),
        *(Model(id=id_, can=ALL, first=0.4, pace=300, trains=False, breaks=breaks) for id_ in qwen),
        Model(id="groq/compound-mini", can=TALK, first=1.0, pace=250, trains=False, breaks=breaks),
    ]
    main = (*oss, *qwen)
    limits = [
        Limit(unit="requests", amount=30, window="rolling"),
        Limit(unit="requests", amount=1000, window="refill", seconds=DAY, models=main, used=used * 1000),
        Limit(unit="requests", amount=250, window="refill", seconds=DAY, models=("groq/compound-mini",), used=used * 250),
        Limit(unit="tokens", amount=8000, window="refill", models=main, reserves_output=True),
        Limit(
            unit="tokens", amount=200_000, window="refill", seconds=DAY, models=main, reserves_output=True,
            used=used * 200_000,
        ),
        Limit(unit="tokens", amount=70_000, window="refill", models=("groq/compound-mini",), reserves_output=True),
    ]  # fmt: skip
    return Groq("groq", models, limits, faults)


def nvidia(
    *faults: Fault,
    cap: int | None = 6,
    a_minute: int = 40,
    cold: float = 0.05,
    breaks: float = 0.0,
    without: str = "",
) -> Nvidia:
    """*cap*: of its hot models, requests a minute that are told nowhere, as is *a_minute* below 40."""
    common = Model(id="", cold=cold, breaks=breaks)
    make = structs.replace
    models = [
        make(
            common,
            id="nvidia/nemotron-3-super-120b-a12b",
            can=STRICT,
            first=1.5,
            spread=0.5,
            pace=70,
            thinks=80,
            busy=0.02,
        ),
        make(common, id="moonshotai/kimi-k2.6", can=SEES, first=3.0, spread=0.6, pace=50, busy=0.05),
        make(common, id="deepseek-ai/deepseek-v4.1-flash", first=2.5, spread=0.6, pace=60, busy=0.05, slots=4),
        # It is said to keep schemas.
        make(common, id="openai/gpt-oss-20b", lists=STRICT, flaws=LIES, first=0.8, pace=120, thinks=40),
        make(common, id="meta/llama-3.3-70b-instruct", gone=True),
    ]
    limits = [Limit(unit="requests", amount=a_minute, window="rolling", scope="account", secret=a_minute < 40)]
    if cap is not None:
        hot = ("moonshotai/kimi-k2.6", "deepseek-ai/deepseek-v4.1-flash")
        limits.append(Limit(unit="requests", amount=cap, window="rolling", models=hot, secret=True))
    return Nvidia("nvidia", [model for model in models if model.id != without], limits, faults)


def huggingface(*faults: Fault, left: float = 0.05, breaks: float = 0.0) -> HuggingFace:
    models = [
        Model(id="openai/gpt-oss-120b", can=STRICT, first=0.5, pace=200, thinks=60, price=(0.15, 0.6), busy=0.03, breaks=breaks),
        Model(id="Qwen/Qwen3.8-27B", can=TOOLS, first=0.9, pace=90, price=(0.0, 0.0), slots=2, breaks=breaks),
    ]  # fmt: skip
    limits = [Limit(unit="dollars", amount=0.10, window="month", scope="account", used=0.10 - left)]
    return HuggingFace("huggingface", models, limits, faults)


def zai(*faults: Fault, breaks: float = 0.0) -> Zai:
    models = [
        Model(id="glm-4.7-flash", can=TOOLS, first=1.5, pace=60, thinks=60, trains=False, busy=0.1, breaks=breaks),
        Model(id="glm-4.5-flash", can=TOOLS, first=1.2, pace=60, thinks=40, trains=False, breaks=breaks),
        Model(id="glm-4.6v-flash", can=SEES, first=1.8, pace=45, trains=False, breaks=breaks),
    ]
    return Zai("zai", models, [], faults, at_once=1)


def cerebras(*faults: Fault) -> Cerebras:
    models = [Model(id="gpt-oss-120b", can=STRICT, first=0.2, pace=1500, thinks=60, trains=False, context=65_536)]
    limits = [
        Limit(unit="requests", amount=5, window="clock"),
        Limit(unit="requests", amount=150, window="clock", seconds=HOUR),
        Limit(unit="requests", amount=2400, window="day", seconds=DAY),
        Limit(unit="tokens", amount=30_000, window="clock"),
    ]
    return Cerebras("cerebras", models, limits, faults)


def machine(*faults: Fault, parallel: int = 1, load: float = 8.0, queue: int = 6, breaks: float = 0.0) -> Machine:
    models = [
        Model(id="qwen3.8:8b", can=STRICT, first=0.6, spread=0.2, pace=60, trains=False, context=40_960, breaks=breaks),
        Model(id="gemma4:12b", can=ALL, first=1.0, spread=0.2, pace=40, trains=False, context=40_960, breaks=breaks),
    ]
    return Machine("ollama", models, parallel=parallel, load=load, queue=queue, faults=faults)
