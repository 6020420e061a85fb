"""``freeway health``: whether the gateway lives, or is ready, for a container's health check, which has no curl."""

from __future__ import annotations

import re
import socket

import click

from gateway.cli import Surroundings

_TIMEOUT = 5.0  # seconds
_ASK = b"GET /health/%s HTTP/1.0\r\nhost: localhost\r\n\r\n"
_ADDRESS = re.compile(r"http://(?P<host>\[[^]]+\]|[^/:]+)(?::(?P<port>\d+))?")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask one that listens on all addresses


@click.command("health")
@click.option("--ready", is_flag=True, help="Ask whether it could answer a request, not only whether it lives.")
@click.pass_obj
def command(around: Surroundings, ready: bool) -> None:
    """
    Ask the gateway at HOST and PORT of the environment, or at FREEWAY_GATEWAY (http), whether it lives.

    Leaves with status 0 if it does, else 1. Needs no configuration and starts in a moment.
    """
    host, port = around.environ.get("HOST") or "127.0.0.1", around.environ.get("PORT") or "8000"
    if found := _ADDRESS.match(around.environ.get("FREEWAY_GATEWAY", "").strip()):
        host, port = found["host"].strip("[]"), found["port"] or "80"
    try:
        with socket.create_connection((EVERYWHERE.get(host, host), int(port)), _TIMEOUT) as connection:
            connection.settimeout(_TIMEOUT)
            connection.sendall(_ASK % (b"readiness" if ready else b"liveness"))
            status = connection.makefile("rb").readline().split()[1:2]
    except (OSError, ValueError, OverflowError) as exc:
        raise click.ClickException(f"no gateway answers on {host}:{port}: {exc}") from exc
    if ready and status == [b"503"]:
        raise click.ClickException(f"the gateway on {host}:{port} lives, and has no source to ask yet, or is going")
    if status != [b"200"]:
        raise click.ClickException(f"what answers on {host}:{port} is not well")
