"""What is counted: under bounded names, and nothing that a caller makes up."""

from __future__ import annotations

import timeit
from time import process_time
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.events import Attempted, Changed, Ended, Hedged, Withdrawn
from gateway.observe import metrics as m
from gateway.observe.metrics import Dollars, Metrics, State
from gateway.quota.nouns import LevelView
from providers.chat import Usage

NOW = 1_000.0


def ended(**fields: Any) -> Ended:
    known: dict[str, Any] = {
        "request": "req_1", "client": "alice", "asked": "whatever-they-say", "outcome": "served", "status": 200,
        "deployment": "groq/openai/gpt-oss-20b", "model": "gpt-oss-20b", "attempts": 1, "first_content": 0.3,
        "took": 0.7, "usage": Usage(prompt_tokens=5, completion_tokens=7),
    }  # fmt: skip
    return Ended(**(known | fields))


def level(**fields: Any) -> LevelView:
    known: dict[str, Any] = {
        "account": "groq", "bucket": "groq/requests/day", "unit": "requests", "window": "day", "used": 30.0,
        "limit": 100.0, "limit_from": "config", "resets_at": NOW + 60,
    }  # fmt: skip
    return LevelView(**(known | fields))


def read(
    metrics: Metrics, *levels: LevelView, store_up: bool = True, **more: Any
) -> dict[str, dict[tuple[str, ...], float]]:
    """The page, as Prometheus reads it: the values by name, and by the values of their labels in the order of these."""
    known: dict[str, Any] = {"deployments": {"groq": 2}, "reachable": {"groq": True}}
    state = State(now=NOW, waiting=3, ledger_up=store_up, state_up=True, levels=levels, **(known | more))
    return samples(metrics.page(state).decode())


def samples(page: str) -> dict[str, dict[tuple[str, ...], float]]:
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels[name] for name in sorted(sample.labels))] = (
                sample.value
            )
    return found


def test_every_event_is_counted_under_the_names_that_dashboards_know():
    metrics = Metrics("1.2")
    metrics(ended(waited=2.0, overhead=0.002, saved=0.5, dollars=0.25))
    metrics(ended(outcome="no_capacity", status=429, deployment=None, model=None, first_content=None, usage=None))
    metrics(Attempted("req_1", "google/gemini", "Busy", "no"))
    metrics(Changed("appeared", "groq/new", "", NOW))
    metrics(Withdrawn("groq", "it cost", NOW, alarm=True))
    metrics(Hedged("req_1", "groq/openai/gpt-oss-20b", "won"))
    page = read(metrics, level(), dollars=Dollars(0.25, 0.5))
    page = {name: {labels: value for labels, value in found.items() if value} for name, found in page.items()}

    assert page["freeway_requests_total"] == {
        ("gpt-oss-20b", "served", "groq"): 1,
        ("none", "no_capacity", "none"): 1,
    }
    assert page["freeway_attempts_total"] == {("Busy", "google"): 1}
    assert page["freeway_request_seconds_count"] == {("served",): 1, ("no_capacity",): 1}
    assert page["freeway_first_content_seconds_count"] == {("groq",): 1}
    assert page["freeway_wait_seconds_sum"] == {(): 2.0}
    assert page["freeway_overhead_seconds_count"] == {(): 1}
    assert page["freeway_tokens_total"] == {("prompt", "groq"): 5, ("completion", "groq"): 7}
    assert (page["freeway_spent_dollars_total"][()], page["freeway_saved_dollars_total"][()]) == (0.25, 0.5)
    assert page["freeway_changes_total"] == {("appeared",): 1}
    assert page["freeway_withdrawn_total"] == {("true",): 1}
    assert page["freeway_hedges_total"] == {("won",): 1}
    assert page["freeway_build_info"] == {("1.2",): 1}
    assert (page["freeway_waiting"], page["freeway_store_up"]) == ({(): 3}, {("ledger",): 1, ("state",): 1})
    assert (page["freeway_deployments"], page["freeway_source_up"]) == ({("groq",): 2}, {("groq",): 1})


