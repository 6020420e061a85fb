"""The gateway as a subject of ``tests/world``: the whole application, its way to providers led into the world."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from unittest.mock import patch

from gateway import app as gateway_app
from gateway import settings as s
from gateway.quota.sqlite import EmbeddedStore
from providers import client
from providers.failures import Unreachable
from tests.world import clock
from tests.world import http as world_http
from tests.world.subjects import Ear
from tests.world.world import World

CONFIG = Path(__file__).parents[2] / "config"

_ADDRESS = {
    "openrouter": "OPENROUTER_BASE_URL",
    "google": "GEMINI_BASE_URL",
    "groq": "GROQ_BASE_URL",
    "nvidia": "NVIDIA_BASE_URL",
    "huggingface": "HF_BASE_URL",
    "ollama": "OLLAMA_HOST",
    "zai": "ZAI_BASE_URL",
    "cerebras": "CEREBRAS_BASE_URL",
}
_KEY = {
    "openrouter": "OPENROUTER_API_KEY",
    "google": "GEMINI_API_KEY",
    "groq": "GROQ_API_KEY",
    "nvidia": "NVIDIA_API_KEY",
    "huggingface": "HF_TOKEN",
    "zai": "ZAI_API_KEY",
    "cerebras": "CEREBRAS_API_KEY",
}

_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where the gateway's state is, so that an hour of the world does not wait for a disk."""

_SETTLED = 5.0
"""Seconds of the world in which the lists are read before the first caller comes."""


class Clock:
    """The world's time, as the gateway wants it."""

    def now(self) -> float:
        return clock.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, do: Callable[[], None]) -> Any:
        return asyncio.get_running_loop().call_later(seconds, do)


class Incoming:
    """An answer of the world on its way."""

    def __init__(self, response: world_http.Response) -> None:
        self.status, self.headers = response.status, response.headers
        self._pieces, self._closed = response.pieces, asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        closing = asyncio.ensure_future(self._closed.wait())
        try:
            while not self._closed.is_set():
                coming = asyncio.ensure_future(anext(self._pieces, None))
                try:
                    await asyncio.wait((coming, closing), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not coming.done():
                        coming.cancel()
                        await asyncio.wait((coming,))
                if coming.cancelled():
                    raise Unreachable("closed while more was awaited")
                piece = coming.result()
                if piece is None:
                    return
                if piece:
                    yield piece
        except world_http.ConnectionBroken as exc:
            raise Unreachable("the connection broke in mid-answer") from exc
        finally:
            closing.cancel()
            await self._pieces.aclose()  # type: ignore[attr-defined]

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            _later(self._pieces)


_closing = set[asyncio.Task[None]]()


def _later(pieces: Any) -> None:
    """Close *pieces*, unless somebody reads them right now and does it himself."""

    async def close() -> None:
        try:
            await pieces.aclose()
        except RuntimeError:  # it runs: its reader sees that it is closed
            return

    task = asyncio.ensure_future(close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)


class Wire:
    """The way to the providers, in place of ``HttpWire``."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, request: Any, timeouts: Any) -> Incoming:
        headers = {name.lower(): value for name, value in request.headers.items()}
        sent = world_http.Request(request.method, request.url, headers, request.body or b"")
        try:
            async with asyncio.timeout(timeouts.head):
                return Incoming(await self._world.exchange(sent))
        except TimeoutError as exc:
            raise Unreachable(f"no answer within {timeouts.head:g} s") from exc
        except world_http.ConnectionRefused as exc:
            refused = Unreachable("cannot connect: connection refused")
            refused.reached = "unsent"
            raise refused from exc
        except world_http.ConnectionBroken as exc:
            raise Unreachable("the connection was closed before an answer came") from exc

    async def aclose(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Gateway:
    """*replicas* of the application, which take turns. *own* is a file of one's own, *store* what they share."""

    def __init__(self, own: str = "", *, resumes: bool = False, replicas: int = 1, **environ: str) -> None:
        self._own, self._resumes, self._replicas, self._environ = own, resumes, replicas, environ

    async def open(self, world: World) -> None:
        self._stack = AsyncExitStack()
        self.folder = Path(self._stack.enter_context(TemporaryDirectory(dir=_IN_MEMORY)))
        self.prepare(self._stack)
        self.apps = [await self._started(world, number) for number in range(self._replicas)]
        self._turns = cycle(self.apps)
        await asyncio.sleep(_SETTLED)

    async def _started(self, world: World, number: int) -> Any:
        folder = self.folder / str(number)
        folder.mkdir()
        own = folder / "own.toml"
        own.write_text(self._settings(world), encoding="utf-8")
        environ = {"FREEWAY_STATE_DIR": str(folder), "FREEWAY_CONFIG": str(own), **self._environ}
        for name, source in world.sources.items():
            environ[_ADDRESS[name]] = world.address(name)
            if source.key:
                environ[_KEY[name]] = source.key
        if "ollama" not in world.sources:
            environ["OLLAMA_HOST"] = "http://nothing.internal:1"
        settings = s.load(CONFIG, environ, folder)
        with patch.object(gateway_app, "HttpWire", lambda **_: Wire(world)), _paces(), self.in_place():
            app = gateway_app.create_app(settings, clock=Clock(), store=self.store(settings))
            await self._stack.enter_async_context(app.lifespan())
        return app

    def prepare(self, stack: AsyncExitStack) -> None:
        """Start what the gateways need, to end with *stack*."""

    def store(self, settings: s.Settings) -> Any:
        """What the ledger keeps its levels in."""
        return EmbeddedStore(None)

    def in_place(self) -> AbstractContextManager[Any]:
        """Puts what else must be replaced in its place."""
        return nullcontext()

    def _settings(self, world: World) -> str:
        clients = "".join(
            f'[[client]]\nname = "{name}"\nkey_sha256 = "{_digest(name)}"\n'
            for name in ("chat", "agent", "batch", "voice")
        )
        return f'{self._own}\n[catalog]\ndatabase = ""\n[embedded]\nenabled = "off"\n{clients}'

    async def ask(self, body: dict[str, Any], client: str, ear: Ear) -> None:
        await _asgi(next(self._turns), body, {"authorization": f"Bearer {client}", **self._options()}, ear)

    def _options(self) -> dict[str, str]:
        return {"x-freeway-resume": "true"} if self._resumes else {}

    async def close(self) -> None:
        await self._stack.aclose()


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def _paces() -> Any:
    """Providers measure on the world's time, too."""
    defaults = client.Provider.__init__.__defaults__ or ()
    if len(defaults) > 1:
        return patch.object(client.Provider.__init__, "__defaults__", (*defaults[:-1], clock.now))
    return patch.object(client.Provider.__init__, "__defaults__", defaults)


async def _asgi(app: Any, body: dict[str, Any], headers: dict[str, str], ear: Ear) -> None:
    """One request to *app*, as a server hands it over."""
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}
        await ear.left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            ear.begin(message["status"])
        elif message["type"] == "http.response.body" and message.get("body"):
            ear.take(message["body"])

    path = "/v1/chat/completions"
    raw = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    raw += [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": raw,
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 8000),
        "state": {},
    }
    await app(scope, receive, send)
