"""What is measured: how each gateway is had, configured and started. One that cannot be had is left out, with the reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.bench import wire
from tests.bench.spoken import CHAT, EMBEDDINGS, MESSAGES, OLLAMA, RESPONSES, Spoken

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
BIN = Path(sys.executable).parent

DIRECT, BARE, FREEWAY, TENSORZERO, LITELLM = "direct", "bare", "freeway", "tensorzero", "litellm"
AS_RESPONSES, AS_MESSAGES, AS_OLLAMA = "freeway-as-responses", "freeway-as-messages", "freeway-as-ollama"

# Exact versions: a comparison names what it compared, and what a registry serves as the latest has been hijacked before.
_LITELLM = "litellm[proxy]==1.106.2"
_TENSORZERO = "tensorzero==2026.6.0"


class LeftOut(Exception):
    """Why a contender cannot be measured here."""


class Start(Struct, frozen=True):
    """How to start it. *announces*: it chooses its own port and prints its address."""

    argv: list[str]
    env: dict[str, str] = {}
    announces: bool = False


class Contender(Struct, frozen=True):
    """
    One gateway. *start* is made from a folder for its files and the ports of the upstream and of its own.
    *spoken* is the API in which it is asked. *remembers*: it knows more when it is started in the same folder again.
    """

    title: str
    start: Callable[[Path, int, int], Start] | None
    model: str = "bench"
    spoken: Spoken = CHAT
    path: str = ""  # where that is spoken, if it is not where it mostly is
    remembers: bool = False


def _direct() -> Contender:
    return Contender("no gateway", None)


# ── nginx ──

_NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_buffer_size 128k;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream fake {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://fake;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def _nginx() -> Contender:
    program = shutil.which("nginx", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")
    if not program:
        raise LeftOut("nginx is not installed: apt-get install nginx-light, or what your system has instead")

    def start(folder: Path, upstream: int, port: int) -> Start:
        configuration = folder / "nginx.conf"
        configuration.write_text(_NGINX_CONF.format(folder=folder, upstream=upstream, port=port), "utf-8")
        return Start([program, "-e", "stderr", "-c", str(configuration)])

    version = _run([program, "-v"]).rpartition("/")[2].split()[0]
    return Contender(f"nginx {version} proxy_pass", start)


# ── the least of the same parts, and freeway ──


def _bare() -> Contender:
    def start(_: Path, upstream: int, port: int) -> Start:
        url = f"http://127.0.0.1:{upstream}/bare/v1/chat/completions"
        return Start([sys.executable, str(HERE / "passthrough.py"), url, str(port)])

    return Contender("Litestar @post + aiohttp, passing through", start)


def _freeway(model: str, through: str, spoken: Spoken = CHAT) -> Contender:
    def start(folder: Path, upstream: int, port: int) -> Start:
        (folder / "bench.toml").write_text("\n".join(_high_limits()), "utf-8")
        places = {
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "FREEWAY_STATE_DIR": str(folder / "state"),
            "FREEWAY_CONFIG": str(folder / "bench.toml"),
        }
        return Start([str(BIN / "freeway"), "serve"], wire.SIX.environment(f"http://127.0.0.1:{upstream}") | places)

    return Contender(f"freeway, model {model}{through}", start, model, spoken, remembers=True)


def _high_limits() -> Iterator[str]:
    """The shipped quotas so high that they refuse nothing. All buckets stay, since keeping them is what is measured."""
    for name in wire.SIX.providers:
        spec = tomllib.loads((ROOT / f"config/providers/{name}.toml").read_text("utf-8"))
        for row in spec.get("quota", ()):
            yield f"[[provider.{name}.quota]]"
            for key, value in (row | {"limit": f"1000000000/{row['limit'].partition('/')[2]}"}).items():
                yield f"{key} = {msgspec.json.encode(value).decode()}"


# ── peers from PyPI, each in an environment of its own ──

_TENSORZERO_TOML = """\
[gateway]
observability.enabled = false
[models.bench]
routing = ["fake"]
[models.bench.providers.fake]
type = "openai"
api_base = "http://127.0.0.1:{upstream}/tensorzero/v1/"
model_name = "bench"
api_key_location = "none"
"""

_LITELLM_YAML = """\
model_list:
  - model_name: bench
    litellm_params:
      model: openai/bench
      api_base: http://127.0.0.1:{upstream}/litellm/v1
      api_key: bench
litellm_settings:
  telemetry: false
"""


def _tensorzero() -> Contender:
    python = _environment(TENSORZERO, _TENSORZERO)

    def start(folder: Path, upstream: int, _: int) -> Start:
        configuration = folder / "tensorzero.toml"
        configuration.write_text(_TENSORZERO_TOML.format(upstream=upstream), "utf-8")
        env = {"TENSORZERO_DISABLE_PSEUDONYMOUS_USAGE_ANALYTICS": "1", "RUST_LOG": "error"}
        return Start([str(python), str(HERE / "tensorzero_host.py"), str(configuration)], env, announces=True)

    title = f"TensorZero {_TENSORZERO.partition('==')[2]} (from its PyPI package), observability off"
    return Contender(title, start, "tensorzero::model_name::bench", path="/openai/v1/chat/completions")


def _litellm() -> Contender:
    python = _environment(LITELLM, _LITELLM)

    def start(folder: Path, upstream: int, port: int) -> Start:
        configuration = folder / "litellm.yaml"
        configuration.write_text(_LITELLM_YAML.format(upstream=upstream), "utf-8")
        argv = [str(python.with_name("litellm")), "--config", str(configuration), "--num_workers", "1"]
        env = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # nobody's key is looked at here
        }
        return Start([*argv, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"], env)

    return Contender(f"LiteLLM proxy {_LITELLM.partition('==')[2]}", start)


def _environment(name: str, requirement: str) -> Path:
    """The Python of an environment with just *requirement*, made with uv if it is not there."""
    folder = ROOT / ".venvs" / name
    python, done = folder / "bin/python", folder / requirement
    if not done.exists():
        uv = str(BIN / "uv")
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        _run([uv, "pip", "install", "--quiet", "--python", str(python), "--only-binary", ":all:", requirement])
        done.touch()
    return python


def _run(argv: list[str]) -> str:
    """Run *argv*, for ten minutes at most. Raises LeftOut with the last thing it said if it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise LeftOut(f"{argv[0]}: {exc}") from exc
    said = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        raise LeftOut(f"`{' '.join(argv[:4])} …` failed: {said[-300:]}")
    return said


CONTENDERS: dict[str, Callable[[], Contender]] = {
    DIRECT: _direct,
    "nginx": _nginx,
    BARE: _bare,
    FREEWAY: lambda: _freeway("auto", ""),
    "freeway-groq": lambda: _freeway("groq/openai/gpt-oss-120b", ": the OpenAI dialect"),
    "freeway-google": lambda: _freeway("google/gemini-3.5-flash", ": the Gemini dialect"),
    "freeway-ollama": lambda: _freeway("ollama/qwen3.8:8b", ": the Ollama dialect"),
    AS_RESPONSES: lambda: _freeway("auto", ": /v1/responses", RESPONSES),
    AS_MESSAGES: lambda: _freeway("auto", ": /v1/messages", MESSAGES),
    AS_OLLAMA: lambda: _freeway("auto", ": /api/chat", OLLAMA),
    "freeway-embeddings": lambda: _freeway("nvidia/nvidia/nv-embedqa-e5-v5", ": /v1/embeddings", EMBEDDINGS),
    TENSORZERO: _tensorzero,
    LITELLM: _litellm,
}
"""By name, in the order of the report; getting one ready may raise LeftOut."""
