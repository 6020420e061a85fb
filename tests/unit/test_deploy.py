"""
The files in ``deploy/``: each is sound by the tool that reads it, where that tool is here, and true to what the gateway reads.

Tools that are not here: Podman's generator (quadlets), Home Assistant's supervisor, Unraid, CasaOS, Umbrel. Of their files it is tested
that they can be read, run the gateway as it is to be run, and name variables that there are.
"""

from __future__ import annotations

import ast
import configparser
import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import __version__
from gateway.commands.service import of_launchd, of_systemd
from tests.acceptance.process import run
from tests.conftest import ROOT
from tools.chart_schema import keys

DEPLOY = ROOT / "deploy"
VARIABLES = {*keys().split(), "FREEWAY_API_KEY"}
COMPOSE = Path(sys.executable).with_name("docker-compose")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


def verified(unit: Path, *options: str) -> None:
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(unit.parent)}
    done = subprocess.run(
        ["systemd-analyze", *options, "verify", str(unit)], env=environ, capture_output=True, text=True, check=False
    )
    said = "\n".join(line for line in done.stderr.splitlines() if unit.name in line)
    assert done.returncode == 0, done.stderr
    assert not said


@needs_systemd
def test_the_units_are_sound(tmp_path: Path):
    text = (DEPLOY / "systemd" / "freeway.service").read_text()
    unit = tmp_path / "freeway.service"
    unit.write_text(text.replace("/usr/local/bin/freeway", "/bin/true"))
    verified(unit)
    unit.write_text(of_systemd(Path("/bin/true"), tmp_path, tmp_path).text)
    verified(unit, "--user")


def test_an_agent_of_launchd_starts_what_was_installed(tmp_path: Path):
    agent = of_launchd(Path("/Users/me & you/bin/freeway"), tmp_path, 501)
    read = plistlib.loads(agent.text.encode())
    assert read["ProgramArguments"] == ["/Users/me & you/bin/freeway", "serve"]
    assert read["RunAtLoad"] is True
    assert agent.file.name == f"{read['Label']}.plist"
    assert agent.stop == (("launchctl", "bootout", f"gui/501/{read['Label']}"),)


@pytest.fixture
def systemctl(tmp_path: Path) -> Path:
    """A systemctl that only notes what it was told, first on the PATH."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/told\n")
    program.chmod(0o755)
    return program


@pytest.mark.skipif(sys.platform != "linux", reason="it is for Linux")
def test_install_and_uninstall_leave_nothing_behind(systemctl: Path, tmp_path: Path):
    path: dict[str, Any] = {"PATH": f"{systemctl.parent}:{os.environ['PATH']}"}
    unit = tmp_path / ".config" / "systemd" / "user" / "freeway.service"

    printed = run("service", "install", "--print", home=tmp_path, **path)
    assert "ExecStart=" in printed.stdout
    assert not unit.exists()
    installed = run("service", "install", home=tmp_path, **path)
    assert installed.returncode == 0, installed.stderr
    assert unit.read_text() == printed.stdout
    gone = run("service", "uninstall", home=tmp_path, **path)
    assert gone.returncode == 0, gone.stderr
    assert not unit.exists()
    assert run("service", "uninstall", home=tmp_path, **path).returncode == 1
    assert (tmp_path / "told").read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable --now freeway.service",
        "--user disable --now freeway.service",
    ]


def test_the_quadlet_runs_the_container_as_compose_does():
    read = configparser.RawConfigParser(strict=False)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read(DEPLOY / "podman" / "freeway.container")
    container = read["Container"]
    assert container["Image"] == f"localhost/freeway:{__version__}"
    assert (container["ReadOnly"], container["DropCapability"], container["NoNewPrivileges"]) == ("true", "all", "true")
    assert container["HealthCmd"] == "freeway health --ready"
    assert (DEPLOY / "podman" / container["Volume"].partition(":")[0]).exists()


def test_unraids_template_names_variables_that_there_are():
    root = ET.parse(DEPLOY / "unraid" / "freeway.xml").getroot()
    targets = {each.get("Target"): each for each in root.iter("Config")}
    named = {name for name, each in targets.items() if each.get("Type") == "Variable"}
    assert named <= VARIABLES
    assert {name for name in named if str(name).endswith(("_KEY", "TOKEN"))} == {
        name for name, each in targets.items() if each.get("Mask") == "true"
    }
    assert {"8000", "/data", "FREEWAY_API_KEY"} <= targets.keys()
    assert root.findtext("Repository") == f"freeway:{__version__}"


def test_home_assistants_options_reach_the_gateway():
    folder = DEPLOY / "home-assistant"
    config: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text())
    source = (folder / "run.py").read_text()
    variables = ast.literal_eval(source.partition("VARIABLES = ")[2].partition("\n}")[0] + "\n}")
    assert config["options"].keys() == config["schema"].keys() == variables.keys()
    assert set(variables.values()) <= VARIABLES
    assert config["version"] == __version__
    assert all(str(kind).startswith("password") for name, kind in config["schema"].items() if name != "ollama")


@pytest.mark.parametrize("store", ["casaos", "umbrel"])
def test_compose_files_of_app_stores_are_sound_and_careful(store: str, tmp_path: Path):
    text = (DEPLOY / store / "docker-compose.yml").read_text()
    if store == "umbrel":
        text = re.sub(r"  app_proxy:\n(?:    .*\n)+", "", text)  # Umbrel adds its image
    (tmp_path / "compose.yml").write_text(text)
    environ = {**os.environ, "APP_DATA_DIR": str(tmp_path), "APP_PASSWORD": "x" * 32}
    done = subprocess.run(
        [COMPOSE, "-f", tmp_path / "compose.yml", "config", "--format", "json"],
        env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (service,) = json.loads(done.stdout)["services"].values()
    assert service["image"] == f"freeway:{__version__}"
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert int(service["mem_limit"]) > 0
    assert service["environment"].keys() <= VARIABLES
