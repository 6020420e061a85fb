"""In the harvest's traces of waiting no request is refused that could have been served: a short piece of each."""

from __future__ import annotations

import pytest

from gateway.request.plan import plan
from tests.bench.harvest_traces import SHORT, of_policy
from tests.bench.traces import TRACES

WAITING = [trace for trace in TRACES if trace.waits]


@pytest.mark.parametrize("trace", WAITING, ids=lambda trace: trace.name)
async def test_no_request_is_refused_that_could_have_waited(trace, tmp_path):
    """By the linear program of ``python -m tests.bench.harvest --traces --short`` all of these pieces could be served."""
    found = await of_policy(trace, plan, tmp_path, SHORT)

    assert found.asked > 300
    assert (found.served, found.refused) == (found.asked, 0)
