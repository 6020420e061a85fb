"""One run: a subject in a scenario's world, from the first request to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct, field

from tests.world import clock
from tests.world.callers import Asking, Heard
from tests.world.judge import Verdict, judge
from tests.world.models import Call
from tests.world.scenarios import Scenario
from tests.world.subjects import Subject, asked_of
from tests.world.world import World

_AT_LAST = 90.0
"""Seconds beyond its patience that a caller of a stream stays for its end."""


class Told(Struct):
    """One request and what became of it. *had_room*: who could have begun to answer when it was refused or left."""

    asking: Asking
    heard: Heard
    began: float
    verdict: Verdict = "refused"
    had_room: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """To the first visible piece of a stream, or to the end of a whole answer."""
        heard = self.heard
        end = heard.visible_at if self.asking.stream else heard.over_at
        return (end or heard.over_at or self.began) - self.began


class Run(Struct):
    """What happened. *begin* is the world's first second, unix."""

    scenario: str
    subject: str
    seed: int
    begin: float
    seconds: float
    told: list[Told]
    calls: list[Call]
    used: dict[str, tuple[float, float, list[tuple[float, float]]]]
    """Of each bucket: the seconds of its window, its amount, and what was taken of it when."""


class _Ear:
    def __init__(self, heard: Heard, *, stream: bool) -> None:
        self.heard, self.stream, self.left = heard, stream, asyncio.Event()

    def begin(self, status: int) -> None:
        self.heard.status = status

    def take(self, piece: bytes) -> None:
        if not self.left.is_set():
            self.heard.take(piece, stream=self.stream and self.heard.status == 200)


async def _call(asking: Asking, subject: Subject, world: World) -> Told:
    """A caller asks, and stays as long as it has patience."""
    heard = Heard()
    ear, body = _Ear(heard, stream=asking.stream), asking.body()
    told = Told(asking, heard, clock.now())
    answering = asyncio.ensure_future(subject.ask(body, asking.client, ear))
    await asyncio.wait((answering,), timeout=asking.patience)
    if not answering.done() and asking.stream and heard.visible_at is not None:
        await asyncio.wait((answering,), timeout=_AT_LAST)
    heard.over_at = clock.now()
    if not answering.done():
        heard.left = True
        ear.left.set()
        _, still = await asyncio.wait((answering,), timeout=60.0)
        if still:
            raise RuntimeError(f"{asking.tag}: the subject went on for a minute after its caller had left")
    answering.result()
    if not heard.left and (not asking.stream or heard.status != 200):
        heard.whole()
    told.verdict = judge(asking, heard)
    if told.verdict in ("refused", "late"):
        kind = asking.kind
        asked = asked_of({**body, "response_format": None, "tools": None})
        able = world.room_for(kind.needs, asked, private=kind.no_train)
        told.had_room = [f"{source.name}/{model.id}" for source, model in able]
    return told


async def _run(scenario: Scenario, make: Callable[[], Subject], name: str, seed: int, minutes: float) -> Run:
    world = World(scenario.sources(), seed)
    subject, seconds = make(), minutes * 60.0
    await subject.open(world)
    calls = list[asyncio.Task[Told]]()
    start = world.begin
    for asking in scenario.load.requests(seed, seconds):
        await asyncio.sleep(max(0.0, start + asking.at - clock.now()))
        calls.append(asyncio.create_task(_call(asking, subject, world)))
    told = list(await asyncio.gather(*calls))
    await subject.close()
    used = {
        f"{counter.key} {counter.limit.label}": (counter.limit.seconds, counter.limit.amount, counter.taken)
        for source in world.sources.values()
        for counters in source.counters.values()
        for counter in counters
    }
    return Run(scenario.name, name, seed, world.begin, seconds, told, world.calls(), used)


def run(scenario: Scenario, make: Callable[[], Subject], name: str, seed: int, minutes: float | None = None) -> Run:
    """*scenario* in the world of *seed* with what *make* makes, for so many *minutes* (none: as long as it is)."""
    return clock.run(lambda: _run(scenario, make, name, seed, minutes or scenario.minutes), start=scenario.begin)
