"""What is asked of which providers, and what is wrong with them meanwhile. Figures were set by calibration (docs/harvest.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from msgspec import Struct

from tests.world import catalogue as c
from tests.world.callers import Client, Kind, Load
from tests.world.clock import START
from tests.world.models import Fault
from tests.world.sources import Source

TEXT = Kind(name="text")
TOOL = Kind(name="tools", words=(5, 10), tools=True)
PICTURE = Kind(name="picture", words=(30, 90), vision=True)
SCHEMA = Kind(name="schema", words=(5, 10), schema=True)
PRIVATE = Kind(name="no-train", no_train=True)
LONG = Kind(name="long prompt", prompt=(5000, 9000), words=(60, 200))

CHAT = Client(name="chat", patience=20.0)
AGENT = Client(name="agent", patience=45.0)
BATCH = Client(name="batch", patience=90.0, least=30.0)
VOICE = Client(name="voice", patience=9.0, spread=0.3)

CLIENTS = {CHAT: 0.45, AGENT: 0.3, BATCH: 0.1, VOICE: 0.15}
MIX = {TEXT: 0.55, TOOL: 0.17, PICTURE: 0.1, SCHEMA: 0.1, LONG: 0.08}


class Scenario(Struct, frozen=True, kw_only=True):
    """
    *bar* is the share of the optimum that the gateway is to reach. *sources* makes the providers anew. *begin* is unix.
    *resumes*: callers let another source go on with a text that broke. *replicas* of the gateway share one store.
    *unforeseen*: what could be had hangs on how long answers will be, so that the most without knowing that is told, too.
    """

    name: str
    bar: float
    sources: Callable[[], list[Source]]
    load: Load
    minutes: float = 60.0
    begin: float = START
    resumes: bool = False
    replicas: int = 1
    unforeseen: bool = False


def _steady(rate: float) -> Callable[[float], float]:
    return lambda _: rate


def _bursts(base: float, peak: float, every: float = 900.0, lasts: float = 300.0) -> Callable[[float], float]:
    return lambda at: peak if at % every < lasts else base


def _always(mix: Mapping[Kind, float]) -> Callable[[float], Mapping[Kind, float]]:
    return lambda _: mix


def _load(rate: Callable[[float], float], mix: Mapping[Kind, float] = MIX) -> Load:
    return Load(rate=rate, kinds=_always(mix), clients=CLIENTS)


def _core(*, used: float = 0.0) -> list[Source]:
    return [c.openrouter(), c.google(used=used), c.groq(used=used), c.nvidia(), c.huggingface(), c.machine()]


_SILENT = ("nvidia/nemotron-3-super-120b-a12b", "moonshotai/kimi-k2.6")


def _outage() -> list[Source]:
    minute = 60.0
    return [
        c.openrouter(Fault(kind="hang", begin=2 * minute, end=38 * minute)),
        c.google(Fault(kind="down", begin=10 * minute, end=30 * minute)),
        c.groq(Fault(kind="revoked", begin=20 * minute)),
        c.nvidia(Fault(kind="hang", begin=8 * minute, models=_SILENT)),
        c.huggingface(),
        c.machine(Fault(kind="refuse", begin=25 * minute, end=45 * minute)),
        c.zai(),
        c.cerebras(),
    ]


def _rush() -> list[Source]:
    return [c.openrouter(), c.nvidia(a_minute=20), c.huggingface(left=0.03), c.zai(), c.machine()]


def _scarce() -> list[Source]:
    """Half a dozen models see, and most of those draw on what text could take as well."""
    return [
        c.openrouter(daily=200, used=40),
        c.google(lites=False, gemmas=False),
        c.groq(used=0.6),
        c.nvidia(without="moonshotai/kimi-k2.6"),
    ]


def _scarcity(at: float) -> Mapping[Kind, float]:
    """Text first, pictures later."""
    return {TEXT: 0.72, PICTURE: 0.28} if at > 1500.0 else {TEXT: 0.8, TOOL: 0.2}


def _hintless() -> list[Source]:
    return [
        c.nvidia(a_minute=16, cap=4, cold=0.02),
        c.openrouter(Fault(kind="busy", begin=600.0, end=900.0), pool=2),
        c.zai(),
        c.google(lites=False),
    ]


def _breaking() -> list[Source]:
    often = 0.12
    return [
        c.openrouter(breaks=often),
        c.google(breaks=often),
        c.groq(breaks=often),
        c.nvidia(breaks=often),
        c.machine(breaks=often),
    ]


def _unlike_their_lists() -> list[Source]:
    """Some cannot do what is known of them, and say so in words that nobody knows, or do not say it."""
    groq, google, nvidia, zai = c.groq(), c.google(), c.nvidia(cap=None), c.zai()
    groq.change("qwen/qwen3.8-27b", can=c.TOOLS, says=(400, "'messages.0.content': value must be a string"))
    google.change("gemini-3.5-flash-lite", can=c.SEES, flaws=c.LIES)
    google.change("gemma-4-31b-it", can=c.TALK, says=(400, "Request contains an invalid argument."))
    nvidia.change(
        "deepseek-ai/deepseek-v4.1-flash", can=c.TALK, says=(422, "[{'loc': ['body', 'tools'], 'msg': 'extra'}]")
    )
    nvidia.change("nvidia/nemotron-3-super-120b-a12b", thinks_only=0.3)
    zai.change("glm-4.6v-flash", can=c.TALK, says=(415, "Unsupported Media Type"))
    return [c.openrouter(), google, groq, nvidia, zai]


def _day(at: float) -> float:
    return 30.0 * (1 + 0.6 * math.sin(2 * math.pi * at / 6_000.0))


_TALK = {TEXT: 0.8, TOOL: 0.2}
_PRIVATE_MIX = {TEXT: 0.5, PRIVATE: 0.35, TOOL: 0.1, SCHEMA: 0.05}
_BELIEFS_MIX = {TEXT: 0.4, TOOL: 0.2, PICTURE: 0.15, SCHEMA: 0.25}

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="calm", bar=0.99, sources=_core, load=_load(_steady(40.0))),
        Scenario(name="outage", bar=0.93, sources=_outage, load=_load(_steady(40.0)), minutes=32.0),
        Scenario(name="rush", bar=0.80, sources=_rush, load=_load(_bursts(45.0, 130.0)), minutes=45.0),
        Scenario(
            name="scarcity",
            bar=0.98,
            sources=_scarce,
            load=Load(rate=_steady(22.0), kinds=_scarcity, clients=CLIENTS),
        ),
        Scenario(name="hintless", bar=0.93, sources=_hintless, load=_load(_steady(56.0), _TALK)),
        Scenario(
            name="machine",
            bar=0.93,
            sources=lambda: [c.machine()],
            load=_load(_bursts(10.0, 28.0), {TEXT: 0.95, PICTURE: 0.05}),
            unforeseen=True,
        ),
        Scenario(name="replicas", bar=0.90, sources=_rush, load=_load(_bursts(40.0, 90.0)), minutes=30.0, replicas=3),
        Scenario(name="no-train", bar=0.95, sources=_core, load=_load(_steady(40.0), _PRIVATE_MIX)),
        Scenario(name="breaks", bar=0.90, sources=_breaking, load=_load(_steady(40.0)), resumes=True),
        Scenario(
            name="day's end",
            bar=0.93,
            sources=lambda: [c.openrouter(daily=200, used=150), c.google(used=0.8), c.groq(used=0.9), c.machine()],
            load=_load(_bursts(14.0, 32.0), _TALK),
            begin=START + 15 * 3600.0,  # 06:00 UTC: two hours before the end of California's day
            minutes=150.0,
        ),
        Scenario(name="mixed long", bar=0.97, sources=_core, load=_load(_day), minutes=150.0),
        Scenario(name="wrong beliefs", bar=0.95, sources=_unlike_their_lists, load=_load(_steady(30.0), _BELIEFS_MIX)),
    )
}
