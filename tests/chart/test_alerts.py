"""Each alert fires for what it is there for, and none while all is well: by Prometheus' own tool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.observe.metrics import Dollars, Metrics, State
from tests.unit.test_metrics import level, samples
from tools.alerts import RULES, rules

WELL = {
    'freeway_build_info{job="freeway", version="1"}': "1x1500",
    'freeway_spent_dollars_total{job="freeway"}': "0x1500",
    'freeway_withdrawn_total{job="freeway", alarm="true"}': "0x1500",
    'freeway_deployments{job="freeway", provider="groq"}': "9x1500",
    'freeway_deployments{job="freeway", provider="ollama"}': "0x1500",
    'freeway_source_up{job="freeway", provider="groq"}': "1x1500",
    'freeway_source_up{job="freeway", provider="ollama"}': "0x1500",
    'freeway_store_up{job="freeway", of="ledger"}': "1x1500",
    'freeway_store_up{job="freeway", of="state"}': "1x1500",
    'freeway_requests_total{job="freeway", outcome="served"}': "0+60x1500",
    'freeway_requests_total{job="freeway", outcome="no_capacity"}': "0x1500",
    'freeway_bucket_limit{job="freeway", account="groq", bucket="d"}': "100x1500",
    'freeway_bucket_remaining{job="freeway", account="groq", bucket="d"}': "50x1500",
    'freeway_bucket_limit{job="freeway", account="google", bucket="d"}': "100x1500",
    'freeway_bucket_remaining{job="freeway", account="google", bucket="d"}': "1x1500",
    'freeway_wait_seconds_bucket{job="freeway", le="10"}': "0+60x1500",
    'freeway_wait_seconds_bucket{job="freeway", le="+Inf"}': "0+60x1500",
    'freeway_overhead_seconds_bucket{job="freeway", le="0.1"}': "0+60x1500",
    'freeway_overhead_seconds_bucket{job="freeway", le="0.5"}': "0+60x1500",
    'freeway_overhead_seconds_bucket{job="freeway", le="+Inf"}': "0+60x1500",
}
"""A gateway that is well, a value for each minute. What is not named stays at what it is."""

ILL: dict[str, dict[str, str | None]] = {
    "FreewayDown": dict.fromkeys(WELL),
    "FreewayCostsMoney": {'freeway_spent_dollars_total{job="freeway"}': "0x60 0.05x1500"},
    "FreewayWithdrawn": {'freeway_withdrawn_total{job="freeway", alarm="true"}': "0x60 1x1500"},
    "FreewayNoSource": {'freeway_source_up{job="freeway", provider="groq"}': "0x1500"},
    "FreewayStoreLost": {'freeway_store_up{job="freeway", of="ledger"}': "1x60 0x1500"},
    "FreewayRefuses": {'freeway_requests_total{job="freeway", outcome="no_capacity"}': "0+6x1500"},
    "FreewayQuotaLow": {'freeway_bucket_remaining{job="freeway", account="groq", bucket="d"}': "5x1500"},
    "FreewayWaits": {'freeway_wait_seconds_bucket{job="freeway", le="10"}': "0+50x1500",
                     'freeway_wait_seconds_bucket{job="freeway", le="20"}': "0+60x1500"},
    "FreewaySlow": {'freeway_overhead_seconds_bucket{job="freeway", le="0.1"}': "0+50x1500"},
}  # fmt: skip
"""What is otherwise when each alert fires, as it does an hour and fourteen minutes later. None: it is not told at all."""


def promtool(folder: Path, tests: list[dict[str, Any]]) -> str:
    """What it says of *tests*."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool (Debian's package prometheus) is not installed")
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([program, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def case(otherwise: dict[str, str | None], firing: str | None) -> dict[str, Any]:
    """All alerts, 74 minutes into *otherwise*: *firing* alone is expected to fire."""
    series = {name: value for name, value in {**WELL, **otherwise}.items() if value is not None}
    groups = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": value} for name, value in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}}) or vector(0)',
                "eval_time": "74m",
                "exp_samples": [{"labels": "{}", "value": int(rule["alert"] == firing)}],
            }
            for rule in groups
        ],
    }


def test_the_rules_for_compose_are_the_charts():
    assert RULES.read_text() == rules(), "run `make alerts`"


def test_every_alert_has_a_way_to_provoke_it():
    assert [rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]] == list(ILL)


def test_none_fires_while_all_is_well(tmp_path: Path):
    assert "SUCCESS" in promtool(tmp_path, [case({}, None)])


@pytest.mark.parametrize("alert", ILL)
def test_it_fires_alone_for_what_it_is_there_for(tmp_path: Path, alert: str):
    assert "SUCCESS" in promtool(tmp_path, [case(ILL[alert], alert)])


def test_what_the_alerts_read_is_told_before_the_first_event():
    """Every series above is on the page of a gateway that was just started, by its name and labels."""
    state = State(
        now=0.0, waiting=0, ledger_up=True, state_up=True, deployments={"groq": 0}, reachable={"groq": True},
        levels=[level()], dollars=Dollars(0.0, 0.0),
    )  # fmt: skip
    page = samples(Metrics("1", ["groq"]).page(state).decode())
    for series in WELL:
        assert series.partition("{")[0] in page, series
