"""Which deployments may serve, in which order, why the others may not, and when that changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.quota.buckets import Bucket
from gateway.quota.nouns import NoRoom, Refusal
from gateway.request.plan import SHORTLIST, Plan, Retry, plan
from gateway.request.rejections import after
from gateway.request.tried import Tried, Wait
from gateway.routing.latency import TYPICAL, Point
from gateway.routing.prices import Price
from gateway.routing.rank import appraise
from gateway.words import Deployment, FreeProof
from tests.calls import call
from tests.deployments import NOW, deployment, unshared, view


def share(used: float) -> Price:
    """Of a window's last minute, or of a full one."""
    return Price(used, NOW, used / 60, NOW + 60 if used >= 1 else 0.0)


def planned(
    deployments: Sequence[Deployment],
    shares: Mapping[str, float] | None = None,
    latency: Mapping[str, float] | None = None,
    now: float = NOW,
    models: tuple[str, ...] = (),
    **wanted: Any,
) -> Plan:
    health = unshared()
    for name, seconds in (latency or {}).items():
        health.timed(name, (Point(TYPICAL, seconds),), now)
    known = {key: share(used) for key, used in (shares or {}).items()}
    return plan(call(*models, **wanted), Tried(), view(deployments, known, health), now)


def ranked(deployments: Sequence[Deployment], **more: Any) -> list[str]:
    return [d.name for d in planned(deployments, **more).ranked]


# ── in which order ──


def test_the_better_one_comes_first():
    assert ranked([deployment("groq/weak", 0.3), deployment("google/strong", 0.9)])[0] == "google/strong"


def test_what_is_nearly_used_up_is_kept():
    sources = [deployment("groq/better", 0.8), deployment("google/good", 0.7)]

    assert ranked(sources)[0] == "groq/better"
    assert ranked(sources, shares={"groq/better": 0.95})[0] == "google/good"


def test_what_was_used_up_is_as_good_as_new_in_the_next_window():
    sources = [deployment("groq/better", 0.8), deployment("google/good", 0.7)]

    assert ranked(sources, shares={"groq/better": 1.0}, now=NOW + 59) == ["google/good"]
    assert ranked(sources, shares={"groq/better": 1.0}, now=NOW + 60)[0] == "groq/better"


def test_what_a_credit_pays_comes_after_what_is_free():
    paid = deployment("huggingface/better", 0.8)
    paid = msgspec.structs.replace(paid, proof=FreeProof("credit", "monthly credit", "", 0, 1e12))

    assert ranked([paid, deployment("groq/good", 0.6)])[0] == "groq/good"


def test_talents_that_are_not_needed_are_kept_for_those_who_need_them():
    sources = [deployment("groq/plain"), deployment("google/gifted", 0.5, "vision tools audio")]

    assert ranked(sources)[0] == "groq/plain"


def test_the_quick_one_comes_first_where_speed_is_preferred():
    sources = [deployment("groq/quick", 0.4), deployment("google/slow", 0.9)]
    latency = {"groq/quick": 0.2, "google/slow": 8.0}

    assert ranked(sources, latency=latency, prefer="speed")[0] == "groq/quick"
    assert ranked(sources, latency=latency, prefer="quality")[0] == "google/slow"


def test_speed_is_that_of_a_whole_answer_and_not_of_its_first_word():
    sources = [deployment("groq/soon-but-slow"), deployment("google/late-but-quick")]
    health = unshared()
    for name, first, a_token in (("groq/soon-but-slow", 0.1, 0.1), ("google/late-but-quick", 1.0, 0.002)):
        for tokens in (20, 300, 150):
            health.timed(name, (Point(0, first), Point(tokens, first + a_token * tokens)), NOW)

    found = plan(call(prefer="speed"), Tried(), view(sources, health=health), NOW)

    assert found.ranked[0].name == "google/late-but-quick"


