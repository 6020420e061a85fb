"""The wheel, installed as people install it: with uv, into an environment of its own that has no pip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import __version__
from tests.acceptance.process import ROOT, serving

BIN = Path(sys.executable).parent
HOW_TO_FETCH = ("PIP_", "UV_", "SSL_", "HTTP", "NO_PROXY", "XDG_CONFIG_")
"""How this machine gets packages: all that a fresh user has of its environment."""


def surroundings(home: Path) -> dict[str, str]:
    """A fresh user's environment; this user's files for pip and uv are theirs, too."""
    handed = {name: value for name, value in os.environ.items() if name.upper().startswith(HOW_TO_FETCH)}
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return {**handed, "XDG_CONFIG_HOME": config, "HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"}


def built(into: Path) -> Path:
    """The wheel of this checkout."""
    done = subprocess.run(
        [BIN / "hatchling", "build", "-t", "wheel", "-d", into], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("dist"))


def with_uv(home: Path) -> dict[str, str]:
    """A fresh user's environment, with what uv has fetched before: this machine's tests need not fetch all of it each time."""
    return {
        **surroundings(home),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv"),
        "UV_TOOL_DIR": str(home / "tools"),
        "UV_TOOL_BIN_DIR": str(home / "bin"),
        "UV_PYTHON": sys.executable,
    }


@pytest.fixture(scope="module")
def tools(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``uv tool install`` has put it, with the versions that the lock names."""
    home = tmp_path_factory.mktemp("home")
    environ = with_uv(home)
    wanted = f"freeway-gateway[embedded] @ {wheel.as_uri()}"
    done = subprocess.run(
        [BIN / "uv", "tool", "install", "--constraints", ROOT / "requirements" / "run.txt", wanted],
        env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return home


def test_two_builds_are_the_same(wheel: Path, tmp_path: Path):
    assert built(tmp_path).read_bytes() == wheel.read_bytes()


def test_it_holds_the_program_and_its_settings_and_no_more(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {
        "gateway", "providers", f"freeway_gateway-{__version__}.dist-info"
    }  # fmt: skip
    assert "gateway/_config/gateway.toml" in names
    assert "gateway/_config/providers/groq.toml" in names


@pytest.mark.parametrize("command", ["freeway", "freeway-gateway"])
def test_both_commands_are_the_program(tools: Path, command: str):
    done = subprocess.run(
        [tools / "bin" / command, "--version"], env=surroundings(tools), capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == f"freeway, version {__version__}"


def test_uvx_runs_it_from_the_wheel_and_by_its_name(wheel: Path, tmp_path: Path):
    constraints = ("--constraints", str(ROOT / "requirements" / "run.txt"))
    for where in (("--from", f"{wheel}[embedded]"), ("--find-links", str(wheel.parent))):
        done = subprocess.run(
            [BIN / "uvx", *constraints, *where, "freeway-gateway", "--version"],
            env=with_uv(tmp_path), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.strip() == f"freeway, version {__version__}", done.stderr


def test_pipx_installs_it(wheel: Path, tmp_path: Path):
    environ = {**with_uv(tmp_path), "PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    locked = (ROOT / "requirements" / "run.txt").read_text()
    environ["PIP_CONSTRAINT"] = str(tmp_path / "versions.txt")  # without hashes, which pipx's own pip has none of
    (tmp_path / "versions.txt").write_text("\n".join(re.findall(r"(?m)^[\w.-]+==[^ ]+(?: ;.*[^ \\])?", locked)))
    for command in (
        [str(BIN / "uvx"), "pipx", "install", str(wheel)],
        [str(tmp_path / "bin" / "freeway"), "--version"],
    ):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == f"freeway, version {__version__}"


def test_without_pip_and_without_any_key_it_fetches_the_small_model_and_answers(tools: Path, tmp_path: Path):
    python = tools / "tools" / "freeway-gateway" / "bin" / "python"
    has_pip = subprocess.run([python, "-c", "import pip"], capture_output=True, check=False).returncode == 0
    assert not has_pip

    def start(_: str, *, home: Path, out: Path, err: Path, **variables: Any) -> subprocess.Popen[bytes]:
        environ = {**surroundings(home), "OLLAMA_HOST": "http://127.0.0.1:9", "MODELS_DEV_URL": "", **variables}
        with out.open("ab") as said:
            return subprocess.Popen(
                [tools / "bin" / "freeway-gateway"],
                env=environ,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    with serving(tmp_path, start) as (origin, _, _):
        question = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 12}
        reply = httpx.post(f"{origin}/v1/chat/completions", json=question, timeout=120)
    assert reply.json()["choices"][0]["message"]["content"].strip()
    assert (tmp_path / ".cache" / "freeway" / "models").is_dir()
    assert not (tmp_path / ".local" / "share" / "freeway" / "models").exists()
