"""What a release consists of."""

from __future__ import annotations

import tarfile
from pathlib import Path

import helm_python as helm
import yaml

from gateway import __version__
from tools.dist import CHART, chart

DIGEST = "sha256:" + "a" * 64


def test_the_packaged_chart_is_the_chart(tmp_path: Path):
    package = chart(tmp_path)
    assert package.name == f"freeway-{__version__}.tgz"
    with tarfile.open(package) as archive:
        names = set(archive.getnames())
    files = {f"freeway/{path.relative_to(CHART)}" for path in CHART.rglob("*") if path.is_file()}
    assert names == files
    assert helm.Chart.load(str(package)).values == yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_published_chart_names_the_image_by_its_digest(tmp_path: Path):
    published = helm.Chart.load(str(chart(tmp_path, "registry.example.com/ai/freeway", DIGEST)))
    manifests = published.render({}, name="fw", namespace="ai")
    text = next(text for name, text in manifests.items() if name.endswith("/deployment.yaml"))
    assert f"image: registry.example.com/ai/freeway@{DIGEST}" in text
