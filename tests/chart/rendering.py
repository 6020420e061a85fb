"""The chart rendered by Helm itself (as a library: no cluster, no binary), for a matrix of values."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

CHART = Path(__file__).parents[2] / "charts" / "freeway"

EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
"""Values files that are ready to use; each is a combination like those below."""

Manifest = dict[str, Any]
Values = dict[str, Any]

_BUNDLED = {"bundled": {"enabled": True}}
_MONITORED = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True},
}
_OWN = {
    "server": {"keep_alive": 5, "max_body": 1048576},
    "requests": {"max_wait": 60, "max_attempts": 3, "substitute": True},
    "catalog": {"probes": 20},
    "alias": {"gpt-4o": ["auto:mine", "auto"]},
    "virtual": {"auto:mine": {"models": ["gpt-oss-*"], "prefer": "quality", "context": 8192}},
    "client": [{"name": "alice", "key_sha256": "a" * 64, "priority": "high", "no_train": True}],
}

MATRIX: dict[str, Values] = {
    "nothing said": {},
    "keys": {
        "secret": {"clientKey": "secret-client-key-1", "keys": {"GROQ_API_KEY": "secret-groq", "HF_TOKEN": "secret-hf"}}
    },
    "a Secret of one's own": {"secret": {"existing": "my-keys"}},
    "no volume": {"persistence": {"enabled": False}},
    "a volume of one's own": {"persistence": {"existingClaim": "mine"}},
    "a volume of a class": {
        "persistence": {"storageClass": "fast", "size": "10Gi", "accessModes": ["ReadWriteOncePod"]}
    },
    "one replica on Redis": {"redis": {"url": "redis://:secret-pass@redis.data:6379/0"}},
    "several on Redis": {"replicas": 3, "redis": {"url": "rediss://:secret-pass@redis.data:6380/0"}},
    "several on Sentinel": {"replicas": 2, "redis": {"url": "redis+sentinel://:secret-pass@a:26379,b:26379/mymaster"}},
    "several on a cluster": {"replicas": 2, "redis": {"url": "redis+cluster://:secret-pass@redis:6379"}},
    "Redis from a Secret": {"replicas": 2, "redis": {"existingSecret": {"name": "my-redis", "key": "address"}}},
    "bundled Redis": {"replicas": 2, "redis": {"bundled": {"enabled": True, "password": "secret-password"}}},
    "as many as needed": {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 9}, "redis": _BUNDLED},
    "no budget": {"replicas": 2, "redis": _BUNDLED, "podDisruptionBudget": {"enabled": False}},
    "a budget in per cent": {"replicas": 4, "redis": _BUNDLED, "podDisruptionBudget": {"maxUnavailable": "25%"}},
    "an Ingress": {
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "hosts": ["llm.example.com"],
            "tls": [{"secretName": "llm-tls", "hosts": ["llm.example.com"]}],
        },
    },
    "a route": {
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "web", "namespace": "gateways"}],
            "hostnames": ["llm.example.com"],
        },
    },
    "a ledger to take over": {"replicas": 2, "redis": _BUNDLED, "persistence": {"migrateFrom": "fw-freeway"}},
    "more beside it": {
        "extraEnvFrom": [{"secretRef": {"name": "more-keys"}}],
        "extraContainers": [
            {"name": "beside", "image": "registry.example.com/beside:1", "securityContext": {"runAsNonRoot": True}}
        ],
        "extraVolumes": [{"name": "certs", "configMap": {"name": "certs"}}],
        "extraVolumeMounts": [{"name": "certs", "mountPath": "/etc/certs", "readOnly": True}],
        "service": {"type": "LoadBalancer", "loadBalancerIP": "192.0.2.10"},
        "check": {"enabled": False},
    },
    "a volume of one pod": {"persistence": {"accessModes": ["ReadWriteOncePod"]}},
    "no network policy": {"networkPolicy": {"enabled": False}},
    "few may call": {
        "networkPolicy": {
            "from": [{"namespaceSelector": {"matchLabels": {"team": "ai"}}}],
            "egress": [{"to": [{"namespaceSelector": {}}], "ports": [{"port": 11434}]}],
        },
    },
    "watched": {"metrics": _MONITORED},
    "a file of one's own": {"config": _OWN, "drain": 120, "preStop": 10},
    "an Ollama": {"env": {"OLLAMA_HOST": "http://ollama.ai:11434", "CLOUDFLARE_ACCOUNT_ID": "abc"}},
    "other names": {"fullnameOverride": "llm", "nameOverride": "gate", "metrics": _MONITORED},
    "an account of one's own": {"serviceAccount": {"create": False, "name": "robot"}},
    "an image of one's own": {
        "image": {"repository": "registry.example.com/ai/freeway", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "pull"}],
    },
    "a place of its own": {
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"key": "ai", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "priorityClassName": "high",
        "podAnnotations": {"example.com/note": "yes"},
        "podLabels": {"team": "ai"},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    },
    "everything": {
        "autoscaling": {"enabled": True},
        "redis": {"bundled": {"enabled": True, "persistence": {"storageClass": "fast"}}},
        "secret": {"keys": {"GROQ_API_KEY": "secret-groq"}},
        "config": _OWN,
        "ingress": {"enabled": True, "hosts": ["llm.example.com"]},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "web"}]},
        "metrics": _MONITORED,
        "service": {"type": "LoadBalancer", "port": 80, "annotations": {"example.com/note": "yes"}},
    },
}


MATRIX |= {f"the example {path.stem}": yaml.safe_load(path.read_text()) for path in EXAMPLES}


@lru_cache
def chart() -> helm.Chart:
    """The chart, read once: nothing that is tested changes it."""
    return helm.Chart.load(str(CHART))


@lru_cache
def open_chart() -> helm.Chart:
    """The chart without its schema, for values that no gateway knows."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(CHART, Path(folder) / CHART.name))
        (copy / "values.schema.json").unlink()
        return helm.Chart.load(str(copy))


def texts(values: Values) -> dict[str, str]:
    """What every template becomes. Raises HelmError."""
    return chart().render(values, name="fw", namespace="ai")


@lru_cache
def rendered(name: str) -> dict[str, str]:
    """What every template becomes with the values of MATRIX called *name*."""
    return texts(MATRIX[name])


@lru_cache
def manifests(name: str) -> tuple[Manifest, ...]:
    """The manifests that the values of MATRIX called *name* make."""
    return tuple(documents(rendered(name)))


def documents(files: dict[str, str]) -> Iterator[Manifest]:
    """The manifests in *files*."""
    for path, text in files.items():
        if not path.endswith(".txt"):
            yield from (document for document in yaml.load_all(text, yaml.CSafeLoader) if document)


def of_kind(found: tuple[Manifest, ...], kind: str) -> list[Manifest]:
    """Those of *found* that are a *kind*."""
    return [one for one in found if one["kind"] == kind]


def pods(found: tuple[Manifest, ...]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Metadata and spec of every pod that *found* makes."""
    for one in found:
        if one["kind"] == "Pod":
            yield one["metadata"], one["spec"]
        elif one["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield one["spec"]["template"]["metadata"], one["spec"]["template"]["spec"]


def gateway(found: tuple[Manifest, ...]) -> dict[str, Any]:
    """The spec of the gateway's pod."""
    spec: dict[str, Any] = of_kind(found, "Deployment")[0]["spec"]["template"]["spec"]
    return spec
