"""How much of the free capacity is used, on a short piece of what ``make harvest`` measures at length."""

from __future__ import annotations

from gateway.router import rank
from tests.bench.harvest import of_policy
from tests.bench.traces import CHAT, STRONG, VISION, Trace

HOUR = 1 / 24
AFTERNOON = Trace("afternoon", {CHAT: 0.75, VISION: 0.24, STRONG: 0.01}, lambda _: 6.0)


async def test_what_could_be_served_is_served_and_nothing_is_refused(tmp_path):
    found = await of_policy(AFTERNOON, rank, tmp_path, 2 * HOUR)

    assert found.asked > 500
    assert (found.served, found.refused) == (found.asked, 0)
