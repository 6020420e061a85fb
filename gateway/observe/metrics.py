"""
What Prometheus reads: events are counted as they come, levels are handed in when it asks.

Nothing that a caller makes up becomes a label: models are named as the catalog names what served, and their number is
bounded, as is that of the buckets and of the clients, who have the names that the configuration or an admin gave them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

import prometheus_client as prometheus
from msgspec import Struct
from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.events import Attempted, Changed, ChangeKind, Ended, Event, Hedged, Withdrawn
from gateway.quota.nouns import LevelView
from providers.failures import ProviderFailure

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MOST_MODELS = 500
"""Pairs of provider and model that are told apart; those that come later are ``other``."""

MOST_CLIENTS = 100
"""Clients that are told apart; those that come later are ``other``."""

MOST_BUCKETS = 2000
"""Buckets that are shown: the fullest, if there are more."""

_NOBODY = "none"
_UNSERVED = ("no_capacity", "no_source", "interrupted", "left", "internal_error", "shutting_down")
"""Ends of requests that are shown from the start, with none of them."""
_LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
_SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)


class Dollars(Struct, frozen=True):
    """Of all gateways of one store, since it is there: what was *spent*, and *saved* where the models are paid for."""

    spent: float
    saved: float


class State(Struct, frozen=True, kw_only=True):
    """
    What is not counted but looked at. *deployments* is how many each provider has, *reachable* whether its list could be had the
    last time, *dollars* None until they are known; *now* is in unix seconds.
    """

    now: float
    waiting: int
    ledger_up: bool
    state_up: bool
    deployments: Mapping[str, int]
    reachable: Mapping[str, bool]
    levels: Iterable[LevelView]
    dollars: Dollars | None = None


class _Served:
    """The series of one model at one provider, looked up once."""

    def __init__(self, metrics: Metrics, provider: str, model: str) -> None:
        self.requests = metrics.requests.labels(provider, model, "served")
        self.first_content = metrics.first_content.labels(provider)
        self.prompt = metrics.tokens.labels(provider, "prompt")
        self.completion = metrics.tokens.labels(provider, "completion")


class _OfClient:
    """The series of one client, looked up once."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.name = name
        self.served = metrics.client_requests.labels(name, "served")
        self.prompt = metrics.client_tokens.labels(name, "prompt")
        self.completion = metrics.client_tokens.labels(name, "completion")


class Metrics:
    """
    An observer, and the page that it makes of what it heard. What can happen at *providers* is shown from the start, at 0: of a
    series that begins with its first event, Prometheus sees no increase.
    """

    def __init__(self, version: str, providers: Iterable[str] = ()) -> None:
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, unasked for
        self._registry = registry = prometheus.CollectorRegistry()
        self.requests = Counter(
            "freeway_requests",
            "Requests by the source that served them",
            ["provider", "model", "outcome"],
            registry=registry,
        )
        self.first_content = Histogram(
            "freeway_first_content_seconds",
            "From asking the provider that served to its first content",
            ["provider"],
            buckets=_LONG,
            registry=registry,
        )
        self.tokens = Counter("freeway_tokens", "As providers count them", ["provider", "kind"], registry=registry)
        self._attempts = Counter(
            "freeway_attempts", "Failed attempts by class", ["provider", "failure"], registry=registry
        )
        self._hedges = Counter(
            "freeway_hedges",
            "Second sources that were asked, too, as the first was silent",
            ["outcome"],
            registry=registry,
        )
        self._took = Histogram(
            "freeway_request_seconds", "Requests, altogether", ["outcome"], buckets=_LONG, registry=registry
        )
        self._waited = Histogram(
            "freeway_wait_seconds", "Waited for capacity, by every request", buckets=_LONG, registry=registry
        )
        self._overhead = Histogram(
            "freeway_overhead_seconds", "The gateway's own time", buckets=_SHORT, registry=registry
        )
        self._changes = Counter("freeway_changes", "Changes of models and accounts", ["kind"], registry=registry)
        self._withdrawn = Counter("freeway_withdrawn", "Taken out of service", ["alarm"], registry=registry)
        self.client_requests = Counter(
            "freeway_client_requests", "Requests by client", ["client", "outcome"], registry=registry
        )
        self.client_tokens = Counter(
            "freeway_client_tokens", "As providers count them, by client", ["client", "kind"], registry=registry
        )
        build = prometheus.Gauge("freeway_build_info", "Which gateway this is", ["version"], registry=registry)
        build.labels(version).set(1)
        self._served: dict[tuple[str, str], _Served] = {}
        self._clients: dict[str, _OfClient] = {}
        self._took_served = self._took.labels("served")
        self._show_from_the_start(providers)

    def _show_from_the_start(self, providers: Iterable[str]) -> None:
        for outcome in _UNSERVED:
            self.requests.labels(_NOBODY, _NOBODY, outcome)
            self._took.labels(outcome)
        for outcome in ("won", "lost"):
            self._hedges.labels(outcome)
        for kind in get_args(ChangeKind):
            self._changes.labels(kind)
        for alarm in ("true", "false"):
            self._withdrawn.labels(alarm)
        for provider in providers:
            self.first_content.labels(provider)
            for kind in ("prompt", "completion"):
                self.tokens.labels(provider, kind)
            for failure in ProviderFailure.__subclasses__():
                self._attempts.labels(provider, failure.__name__)

    def __call__(self, event: Event) -> None:
        """Count *event*."""
        match event:
            case Ended():
                self._ended(event)
            case Attempted():
                self._attempts.labels(_provider(event.deployment), event.failure).inc()
            case Hedged():
                self._hedges.labels(event.outcome).inc()
            case Changed():
                self._changes.labels(event.kind).inc()
            case Withdrawn():
                self._withdrawn.labels(str(event.alarm).lower()).inc()

    def _ended(self, event: Ended) -> None:
        self._of_client(event)
        self._waited.observe(event.waited)
        if event.overhead is not None:
            self._overhead.observe(event.overhead)
        if event.deployment is None or event.model is None:
            self.requests.labels(_NOBODY, _NOBODY, event.outcome).inc()
            self._took.labels(event.outcome).observe(event.took)
            return
        provider = _provider(event.deployment)
        model = self._bounded(provider, event.model)
        served = self._served.get((provider, model))
        if served is None:
            served = self._served[(provider, model)] = _Served(self, provider, model)
        if event.outcome == "served":
            served.requests.inc()
            self._took_served.observe(event.took)
        else:
            self.requests.labels(provider, model, event.outcome).inc()
            self._took.labels(event.outcome).observe(event.took)
        if event.first_content is not None:
            served.first_content.observe(event.first_content)
        if event.usage is not None:
            served.prompt.inc(max(0, event.usage.prompt_tokens))
            served.completion.inc(max(0, event.usage.completion_tokens))

    def _of_client(self, event: Ended) -> None:
        if event.client == "?":  # it has no key, or a wrong one
            return
        series = self._clients.get(event.client)
        if series is None:
            client = event.client if len(self._clients) < MOST_CLIENTS else "other"
            series = self._clients.setdefault(client, _OfClient(self, client))
        if event.outcome == "served":
            series.served.inc()
        else:
            self.client_requests.labels(series.name, "left" if event.outcome == "left" else "failed").inc()
        if event.usage is not None:
            series.prompt.inc(max(0, event.usage.prompt_tokens))
            series.completion.inc(max(0, event.usage.completion_tokens))

    def _bounded(self, provider: str, model: str) -> str:
        return model if (provider, model) in self._served or len(self._served) < MOST_MODELS else "other"

    def page(self, state: State) -> bytes:
        """All there is, in Prometheus' text format."""
        looked_at = prometheus.CollectorRegistry(auto_describe=False)
        looked_at.register(_Looked(state))
        return prometheus.generate_latest(self._registry) + prometheus.generate_latest(looked_at)


