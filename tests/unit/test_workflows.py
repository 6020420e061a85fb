"""The workflows: by the rules of those who know how workflows go wrong, and true to what is in this repository."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASE = ROOT / ".github" / "workflows" / "release.yml"
BIN = Path(sys.executable).parent


def steps() -> list[dict[str, Any]]:
    jobs = yaml.safe_load(RELEASE.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def by(*command: str) -> str:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_zizmor_finds_nothing():
    assert "No findings" in by("zizmor", "--offline", "--persona", "regular", *map(str, WORKFLOWS))


def test_actionlint_finds_nothing():
    by("actionlint", "-no-color", "-shellcheck", str(BIN / "shellcheck"), *map(str, WORKFLOWS))


def test_a_step_ends_at_what_fails_within_a_pipe():
    """Only a shell that is named runs with pipefail: else a chart that could not be pushed would be signed and announced."""
    assert yaml.safe_load(RELEASE.read_text())["defaults"]["run"]["shell"] == "bash"


def test_every_action_is_pinned_to_a_commit():
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", each) for each in used), used


def test_what_it_runs_is_here():
    said = "\n".join(step["run"] for step in steps() if "run" in step)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\S+)$", said, re.MULTILINE):
        assert re.search(rf"^{re.escape(target)}:", makefile.replace("$(DEV)", ".venv/.dev-installed"), re.MULTILINE), (
            target
        )
    for path in re.findall(r"(?:bash|python3) (\S+)", said):
        assert (ROOT / path).exists(), path
    for module, words in re.findall(r"python -m (tools\.\S+) (\w+)", said):
        assert f'"{words}"' in (ROOT / f"{module.replace('.', '/')}.py").read_text()


def test_no_name_of_an_owner_is_written_down():
    """Names come from whose repository it is, at the time of the release."""
    text = RELEASE.read_text()
    assert "$GITHUB_REPOSITORY_OWNER" in text
    assert set(re.findall(r"ghcr\.io/(\S+?)}", text)) == {"$GITHUB_REPOSITORY_OWNER"}


def test_nothing_is_published_before_the_whole_gate_has_passed():
    jobs = yaml.safe_load(RELEASE.read_text())["jobs"]

    def waits_for(name: str) -> set[str]:
        direct = jobs[name].get("needs", [])
        direct = {direct} if isinstance(direct, str) else set(direct)
        return direct | {each for one in direct for each in waits_for(one)}

    assert any(step.get("run") == "bash .ci/run" for step in jobs["test"]["steps"])
    for name, job in jobs.items():
        rights = job["permissions"]
        assert "test" in waits_for(name) or set(rights.values()) == {"read"}, name
