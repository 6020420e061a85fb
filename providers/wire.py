"""
The one place that talks HTTP to providers: a call goes out, an answer comes back, and every way that this can fail is
one failure.

aiohttp is what measurements favour (docs/decisions/0001-servers-and-clients.md); nothing outside this module knows it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import lru_cache
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey

from providers.dialect import HttpRequest
from providers.failures import Unreachable
from providers.observations import Headers
from providers.spec import Timeouts

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes that one answer may have."""


class Incoming(Protocol):
    """An answer whose head is here and whose body is on its way."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises Unreachable when it breaks or falls silent."""

    def close(self) -> None:
        """Stop reading. An unfinished answer is cancelled at the provider by closing its connection."""


class Wire(Protocol):
    """Sends calls."""

    async def send(self, call: HttpRequest, timeouts: Timeouts) -> Incoming:
        """Return once the head of an answer is here; raises Unreachable."""

    async def aclose(self) -> None:
        """Close all connections."""


class _Connector(aiohttp.TCPConnector):
    """
    Breaks connections off at once when an answer is not awaited any more. Closed in good order, one with TLS stays open
    for half a minute unless the other side takes leave, too, and what was not sent yet is still sent.
    """

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if should_close and protocol.transport is not None:
            protocol.transport.abort()
        super()._release(key, protocol, should_close=should_close)


class HttpWire:
    """HTTP over one shared pool of connections. Make it inside the running loop."""

    def __init__(self, *, user_agent: str) -> None:
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=0, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"user-agent": user_agent},  # some providers refuse the defaults of HTTP libraries
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=2**18,
        )

    async def send(self, call: HttpRequest, timeouts: Timeouts) -> Incoming:
        parts = urlsplit(call.url)
        try:
            async with asyncio.timeout(timeouts.head):
                response = await self._session.request(
                    call.method,
                    call.url,
                    data=call.body,
                    headers=call.headers,
                    timeout=_timeout(timeouts),
                    allow_redirects=False,
                    proxy=_proxy(parts.scheme, parts.netloc),
                )
        except TimeoutError as exc:
            raise Unreachable(f"no answer within {timeouts.head:g} s") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise Unreachable(_reason(exc)) from exc
        return _HttpIncoming(response, timeouts.silence)

    async def aclose(self) -> None:
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _HttpIncoming:
    def __init__(self, response: aiohttp.ClientResponse, silence: float) -> None:
        self.status = response.status
        self.headers: Headers = {name.lower(): value for name, value in response.headers.items()}
        self._response = response
        self._silence = silence
        self._heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._fell_silent = False

    async def pieces(self) -> AsyncIterator[bytes]:
        size, clock = 0, asyncio.get_running_loop()
        self._heard_at = clock.time()
        self._watch = clock.call_later(self._silence, self._listen)
        try:
            async for piece in self._response.content.iter_any():
                self._heard_at = clock.time()
                size += len(piece)
                if size > MAX_ANSWER:
                    raise Unreachable(f"the answer is longer than {MAX_ANSWER} bytes")
                yield piece
        except (aiohttp.ClientError, OSError) as exc:
            if self._fell_silent:
                raise Unreachable(f"nothing came for {self._silence:g} s") from exc
            raise Unreachable(_reason(exc)) from exc
        finally:
            self._watch.cancel()

    def _listen(self) -> None:
        """Break an answer that has said nothing for too long; else look again when that may be so."""
        clock = asyncio.get_running_loop()
        left = self._heard_at + self._silence - clock.time()
        if left > 0:
            self._watch = clock.call_later(left, self._listen)
        else:
            self._fell_silent = True
            self._response.close()

    def close(self) -> None:
        # Gives the connection back if the answer was read to its end, and closes it if not.
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


@lru_cache(maxsize=64)
def _timeout(timeouts: Timeouts) -> aiohttp.ClientTimeout:
    """Silence is ours to notice: aiohttp would set a timer for each piece."""
    return aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect)


@lru_cache(maxsize=256)
def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for *host*; aiohttp would look it up anew, in a thread, for each call."""
    return None if proxy_bypass(host) else getproxies().get(scheme)


def _reason(exc: Exception) -> str:
    """The error without addresses: a base URL may hold what is nobody's business."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        return f"cannot connect: {exc.os_error.strerror or type(exc.os_error).__name__}"
    if isinstance(exc, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "the connection was closed before an answer came"
    if isinstance(exc, aiohttp.ClientPayloadError):
        return "the connection broke in mid-answer"
    return type(exc).__name__
