"""A real Prometheus reads a real gateway: it takes the rules, and every panel of the dashboard has data."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests import containers
from tests.acceptance.process import serving
from tests.acceptance.test_commands import others  # noqa: F401 - a fixture
from tests.conftest import ROOT

DASHBOARD = json.loads((ROOT / "charts" / "freeway" / "dashboards" / "freeway.json").read_text())
PANELS = {
    (panel["title"], target["refId"]): target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
}

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus")


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Debian's Prometheus with the configuration of ``deploy/prometheus``, scraping *target* every second: its API."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    shutil.copy(ROOT / "deploy" / "prometheus" / "alerts.yml", folder)
    (scrape,) = config["scrape_configs"]
    del scrape["authorization"]
    scrape["static_configs"] = [{"targets": [target]}]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = containers.free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        process.terminate()
        process.wait(20)


def told(api: str, path: str, **query: str) -> Any:
    try:
        answer = httpx.get(f"{api}/{path}", params=query, timeout=10)
    except httpx.TransportError:  # it is about to start
        return None
    return answer.json()["data"] if answer.status_code == 200 else None


def empty(api: str) -> list[tuple[str, str]]:
    """The panels without data."""
    found = []
    for panel, expression in PANELS.items():
        asked = expression.replace("$namespace", ".*").replace("$__rate_interval", "30s")
        data = told(api, "query", query=asked)
        if not data or not data["result"]:
            found.append(panel)
    return found


def test_every_panel_has_data_and_every_rule_is_well(others, tmp_path: Path):  # noqa: F811
    _, variables = others
    with serving(tmp_path, **variables) as (origin, _, _), prometheus(tmp_path, origin.partition("//")[2]) as api:
        deadline = time.monotonic() + 90
        while (without := empty(api)) and time.monotonic() < deadline:
            body = {"model": "auto", "messages": [{"role": "user", "content": "hi there"}]}
            httpx.post(f"{origin}/v1/chat/completions", json=body, timeout=20)
            time.sleep(0.5)
        (group,) = told(api, "rules")["groups"]
        firing = [alert["labels"]["alertname"] for alert in told(api, "alerts")["alerts"] if alert["state"] == "firing"]

    assert without == []
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert firing == []
