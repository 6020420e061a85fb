"""Who is measured: how each is had, configured and started. Whoever cannot be had is left out, with the reason."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.bench import wire

ROOT = Path(__file__).parents[2]
VENVS = ROOT / ".venvs"
HERE = Path(__file__).parent
BIN = Path(sys.executable).parent

DIRECT, NGINX, BARE, FREEWAY, PINNED = "direct", "nginx", "bare", "freeway", "freeway-pinned"
TENSORZERO, LITELLM = "tensorzero", "litellm"

# Exact versions: a comparison names what it compared, and what a registry serves as the latest has been hijacked before.
_LITELLM = "litellm[proxy]==1.106.2"
_TENSORZERO = "tensorzero==2026.6.0"

_SIX = ("openrouter", "google", "groq", "nvidia", "huggingface", "ollama")
_ADDRESSES = {
    "OPENROUTER_BASE_URL": "/openrouter/api/v1",
    "GEMINI_BASE_URL": "/gemini/v1beta",
    "GROQ_BASE_URL": "/groq/openai/v1",
    "NVIDIA_BASE_URL": "/nvidia/v1",
    "HF_BASE_URL": "/hf/v1",
    "OLLAMA_HOST": "/ollama",
}
_KEYS = {
    "OPENROUTER_API_KEY": "sk-or-v1-bench",
    "GEMINI_API_KEY": "AIza-bench",
    "GROQ_API_KEY": "gsk_bench",
    "NVIDIA_API_KEY": "nvapi-bench",
    "HF_TOKEN": "hf_bench",
}
_ENOUGH = 10**9
"""What every limit becomes, so that quotas are kept but refuse nothing."""


class LeftOut(Exception):
    """Why a contender cannot be measured here."""


class Contender(Struct, frozen=True):
    """
    One gateway. *command* is made from a folder for its files and the ports of the upstream and of its own, and yields
    the arguments; *announces*: it chooses its own address and prints it. *remembers*: it starts faster the second time.
    """

    name: str
    title: str
    model: str
    command: Callable[[Path, int, int], list[str]] | None
    env: Callable[[Path, int, int], dict[str, str]] = lambda *_: {}
    path: str = "/v1/chat/completions"
    announces: bool = False
    remembers: bool = False


def all_contenders() -> dict[str, Callable[[], Contender]]:
    """Name → what gets it ready; raises LeftOut."""
    return {
        DIRECT: lambda: Contender(DIRECT, "no gateway", "bench", None, path="/direct/v1/chat/completions"),
        NGINX: _nginx,
        BARE: _bare,
        FREEWAY: lambda: _freeway(FREEWAY, "auto", "freeway, model auto"),
        PINNED: lambda: _freeway(PINNED, f"groq/{wire.MODEL}", "freeway, one deployment named"),
        TENSORZERO: _tensorzero,
        LITELLM: _litellm,
    }


# ── nginx ──

_NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
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
    program = _nginx_program()

    def command(folder: Path, upstream: int, port: int) -> list[str]:
        configuration = folder / "nginx.conf"
        configuration.write_text(_NGINX_CONF.format(folder=folder, upstream=upstream, port=port), "utf-8")
        return [program, "-e", str(folder / "nginx.log"), "-c", str(configuration)]

    return Contender(NGINX, f"nginx {_version([program, '-v'])} proxy_pass", "bench", command)


def _nginx_program() -> str:
    """nginx as installed, or unpacked from Debian's package without installing it: nothing is started by that."""
    unpacked = VENVS / "nginx"
    found = shutil.which("nginx") or shutil.which("nginx", path=f"/usr/sbin:{unpacked}/usr/sbin")
    if found:
        return found
    if not shutil.which("apt-get"):
        raise LeftOut("nginx is not installed, and this system has no apt-get")
    unpacked.mkdir(parents=True, exist_ok=True)
    try:
        _run(["apt-get", "download", "nginx"], cwd=unpacked)
    except LeftOut:
        _run(["apt-get", "update"])
        _run(["apt-get", "download", "nginx"], cwd=unpacked)
    _run(["dpkg-deb", "-x", str(next(unpacked.glob("nginx_*.deb"))), str(unpacked)])
    return str(unpacked / "usr/sbin/nginx")


# ── the least of the same parts, and freeway ──


