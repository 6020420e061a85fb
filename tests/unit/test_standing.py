"""How a source stands: one word, why, and what to do."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.catalog.learned import Withdrawal
from gateway.catalog.standing import Judgement, Known, SourceState, judge, prompts_of
from tests.payloads import SPECS

GROQ = SPECS["groq"]
WELL = Known(spec=GROQ, has_key=True, models=3, serve=3)
REFUSED = Withdrawal(100.0, "key refused: Invalid API Key", refused="key")
CHARGED = Withdrawal(100.0, "groq/a cost 0.1 dollars although it was proved to be free")


@pytest.mark.parametrize(
    ("known", "state", "said"),
    [
        (WELL, "on", ""),
        (replace(WELL, problem="no answer"), "on", "by its last list"),
        (replace(WELL, out=Withdrawal(1.0, "used up", credit=True)), "on", "used up"),
        (replace(WELL, serve=0, out=Withdrawal(1.0, "used up", credit=True)), "shut", "used up"),
        (replace(WELL, out=REFUSED), "key refused", "Invalid API Key"),
        (replace(WELL, out=CHARGED), "shut", "cost 0.1 dollars"),
        (replace(WELL, shut="a card is on file", out=REFUSED), "shut", "a card is on file"),
        (replace(WELL, serve=0, cooling="cooling: no answer", until=9.0), "failing", "no answer"),
        (replace(WELL, serve=0, models=0), "failing", "no model that is free"),
        (replace(WELL, serve=0), "failing", "nothing proves"),
        (replace(WELL, serve=0, models=0, problem="503"), "failing", "503"),
        (replace(WELL, serve=0, models=0, looked=False), "starting", "on its way"),
        (replace(WELL, asked=False, has_key=False), "no key", "GROQ_API_KEY"),
        (replace(WELL, asked=False, spec=replace(GROQ, enabled=False)), "off", "allows"),
        (replace(WELL, asked=False, spec=SPECS["cloudflare"]), "no key", "CLOUDFLARE_ACCOUNT_ID"),
        (replace(WELL, asked=False), "off", "configuration"),
    ],
)
def test_it_is_said_in_one_word_and_why(known, state, said):
    found = judge(known)

    assert found.state == state
    assert said in found.reason


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.key_env])
def test_who_has_no_key_hears_where_one_is_made(name):
    found = judge(Known(spec=SPECS[name], has_key=False, asked=False))

    assert SPECS[name].get_a_key in found.remedy or found.state == "off"


withdrawals = st.builds(
    Withdrawal,
    st.floats(0, 1e9),
    st.text(min_size=1),
    credit=st.booleans(),
    refused=st.sampled_from([None, "key", "model"]),
)
knowns = st.builds(
    Known,
    spec=st.sampled_from(list(SPECS.values())),
    has_key=st.booleans(),
    asked=st.booleans(),
    looked=st.booleans(),
    problem=st.none() | st.text(min_size=1),
    shut=st.none() | st.text(min_size=1),
    out=st.none() | withdrawals,
    models=st.integers(0, 9),
    serve=st.integers(0, 9),
    cooling=st.none() | st.text(min_size=1),
)


@given(knowns)
def test_whatever_is_known_a_source_that_is_not_on_has_a_reason_and_one_that_is_on_serves(known: Any):
    found: Judgement = judge(known)

    assert found.state in get_args(SourceState)
    assert found.state == "on" or found.reason
    assert found.state != "on" or (known.asked and known.serve and known.shut is None)
    assert found.state in ("on", "starting", "off") or found.remedy


@given(knowns)
def test_what_takes_an_account_out_is_never_told_as_serving(known: Any):
    if known.asked and known.out is not None and not known.out.credit:
        assert judge(known).state in ("shut", "key refused")


def test_what_becomes_of_prompts_is_said_in_words():
    assert prompts_of(GROQ.data_policy) == "train nothing, are not kept, stay in US"
