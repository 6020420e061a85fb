"""
The one place that talks HTTP to providers: a call goes out, an answer comes back, and every way that this can fail is
one failure.

aiohttp is what measurements favour (docs/decisions/0001-servers-and-clients.md); nothing outside this module knows it.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import BinaryIO, Protocol, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import HttpProcessingError

from providers.addresses import is_near
from providers.chat import encode
from providers.dialect import HttpRequest
from providers.failures import Unreachable
from providers.observations import Headers
from providers.spec import Timeouts
from providers.waves import opened

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes that one answer may have."""

_TO_THE_END = 1.0
_LEFT_OVER = 64 * 1024
"""Seconds and bytes that the rest of an answer may take that said its end: a new connection costs less than more."""

_PIECE = 3 * 16 * 1024
"""Bytes of a file that are read at a time: of threes, so that what each becomes in base64 is a part of the whole."""

_BROKEN = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)
"""What aiohttp raises for connections that break and for bytes that are no HTTP."""


class Incoming(Protocol):
    """An answer whose head is here and whose body is on its way."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises Unreachable when it breaks, and when it is closed while one waits for more."""

    def finish(self) -> None:
        """Stop reading an answer that said its end: its connection is kept if its body ends in a moment, too."""

    def close(self) -> None:
        """Stop reading. An unfinished answer is cancelled at the provider by closing its connection."""


