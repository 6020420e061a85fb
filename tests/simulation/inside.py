"""The gateway's parts before simulated providers in one process and on one clock: days take seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from gateway import settings as s
from gateway.api.shares import Shares
from gateway.app import make_parts, make_providers
from gateway.events import Announcer, Attempted, Changed, Ended, Event
from gateway.quota.exchange import Store
from gateway.quota.sqlite import EmbeddedStore
from gateway.request.engine import Answer
from gateway.request.pipeline import answer
from gateway.request.stream import arrivals, whole
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateBackend
from gateway.words import Call, GatewayError
from providers import dialect
from providers.simulator.world import World
from providers.spec import Timeouts
from providers.wire import Wire
from tests.calls import call
from tests.clock import FakeClock
from tests.conftest import CONFIG

ORIGIN = "http://simulated.internal:80"


class Arrived(Struct):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self.body

    def finish(self) -> None: ...

    def close(self) -> None: ...


def scope_of(call: dialect.HttpRequest) -> dict[str, Any]:
    """*call* as an ASGI application sees it."""
    path, _, query = call.url.removeprefix(ORIGIN).partition("?")
    return {
        "type": "http",
        "method": call.method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in call.headers.items()],
    }


class InProcess:
    """The wire to *world*."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, call: dialect.HttpRequest, timeouts: Timeouts) -> Arrived:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": call.body or b""}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._world.app(scope_of(call), receive, send)
        headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return Arrived(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent))

    async def aclose(self) -> None: ...


class Inside:
    """
    A gateway without a server, before *world*. Replicas are several with one *store* and one *state*.

    *changed* are the events that tell of changes, as they came, *failed* the classes of failed attempts, *ended* the
    requests that are over.
    """

    def __init__(
        self,
        world: World,
        clock: FakeClock,
        folder: Path,
        *,
        store: Store | None = None,
        state: StateBackend | None = None,
        wire: Wire | None = None,
        **environ: str,
    ) -> None:
        agreed = {"FREEWAY_KEYLESS": "1"}  # nothing but *world* is asked
        found = {
            **world.environment(ORIGIN),
            "FREEWAY_STATE_DIR": str(folder),
            "MODELS_DEV_URL": "",
            **agreed,
            **environ,
        }
        found.setdefault("OLLAMA_HOST", "http://unused.example:1")
        settings = self.settings = s.load(CONFIG, found, folder)
        self.clock = clock
        self.changed: list[Changed] = []
        self.failed: list[str] = []
        self.ended: list[Ended] = []
        store, state = store or EmbeddedStore(None), state or SqliteState(None, clock)
        self.parts = make_parts(settings, clock, store, state, Announcer([self._hear]))
        self.engine, self.discovery = self.parts.engine, self.parts.discovery
        self.ledger = self.engine.ledger
        self.shares = Shares(self.parts.use, self.engine.view.catalog, self.ledger, clock)
        providers = {
            name: provider
            for name, provider in make_providers(settings, wire or InProcess(world), {}).items()
            if name in world.providers
        }
        self.engine.view.catalog.await_lists(())
        self.discovery.know(providers)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Changed):
            self.changed.append(event)
        elif isinstance(event, Attempted):
            self.failed.append(event.failure)
        elif isinstance(event, Ended):
            self.ended.append(event)

    @property
    def writing(self) -> bool:
        """Whether the ledger is telling its store something, which takes no time on this clock."""
        return self.ledger._journal._exchanging is not None

    def asked(self, model: str, text: str = "Say: yes", *, wait: float = 0.0, **more: Any) -> Call:
        """A caller asks *model*. *more* are fields of the request, of the Call and of what it wants."""
        messages = [{"role": "user", "content": text}]
        return call(model, deadline=self.clock() + wait, **{"messages": messages, **more})

    async def answer(self, model: str, text: str = "Say: yes", **more: Any) -> Answer:
        """Have it answered, as ``asked``; raises GatewayError."""
        found = await answer(self.asked(model, text, **more), self.engine)
        if found.reply.whole is not None:
            whole(found, self.engine)
        else:
            async for _ in arrivals(found, self.engine):
                pass
        return found

    async def ask(self, model: str, text: str, max_tokens: int) -> bool:
        """Ask *model* without waiting: whether there was an answer."""
        try:
            await self.answer(model, text, max_tokens=max_tokens)
        except GatewayError:
            return False
        return True

    async def look(self, *names: str) -> None:
        """Read the lists of *names*, as happens every now and then."""
        for name in names:
            await self.discovery.look(name)
