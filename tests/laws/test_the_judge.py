"""The judge of needless refusals is fair: a gateway that waits for whatever opens is acquitted, one that gives up is not."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from msgspec import Struct, field

from tests.laws.sources import Clock, Said, Source, Told
from tests.laws.test_no_needless_refusal import BEGIN, NAMES, SPAN, Caller, Story, judge, long_story, stories
from tests.simulation.flowing import Heard

STEP = 0.1


class Seen(Struct):
    """What a gateway knows of a source by its own calls."""

    source: Source
    back_at: float = 0.0
    in_flight: int = 0
    failed: bool = False
    minutes: dict[int, int] = field(default_factory=dict)

    def ready(self, now: float) -> bool:
        source, minute = self.source, int(now // 60)
        return (
            now >= self.back_at
            and (source.slots is None or self.in_flight < source.slots)
            and (source.a_minute is None or self.minutes.get(minute, 0) < source.a_minute)
            and not (self.failed and self.in_flight)
        )


class Plain:
    """
    The simplest gateway that waits: ten times a second it looks who is here and who has room, first come, first served. A
    *hasty* one refuses every call that cannot be served when it comes.
    """

    def __init__(self, story: Story, *, hasty: bool) -> None:
        self.clock, self.hasty = Clock(), hasty
        self.sources = [half.source(name) for name, half in zip(NAMES, story.sources, strict=False)]
        self.seen = [Seen(source) for source in self.sources]
        self.callers = list(story.callers)
        self.told: dict[int, Told] = {}
        self.attempts: dict[int, int] = {}
        self.waiting: list[int] = []

    async def run(self) -> None:
        coming = sorted(range(len(self.callers)), key=lambda number: self.callers[number].at)
        tasks: set[asyncio.Task[None]] = set()
        now = BEGIN
        while coming or self.waiting or len(self.told) < len(self.callers) or now < BEGIN + SPAN:
            self._jump(now - self.clock())
            await self._quiet()
            while coming and BEGIN + self.callers[coming[0]].at <= now:
                self.waiting.append(coming.pop(0))
            for number in list(self.waiting):
                self._serve(number, now, tasks)
            await self._quiet()
            now = round(now + STEP, 1)

    def _jump(self, seconds: float) -> None:
        self.clock.advance(max(0.0, seconds))

    async def _quiet(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    def _serve(self, number: int, now: float, tasks: set[asyncio.Task[None]]) -> None:
        caller = self.callers[number]
        ready = [one for one in self.seen if one.ready(now) and one.source.name in (caller.only or NAMES)]
        if ready and self.attempts.get(number, 0) < 5:
            self.waiting.remove(number)
            one = ready[0]
            one.in_flight += 1
            one.minutes[int(now // 60)] = one.minutes.get(int(now // 60), 0) + 1
            tasks.add(asyncio.ensure_future(self._send(number, one)))
        elif self.hasty or now + STEP > self._deadline(caller) or self.attempts.get(number, 0) >= 5:
            self.waiting.remove(number)
            self._tell(number, 429)

    async def _send(self, number: int, one: Seen) -> None:
        minute = int(self.clock() // 60)
        said: Said = await one.source.answer({"model": "m", "messages": [{"content": _tag(number)}]}, self.clock)
        one.in_flight -= 1
        one.failed = said.status != 200
        if said.status == 200:
            self._tell(number, 200)
            return
        one.minutes[minute] -= 1
        one.back_at = self.clock() + float(said.headers["retry-after"])
        self.attempts[number] = self.attempts.get(number, 0) + 1
        self.waiting.insert(0, number)

    def _deadline(self, caller: Caller) -> float:
        return BEGIN + caller.at + caller.wait

    def _tell(self, number: int, status: int) -> None:
        caller = self.callers[number]
        came = BEGIN + caller.at
        self.told[number] = Told(_tag(number), came, came + caller.wait, Heard(status), self.clock())


def _tag(number: int) -> str:
    return f"caller {number}"


def try_out(story: Story, *, hasty: bool = False) -> None:
    plain = Plain(story, hasty=hasty)
    asyncio.run(plain.run())
    judge(story, [plain.told[number] for number in range(len(story.callers))], plain.sources, plain.clock())


@settings(max_examples=30, deadline=None, suppress_health_check=[*HealthCheck])
@given(story=stories())
def test_a_gateway_that_waits_is_never_accused(story):
    try_out(story)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_gateway_that_waits_is_never_accused_at_length(seed):
    try_out(long_story(seed))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_gateway_that_gives_up_at_once_is_accused(seed):
    with pytest.raises(AssertionError, match="were refused needlessly"):
        try_out(long_story(seed), hasty=True)
