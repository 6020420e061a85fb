"""Who comes first, and why."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.quota.buckets import Bucket
from gateway.quota.demand import Step
from gateway.routing.latency import TYPICAL, Point
from gateway.routing.prices import Price
from gateway.routing.rank import Bid, appraise, rank
from gateway.routing.worth import worth
from gateway.words import Candidate, Deployment, FreeProof, Requirements
from providers.client import Provider
from providers.dialect import Account, Target
from tests.payloads import SPECS
from tests.unit.test_client import Canned, Wire
from tests.unit.test_health import unshared

PROOF = FreeProof("plan", "free plan", "", 0, 1e12)
NEEDS = Requirements(models=("auto",), capabilities=frozenset(), prompt_tokens=10, output_tokens=10, deadline=0)


NOW = 1_795_440_000.0


def deployment(name: str, quality: float = 0.5, talents: str = "", *, last_resort: bool = False) -> Deployment:
    provider, _, model = name.partition("/")
    account = Account(SPECS[provider], "https://acme.example", "key")
    return Deployment(
        model=model,
        provider=Provider(account, Wire(Canned(200, {}, []))),
        target=Target(account, model),
        proof=PROOF,
        buckets=(Bucket(key=name, unit="requests", limit=100, window="clock", period=60, window_name="minute"),),
        capabilities=frozenset(talents.split()),
        quality=quality,
        last_resort=last_resort,
    )


def share(used: float) -> Price:
    """A window's last minute, or a full one."""
    return Price(used, NOW, used / 60, NOW + 60 if used >= 1 else 0.0)


def ranked(deployments, needs=NEEDS, shares=None, latency=None, prefer="balance", now=NOW) -> list[str]:
    known = {key: share(used) for key, used in (shares or {}).items()}
    health = unshared()
    for name, seconds in (latency or {}).items():
        health.timed(name, (Point(TYPICAL, seconds),), now)
    candidates = [Candidate(d, worth(d, needs.capabilities, prefer), caller_prefers(needs, d)) for d in deployments]
    return [d.name for d in rank(candidates, known, health, now, Bid(prefer)).best]


def caller_prefers(needs, deployment) -> tuple[int, int]:
    asked = next((n for n, name in enumerate(needs.models) if name in (deployment.model, deployment.name)), 99)
    provider = deployment.provider.name
    return asked, needs.order.index(provider) if provider in needs.order else 99


def test_the_better_one_comes_first():
    assert ranked([deployment("groq/weak", 0.3), deployment("google/strong", 0.9)])[0] == "google/strong"


def test_what_is_nearly_used_up_is_kept():
    sources = [deployment("groq/better", 0.8), deployment("google/good", 0.7)]

    assert ranked(sources)[0] == "groq/better"
    assert ranked(sources, shares={"groq/better": 0.95})[0] == "google/good"


def test_what_was_used_up_is_as_good_as_new_in_the_next_window():
    sources = [deployment("groq/better", 0.8), deployment("google/good", 0.7)]

    assert ranked(sources, shares={"groq/better": 1.0}, now=NOW + 59)[0] == "google/good"
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
    candidates = [Candidate(d, worth(d, frozenset(), "speed"), (0, 0)) for d in sources]

    assert rank(candidates, {}, health, NOW, Bid("speed")).best[0].name == "google/late-but-quick"


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_last_resort_is_last_whatever_the_others_are(share, quality):
    sources = [deployment("embedded/small", 1.0, last_resort=True), deployment("groq/full", quality)]

    assert ranked(sources, shares={"groq/full": share})[-1] == "embedded/small"


def test_the_callers_own_order_goes_before_any_score():
    sources = [deployment("groq/a", 0.9), deployment("google/b", 0.1), deployment("nvidia/c", 0.5)]

    assert ranked(sources, msgspec.structs.replace(NEEDS, order=("google", "nvidia"))) == [
        "google/b", "nvidia/c", "groq/a",
    ]  # fmt: skip
    assert ranked(sources, msgspec.structs.replace(NEEDS, models=("c", "b", "a"))) == ["nvidia/c", "google/b", "groq/a"]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.integers(0, 5), st.floats(0, 1), st.floats(0, 1))
def test_a_source_never_gains_by_being_fuller(qualities, which, share, more):
    sources = [deployment(f"groq/m{place}", quality) for place, quality in enumerate(qualities)]
    one = sources[which % len(sources)].name
    low, high = sorted((share, more))

    assert ranked(sources, shares={one: low}).index(one) <= ranked(sources, shares={one: high}).index(one)


def test_a_long_request_spares_tokens_that_are_dear():
    by_tokens = deployment("groq/by-tokens", 0.8)
    tokens = Bucket(key="t", unit="tokens", limit=200_000, window="refill", period=86_400, window_name="day")
    by_tokens = msgspec.structs.replace(by_tokens, buckets=(tokens,))
    sources = [by_tokens, deployment("google/by-requests", 0.7)]
    candidates = [Candidate(d, worth(d, frozenset(), "balance"), (0, 0)) for d in sources]
    shares = {"t": Price(0.1, NOW), "google/by-requests": Price(0.2, NOW)}

    def first(size: float) -> str:
        return rank(candidates, shares, unshared(), NOW, Bid(tokens=size)).best[0].name

    assert first(200) == "groq/by-tokens"
    assert first(20_000) == "google/by-requests"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.99), st.floats(0.1, 20)), min_size=2, max_size=8))
def test_what_is_explained_is_what_was_ranked_by(sources):
    health, shares, candidates = unshared(), {}, []
    for number, (quality, used, latency) in enumerate(sources):
        one = deployment(f"groq/m{number}", quality)
        health.timed(one.name, (Point(TYPICAL, latency),), NOW)
        shares[one.name] = share(used)
        candidates.append(Candidate(one, worth(one, frozenset(), "balance"), (0, 0)))
    scores = {one.deployment.name: appraise(one, shares, health, NOW).score for one in candidates}

    order = [d.name for d in rank(candidates, shares, health, NOW).best]

    assert order == sorted(order, key=lambda name: -scores[name])


def test_a_long_request_leaves_to_shorter_ones_what_they_will_need_where_another_can_serve_it():
    better, other = deployment("groq/better", 0.9), deployment("google/other", 0.2)
    candidates = [Candidate(d, d.quality, (0, 0)) for d in (better, other)]
    prices = {"groq/better": Price(0.0, NOW, steps=(Step(2000, 2000, 0.01),))}

    def first(tokens: float) -> str:
        return rank(candidates, prices, unshared(), NOW, Bid(tokens=tokens)).best[0].name

    assert first(2000) == "groq/better"
    assert first(9000) == "google/other"
    assert [d.name for d in rank(candidates[:1], prices, unshared(), NOW, Bid(tokens=9000)).best] == ["groq/better"]


def test_a_deployment_whose_slots_are_in_use_comes_after_those_that_have_room():
    candidates = [Candidate(deployment("groq/better"), 0.9, (0, 0)), Candidate(deployment("google/other"), 0.2, (0, 0))]
    prices = {"groq/better": Price(0.0, NOW, when_freed=True)}

    assert [d.name for d in rank(candidates, prices, unshared(), NOW).best] == ["google/other", "groq/better"]
