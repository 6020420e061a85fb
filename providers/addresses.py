"""Addresses as people write them."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

_OLLAMA_PORT = 11434
_NEAR_ENDINGS = (".localhost", ".local", ".lan", ".home", ".internal", ".home.arpa", ".svc", ".ts.net")
"""Names that are given within a house, a cluster, a container engine or one's own tailnet, and by no registry."""


def is_near(host: str) -> bool:
    """Whether *host* (without a port) is this machine or this network, as far as its name says."""
    host = host.strip("[]").rstrip(".").lower()
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return bool(host) and ("." not in host or host.endswith(_NEAR_ENDINGS))


def ollama_address(text: str) -> str:
    """
    What ``OLLAMA_HOST`` means, as a base URL: ``host``, ``host:port``, or a URL; the default port is 11434.

    It is also what a server listens on, so the wildcard addresses mean this machine (Ollama FAQ, 2026-08).
    Raises ``ValueError``.
    """
    text = text.strip()
    wrong = f"expected a host, host:port or http address, got {text!r}"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError as exc:
        raise ValueError(wrong) from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(wrong)
    default = {"http": 80, "https": 443}[parts.scheme] if "://" in text else _OLLAMA_PORT
    host = parts.hostname
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        if address.is_unspecified:
            host = "127.0.0.1"
        elif address.version == 6:
            host = f"[{host}]"
    return f"{parts.scheme}://{host}:{port or default}{parts.path.rstrip('/')}"


def listening_address(text: str) -> tuple[str, int]:
    """The host and the port of *text*, ``host:port``, with an IPv6 host in brackets. Raises ``ValueError``."""
    host, _, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"server.ollama: expected host:port like 127.0.0.1:{_OLLAMA_PORT}, got {text!r}")
    return host, int(port)
