"""Alerts and dashboard ask for metrics that the gateway has."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from gateway.observe.metrics import Dollars, Metrics, State
from tests.chart.rendering import CHART, manifests, of_kind

# The metrics of the gateway and the labels of each.
_METRICS = {
    "freeway_requests_total": {"provider", "model", "outcome"},
    "freeway_attempts_total": {"provider", "failure"},
    "freeway_request_seconds_bucket": {"outcome", "le"},
    "freeway_first_content_seconds_bucket": {"provider", "le"},
    "freeway_wait_seconds_bucket": {"le"},
    "freeway_overhead_seconds_bucket": {"le"},
    "freeway_waiting": set(),
    "freeway_tokens_total": {"provider", "kind"},
    "freeway_bucket_used": {"account", "bucket"},
    "freeway_bucket_limit": {"account", "bucket"},
    "freeway_bucket_remaining": {"account", "bucket"},
    "freeway_bucket_reset_seconds": {"account", "bucket"},
    "freeway_spent_dollars_total": set(),
    "freeway_saved_dollars_total": set(),
    "freeway_client_requests_total": {"client", "outcome"},
    "freeway_client_tokens_total": {"client", "kind"},
    "freeway_store_up": {"of"},
    "freeway_source_up": {"provider"},
    "freeway_hedges_total": {"outcome"},
    "freeway_deployments": {"provider"},
    "freeway_changes_total": {"kind"},
    "freeway_withdrawn_total": {"alarm"},
    "freeway_build_info": {"version"},
}
_PROMETHEUS_ADDS = {"namespace", "service"}


def _dashboard() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads((CHART / "dashboards" / "freeway.json").read_text("utf-8"))
    return dashboard


def _asked() -> list[str]:
    rules = of_kind(manifests("watched"), "PrometheusRule")[0]["spec"]["groups"][0]["rules"]
    panels = [target["expr"] for panel in _dashboard()["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in rules] + panels


def test_these_are_the_metrics_of_the_gateway() -> None:
    page = Metrics("1").page(
        State(
            now=0.0,
            waiting=0,
            ledger_up=True,
            state_up=True,
            deployments={},
            reachable={},
            levels=(),
            dollars=Dollars(spent=0.0, saved=0.0),
        )
    )
    told = re.findall(r"^# TYPE (freeway_\w+) (\w+)$", page.decode(), re.MULTILINE)
    assert {f"{name}_bucket" if kind == "histogram" else name for name, kind in told} == _METRICS.keys()


@pytest.mark.parametrize("expression", _asked())
def test_every_expression_asks_for_metrics_and_labels_that_exist(expression: str) -> None:
    asked = re.findall(r"freeway_[a-z_]+", re.sub(r'"[^"]*"', "", expression))
    assert asked
    assert set(asked) <= _METRICS.keys()
    known = set().union(*(_METRICS[name] for name in asked)) | _PROMETHEUS_ADDS
    matched = set(re.findall(r"[{,]\s*([a-z_]+)\s*=", expression))
    grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
    assert matched | grouped <= known
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_alerts_keep_to_their_own_release() -> None:
    """Two Freeways in one cluster do not wake each other's people."""
    for rule in of_kind(manifests("watched"), "PrometheusRule")[0]["spec"]["groups"][0]["rules"]:
        selectors = re.findall(r"freeway_[a-z_]+\{([^}]*)\}", rule["expr"])
        assert selectors
        assert all('namespace="ai"' in one and 'service="fw-freeway"' in one for one in selectors)


def test_alerts_tell_of_what_must_never_happen() -> None:
    rules = of_kind(manifests("watched"), "PrometheusRule")[0]["spec"]["groups"][0]["rules"]
    severe = {rule["alert"] for rule in rules if rule["labels"]["severity"] == "critical"}
    assert severe == {"FreewayDown", "FreewayCostsMoney", "FreewayNoSource"}


def test_the_dashboard_is_the_file_and_grafana_would_take_it() -> None:
    shown = next(one for one in of_kind(manifests("watched"), "ConfigMap") if "freeway.json" in one["data"])
    assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboard = json.loads(shown["data"]["freeway.json"])
    assert dashboard == _dashboard()
    assert {"uid", "title", "schemaVersion", "templating", "time", "panels"} <= dashboard.keys()
    assert {one["name"] for one in dashboard["templating"]["list"]} == {"datasource", "namespace"}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["type"] in {"timeseries", "stat", "table"}
        letters = [target["refId"] for target in panel["targets"]]
        assert len(letters) == len(set(letters))


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in _dashboard()["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert grid["x"] + grid["w"] <= 24
        assert not cells & taken
        taken |= cells


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in _dashboard()["panels"] for target in panel["targets"])
    assert {name for name in _METRICS if name not in shown} == set()
