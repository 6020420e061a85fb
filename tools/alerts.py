"""
``make alerts``: the chart's alert rules for a Prometheus without Kubernetes, in ``deploy/prometheus/alerts.yml``.

The chart's are the one source. There gateways are known by namespace and service, here by the job that scrapes them.
"""

from __future__ import annotations

from pathlib import Path

import helm_python as helm
import yaml

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
_NAMESPACE, _RELEASE = "any", "freeway"
_CHARTS, _OURS = f'namespace="{_NAMESPACE}", service="{_RELEASE}"', 'job="freeway"'


def rules() -> str:
    """What the file should hold."""
    chart = helm.Chart.load(str(ROOT / "charts" / "freeway"))
    made = chart.render({"metrics": {"prometheusRule": {"enabled": True}}}, name=_RELEASE, namespace=_NAMESPACE)
    text = next(text for name, text in made.items() if name.endswith("/monitoring.yaml"))
    (rule,) = (one for one in yaml.safe_load_all(text) if one)
    for one in rule["spec"]["groups"][0]["rules"]:
        one["expr"] = " ".join(one["expr"].replace(_CHARTS, _OURS).split())
    listed = yaml.safe_dump(rule["spec"], sort_keys=False, width=1000, allow_unicode=True)
    return f"# Made of charts/freeway/alerts.yaml by `make alerts`.\n{listed}"


if __name__ == "__main__":
    RULES.write_text(rules())
