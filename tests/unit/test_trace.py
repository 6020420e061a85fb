"""A header that tells much and stays small."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.api.trace import LONGEST, trace
from gateway.request.engine import Attempt
from gateway.words import Exclusion
from providers import failures as f
from tests.deployments import deployment


def test_it_tells_who_failed_and_who_was_skipped():
    found = trace([Attempt(deployment("groq/a"), f.Busy("overloaded"))], [Exclusion("google/b", "quota", "used", 9.5)])

    assert json.loads(found) == {
        "failed": [{"deployment": "groq/a", "kind": "Busy", "reason": "overloaded"}],
        "skipped": [{"deployment": "google/b", "kind": "quota", "reason": "used", "until": 10}],
    }


@given(st.lists(st.tuples(st.text(max_size=300), st.text(max_size=3000)), max_size=60))
def test_whatever_is_told_is_one_line_of_printable_ascii_and_bounded(reasons):
    found = trace([], [Exclusion(name, "cooling", reason) for name, reason in reasons])

    assert len(found) <= LONGEST
    assert all(" " <= letter <= "~" for letter in found)
    told = json.loads(found)
    assert len(told["skipped"]) + told.get("left_out", 0) == len(reasons)
