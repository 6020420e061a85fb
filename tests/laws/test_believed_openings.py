"""What a provider says of its own opening is believed: there is room for one then, and for no more."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.laws.sources import START, Said, Scene, Source, error


def again_in(seconds: float) -> Said:
    told = {"retry-after": f"{seconds:g}"}
    return Said(429, error(f"Rate limit reached. Please try again in {seconds:g} s."), told, counted=False)


class Refilling:
    """A source that gives *at_once*, and one more each *every* seconds; it says when the next is there."""

    def __init__(self, scene_clock, at_once: float, every: float) -> None:
        self.clock, self.most, self.every = scene_clock, at_once, every
        self.left, self.at = at_once, START

    def __call__(self, body: dict[str, object]) -> Said | None:
        now = self.clock()
        self.left, self.at = min(self.most, self.left + (now - self.at) / self.every), now
        if self.left < 1 - 1e-9:
            return again_in((1 - self.left) * self.every)
        self.left -= 1
        return None


@pytest.mark.parametrize("window", ["rolling", "refill"])
async def test_one_place_opens_when_it_was_said_to_and_no_more(tmp_path, store, window):
    source = Source(name="told", quota=f'[{{ limit = "40/minute", window = "{window}" }}]')
    scene = await Scene(tmp_path, source, store=store).open()
    await scene.told(*(scene.ask(f"served {n}") for n in range(3)))
    source.script.append(again_in(12.9))

    asking = [scene.ask("is refused", wait=60.0)]
    await scene.passes(0.1)
    told = await scene.told(*asking, *(scene.ask(f"waits {n}", wait=60.0) for n in range(3)))

    served_at = sorted(call.at - START for call in source.calls if call.status == 200)[3:]
    assert {one.status for one in told} == {200}
    assert served_at[0] == pytest.approx(12.9, abs=0.5)
    assert all(after - before >= 1.0 for before, after in pairwise(served_at))
    await scene.close()


async def test_a_window_that_opens_sooner_than_it_could_roll_refills_and_is_refused_once(tmp_path, store):
    source = Source(name="told", quota='[{ limit = "12/minute", window = "rolling" }]')
    scene = await Scene(tmp_path, source, store=store).open()
    source.rule = Refilling(scene.clock, at_once=6, every=5.0)

    asking = []
    for number in range(60):
        asking.append(scene.ask(f"{number}", wait=0.0))
        await scene.passes(2.0)
    served = sum(one.status == 200 for one in await scene.told(*asking))

    assert source.refused <= 2
    assert served >= 0.9 * 120 / 5
    await scene.close()


async def test_a_window_that_opens_as_what_was_served_leaves_it_has_the_limit_that_was_served(tmp_path, store):
    source = Source(name="told", quota='[{ limit = "40/minute", window = "rolling" }]')
    scene = await Scene(tmp_path, source, store=store).open()
    served_at: list[float] = []

    def twelve_in_any_minute(body: dict[str, object]) -> Said | None:
        now = scene.clock()
        served_at[:] = [at for at in served_at if at > now - 60.0]
        if len(served_at) >= 12:
            return again_in(served_at[0] + 60.0 - now)
        served_at.append(now)
        return None

    source.rule = twelve_in_any_minute
    asking = []
    for number in range(300):
        asking.append(scene.ask(f"{number}", wait=0.0))
        await scene.passes(1.0)
    served = sum(one.status == 200 for one in await scene.told(*asking))

    assert source.refused <= 2
    assert served >= 0.9 * 5 * 12
    await scene.close()


async def test_where_it_is_told_how_long_explain_says_when(tmp_path, store):
    source = Source(name="told", quota='[{ limit = "40/minute", window = "rolling" }]')
    scene = await Scene(tmp_path, source, store=store).open()
    source.script.append(again_in(12.9))
    await scene.one("is refused", wait=0.0)

    told = await scene.one("comes after", wait=0.0)

    assert (told.status, told.heard.headers["retry-after"]) == (429, "13")
    assert "40 requests a minute are used" in told.heard.body.decode()
    await scene.close()
