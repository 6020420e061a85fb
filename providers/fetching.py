"""
Images that a caller names by address, fetched for providers that take bytes alone.

Whoever may call a gateway could otherwise have it call others in its own network. So a name is resolved once, every address of
it must be public, the connection goes to an address that was checked, no redirect is followed, and size and time are bounded. No
proxy is used: it would resolve the name anew.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

MOST_BYTES = 10 * 1024 * 1024
SECONDS = 10.0
"""What one image may have and take, from the name to the last byte."""

_AT_ONCE = 8

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, for a connection to a port. Raises OSError."""

_SIGNS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
"""How images begin of the kinds that models take."""

_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that a gateway translates: one of them may mean a machine of this network."""


class NotFetched(Exception):
    """Says why, without the address."""


def is_public(address: str) -> bool:
    """Whether *address* is of the public internet, and stands for no other one that may not be."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and (
        found.ipv4_mapped or found.sixtofour or found.teredo or found in _TRANSLATED
    ):
        return False
    return found.is_global and not found.is_multicast


async def resolved(host: str, port: int) -> Sequence[str]:
    """As the system has it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


class ImageFetcher:
    """Fetches images. *resolve* looks a name up, *allowed* says of an address whether it may be called."""

    def __init__(self, resolve: Resolve = resolved, allowed: Callable[[str], bool] = is_public) -> None:
        self._resolve, self._allowed = resolve, allowed
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, url: str) -> str:
        """
        The image at *url* as a data URI.

        Raises NotFetched.
        """
        try:
            async with asyncio.timeout(SECONDS), self._room:
                return await self._fetched(url)
        except TimeoutError as exc:
            raise NotFetched(f"it did not come within {SECONDS:g} s") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise NotFetched(f"it cannot be had: {type(exc).__name__}") from exc

    async def _fetched(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise NotFetched("expected an http or https address without a user")
        addresses = await self._resolve(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise NotFetched("its address is not public")
        connector = aiohttp.TCPConnector(resolver=_Pinned(addresses[0]), use_dns_cache=False, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
            session.get(url, allow_redirects=False, headers={"accept": "image/*"}) as response,
        ):
            if response.status != 200:
                raise NotFetched(f"its server answers {response.status}; redirects are not followed")
            return _as_data_uri(await _bounded(response.content))


class _Pinned(AbstractResolver):
    """Resolves whatever is asked to the one address that was checked."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        flags = socket.AI_NUMERICHOST
        return [ResolveResult(hostname=host, host=self._address, port=port, family=family, proto=0, flags=flags)]

    async def close(self) -> None: ...


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    found = bytearray()
    async for piece in content.iter_any():
        found += piece
        if len(found) > MOST_BYTES:
            raise NotFetched(f"it is longer than {MOST_BYTES} bytes")
    return bytes(found)


def _as_data_uri(data: bytes) -> str:
    mime = next((mime for sign, mime in _SIGNS.items() if data.startswith(sign)), None)
    if mime is None:
        raise NotFetched("it is no PNG, JPEG, GIF or WebP image")
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


Fetch = Callable[[str], Awaitable[str]]
"""``ImageFetcher.fetch``, as those have it who need it."""
