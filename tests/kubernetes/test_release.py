"""
The chart in a real cluster, from installation to the end, in the order of this file: one release goes through all of it.

``make test-kubernetes CONTEXT=kind-kind`` does it in a namespace of its own, with simulated providers. IMAGE names an image that the
cluster has or can pull (freeway:VERSION), REDIS_IMAGE one of Redis or Valkey.
"""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Iterator

import helm_python as helm
import pytest

from tests.kubernetes.cluster import ASK, CHART, CONTEXT, PATIENCE, Cluster, bundled_redis, opened, values

pytestmark = pytest.mark.skipif(
    not CONTEXT, reason="no cluster is named: nothing was installed. `make test-kubernetes CONTEXT=…` does it"
)
RELEASE = "freeway"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """With the release installed."""
    with opened() as found:
        found.helm.install(CHART, RELEASE, values(), wait="watcher", timeout=PATIENCE)
        yield found


def upgraded(cluster: Cluster, **more: object) -> None:
    cluster.helm.upgrade(CHART, RELEASE, values(**more), wait="watcher", timeout=PATIENCE)


def test_it_is_installed_and_its_own_test_is_told_the_models(cluster: Cluster):
    told = cluster.helm.test(RELEASE, logs=True, timeout=PATIENCE)
    assert " models: " in told["logs"]


def test_a_slip_that_the_schema_knows_is_refused_before_anything_is_touched(cluster: Cluster):
    before = cluster.gateways()
    with pytest.raises(helm.HelmError, match="max_wiat"):
        upgraded(cluster, config={"requests": {"max_wiat": 60}})
    assert cluster.gateways() == before
    assert len(cluster.helm.history(RELEASE)) == 1


def test_a_slip_that_only_the_gateway_knows_is_refused_by_a_pod_while_the_old_gateway_serves(cluster: Cluster):
    before = cluster.gateways()
    mistaken = [{"name": "alice", "key_sha256": "a" * 64, "limits": ["20/fortnight"]}]
    with pytest.raises(helm.HelmError, match=r"(?s)pre-upgrade"):
        upgraded(cluster, config={"client": mistaken})
    assert cluster.gateways() == before
    assert "fortnight" in cluster.kubectl("logs", "job/freeway-check")
    cluster.ask(1)


def test_an_upgrade_of_one_gateway_leaves_no_four_seconds_without_an_answer(cluster: Cluster):
    secret = json.loads(cluster.kubectl("get", "secret", "freeway", "--output", "json"))["data"]
    before = cluster.gateways()
    asking = ["python", "-c", ASK.read_text(), "http://freeway:8000/v1/chat/completions"]
    cluster.run("asker", asking, FREEWAY_API_KEY=_decoded(secret["FREEWAY_API_KEY"]))
    time.sleep(5)  # some answers before
    upgraded(cluster, podAnnotations={"example.com/why": "an upgrade"})
    cluster.until(lambda: set(cluster.gateways()).isdisjoint(before) and len(_pods(cluster)) == 1)
    time.sleep(5)  # and some after

    told = [json.loads(line) for line in cluster.kubectl("logs", "asker").splitlines()]
    cluster.kubectl("delete", "pod", "asker")
    answered = [one["at"] for one in told if one["said"] == "answered"]
    longest = max(later - earlier for earlier, later in itertools.pairwise(answered))
    lost = [one for one in told if one["said"] != "answered"]
    print(f"{len(answered)} answered, {len(lost)} not, at most {longest:.2f} s between two answers")  # noqa: T201 - measured
    assert longest < 4, lost[:5]


def test_a_move_to_redis_takes_the_ledger_along_and_leaves_the_volume(cluster: Cluster):
    cluster.ask(3)
    before = cluster.used()
    assert before
    volume = _volume(cluster)
    upgraded(cluster, replicas=2, redis=bundled_redis())
    assert _volume(cluster) == volume
    assert len(cluster.gateways()) == 2
    assert cluster.used() == before
    assert " models: " in cluster.helm.test(RELEASE, logs=True, timeout=PATIENCE)["logs"]


def test_a_rollback_finds_the_ledger_as_it_was_left(cluster: Cluster):
    counted = cluster.used()
    cluster.ask(2)
    assert cluster.used() != counted
    cluster.helm.rollback(RELEASE, wait="watcher", timeout=PATIENCE)
    assert not cluster.there("statefulsets")
    assert cluster.used() == counted


def test_what_is_uninstalled_leaves_its_volumes_and_nothing_else(cluster: Cluster):
    volume = _volume(cluster)
    told = cluster.helm.uninstall(RELEASE, wait="watcher", timeout=PATIENCE)
    assert volume
    assert _volume(cluster) == volume
    assert "freeway" in told["info"], "it does not say what was kept"
    kinds = "deployments,statefulsets,services,configmaps,secrets,jobs,networkpolicies,serviceaccounts"
    left = [one for one in cluster.there(kinds, instance=RELEASE) if "deletionTimestamp" not in one["metadata"]]
    assert [f"{one['kind']} {one['metadata']['name']}" for one in left] == []


def _pods(cluster: Cluster) -> list[object]:
    return list(cluster.there("pods", component="gateway"))


def _volume(cluster: Cluster) -> str:
    """The volume of the single gateway's ledger."""
    claims = {one["metadata"]["name"]: one for one in cluster.there("pvc", instance=RELEASE)}
    return str(claims["freeway"]["spec"]["volumeName"])


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
