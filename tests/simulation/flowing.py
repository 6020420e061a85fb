"""A gateway in one process whose answers flow: they come piece by piece, hang, break, and are left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from msgspec import Struct, field

from gateway.api.auth import Authenticator
from gateway.api.drain import Drain
from gateway.api.http import Host, route
from gateway.api.openai_chat import ChatCompletions
from gateway.api.responses_archive import Archive
from providers.dialect import HttpRequest
from providers.failures import Unreachable
from providers.simulator.world import World
from providers.spec import Timeouts
from tests.simulation.inside import Inside, scope_of


class Flow:
    """One call to *world* and its answer, as it comes."""

    def __init__(self, world: World, call: HttpRequest, wire: Flowing) -> None:
        self.status, self.headers = 0, dict[str, str]()
        self._said: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._left, self._asked = asyncio.Event(), False
        self._body = call.body or b""
        scope = {**scope_of(call), "extensions": {"simulator.abort": self._abort}}
        task = asyncio.create_task(world.app(scope, self._receive, self._said.put))
        wire.open.add(task)
        task.add_done_callback(wire.open.discard)
        task.add_done_callback(lambda _: self._said.put_nowait(None))

    async def head(self) -> None:
        message = await self._said.get()
        if message is None:
            raise Unreachable("the connection was closed before an answer came")
        self.status = message["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}

    async def pieces(self) -> AsyncIterator[bytes]:
        while (message := await self._said.get()) is not None:
            yield message.get("body", b"")
            if not message.get("more_body"):
                return
        raise Unreachable("the connection broke in mid-answer")

    def finish(self) -> None: ...

    def close(self) -> None:
        self._left.set()

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._body}
        await self._left.wait()
        return {"type": "http.disconnect"}

    def _abort(self) -> None:
        self._said.put_nowait(None)


class Flowing:
    """The wire. *open* are the calls that the simulated side still works on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.open: set[asyncio.Task[None]] = set()

    async def send(self, call: HttpRequest, timeouts: Timeouts) -> Flow:
        flow = Flow(self._world, call, self)
        try:
            async with asyncio.timeout(timeouts.head):
                await flow.head()
        except TimeoutError as exc:
            flow.close()
            raise Unreachable(f"no answer within {timeouts.head:g} s") from exc
        except BaseException:
            flow.close()
            raise
        return flow

    async def aclose(self) -> None: ...


class Heard(Struct):
    """What a caller got."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False

    def events(self) -> list[Any]:
        """The events of a stream, with the end as text."""
        found = [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [event if event == "[DONE]" else json.loads(event) for event in found]

    def text(self) -> str:
        return "".join(
            choice["delta"].get("content") or "" for event in self.chunks() for choice in event.get("choices", ())
        )

    def finishes(self) -> list[str]:
        return [c["finish_reason"] for event in self.chunks() for c in event.get("choices", ()) if c["finish_reason"]]

    def errors(self) -> list[str]:
        return [event["error"]["code"] for event in self.chunks() if "error" in event]

    def availability(self) -> dict[str, Any]:
        """Why no source could answer, of an answer that is an error."""
        found: dict[str, Any] = json.loads(self.body)["error"]["availability"]
        return found

    def chunks(self) -> list[Any]:
        return [event for event in self.events() if event != "[DONE]"]


class Caller:
    """Calls a gateway's chat completions without a server."""

    def __init__(self, gateway: Inside) -> None:
        authenticator = Authenticator(gateway.settings, Drain(), gateway.clock)
        host = Host(gateway.engine, authenticator, gateway.settings.server, gateway.parts.allowances, gateway.shares)
        self._handle = route(ChatCompletions, host, partial(ChatCompletions, Archive(None, gateway.settings))).fn

    async def ask(
        self, body: dict[str, Any], leave_after: int | None = None, *, deaf: bool = False, **headers: str
    ) -> Heard:
        """
        What *body* gets. *leave_after* so many pieces of the answer (0: at once) the caller is gone; one that is *deaf*
        takes nothing of it, and then goes.
        """
        heard, left, read = Heard(), asyncio.Event(), False
        if leave_after == 0:
            left.set()

        async def receive() -> dict[str, Any]:
            nonlocal read
            if not read:
                read = True
                return {"type": "http.request", "body": json.dumps(body).encode()}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                heard.status = message["status"]
                heard.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                if deaf:
                    left.set()
                    await asyncio.Event().wait()
                return
            heard.body += message["body"]
            heard.ended = not message.get("more_body", False)
            if leave_after is not None and heard.body.count(b"\n\n") >= leave_after:
                left.set()

        raw = [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in headers.items())]
        scope = {"type": "http", "method": "POST", "headers": raw, "client": ("127.0.0.1", 1)}
        await self._handle(scope, receive, send)
        return heard
