"""A header that tells much and stays small."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.api.trace import LONGEST, trace
from gateway.request.tried import Attempt, Wait
from gateway.words import Exclusion
from providers import failures as f
from tests.deployments import deployment


def test_it_tells_who_failed_and_who_was_skipped():
    found = trace([Attempt(deployment("groq/a"), f.Busy("overloaded"))], [Exclusion("google/b", "quota", "used", 9.5)])

    assert json.loads(found) == {
        "failed": [{"deployment": "groq/a", "kind": "Busy", "reason": "overloaded"}],
        "waited": [],
        "skipped": [{"deployment": "google/b", "kind": "quota", "reason": "used", "until": 10}],
    }


def test_it_tells_what_was_waited_for_behind_how_many_and_names_the_first():
    names = tuple(f"groq/{number}" for number in range(9))

    found = json.loads(trace([], [], [Wait(1.23456, 4, names, "used" * 99), Wait(0.5, 0, names[:1], "taken")]))

    assert [(wait["seconds"], wait["behind"], wait["for"], wait["of"]) for wait in found["waited"]] == [
        (1.235, 4, ["groq/0", "groq/1", "groq/2"], 9),
        (0.5, 0, ["groq/0"], 1),
    ]
    assert [len(wait["reason"]) for wait in found["waited"]] == [80, 5]


TEXTS = st.lists(st.tuples(st.text(max_size=300), st.text(max_size=3000)), max_size=60)


@given(TEXTS, TEXTS)
def test_whatever_is_told_is_one_line_of_printable_ascii_and_bounded(reasons, waits):
    found = trace(
        [],
        [Exclusion(name, "cooling", reason) for name, reason in reasons],
        [Wait(1e9, 10**9, (name,) * 9, reason) for name, reason in waits],
    )

    assert len(found) <= LONGEST
    assert all(" " <= letter <= "~" for letter in found)
    told = json.loads(found)
    assert len(told["skipped"]) + len(told["waited"]) + told.get("left_out", 0) == len(reasons) + len(waits)
