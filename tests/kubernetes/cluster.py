"""A namespace of a real cluster, with simulated providers in it; known by ``kubectl``, and to Helm as a library."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import helm_python as helm

from gateway import __version__
from gateway.commands.demo import SIX
from providers.simulator.world import World
from tests.chart.rendering import CHART, Manifest, Values

CONTEXT = os.environ.get("FREEWAY_TEST_CONTEXT", "")
"""The kubectl context that is installed into. None is taken by itself: it might be anybody's."""

IMAGE = os.environ.get("IMAGE", f"freeway:{__version__}")
REDIS_IMAGE = os.environ.get("REDIS_IMAGE", "valkey/valkey:8.1-alpine")
ASK = Path(__file__).parent / "ask.py"
PATIENCE = 300
"""Seconds that anything may take, on a cluster that has other things to do."""


def kubectl(*words: str, stdin: str = "") -> str:
    """What ``kubectl`` prints. Raises AssertionError with it where the command fails."""
    command = ["kubectl", "--context", CONTEXT, *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout


class Cluster:
    """The *namespace*, and what is done in it."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.helm = helm.Config(kube_context=CONTEXT, namespace=namespace)
        self.asked = 0

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return kubectl("--namespace", self.namespace, *words, stdin=stdin)

    def there(self, kind: str, **labels: str) -> list[Manifest]:
        """What is there of *kind*."""
        selector = ",".join(f"app.kubernetes.io/{name}={value}" for name, value in labels.items())
        found: list[Manifest] = json.loads(self.kubectl("get", kind, "--selector", selector, "--output", "json"))[
            "items"
        ]
        return found

    def gateways(self) -> list[str]:
        """The gateways that run and are not told to go, by what no other pod ever had."""
        pods = self.there("pods", component="gateway")
        return [pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def gateway(self, *words: str) -> str:
        """What a command prints that is run beside the gateway."""
        return self.kubectl("exec", "deploy/freeway", "--", *words)

    def used(self) -> dict[str, float]:
        """What the ledger counted of each limit of a calendar day; of others it counts down by itself."""
        told = json.loads(self.gateway("freeway", "quota", "--json"))
        calendar = ("google/", "openrouter/")
        return {
            one["bucket"]: one["used"]
            for one in told["buckets"]
            if one["used"] and one["bucket"].startswith(calendar) and one["window"] == "day"
        }

    def ask(self, times: int) -> None:
        """Have *times* questions answered, by a source that counts calendar days."""
        for _ in range(times):
            self.asked += 1
            self.gateway("freeway", "chat", "--model", "google/gemini-3.1-flash-lite", f"question {self.asked}")

    def run(self, name: str, command: list[str], *, serves: bool = False, **variables: str) -> None:
        """A pod of the image with *command*; if it *serves*, at port 9000 of its *name*. It is there when it is ready."""
        security = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        container = {
            "name": "it",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": command,
            "env": [{"name": key, "value": value} for key, value in variables.items()],
            "securityContext": security,
            **({"readinessProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 1}} if serves else {}),
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"beside": name}},
            "spec": {
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "terminationGracePeriodSeconds": 1,
                "containers": [container],
            },
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"beside": name}, "ports": [{"port": 9000}]},
        }
        self.kubectl(
            "apply",
            "--filename",
            "-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod, service][: 1 + serves]}),
        )
        self.kubectl("wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={PATIENCE}s")

    def until(self, what: Callable[[], bool]) -> None:
        """Wait for *what*."""
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, self.kubectl("get", "all,pvc,events")
            time.sleep(0.5)


def values(**more: Any) -> Values:
    """The chart's values for a gateway before the simulated providers, and *more*."""
    repository, _, tag = IMAGE.rpartition(":")
    variables = World(names=SIX).environment("http://simulator:9000")
    keys = {name: value for name, value in variables.items() if name.endswith(("_KEY", "_TOKEN"))}
    return {
        "image": {"repository": repository, "tag": tag},
        "secret": {"keys": keys},
        "env": {**{name: value for name, value in variables.items() if name not in keys}, "MODELS_DEV_URL": ""},
        "networkPolicy": {
            "egress": [{"to": [{"podSelector": {"matchLabels": {"beside": "simulator"}}}], "ports": [{"port": 9000}]}]
        },
        **more,
    }


def bundled_redis() -> Values:
    repository, _, tag = REDIS_IMAGE.rpartition(":")
    return {"bundled": {"enabled": True, "image": {"repository": repository, "tag": tag}}}


@contextmanager
def opened() -> Iterator[Cluster]:
    """A namespace of its own with the simulated providers in it. It is gone afterwards, with all that is in it."""
    namespace = f"freeway-test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    try:
        cluster = Cluster(namespace)
        cluster.run("simulator", ["python", "-m", "providers.simulator", "--host", "0.0.0.0"], serves=True)
        yield cluster
    finally:
        kubectl("delete", "namespace", namespace, "--wait=false")


__all__ = ["ASK", "CHART", "CONTEXT", "PATIENCE", "Cluster", "bundled_redis", "opened", "values"]
