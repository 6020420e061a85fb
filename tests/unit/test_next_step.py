"""The one thing to do next."""

from __future__ import annotations

import pytest

from gateway.api.admin.overview import ONE_MORE, SET_UP, next_step
from gateway.catalog.standing import Judgement

ON, NO_KEY, OFF = Judgement("on"), Judgement("no key", "it needs one", "get one"), Judgement("off", "off")
REFUSED, SHUT = Judgement("key refused", "401", "set another"), Judgement("shut", "it cost", "look at it")
FAILING, STARTING = Judgement("failing", "503", "it is asked again"), Judgement("starting", "on its way")


@pytest.mark.parametrize(
    ("judged", "has_key", "expected"),
    [
        ([NO_KEY, NO_KEY, OFF], False, SET_UP),
        ([NO_KEY, FAILING], False, SET_UP),  # an Ollama that is not there
        ([NO_KEY, FAILING], True, ""),  # its key is there: it is told as a problem
        ([STARTING, NO_KEY], True, ""),
        ([ON, NO_KEY], True, ONE_MORE),
        ([ON, ON, NO_KEY], True, ""),
        ([ON, REFUSED, NO_KEY], True, "1: set another"),
        ([SHUT, REFUSED], True, "1: set another"),
        ([SHUT, ON], True, "0: look at it"),
        ([ON], True, ""),
    ],
)
def test_the_one_thing_that_helps_most_is_said(judged, has_key, expected):
    assert next_step({str(n): one for n, one in enumerate(judged)}, has_key=has_key) == expected
