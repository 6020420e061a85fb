"""What the demo shows is so: beside a policy that does not count, the gateway is refused nothing and answers no less."""

from __future__ import annotations

from datetime import time
from pathlib import Path

from gateway.commands.demo_day import A_MINUTE, MINUTES, day_end
from tests.conftest import CONFIG


async def test_without_counting_providers_refuse_and_through_the_gateway_none_does(tmp_path: Path):
    found = await day_end(CONFIG, tmp_path)

    assert found.refused == 0
    assert found.refused_uncounted > MINUTES * A_MINUTE / 3
    assert found.dollars == 0
    assert sum(one.answers for one in found.counted) >= sum(one.answers for one in found.uncounted)
    assert [one.answers for one in found.counted] == [A_MINUTE] * MINUTES


async def test_what_is_left_of_a_day_is_used_before_it_ends_and_the_next_day_is_used_too(tmp_path: Path):
    """OpenRouter gives fifty calls a day: all of them are gone before midnight, and there are new ones after it."""
    found = await day_end(CONFIG, tmp_path)
    before = [one for one in found.counted if one.at.time() > time(12)]

    assert sum(one.served.get("openrouter", 0) for one in before) == 50
    assert found.counted[len(before)].served.get("openrouter", 0) > 0