class _Looked(Collector):
    """The gauges of one *state*."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        state = self._state
        yield GaugeMetricFamily("freeway_waiting", "Requests that wait for capacity", value=state.waiting)
        store = GaugeMetricFamily("freeway_store_up", "0 while what keeps it is lost", labels=["of"])
        store.add_metric(["ledger"], state.ledger_up)
        store.add_metric(["state"], state.state_up)
        yield store
        if state.dollars is not None:
            yield CounterMetricFamily(
                "freeway_spent_dollars", "What requests have cost all gateways of one store", value=state.dollars.spent
            )
            yield CounterMetricFamily(
                "freeway_saved_dollars", "The same where the models are paid for", value=state.dollars.saved
            )
        deployments = GaugeMetricFamily("freeway_deployments", "Models that may serve", labels=["provider"])
        for provider, number in (state.deployments or {_NOBODY: 0}).items():
            deployments.add_metric([provider], number)
        yield deployments
        reachable = GaugeMetricFamily(
            "freeway_source_up", "Whether a provider's list could be had the last time", labels=["provider"]
        )
        for provider, up in (state.reachable or {_NOBODY: False}).items():
            reachable.add_metric([provider], up)
        yield reachable
        yield from _of_buckets(sorted(state.levels, key=_emptiness)[:MOST_BUCKETS], state.now)


def _of_buckets(levels: Iterable[LevelView], now: float) -> Iterator[GaugeMetricFamily]:
    """A closed bucket has nothing left until it opens, whatever was counted."""
    labels = ["account", "bucket"]
    used = GaugeMetricFamily("freeway_bucket_used", "Used of a limit", labels=labels)
    limit = GaugeMetricFamily("freeway_bucket_limit", "A limit, as it is known now", labels=labels)
    remaining = GaugeMetricFamily("freeway_bucket_remaining", "What can be used of a limit now", labels=labels)
    reset = GaugeMetricFamily("freeway_bucket_reset_seconds", "Until all of a limit can be used again", labels=labels)
    for level in levels:
        names = [level.account, level.bucket]
        used.add_metric(names, level.used)
        limit.add_metric(names, level.limit)
        remaining.add_metric(names, 0.0 if level.closed_until else max(0.0, level.limit - level.used))
        reset.add_metric(names, max(0.0, max(level.resets_at, level.closed_until or 0.0) - now))
    yield from (used, limit, remaining, reset)


def _emptiness(level: LevelView) -> float:
    return -1.0 if level.closed_until else 1.0 - level.used / level.limit if level.limit else 0.0


def _provider(deployment: str) -> str:
    return deployment.partition("/")[0]