def test_a_small_answer_is_asked_of_a_model_that_thinks_only_where_others_are_dear():
    sources = [deployment("groq/plain", 0.3), deployment("google/thinking", 0.9, "reasoning")]

    assert ranked(sources, max_tokens=50) == ["groq/plain", "google/thinking"]
    assert ranked(sources, max_tokens=50, shares={"groq/plain": 0.2})[0] == "groq/plain"
    assert ranked(sources, max_tokens=50, shares={"groq/plain": 0.9})[0] == "google/thinking"
    assert ranked(sources, max_tokens=2000)[0] == "google/thinking"


def test_an_answer_that_would_be_cut_is_not_asked_for_however_dear_the_others_are():
    sources = [deployment("groq/roomy", 0.3), msgspec.structs.replace(deployment("google/tight", 0.9), max_output=100)]

    assert ranked(sources, max_tokens=2000, shares={"groq/roomy": 0.95})[0] == "groq/roomy"


@given(st.floats(0, 0.99), st.floats(0, 1))
def test_the_last_resort_is_last_whatever_the_others_are(used, quality):
    sources = [deployment("embedded/small", 1.0, last_resort=True), deployment("groq/other", quality)]

    assert ranked(sources, shares={"groq/other": used})[-1] == "embedded/small"


def test_the_callers_own_order_goes_before_any_score():
    sources = [deployment("groq/a", 0.9), deployment("google/b", 0.1), deployment("nvidia/c", 0.5)]

    assert ranked(sources, order=("google", "nvidia")) == ["google/b", "nvidia/c", "groq/a"]
    assert ranked(sources, models=("c", "b", "a")) == ["nvidia/c", "google/b", "groq/a"]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.integers(0, 5), st.floats(0, 0.99), st.floats(0, 0.99))
def test_a_source_never_gains_by_being_fuller(qualities, which, used, more):
    sources = [deployment(f"groq/m{place}", quality) for place, quality in enumerate(qualities)]
    one = sources[which % len(sources)].name
    low, high = sorted((used, more))

    assert ranked(sources, shares={one: low}).index(one) <= ranked(sources, shares={one: high}).index(one)


def test_a_long_request_spares_tokens_that_are_dear():
    by_tokens = deployment("groq/by-tokens", 0.8)
    tokens = Bucket(key="t", unit="tokens", limit=200_000, window="refill", period=86_400, window_name="day")
    by_tokens = msgspec.structs.replace(by_tokens, buckets=(tokens,))
    known = {"t": Price(0.1, NOW), "google/by-requests": Price(0.2, NOW)}
    seen = view([by_tokens, deployment("google/by-requests", 0.7)], known)

    def first(size: int) -> str:
        return plan(call(prompt_tokens=size, output_tokens=0), Tried(), seen, NOW).ranked[0].name

    assert first(200) == "groq/by-tokens"
    assert first(20_000) == "google/by-requests"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.99), st.floats(0.1, 20)), min_size=2, max_size=8))
def test_what_is_explained_is_what_was_ranked_by(sources):
    health, known, made = unshared(), {}, []
    for number, (quality, used, latency) in enumerate(sources):
        one = deployment(f"groq/m{number}", quality)
        health.timed(one.name, (Point(TYPICAL, latency),), NOW)
        known[one.name] = share(used)
        made.append(one)
    asked, seen = call(), view(made, known, health)
    bid = seen.bid(asked, asked.wants, NOW)
    scores = {
        one.deployment.name: appraise(one, known, health.expected(one.deployment.name), NOW, bid).score
        for one in seen.catalog.fitting(asked.wants, NOW)
    }

    order = [d.name for d in plan(asked, Tried(), seen, NOW).ranked]

    assert order == sorted(order, key=lambda name: -scores[name])


# ── why the others may not, and when that changes ──


def in_flight(name: str) -> Deployment:
    slot = Bucket(key=name, unit="in-flight", limit=1, window="in-flight")
    return msgspec.structs.replace(deployment(name), buckets=(slot,))