def test_what_can_happen_is_shown_from_the_start_at_0():
    """Of a series that begins with its first event, Prometheus sees no increase."""
    page = read(Metrics("1", ["groq"]), reachable={}, deployments={})

    assert page["freeway_requests_total"][("none", "no_capacity", "none")] == 0
    assert page["freeway_attempts_total"][("RateLimited", "groq")] == 0
    assert page["freeway_tokens_total"] == {("completion", "groq"): 0, ("prompt", "groq"): 0}
    assert page["freeway_hedges_total"] == {("won",): 0, ("lost",): 0}
    assert page["freeway_withdrawn_total"] == {("true",): 0, ("false",): 0}
    assert page["freeway_changes_total"][("charged",)] == 0
    assert page["freeway_deployments"] == page["freeway_source_up"] == {("none",): 0}


def test_dollars_are_not_told_before_they_are_known():
    """A counter that begins at 0 and then shows what was spent before would look like money spent now."""
    assert "freeway_spent_dollars_total" not in read(Metrics("1"))


def test_a_bucket_shows_what_is_left_and_a_closed_one_shows_nothing_until_it_opens():
    page = read(
        Metrics("1"),
        level(),
        level(bucket="groq/tokens/day", closed_until=NOW + 90),
        store_up=False,
    )
    is_open, closed = ("groq", "groq/requests/day"), ("groq", "groq/tokens/day")

    assert page["freeway_bucket_used"] == {is_open: 30, closed: 30}
    assert page["freeway_bucket_limit"] == {is_open: 100, closed: 100}
    assert page["freeway_bucket_remaining"] == {is_open: 70, closed: 0}
    assert page["freeway_bucket_reset_seconds"] == {is_open: 60, closed: 90}
    assert page["freeway_store_up"] == {("ledger",): 0, ("state",): 1}


def test_what_a_caller_says_is_no_label():
    metrics = Metrics("1")
    for number in range(50):
        metrics(
            ended(
                asked=f"made-up-{number}", client="?", status=401, outcome="x", deployment=None, request=f"req_{number}"
            )
        )
    page = metrics.page(
        State(now=NOW, waiting=0, ledger_up=True, state_up=True, deployments={}, reachable={}, levels=())
    ).decode()

    assert not [word for word in ("made-up", "req_", 'client="') if word in page]


def test_clients_are_told_apart_up_to_a_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(m, "MOST_CLIENTS", 2)
    metrics = Metrics("1")
    for name in ("alice", "bob", "carol", "dave"):
        metrics(ended(client=name))
        metrics(ended(client=name, outcome="no_capacity", status=429, deployment=None, model=None, usage=None))
    page = read(metrics)

    of = page["freeway_client_requests_total"]
    assert of == {
        (name, outcome): number
        for name, number in (("alice", 1), ("bob", 1), ("other", 2))
        for outcome in ("served", "failed")
    }
    assert page["freeway_client_tokens_total"]["other", "completion"] == 14


def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(m, "MOST_MODELS", 3)
    monkeypatch.setattr(m, "MOST_BUCKETS", 2)
    metrics = Metrics("1")
    for number in range(9):
        metrics(ended(model=f"model-{number}"))
    page = read(metrics, *(level(bucket=f"groq/{used}", used=used) for used in (10.0, 99.0, 20.0, 98.0)))

    assert page["freeway_requests_total"][("other", "served", "groq")] == 6
    assert len([labels for labels in page["freeway_requests_total"] if "served" in labels]) == 4
    assert set(page["freeway_bucket_used"].values()) == {99.0, 98.0}  # the fullest


def test_counting_a_request_takes_little_of_its_time():
    metrics, event = Metrics("1"), ended(waited=0.1, overhead=0.001)
    each = min(timeit.repeat(lambda: metrics(event), number=200, repeat=5, timer=process_time)) / 200

    assert each < 0.000_1  # seconds; it is some 10 µs
