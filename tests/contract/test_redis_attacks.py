"""The attacks of ``python -m tests.outage``: nothing over where Redis answers, no more than the bound where it does not."""

from __future__ import annotations

import pytest

from tests.outage import ATTACKS, attack

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "100 ms away"])
async def test_six_gateways_take_no_more_than_there_is(name):
    found = await attack(name)

    assert found.over <= found.bound, found
    assert found.held, found