class Wire(Protocol):
    """Sends requests."""

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> Incoming:
        """
        Return once the head of an answer is here.

        Raises Unreachable, whose *reached* is ``unsent`` if no connection could be made.
        """

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
        self.finishing: set[asyncio.Task[None]] = set()  # answers that are read to their end

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> Incoming:
        if self._session.closed:
            raise _unsent("this gateway is stopping", ours=True)
        parts = urlsplit(request.url)
        file = await asyncio.to_thread(opened, request.file) if request.file is not None else None
        response = None
        try:
            async with asyncio.timeout(timeouts.head):
                response = await self._session.request(
                    request.method,
                    request.url,
                    data=_content(request, file),
                    headers=_headers(request, file),
                    timeout=_timeout(timeouts.connect),
                    allow_redirects=False,
                    proxy=_proxy(parts.scheme, parts.netloc),
                )
        except aiohttp.ConnectionTimeoutError as exc:
            raise _unsent(f"cannot connect within {timeouts.connect:g} s") from exc
        except TimeoutError as exc:
            raise Unreachable(f"no answer within {timeouts.head:g} s") from exc
        except _NEVER_SENT as exc:
            raise _unsent(_reason(exc), ours=_is_ours(exc, parts.hostname or "")) from exc
        except _BROKEN as exc:
            raise Unreachable(_reason(exc)) from exc
        finally:
            if response is None and file is not None:
                file.close()  # else whoever sends it does so at its end
        return _HttpIncoming(response, self.finishing)

    async def aclose(self) -> None:
        for task in self.finishing:
            task.cancel()
        await asyncio.gather(*self.finishing, return_exceptions=True)
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _HttpIncoming:
    def __init__(self, response: aiohttp.ClientResponse, finishing: set[asyncio.Task[None]]) -> None:
        self.status = response.status
        self.headers: Headers = {name.lower(): value for name, value in response.headers.items()}
        self._response = response
        self._finishing = finishing
        self._left = False

    async def pieces(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for piece in self._response.content.iter_any():
                size += len(piece)
                if size > MAX_ANSWER:
                    raise Unreachable(f"the answer is longer than {MAX_ANSWER} bytes")
                yield piece
        except _BROKEN as exc:
            raise Unreachable(_reason(exc)) from exc

    def finish(self) -> None:
        if self._left or self._response.content.at_eof():
            self.close()
            return
        self._left = True
        task = asyncio.get_running_loop().create_task(self._read_to_the_end())
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _read_to_the_end(self) -> None:
        size = 0
        try:
            with suppress(TimeoutError, *_BROKEN):
                async with asyncio.timeout(_TO_THE_END):
                    async for piece in self._response.content.iter_any():
                        size += len(piece)
                        if size > _LEFT_OVER:
                            break
        finally:
            self._left = False
            self.close()

    def close(self) -> None:
        # Gives the connection back if the answer was read to its end, and closes it if not.
        if self._left:
            return  # it is being read to its end
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


def _content(request: HttpRequest, file: BinaryIO | None) -> bytes | aiohttp.FormData | AsyncIterator[bytes] | None:
    """What is sent. *file* is read piece by piece meanwhile, and never held whole."""
    if file is None or request.file is None:
        return request.body
    if request.within:
        return _within(*_around(request), file)
    form = aiohttp.FormData()
    for name, value in request.form:
        form.add_field(name, value)
    form.add_field("file", file, filename=request.file.name, content_type=request.file.media_type)
    return form


def _headers(request: HttpRequest, file: BinaryIO | None) -> dict[str, str]:
    """Those of *request*; where it is made while it is sent, how long it will be is told beforehand."""
    if file is None or not request.within:
        return request.headers
    size = sum(map(len, _around(request))) + 4 * math.ceil(os.fstat(file.fileno()).st_size / 3)
    return {**request.headers, "content-length": str(size)}


def _around(request: HttpRequest) -> tuple[bytes, bytes]:
    """The JSON before and after the text of the file."""
    whole = encode({**msgspec.json.decode(request.body or b"{}"), request.within: ""})
    return whole[:-2], whole[-2:]


async def _within(before: bytes, after: bytes, file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        yield before
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield b64encode(piece)
        yield after
    finally:
        file.close()


@lru_cache(maxsize=64)
def _timeout(connect: float) -> aiohttp.ClientTimeout:
    """Silence is the client's to notice: aiohttp would set a timer for each piece. Looking up a name is connecting."""
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=connect)


@lru_cache(maxsize=256)
def _proxy(scheme: str, host: str) -> str | None:
    """
    The proxy that the environment names for *host* (with its port); aiohttp would look it up anew, in a thread, for each
    call. What is on this machine or network needs none, and a proxy could not reach it.
    """
    if is_near(urlsplit(f"//{host}").hostname or "") or proxy_bypass(host):
        return None
    return getproxies().get(scheme)


_NEVER_SENT = (
    aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError,
)  # fmt: skip
"""Before these, no connection was there that a request could have gone out by."""


def _unsent(message: str, *, ours: bool = False) -> Unreachable:
    failure = Unreachable(f"{message} (the trouble is on this machine or its network)" if ours else message)
    failure.reached, failure.ours = "unsent", ours
    return failure


_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})
_NO_NETWORK = frozenset({errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH})
_NO_RESOLVER = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL, getattr(socket, "EAI_SYSTEM", socket.EAI_FAIL)})


def _is_ours(exc: Exception, host: str) -> bool:
    """
    Whether *exc* says that this machine has no descriptor left, no network or no resolver, rather than that *host* is away.
    A host of our own network that cannot be reached is away.
    """
    error = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else None
    if isinstance(error, socket.gaierror):
        return error.errno in _NO_RESOLVER
    number = error.errno if error is not None else None
    return number in _OUT_OF_RESOURCES or (number in _NO_NETWORK and not is_near(host))


def _reason(exc: Exception) -> str:
    """The error without addresses: a base URL may hold a secret."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        return f"cannot connect: {exc.os_error.strerror or type(exc.os_error).__name__}"
    if isinstance(exc, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "the connection was closed before an answer came"
    if isinstance(exc, aiohttp.ClientPayloadError):
        return "the connection broke in mid-answer"
    if isinstance(exc, HttpProcessingError | aiohttp.ClientResponseError):
        return "what came is not HTTP"
    return type(exc).__name__
