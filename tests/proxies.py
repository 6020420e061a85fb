"""Real proxies of this machine before gateways, each with its example of ``deploy/proxies``."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from msgspec import Struct

from tests import containers

EXAMPLES = Path(__file__).parents[1] / "deploy" / "proxies"
PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/sbin:/usr/bin"


class Proxy(Struct, frozen=True):
    """A *program* with its *example*, which is read by what *prepare* writes into a folder and says to run."""

    program: str
    example: str
    prepare: Callable[[Path, str, int], list[str]]
    told_by: tuple[str, ...]
    since: tuple[int, ...]
    """The first version that can do what the example asks for."""

    def missing(self) -> str:
        """Why this proxy cannot be run on this machine, if it cannot."""
        found = shutil.which(self.program, path=PATH)
        if found is None:
            return f"there is no {self.program}"
        said = subprocess.run([found, *self.told_by], capture_output=True, text=True, check=False)
        version = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        if version is None or tuple(map(int, version[0].split("."))) < self.since:
            return f"this {self.program} is {version and version[0]}, older than {'.'.join(map(str, self.since))}"
        return ""

    @contextmanager
    def before(self, ports: Sequence[int], folder: Path) -> Iterator[str]:
        """This proxy with its example, before gateways on *ports*: its origin."""
        port = containers.free_port()
        example = (EXAMPLES / self.example).read_text()
        for number, gateway in enumerate(ports, 1):
            example = _changed(example, rf"127\.0\.0\.1:800{number}\b", f"127.0.0.1:{gateway}")
        command = self.prepare(folder, example, port)
        program = shutil.which(command[0], path=PATH)
        assert program is not None
        environ = {"HOME": str(folder), "PATH": PATH}
        with (folder / "proxy.log").open("wb") as log:
            process = subprocess.Popen([program, *command[1:]], stdout=log, stderr=log, cwd=folder, env=environ)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health/liveness", folder / "proxy.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _changed(text: str, pattern: str, by: str) -> str:
    text, times = re.subn(pattern, by, text)
    assert times == 1, pattern
    return text


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _nginx(folder: Path, example: str, port: int) -> list[str]:
    (folder / "freeway.conf").write_text(_changed(example, r"listen 80;", f"listen 127.0.0.1:{port};"))
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{ worker_connections 512; }}\n"
        f"http {{ access_log off; {temporary} include {folder}/freeway.conf; }}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def _caddy(folder: Path, example: str, port: int) -> list[str]:
    example = _changed(example, r"(?m)^llm\.example\.com {", f"http://127.0.0.1:{port} {{\n\tbind 127.0.0.1")
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tpersist_config off\n}\n" + example)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def _traefik(folder: Path, example: str, port: int) -> list[str]:
    example = _changed(example, r"Host\(`llm\.example\.com`\)", "PathPrefix(`/`)")
    (folder / "dynamic.yml").write_text(_changed(example, r" *tls: .*\n", ""))
    return [
        "traefik",
        f"--entryPoints.websecure.address=127.0.0.1:{port}",
        "--entryPoints.websecure.transport.respondingTimeouts.readTimeout=600s",
        f"--providers.file.filename={folder / 'dynamic.yml'}",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]


PROXIES = {
    "nginx": Proxy("nginx", "nginx.conf", _nginx, ("-v",), (1, 9, 13)),
    "caddy": Proxy("caddy", "Caddyfile", _caddy, ("version",), (2, 11)),
    "traefik": Proxy("traefik", "traefik.yml", _traefik, ("version",), (3, 7)),
}
