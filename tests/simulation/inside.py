"""The gateway's parts before simulated providers in one process and on one clock: days take seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from gateway import settings as s
from gateway.app import make_parts, make_providers
from gateway.engine import Answer
from gateway.ledger.embedded import EmbeddedStore
from gateway.memory.embedded import EmbeddedKeeper
from gateway.pipeline import answer
from gateway.relay import whole
from gateway.words import Ask, GatewayError
from providers.chat import decode_fields, decode_request, encode
from providers.dialect import Call
from providers.simulator.world import World
from providers.spec import Timeouts
from tests.clock import FakeClock
from tests.conftest import CONFIG

ORIGIN = "http://simulated.example"


class Arrived(Struct):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.body

    def close(self) -> None: ...


class InProcess:
    """The wire to *world*."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, call: Call, timeouts: Timeouts) -> Arrived:
        path, _, query = call.url.removeprefix(ORIGIN).partition("?")
        scope = {
            "type": "http",
            "method": call.method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in call.headers.items()],
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": call.body or b""}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._world.app(scope, receive, send)
        headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return Arrived(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent))

    async def aclose(self) -> None: ...


class Inside:
    """A gateway without a server, before *world*."""

    def __init__(self, world: World, clock: FakeClock, folder: Path) -> None:
        environ = {**world.environment(ORIGIN), "FREEWAY_STATE_DIR": str(folder), "MODELS_DEV_URL": ""}
        environ.setdefault("OLLAMA_HOST", "http://nobody.example:1")
        settings = s.load(CONFIG, environ, folder)
        self.clock = clock
        self.parts = make_parts(settings, clock, EmbeddedStore(None), EmbeddedKeeper(None, clock))
        self.engine, self.discovery = self.parts.engine, self.parts.discovery
        self.ledger = self.engine.ledger
        providers = {
            name: provider
            for name, provider in make_providers(settings, InProcess(world), {}).items()
            if name in world.providers
        }
        self.engine.catalog.await_lists(())
        self.discovery.know(providers)

    async def ask(self, model: str, text: str, max_tokens: int) -> bool:
        """Ask *model* without waiting: whether there was an answer."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": max_tokens}
        encoded = encode(body)
        ask = Ask(view=decode_request(encoded), fields=decode_fields(encoded), deadline=self.clock(), models=(model,))
        try:
            found: Answer = await answer(ask, "r", self.engine)
        except GatewayError:
            return False
        whole(found, self.engine)
        return True

    async def look(self, names: Sequence[str]) -> None:
        """Read the lists of *names*, as happens every now and then."""
        for name in names:
            await self.discovery.look(name)
