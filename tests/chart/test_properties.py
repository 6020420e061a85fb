"""What holds of every combination: nothing leaks, nothing is privileged, everything finds what it belongs to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart.rendering import MATRIX, Manifest, gateway, manifests, of_kind, pods, rendered

_every = pytest.mark.parametrize("name", MATRIX)


def _text(manifest: Manifest) -> str:
    return json.dumps(manifest)


def _within(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@_every
def test_secrets_stand_in_secrets_alone(name: str) -> None:
    """All secrets of the matrix begin with ``secret-``; what is made up is looked for by its value."""
    found = manifests(name)
    made = [value for one in of_kind(found, "Secret") for value in one["stringData"].values()]
    for manifest in found:
        if manifest["kind"] != "Secret":
            assert "secret-" not in _text(manifest)
            assert not any(value in _text(manifest) for value in made)


def test_no_note_tells_a_secret() -> None:
    for name in MATRIX:
        assert "secret-" not in rendered(name)["freeway/templates/NOTES.txt"]


def test_a_secret_of_ones_own_is_used_and_none_is_made() -> None:
    found = manifests("a Secret of one's own")
    assert not of_kind(found, "Secret")
    assert gateway(found)["containers"][0]["envFrom"] == [{"secretRef": {"name": "my-keys"}}]


@_every
def test_every_container_is_restricted(name: str) -> None:
    """As the Pod Security Standard *restricted* has it, and with a root file system that cannot be written."""
    for _, pod in pods(manifests(name)):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 1000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not any("hostPath" in volume for volume in pod.get("volumes", []))
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            if container["name"] == "beside":  # the user's own
                continue
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


@_every
def test_every_selector_finds_its_pods_and_no_others(name: str) -> None:
    found = manifests(name)
    labels = {meta["labels"]["app.kubernetes.io/component"]: meta["labels"] for meta, _ in pods(found)}
    for one in found:
        spec = one.get("spec", {})
        selector = {
            "Service": lambda spec: spec["selector"],
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
            "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        }.get(one["kind"])
        if selector is None:
            continue
        last = one["metadata"]["name"].rpartition("-")[2]
        owner = last if last in ("redis", "test", "check", "migrate") else "gateway"
        assert [which for which, those in labels.items() if _within(selector(spec), those)] == [owner]


@_every
def test_every_reference_finds_its_object(name: str) -> None:
    found = manifests(name)
    service = next(one for one in of_kind(found, "Service") if not one["metadata"]["name"].endswith("-redis"))
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in {p["name"] for p in gateway(found)["containers"][0]["ports"]}
    for ingress in of_kind(found, "Ingress"):
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["name"] == service["metadata"]["name"]
        assert backend["port"]["name"] in ports
    for route in of_kind(found, "HTTPRoute"):
        assert route["spec"]["rules"][0]["backendRefs"] == [
            {"name": service["metadata"]["name"], "port": ports["http"]}
        ]
    for monitor in of_kind(found, "ServiceMonitor"):
        assert _within(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
        assert monitor["spec"]["endpoints"][0]["port"] in ports
    for scaler in of_kind(found, "HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == of_kind(found, "Deployment")[0]["metadata"]["name"]


@_every
def test_every_volume_and_secret_that_is_named_is_there(name: str) -> None:
    found = manifests(name)
    there = {(one["kind"], one["metadata"]["name"]) for one in found}
    ones_own = {
        ("Secret", "my-keys"),
        ("Secret", "my-redis"),
        ("Secret", "more-keys"),
        ("Secret", "freeway-keys"),
        ("ConfigMap", "certs"),
        ("PersistentVolumeClaim", "mine"),
        ("PersistentVolumeClaim", "fw-freeway"),  # kept from before
        ("ServiceAccount", "robot"),
    }
    for _, pod in pods(found):
        if pod.get("restartPolicy") != "Never":  # what runs before the release is there has no account of it
            assert ("ServiceAccount", pod["serviceAccountName"]) in there | ones_own
        volumes = {volume["name"] for volume in pod.get("volumes", [])} | {"data"}
        for volume in pod.get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there | ones_own
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there | ones_own
        for container in pod["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
            for secret in _secrets(container):
                assert ("Secret", secret) in there | ones_own


def _secrets(container: dict[str, Any]) -> set[str]:
    whole = {one["secretRef"]["name"] for one in container.get("envFrom", [])}
    one_key = {one["valueFrom"]["secretKeyRef"]["name"] for one in container.get("env", []) if "valueFrom" in one}
    return whole | one_key


@_every
def test_gateways_that_overlap_count_together(name: str) -> None:
    """
    With a Redis, or a volume that both can have, the old gateway goes once the new one is ready: they count together. Else it
    leaves before the new one comes.
    """
    found = manifests(name)
    spec = of_kind(found, "Deployment")[0]["spec"]
    shared = any(one["name"] == "FREEWAY_REDIS_URL" for one in gateway(found)["containers"][0]["env"])
    if shared:
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert not of_kind(found, "PersistentVolumeClaim")
        assert "affinity" not in gateway(found) or name == "a place of its own"
    elif name in ("no volume", "a volume of a class", "a volume of one pod"):
        assert spec["strategy"] == {"type": "Recreate"}
    else:
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        (same,) = gateway(found)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert same["topologyKey"] == "kubernetes.io/hostname"
        assert same["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"]
    if not shared:
        assert spec["replicas"] == 1
    if of_kind(found, "HorizontalPodAutoscaler"):
        assert "replicas" not in spec


@_every
def test_a_budget_lets_a_node_be_drained_and_keeps_a_gateway(name: str) -> None:
    found = manifests(name)
    spec = of_kind(found, "Deployment")[0]["spec"]
    scalers = of_kind(found, "HorizontalPodAutoscaler")
    least = scalers[0]["spec"]["minReplicas"] if scalers else spec["replicas"]
    budgets = of_kind(found, "PodDisruptionBudget")
    if least == 1 or name == "no budget":
        assert not budgets
        return
    allowed = budgets[0]["spec"]["maxUnavailable"]
    away = -(-least * int(allowed[:-1]) // 100) if isinstance(allowed, str) else allowed
    assert 1 <= away < least


@_every
def test_probes_ask_what_they_mean(name: str) -> None:
    """Nothing restarts a gateway because its store or a provider is away."""
    container = gateway(manifests(name))["containers"][0]
    assert container["startupProbe"]["httpGet"]["path"] == "/health/liveness"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/liveness"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/readiness"


@_every
def test_several_gateways_are_spread(name: str) -> None:
    found = manifests(name)
    several = of_kind(found, "Deployment")[0]["spec"].get("replicas", 2) > 1
    assert bool(gateway(found).get("topologySpreadConstraints")) >= several


def test_bundled_redis_writes_to_disk_asks_for_a_password_and_listens_to_gateways_alone() -> None:
    found = manifests("bundled Redis")
    redis = of_kind(found, "StatefulSet")[0]["spec"]
    script = redis["template"]["spec"]["containers"][0]["args"][0]
    assert "appendonly yes" in script
    assert "requirepass $REDISCLI_AUTH" in script
    assert redis["volumeClaimTemplates"][0]["metadata"]["name"] == "data"
    secret = next(one for one in of_kind(found, "Secret") if one["metadata"]["name"] == "fw-freeway-redis")[
        "stringData"
    ]
    assert secret["url"] == f"redis://:{secret['password']}@{redis['serviceName']}:6379/0"
    policy = next(one for one in of_kind(found, "NetworkPolicy") if one["metadata"]["name"].endswith("-redis"))["spec"]
    assert policy["egress"] == []
    components = [
        one["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for one in policy["ingress"][0]["from"]
    ]
    assert components == ["gateway", "migrate"]


@_every
def test_the_ledgers_volume_outlives_the_release_and_a_move_to_redis(name: str) -> None:
    for claim in of_kind(manifests(name), "PersistentVolumeClaim"):
        assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_ledger_is_taken_over_into_redis_after_an_upgrade() -> None:
    (job,) = (
        one
        for one in of_kind(manifests("a ledger to take over"), "Job")
        if one["metadata"]["name"].endswith("-migrate")
    )
    pod = job["spec"]["template"]["spec"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-upgrade"
    assert pod["containers"][0]["command"] == ["freeway", "state", "migrate", "sqlite", "redis"]
    assert {"name": "state", "persistentVolumeClaim": {"claimName": "fw-freeway"}} in pod["volumes"]
    assert any(one["name"] == "FREEWAY_REDIS_URL" for one in pod["containers"][0]["env"])
    others = [one for name in MATRIX if name != "a ledger to take over" for one in of_kind(manifests(name), "Job")]
    assert not [one for one in others if one["metadata"]["name"].endswith("-migrate")]


@_every
def test_the_new_configuration_is_read_before_anything_is_replaced(name: str) -> None:
    """By a pod of the new image, with the file that the new gateway will have."""
    found = manifests(name)
    if name == "more beside it":
        assert not of_kind(found, "Job")
        return
    job = next(one for one in of_kind(found, "Job") if one["metadata"]["name"].endswith("-check"))
    files = {one["metadata"]["name"]: one for one in of_kind(found, "ConfigMap")}
    checked = files[job["metadata"]["name"]]
    for one in (job, checked):
        assert one["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert checked["data"] == files[job["metadata"]["name"].removesuffix("-check")]["data"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == gateway(found)["containers"][0]["image"]
    assert job["spec"]["backoffLimit"] == 0


def test_streams_are_not_buffered_and_not_cut() -> None:
    annotations = of_kind(manifests("an Ingress"), "Ingress")[0]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    assert int(annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"]) >= 600
    route = of_kind(manifests("a route"), "HTTPRoute")[0]["spec"]["rules"][0]
    assert route["timeouts"] == {"request": "0s", "backendRequest": "0s"}


def test_helms_test_may_call_where_few_may() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests("few may call"), "NetworkPolicy")}
    policy = policies["fw-freeway"]
    test = of_kind(manifests("few may call"), "Pod")[0]["metadata"]
    assert test["annotations"]["helm.sh/hook"] == "test"
    peers = [peer["podSelector"]["matchLabels"] for peer in policy["ingress"][0]["from"] if "podSelector" in peer]
    assert any(_within(peer, test["labels"]) for peer in peers)
