"""
Programs that can send no header: a key in the path (``/k/{key}/v1/…``), and networks from which Ollama's API needs none.

Either is made a header of the request before anything else looks at it, so that every route admits its clients in one way, and
no key is left in a path. A web page is never admitted by the network that its browser is in: any site could use it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote

from gateway.api.auth import KEY_OF_KEYLESS
from gateway.settings import Server

Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

_BEFORE_KEY = "/k/"
_OLLAMA_PATHS = ("/api/",)
_OF_PAGES = frozenset({b"origin", b"sec-fetch-site", b"sec-fetch-mode"})
"""A browser sends one of these with whatever a page makes it ask that could do harm."""


class Keyless:
    """*app* behind what *server* admits without a header; *network_key* is the one that stands for its networks."""

    def __init__(self, app: App, server: Server, network_key: str) -> None:
        self._app, self._path_keys = app, server.path_keys
        self._networks = tuple(ipaddress.ip_network(network) for network in server.ollama_networks)
        self._ollama_port = server.ollama_address()[1] if server.ollama else None
        self._network_key = network_key.encode()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            key = b""
            if self._path_keys and scope["path"].startswith(_BEFORE_KEY):
                scope, key = _without_key(scope)
            elif self._networks and self._is_admitted(scope):
                key = self._network_key
            if key:
                scope = {**scope, "headers": [*scope["headers"], (KEY_OF_KEYLESS, key)]}
        await self._app(scope, receive, send)

    def _is_admitted(self, scope: Any) -> bool:
        """Whether a request of one of the networks is for an Ollama, and made by a program."""
        for_ollama = scope["path"].startswith(_OLLAMA_PATHS) or (scope.get("server") or ("", 0))[1] == self._ollama_port
        return for_ollama and self._is_near(scope.get("client")) and not _is_from_page(scope["headers"])

    def _is_near(self, peer: Sequence[Any] | None) -> bool:
        try:
            address = ipaddress.ip_address(peer[0] if peer else "")
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)


def _without_key(scope: Any) -> tuple[Any, bytes]:
    """*scope* as if the path had begun after the key; and the key."""
    key, slash, rest = scope["path"].removeprefix(_BEFORE_KEY).partition("/")
    path = slash + rest or "/"
    return {**scope, "path": path, "raw_path": quote(path).encode()}, key.encode("utf-8", "replace")


def _is_from_page(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name in _OF_PAGES for name, _ in headers)
