"""The examples in ``deploy/proxies``: a rolling restart loses nothing, and a stream comes as it is written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.rolling import behind_nginx, rolled

PROXIES = ROOT / "deploy" / "proxies"
SYSTEM = "/usr/sbin:/usr/local/sbin:/usr/bin:/bin"
needs_nginx = pytest.mark.skipif(shutil.which("nginx", path=SYSTEM) is None, reason="there is no nginx")


@needs_nginx
async def test_behind_nginx_a_rolling_restart_loses_nothing_and_a_stream_is_not_held_back(tmp_path: Path):
    async with behind_nginx(tmp_path) as (origin, site, witness):
        async with httpx.AsyncClient(base_url=origin, timeout=30) as client:
            body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "stream"}]}
            async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
                lines = reply.aiter_lines()
                async for line in lines:
                    if '"first"' in line:  # while its provider waits to go on
                        break
                witness.go_on.set()
                rest = [line async for line in lines]
        told = await rolled(origin, site, rate=20, calls=60)

    assert any(" last" in line for line in rest)
    assert rest[-2:] == ["data: [DONE]", ""]
    assert told.lost == []
    assert told.restarts == 3
    assert told.answered >= 60
    assert max(witness.asked.values()) == 1, "a request was made twice"


def test_traefiks_example_names_what_it_uses():
    yaml = pytest.importorskip("yaml")
    http = yaml.safe_load((PROXIES / "traefik.yml").read_text())["http"]
    (router,) = http["routers"].values()
    assert router["service"] in http["services"]
    assert set(router["middlewares"]) <= http["middlewares"].keys()
    (service,) = http["services"].values()
    assert service["loadBalancer"]["healthCheck"]["path"] == "/health/readiness"


@pytest.mark.skipif(shutil.which("caddy") is None, reason="there is no caddy")
def test_caddys_example_is_sound():
    done = subprocess.run(
        ["caddy", "validate", "--adapter", "caddyfile", "--config", str(PROXIES / "Caddyfile")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