def _bare() -> Contender:
    def command(_: Path, upstream: int, port: int) -> list[str]:
        url = f"http://127.0.0.1:{upstream}/bare/v1/chat/completions"
        return [sys.executable, str(HERE / "passthrough.py"), url, str(port)]

    return Contender(BARE, "Litestar @post + aiohttp, passing through", "bench", command)


def _freeway(name: str, model: str, title: str) -> Contender:
    program = BIN / "freeway"
    if not program.exists():
        raise LeftOut(f"{program} does not exist")

    def command(folder: Path, *_: int) -> list[str]:
        (folder / "bench.toml").write_text("\n".join(_freeway_settings()), "utf-8")
        return [str(program), "serve"]

    def env(folder: Path, upstream: int, port: int) -> dict[str, str]:
        return {
            **_KEYS,
            **{name: f"http://127.0.0.1:{upstream}{path}" for name, path in _ADDRESSES.items()},
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "FREEWAY_STATE_DIR": str(folder / "state"),
            "FREEWAY_CONFIG": str(folder / "bench.toml"),
        }

    return Contender(name, title, model, command, env, remembers=True)


def _freeway_settings() -> Iterator[str]:
    """
    The shipped quotas with higher limits, and nobody but the six: a benchmark must not call anybody outside. All
    buckets stay, since keeping them is what is measured.
    """
    for path in sorted((ROOT / "config/providers").glob("*.toml")):
        spec = tomllib.loads(path.read_text("utf-8"))
        if path.stem not in _SIX:
            yield f"[provider.{path.stem}]\nkeyless = false"
            continue
        for row in spec.get("quota", ()):
            period = row["limit"].partition("/")[2]
            yield f"[[provider.{path.stem}.quota]]"
            for key, value in (row | {"limit": f"{_ENOUGH}/{period}"}).items():
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
    python = _environment("tensorzero", _TENSORZERO)

    def command(folder: Path, upstream: int, _: int) -> list[str]:
        configuration = folder / "tensorzero.toml"
        configuration.write_text(_TENSORZERO_TOML.format(upstream=upstream), "utf-8")
        return [str(python), str(HERE / "tensorzero_host.py"), str(configuration)]

    return Contender(
        TENSORZERO,
        f"TensorZero {_TENSORZERO.partition('==')[2]} (from its PyPI package), observability off",
        "tensorzero::model_name::bench",
        command,
        lambda *_: {"TENSORZERO_DISABLE_PSEUDONYMOUS_USAGE_ANALYTICS": "1", "RUST_LOG": "error"},
        path="/openai/v1/chat/completions",
        announces=True,
    )


def _litellm() -> Contender:
    python = _environment("litellm", _LITELLM)

    def command(folder: Path, upstream: int, port: int) -> list[str]:
        configuration = folder / "litellm.yaml"
        configuration.write_text(_LITELLM_YAML.format(upstream=upstream), "utf-8")
        program = [str(python.with_name("litellm")), "--config", str(configuration), "--num_workers", "1"]
        return [*program, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]

    def env(*_: object) -> dict[str, str]:
        return {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # nobody's key is looked at here
        }

    return Contender(LITELLM, f"LiteLLM proxy {_LITELLM.partition('==')[2]}", "bench", command, env)


def _environment(name: str, requirement: str) -> Path:
    """The Python of an environment with just *requirement*, made with uv if it is not there."""
    folder = VENVS / name
    python, done = folder / "bin/python", folder / requirement
    if done.exists():
        return python
    uv = shutil.which("uv", path=str(BIN)) or shutil.which("uv")
    if not uv:
        raise LeftOut("uv is not installed, which would make an environment for it")
    _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    _run([uv, "pip", "install", "--quiet", "--python", str(python), "--only-binary", ":all:", requirement])
    done.touch()
    return python


def _run(argv: list[str], cwd: Path | None = None) -> str:
    """Run *argv*, for ten minutes at most. Raises LeftOut with the last thing it said if it fails."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise LeftOut(f"{argv[0]}: {exc}") from exc
    said = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        raise LeftOut(f"`{' '.join(map(str, argv[:4]))} …` failed: {said[-300:]}")
    return said


def _version(argv: list[str]) -> str:
    return _run(argv).rpartition("/")[2].split()[0]
