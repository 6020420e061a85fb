"""Every manifest of every combination is what Kubernetes would take: strictly, so that an unknown field is a mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import kubernetes_validate
import pytest
from kubernetes_validate import utils

from gateway import __version__
from tests.chart.rendering import CHART, MATRIX, Manifest, chart, manifests

_CRDS = Path(__file__).parent / "crds"
_OLDEST, _NEWEST = "1.30", kubernetes_validate.latest_version()


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> Iterator[None]:
    """The library reads megabytes of definitions, and looks for its versions, for each manifest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", lru_cache(utils.schema_contents))
        patch.setattr(utils, "all_versions", lru_cache(utils.all_versions))
        yield


@lru_cache
def _checked(text: str) -> None:
    """Raises for what is not valid, and for a kind without a schema. Equal manifests are checked once."""
    manifest: Manifest = json.loads(text)
    own = _CRDS / f"{manifest['kind'].lower()}.json"
    if own.exists():
        jsonschema.Draft202012Validator(json.loads(own.read_text())).validate(manifest)
        return
    for version in (_OLDEST, _NEWEST):
        kubernetes_validate.validate(manifest, version, strict=True)


def _check(manifest: Manifest) -> None:
    _checked(json.dumps(manifest, sort_keys=True))


@pytest.mark.parametrize("name", MATRIX)
def test_every_manifest_is_valid(name: str) -> None:
    for manifest in manifests(name):
        _check(manifest)


@pytest.mark.parametrize("name", ["nothing said", "a Secret of one's own", "several on Redis", "everything"])
def test_the_chart_passes_helms_own_lint(name: str) -> None:
    report = helm.lint(str(CHART), MATRIX[name], strict=True)
    bad = [message for message in report["messages"] if message["severity"] >= 2]
    assert not report["errors"], report["errors"]
    assert not bad, bad


def test_all_kinds_are_made_by_some_combination() -> None:
    made = {manifest["kind"] for name in MATRIX for manifest in manifests(name)}
    assert made == {
        "ConfigMap", "Deployment", "HTTPRoute", "HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy",
        "PersistentVolumeClaim", "Pod", "PodDisruptionBudget", "PrometheusRule", "Secret", "Service",
        "ServiceAccount", "ServiceMonitor", "StatefulSet",
    }  # fmt: skip


def test_every_manifest_of_a_combination_has_its_own_name() -> None:
    for name in MATRIX:
        names = [(one["kind"], one["metadata"]["name"]) for one in manifests(name)]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "manifest",
    [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prots": []}},
        {"apiVersion": "v1", "kind": "Servise", "metadata": {"name": "a"}},
        {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "a"}, "spec": {}},
    ],
    ids=["unknown field", "unknown kind", "incomplete"],
)
def test_a_wrong_manifest_would_be_found(manifest: dict[str, Any]) -> None:
    with pytest.raises((jsonschema.ValidationError, utils.SchemaNotFoundError)):
        _check(manifest)


def test_chart_and_gateway_have_one_version() -> None:
    assert chart().version == __version__
    assert chart().metadata["appVersion"] == __version__
