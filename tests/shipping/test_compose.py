"""The compose file: sound with every choice, careful with every service, and up by one command."""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import __version__, settings
from tests.shipping.conftest import KEY, PROVIDERS, simulator
from tests.shipping.docker import ROOT, docker

pytestmark = pytest.mark.engine

PROGRAM = str(Path(sys.executable).with_name("docker-compose"))
PORT = "18765"
Compose = Callable[..., str]


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """Docker Compose in a home with the compose file and an ``.env`` of its own."""
    shutil.copy(ROOT / "compose.yaml", tmp_path)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    filled = {**PROVIDERS, "FREEWAY_PORT": PORT, "FREEWAY_IMAGE": "freeway:under-test"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in filled.items()))
    project = f"freeway-{uuid.uuid4().hex[:8]}"

    def run(*arguments: str, check: bool = True) -> str:
        where = ("--project-name", project, "--project-directory", str(tmp_path))
        return docker(*where, *arguments, program=PROGRAM, check=check, timeout=120)

    return run


def services(compose: Compose, *profiles: str) -> dict[str, Any]:
    """What would be started with *profiles*."""
    choice = [word for profile in profiles for word in ("--profile", profile)]
    found = json.loads(compose(*choice, "config", "--format", "json"))["services"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("profile", "more"),
    [("redis", {"redis"}), ("ollama", {"ollama"}), ("monitoring", {"prometheus", "grafana"})],
)
def test_each_choice_adds_its_services_to_the_gateway(compose: Compose, profile: str, more: set[str]):
    assert services(compose).keys() == {"gateway"}
    assert services(compose, profile).keys() == {"gateway", *more}


def test_every_service_is_careful(compose: Compose):
    """No rights, no way to more of them, nothing to write to but volumes, no port that others can reach."""
    for name, service in services(compose, "redis", "ollama", "monitoring").items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", False) is (name != "prometheus"), name
        assert int(service["mem_limit"]) > 0, name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name


def test_without_a_client_key_nothing_is_started(compose: Compose, tmp_path: Path):
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    assert "openssl rand" in compose("config", check=False)


def test_a_full_redis_refuses_and_forgets_nothing(compose: Compose):
    command = services(compose, "redis")["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert "--maxmemory" in command


def test_the_example_names_every_source(tmp_path: Path):
    """With where to get a key, if it takes one."""
    example = (ROOT / ".env.example").read_text()
    for name, spec in settings.load(ROOT / "config", {}, tmp_path).provider.items():
        if name in ("embedded", "ollama"):
            continue
        assert f"\n{spec.key_env or 'FREEWAY_KEYLESS'}=" in example, name
        assert spec.get_a_key in example, name
        assert all(f"\n{variable}=" in example for variable in spec.base_url_needs.values()), name
    assert "OLLAMA_HOST=http://host.docker.internal:11434" in example


def test_one_variable_names_the_image(compose: Compose, tmp_path: Path):
    assert services(compose)["gateway"]["image"] == "freeway:under-test"
    (tmp_path / ".env").write_text("FREEWAY_API_KEY=x\n")
    assert services(compose)["gateway"]["image"] == f"freeway:{__version__}"


def test_prometheus_has_the_alerts(compose: Compose):
    prometheus = services(compose, "monitoring")["prometheus"]
    mounted = {volume["target"]: Path(volume["source"]).name for volume in prometheus["volumes"]}
    assert mounted["/etc/prometheus/alerts.yml"] == "alerts.yml"
    assert "alerts.yml" in (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()


def test_grafana_asks_for_the_gateways_own_metrics_alone():
    board = json.loads((ROOT / "charts/freeway/dashboards/freeway.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert all("freeway_" in query for query in queries)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_one_command_brings_up_a_gateway_that_answers(compose: Compose, image: str):
    compose("create", "--no-build")
    network = json.loads(compose("config", "--format", "json"))["networks"]["default"]["name"]
    try:
        with simulator(image, network):
            compose("up", "--detach", "--wait", "--no-build")
            reply = httpx.post(
                f"http://127.0.0.1:{PORT}/v1/chat/completions",
                headers={"authorization": f"Bearer {KEY}"},
                json={"model": "auto", "messages": [{"role": "user", "content": "good evening"}]},
                timeout=40,
            )
            assert reply.json()["choices"][0]["message"]["content"] == "You said: good evening"
    finally:
        compose("down", "--volumes", "--timeout", "5")