def test_a_full_slot_has_no_moment_it_is_retried_when_freed():
    one = in_flight("groq/one")
    busy = plan(call(), Tried(), view([one], {"groq/one": Price(0.0, NOW, when_freed=True)}), NOW)
    tried = Tried()
    tried.refused([one], NoRoom((Refusal(one.buckets[0], math.inf, when_freed=True),)))

    assert (busy.ranked, busy.retry) == ([], Retry(when_freed=True))
    assert plan(call(), tried, view([one]), NOW).retry == Retry(when_freed=True)


def test_a_full_window_opens_at_its_end():
    found = planned([deployment("groq/a")], shares={"groq/a": 1.0})

    assert (found.ranked, [d.name for d in found.full], found.retry) == ([], ["groq/a"], Retry(NOW + 60))


def test_while_one_is_the_recovery_trial_the_others_wait_for_its_end():
    health = unshared()
    health.failed("groq/a", "down", 10, NOW)
    health.trying("groq/a", NOW + 10)

    assert plan(call(), Tried(), view([deployment("groq/a")], health=health), NOW).retry == Retry(NOW + 10)
    assert plan(call(), Tried(), view([deployment("groq/a")], health=health), NOW + 11).retry == Retry(when_freed=True)


def test_it_looks_beyond_its_short_list_before_it_says_that_none_can():
    many = [deployment(f"groq/m{n:02}", 1 - n / 100) for n in range(SHORTLIST + 5)]
    seen, tried = view(many), Tried()
    first = plan(call(), tried, seen, NOW)
    tried.refused(first.ranked, NoRoom(tuple(Refusal(d.buckets[0], math.inf) for d in first.ranked)))
    second = plan(call(), tried, seen, NOW)

    assert [d.name for d in first.ranked] == [d.name for d in many[:SHORTLIST]]
    assert [d.name for d in second.ranked] == [d.name for d in many[SHORTLIST:]]


def test_what_is_refused_is_asked_again_after_a_wait_but_for_what_outgrows_a_quota():
    small, full = deployment("groq/small"), deployment("google/full")
    tried, seen = Tried(), view([small, full])
    tried.refused([small, full], NoRoom((Refusal(small.buckets[0], math.inf), Refusal(full.buckets[0], NOW + 5))))
    before = plan(call(), tried, seen, NOW)
    tried.woke(Wait(5.0, 0, ("google/full",), "used"))

    assert (before.ranked, before.retry) == ([], Retry(NOW + 5))
    assert [d.name for d in plan(call(), tried, seen, NOW + 5).ranked] == ["google/full"]


def test_nothing_that_could_change_is_never_retried():
    assert planned([deployment("groq/a")], models=("unknown",)).retry == Retry()


# ── the small model on this machine, alone ──


def refusal(deployments: Sequence[Deployment], **wanted: Any) -> str:
    asked = call(**wanted)
    return after(asked, Tried(), spent=False, view=view(deployments), now=NOW).message


def test_who_has_the_small_model_alone_is_told_what_a_free_key_would_do():
    small = deployment("embedded/small", 0.1, last_resort=True)
    tools = refusal([small], capabilities=frozenset({"tools"}))

    assert "needs a free key: freeway setup" in tools
    assert tools.count("freeway setup") == 1
    assert "set a free key: freeway setup" in refusal([small], models=("nothing-of-that-name",))
    assert "freeway setup" not in refusal([small, deployment("groq/a")], capabilities=frozenset({"tools"}))


def test_what_was_full_when_the_ledger_was_last_asked_is_looked_at_again_once_time_has_passed():
    """Else one that waits for it would wake at a moment that is past, and again, without end."""
    sources = [deployment("groq/model")]
    tried = Tried()
    bucket = Bucket(key="a/minute", account="a", unit="requests", limit=1, window="clock", period=60)
    tried.refused(sources, NoRoom((Refusal(bucket, NOW + 5.0),)))
    later = NOW + 6.0

    stale = plan(call(), tried, view(sources), later)
    tried.look_again()
    fresh = plan(call(), tried, view(sources), later)

    assert (stale.ranked, stale.retry.at) == ([], NOW + 5.0)
    assert fresh.ranked == sources
