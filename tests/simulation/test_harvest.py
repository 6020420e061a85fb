"""How much of the free capacity is used, on a short piece of what ``make harvest`` measures at length."""

from __future__ import annotations

import pytest

from gateway.request.plan import plan
from tests.bench.harvest_traces import of_policy
from tests.bench.traces import CHAT, LONG, STRONG, VISION, Trace

HOUR = 1 / 24
SHORT_TIMES = (
    Trace("scarce models", {CHAT: 0.75, VISION: 0.24, STRONG: 0.01}, lambda _: 6.0),
    Trace("short and long prompts", {CHAT: 0.7, LONG: 0.3}, lambda _: 12.0),
)


@pytest.mark.parametrize("trace", SHORT_TIMES, ids=lambda trace: trace.name)
async def test_what_could_be_served_is_served_and_nothing_is_refused(trace, tmp_path):
    found = await of_policy(trace, plan, tmp_path, 1.5 * HOUR)

    assert found.asked > 450
    assert (found.served, found.refused) == (found.asked, 0)
