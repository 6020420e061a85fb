"""What is asked in a harvest: kinds of requests, and traces of two days of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

START = 1_795_478_400.0  # 08:00 of a day in Los Angeles minus a little: no day of any zone ends at once
DAYS = 2
DAY, HOUR, MINUTE = 86_400.0, 3600.0, 60.0
WAIT = 60.0  # seconds that a request may wait
SOURCES = ("openrouter", "google", "groq", "cerebras")
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Kind(Struct, frozen=True):
    """A kind of request. *text* is its prompt, *model* what it asks for."""

    name: str
    text: str
    model: str = "auto"
    max_tokens: int = 150
    image: bool = False
    tools: bool = False

    def fields(self) -> dict[str, Any]:
        content: Any = self.text
        if self.image:
            content = [{"type": "text", "text": self.text}, {"type": "image_url", "image_url": {"url": PIXEL}}]
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        more: dict[str, Any] = {"tools": [tool]} if self.tools else {}
        return {"messages": [{"role": "user", "content": content}], "max_tokens": self.max_tokens, **more}


CHAT = Kind("chat", "Tell me something about counting. " * 6)
TOOLS = Kind("tools", "Which tool would you call? " * 6, tools=True)
VISION = Kind("vision", "What do you see? ", image=True)
STRONG = Kind("strong", "Prove it. " * 12, model="gemini-3.8-flash")
LONG = Kind("long", "Once upon a time there was a long prompt. " * 380, max_tokens=400)


def _never(source: str, at: float) -> bool:
    return False


class Trace(Struct, frozen=True):
    """
    How much of each kind there is, and *rate*: requests a minute at a moment (seconds from the start).

    *sources* serve it, with *own* settings. Where an answer takes some *seconds*, so many run at once as *slots* says.
    *down* tells whether a source fails at a moment; it does so for whole minutes. *waits*: what matters is that no caller is
    refused who could have waited.
    """

    name: str
    mix: dict[Kind, float]
    rate: Callable[[float], float]
    sources: tuple[str, ...] = SOURCES
    own: str = ""
    seconds: dict[str, float] = {}
    slots: dict[str, int] = {}
    down: Callable[[str, float], bool] = _never
    waits: bool = False

    def arrivals(self, chance: random.Random, days: float = DAYS) -> Iterator[tuple[float, Kind]]:
        """Poisson, thinned."""
        highest = max(self.rate(at) for at in range(0, int(DAYS * DAY), 60))
        at, kinds, weights = 0.0, list(self.mix), list(self.mix.values())
        while (at := at + chance.expovariate(highest / MINUTE)) < days * DAY - WAIT:
            if chance.random() < self.rate(at) / highest:
                yield at, chance.choices(kinds, weights)[0]


def _day_and_night(at: float) -> float:
    return 9.3 * (1 + 0.9 * math.sin(2 * math.pi * at / DAY))


def _bursts(at: float) -> float:
    return 200.0 if at % (3 * HOUR) < 6 * MINUTE else 0.6


def _hourly(at: float) -> float:
    """At nine tenths of what two slots can serve, for six minutes of each hour."""
    return 45.0 if at % HOUR < 6 * MINUTE else 0.6


def _in_turn(source: str, at: float) -> bool:
    """Each fails for 25 of 80 minutes, one after the other, so that now and then two fail at a time."""
    return (at - SOURCES.index(source) * 20 * MINUTE) % (80 * MINUTE) < 25 * MINUTE


def _half_hourly(at: float) -> float:
    return 15.0 if at % (HOUR / 2) < 2 * MINUTE else 1.5


# What these sources can serve in the two days, by the optimum below when everybody asks without end: 27,000 short
# requests, or 9,800 long ones, or 7,700 with an image, or 60 of the strong model.
TRACES = (
    Trace("steady", {CHAT: 0.8, TOOLS: 0.2}, lambda _: 9.3),
    Trace("bursts", {CHAT: 0.8, TOOLS: 0.2}, _bursts),
    Trace("day and night", {CHAT: 0.7, TOOLS: 0.3}, _day_and_night),
    Trace("capability mix", {CHAT: 0.6, TOOLS: 0.15, VISION: 0.24, STRONG: 0.01}, lambda _: 8.5),
    Trace("long prompts", {CHAT: 0.5, LONG: 0.5}, lambda _: 5.8),
    Trace("overload", {CHAT: 0.8, TOOLS: 0.2}, lambda _: 14.1),
    Trace(
        "in flight",
        {CHAT: 0.8, TOOLS: 0.2},
        _hourly,
        sources=("ollama", "zai"),
        own='[provider.ollama]\nquota = [{ limit = "1/in-flight", scope = "account" }]\n',
        seconds={"ollama": 2.0, "zai": 3.0},
        slots={"ollama": 1, "zai": 1},
        waits=True,
    ),
    Trace("failing", {CHAT: 0.8, TOOLS: 0.2}, _half_hourly, down=_in_turn, waits=True),
)
