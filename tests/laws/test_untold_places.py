"""How many requests a source bears at a time, which it tells nowhere, is learned from its refusals, and costs few of them."""

from __future__ import annotations

import asyncio

import pytest

from tests.laws.sources import Said, Scene, Source, Told, error

WORKER = "ResourceExhausted: Worker local total request limit reached (2/2)"
BUSY = '[[provider.worker.errors]]\ntext = "ResourceExhausted"\nmeans = "busy"\nunit = "in-flight"\n'
QUOTA = '[{ limit = "1000/minute" }, { limit = "32/in-flight" }]'


class Worker(Source, kw_only=True):
    """It says no when its places are taken, as NVIDIA's workers do."""

    def said(self, body, now):
        if self.slots is not None and self.in_flight >= self.slots:
            self.refused += 1
            return Said(503, error(WORKER), counted=False)
        return super().said(body, now)


def worker(slots: int, seconds: float = 3.0) -> Worker:
    return Worker(name="worker", quota=QUOTA, more=BUSY, slots=slots, seconds=seconds)


async def each_second(scene: Scene, count: int, wait: float = 30.0) -> list[Told]:
    asking: list[asyncio.Task[Told]] = []
    for number in range(count):
        asking.append(scene.ask(f"{number}", wait=wait))
        await scene.passes(1.0)
    return await scene.told(*asking)


@pytest.mark.parametrize("slots", [1, 2])
async def test_a_worker_with_few_places_refuses_seldom_and_never_idles(tmp_path, store, slots):
    source = worker(slots)
    scene = await Scene(tmp_path, source, store=store).open()

    told = await each_second(scene, 120)

    served = [call for call in source.calls if call.status == 200]
    assert source.refused <= 5  # one to learn it, and one for each try of one more
    assert len([call for call in served if (call.over or 0.0) < source.calls[0].at + 120.0]) >= 0.85 * slots * 120 / 3
    assert all(one.status in (200, 429) for one in told)
    await scene.close()


async def test_a_burst_teaches_once(tmp_path, store):
    source = worker(2)
    scene = await Scene(tmp_path, source, store=store).open()

    told = await scene.told(*(scene.ask(f"{n}", wait=60.0) for n in range(12)))

    assert {one.status for one in told} == {200}
    assert source.refused <= 12  # all but two of the burst, and few later
    assert max(call.over or 0.0 for call in source.calls) <= source.calls[0].at + 1.3 * 12 / 2 * 3.0
    await scene.close()


async def test_more_places_are_found_one_by_one(tmp_path, store):
    source = worker(2)
    scene = await Scene(tmp_path, source, store=store).open()
    await each_second(scene, 20, wait=0.0)
    source.slots = None

    await each_second(scene, 150, wait=0.0)
    source.calls.clear()
    told = await each_second(scene, 20, wait=0.0)

    assert [one.status for one in told] == [200] * 20
    await scene.close()


async def test_where_others_have_all_places_the_source_is_left_alone_for_a_while(tmp_path, store):
    source = worker(0)
    scene = await Scene(tmp_path, source, Source(name="other", models=("plain",)), store=store).open()
    more = {"provider": {"order": ["worker", "other"]}}

    first = await scene.one("finds out", **more)
    source.slots = None
    next_ = await scene.one("at once", **more)
    await scene.passes(6.0)
    later = await scene.one("later", **more)

    providers = [one.heard.headers["x-freeway-provider"] for one in (first, next_, later)]
    assert providers == ["other", "other", "worker"]
    await scene.close()


async def test_it_is_told_in_words_how_many_are_under_way(tmp_path, store):
    source = worker(1)
    scene = await Scene(tmp_path, source, store=store).open()
    asking = [scene.ask(f"{n}", wait=60.0) for n in range(2)]
    await scene.passes(1.0)

    told = await scene.one("cannot wait", wait=0.0)

    assert told.status == 429
    assert "has 1 requests under way already" in told.heard.body.decode()
    await scene.told(*asking)
    await scene.close()
