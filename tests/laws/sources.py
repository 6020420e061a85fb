"""
Providers written from the facts, and a gateway before them, on one clock that jumps from event to event.

What a source does is what it is made of: how long an answer takes, how many it gives at a time and in a clock minute, when
it is down. It writes down each call, so that what a gateway did can be judged by what happened at the other side. Nothing
here knows how a gateway decides: requests go in at its surface.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from providers.dialect import HttpRequest
from providers.failures import Unreachable
from providers.spec import Timeouts
from tests.clock import FakeClock
from tests.simulation.flowing import Caller, Heard
from tests.simulation.inside import Inside

START = 1_795_440_000.0
"""The beginning of a minute, in the middle of a day."""

MINUTE = 60.0
_SOON = 0.002
"""Seconds of the machine's own time: what is due by then is not waited for on the injected clock."""


class Clock(FakeClock):
    """A clock that can be asked when something is due."""

    def __init__(self) -> None:
        super().__init__(START)

    def due(self) -> float | None:
        """When the first sleeper wakes or the first timer goes off, if any does."""
        sleepers = [at for at, woken in self._sleepers if not woken.is_set()]
        return min([*sleepers, *(timer.at for timer in self._timers)], default=None)


class Said(Struct, frozen=True):
    """
    What a source answers: *body* after *seconds*, and, of a stream, what comes *later*, each piece so many seconds after the one
    before. *counted*: the source debits its minute for it. Status 0: it refuses the connection.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = {}
    seconds: float = 0.0
    counted: bool = True
    later: tuple[tuple[float, bytes], ...] = ()


class Called(Struct):
    """One call that a source got from the request *tag*: *at*, and *over* when it was answered."""

    tag: str
    at: float
    over: float | None = None
    status: int = 0


class Source(Struct, kw_only=True):
    """
    An OpenAI-compatible provider. *quota* and *more* are what a gateway is told of it, as TOML; *own* is all that it is
    told, where the shipped configuration knows the provider.

    *seconds* an answer takes, *slots* at once and *a_minute* (aligned to the clock) are given; more are refused with 429.
    During each of *down* (a beginning and an end, in unix seconds) every call gets a 503 that tells when that is over.
    *script* is answered first, one for each call; *rule* may answer by what is asked. *listing* is the body of its model list;
    none: the gateway is told its models. It was looked at at the moments *looked_at*. *address* tells how all that it is asked
    fares: it is ``there``, ``refuses`` connections, or is ``silent``: so many requests *hung*.
    """

    name: str
    models: tuple[str, ...] = ("free-model",)
    quota: str = '[{ limit = "1000/minute" }]'
    more: str = ""
    own: str = ""
    trains: str = "no"
    seconds: float = 0.0
    slots: int | None = None
    a_minute: int | None = None
    down: list[tuple[float, float]] = field(default_factory=list)
    script: list[Said] = field(default_factory=list)
    rule: Callable[[dict[str, Any]], Said | None] = lambda body: None
    calls: list[Called] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    minutes: dict[int, int] = field(default_factory=dict)
    refused: int = 0
    listing: Any = None
    looked_at: list[float] = field(default_factory=list)
    address: str = "there"
    hung: int = 0

    def settings(self) -> str:
        """What a file of one's own says of it."""
        if self.own:
            return self.own
        listed = ", ".join(f'"{model}"' for model in self.models)
        listed_at = "" if self.listing is None else "/models"
        return (
            f'[provider.{self.name}]\ntitle = "{self.name}"\nbase_url = "http://{self.name}.example/v1"\n'
            f'docs = "none"\nkeyless = true\nlisted_at = "{listed_at}"\nstatic_models = [{listed}]\n'
            f'capabilities = ["tools", "json_object"]\nquota = {self.quota}\n{self.more}\n'
            f'[provider.{self.name}.free]\nkind = "plan"\nbecause = "it is made up"\n'
            f'[provider.{self.name}.data_policy]\ntrains = "{self.trains}"\n'
        )

    def is_down(self, now: float) -> float | None:
        """Until when it is down at *now*; None if it is up."""
        return next((end for begin, end in self.down if begin <= now < end), None)

    def said(self, body: dict[str, Any], now: float) -> Said:
        """What it answers at *now*."""
        if self.script:
            return self.script.pop(0)
        until = self.is_down(now)
        if until is not None:
            told = {"retry-after": f"{math.ceil((until - now) * 1000) / 1000:.3f}"}
            return Said(503, error("down for a while"), told, counted=False)
        if self.slots is not None and self.in_flight >= self.slots:
            return Said(429, error("too many at once"), counted=False)
        if self.a_minute is not None and self.minutes.get(int(now // MINUTE), 0) >= self.a_minute:
            return Said(429, error("too many this minute"), counted=False)
        return self.rule(body) or Said(200, answer_to(body), seconds=self.seconds)

    async def answer(self, body: dict[str, Any], clock: FakeClock) -> Said:
        """Answer one call, after as long as it takes."""
        now = clock()
        said = self.said(body, now)
        called = Called(body["messages"][-1]["content"], now, status=said.status)
        self.calls.append(called)
        self.refused += said.status == 429
        if said.counted:
            self.minutes[int(now // MINUTE)] = self.minutes.get(int(now // MINUTE), 0) + 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if said.seconds:
                await clock.sleep(said.seconds)
        finally:
            self.in_flight -= 1
            called.over = clock()
        return said


def error(message: str, **more: Any) -> dict[str, Any]:
    """An error body of OpenAI's shape."""
    return {"error": {"message": message, "type": "server_error", "code": None, **more}}


def completion(body: dict[str, Any], text: str = "yes") -> dict[str, Any]:
    """A whole answer as long as the caller allowed; the provider's count is four letters a token."""
    prompt = sum(len(str(message["content"])) for message in body["messages"]) // 4 + 1
    output = body.get("max_tokens") or 1
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output},
    }


def answer_to(body: dict[str, Any]) -> Any:
    """A whole answer, or the events of a stream, as was asked for."""
    whole = completion(body)
    if not body.get("stream"):
        return whole
    (choice,) = whole["choices"]
    kind = {"object": "chat.completion.chunk"}
    said = {**whole, **kind, "usage": None, "choices": [{"index": 0, "delta": choice["message"]}]}
    end = {**whole, **kind, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return events([said, end])


def events(chunks: Iterable[dict[str, Any]]) -> bytes:
    """A stream of *chunks*, with its end."""
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"


class Incoming:
    """An answer on its way."""

    def __init__(self, said: Said, clock: FakeClock) -> None:
        whole = not isinstance(said.body, bytes)
        self.status = said.status
        self.headers = {"content-type": "application/json" if whole else "text/event-stream", **said.headers}
        self._body = json.dumps(said.body).encode() if whole else said.body
        self._later, self._clock = said.later, clock

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._body
        for seconds, piece in self._later:
            await self._clock.sleep(seconds)
            yield piece

    def finish(self) -> None: ...

    def close(self) -> None: ...


class Wire:
    """The way to the sources, each by its name in the address that is called. Nobody else is there."""

    def __init__(self, sources: Iterable[Source], clock: FakeClock) -> None:
        self._sources = {source.name: source for source in sources}
        self._clock = clock

    async def send(self, call: HttpRequest, timeouts: Timeouts) -> Incoming:
        name = call.url.removeprefix("http://").split(".", maxsplit=1)[0]
        if name not in self._sources:
            raise Unreachable("nobody is there")
        source = self._sources[name]
        if source.address == "silent":
            source.hung += call.method == "POST"
            await self._silence(timeouts)
        if call.method == "GET":
            source.looked_at.append(self._clock())
            said = Said(0) if source.address == "refuses" else Said(200, source.listing)
        elif source.address == "refuses":
            source.calls.append(Called("refused", self._clock()))
            said = Said(0)
        else:
            said = await source.answer(json.loads(call.body or b"{}"), self._clock)
        if not said.status:
            refused = Unreachable("cannot connect: connection refused")
            refused.reached = "unsent"
            raise refused
        return Incoming(said, self._clock)

    async def _silence(self, timeouts: Timeouts) -> None:
        await self._clock.sleep(timeouts.head)
        raise Unreachable(f"no answer within {timeouts.head:g} s")

    async def aclose(self) -> None: ...


class Watched:
    """*inner*, of which it is known whether somebody waits for an answer of it."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.asked = inner, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def asking(*given: Any, **more: Any) -> Any:
            self.asked += 1
            try:
                return await found(*given, **more)
            finally:
                self.asked -= 1

        return asking


class Told(Struct):
    """What a caller was told, and when it asked and heard (unix seconds)."""

    tag: str
    came: float
    deadline: float
    heard: Heard
    at: float

    @property
    def status(self) -> int:
        return self.heard.status

    @property
    def after(self) -> float:
        """Seconds that it took."""
        return round(self.at - self.came, 6)

    @property
    def trace(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.heard.headers["x-freeway-trace"])
        return found

    def __repr__(self) -> str:
        return f"<{self.tag}: {self.status} after {self.after} s {self.heard.body[:300]!r}>"


class _World:
    """What the harness wants to know of the other side."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.providers = {source.name: source for source in sources}

    def environment(self, origin: str) -> dict[str, str]:
        return {}


def clients(*names: str) -> str:
    """Settings of clients, each of which has its name for a key."""
    rows = ((name, hashlib.sha256(name.encode()).hexdigest()) for name in names)
    return "".join(f'[[client]]\nname = "{name}"\nkey_sha256 = "{key}"\n' for name, key in rows)


def own_settings(sources: Iterable[Source], requests: str = "", more: str = "") -> str:
    """A file of one's own: *sources*, the table ``[requests]``, and whatever else there is."""
    hedge = "" if "hedge" in requests else 'hedge = "off"'
    return f"[requests]\n{hedge}\n{requests}\n{more}\n" + "".join(source.settings() for source in sources)


class Scene:
    """A gateway before *sources*. *store* is the ledger's, else one in memory."""

    def __init__(
        self,
        folder: Path,
        *sources: Source,
        store: Any = None,
        requests: str = "",
        more: str = "",
        **environ: Any,
    ) -> None:
        self.clock, self.sources = Clock(), sources
        own = folder / "own.toml"
        own.write_text(own_settings(sources, requests, more))
        self._watched = [] if store is None else [Watched(store)]
        self.gateway = Inside(
            _World(sources),  # type: ignore[arg-type]
            self.clock,
            folder,
            store=self._watched[0] if self._watched else None,
            wire=Wire(sources, self.clock),
            FREEWAY_CONFIG=str(own),
            **environ,
        )
        self._caller = Caller(self.gateway)

    async def open(self) -> Scene:
        """The gateway has read all lists."""
        for source in self.sources:
            await self.gateway.look(source.name)
        return self

    async def close(self) -> None:
        """The gateway ends, with its store."""
        await self.quiet()
        await self.gateway.parts.aclose()

    # ── ask ──

    def ask(
        self,
        tag: str = "hi",
        *,
        model: str = "auto",
        wait: float | None = 30.0,
        trace: bool = False,
        key: str = "",
        **more: Any,
    ) -> asyncio.Task[Told]:
        """
        Somebody asks now, with this client *key* if any, and waits for capacity for so many seconds; None: it does not say
        for how long.
        """
        body = {"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": tag}], **more}
        headers: dict[str, Any] = {"x-freeway-trace": "true"} if trace else {}
        if wait is not None:
            headers["x-freeway-max-wait"] = f"{wait:g}"
        if key:
            headers["authorization"] = f"Bearer {key}"

        async def asking() -> Told:
            came = self.clock()
            heard = await self._caller.ask(body, **headers)
            return Told(tag, came, came + (wait or 0.0), heard, self.clock())

        return asyncio.create_task(asking())

    async def told(self, *asking: asyncio.Task[Told], within: float = 1000.0) -> list[Told]:
        """What they are told, each after as long as it takes; AssertionError if that is longer than *within* seconds."""
        end = self.clock() + within
        await self.quiet()
        while not all(task.done() for task in asking):
            due = self.clock.due()
            assert due is not None, f"nobody is about to answer: {asking}"
            assert due <= end, f"no answer within {within:g} s: {asking}"
            await self.until(due)
        return [task.result() for task in asking]

    async def one(self, *given: Any, **more: Any) -> Told:
        """What one caller is told."""
        return (await self.told(self.ask(*given, **more)))[0]

    # ── time ──

    async def until(self, moment: float) -> None:
        """Let time pass until *moment*, with whatever is due on the way."""
        await self.quiet()
        while (due := self.clock.due()) is not None and due <= moment:
            self.clock.advance(max(0.0, due - self.clock()))
            await self.quiet()
        self.clock.advance(max(0.0, moment - self.clock()))
        await self.quiet()

    async def passes(self, seconds: float) -> None:
        """Let *seconds* pass."""
        await self.until(self.clock() + seconds)

    async def quiet(self) -> None:
        """Return when everything has happened that can without time passing."""
        loop: Any = asyncio.get_running_loop()
        still = 0
        while still < 2:
            busy = any(one.asked for one in self._watched) or any(
                not timer._cancelled and timer._when < loop.time() + _SOON for timer in loop._scheduled
            )
            await asyncio.sleep(0.0005 if busy else 0)
            still = 0 if busy or loop._ready else still + 1


def router(rule: Callable[[dict[str, Any]], Said | None], **listed: Any) -> Source:
    """A source in OpenRouter's dialect that routes one free model, of which its list says *listed*, too."""
    own = (
        '[provider.router]\ntitle = "Router"\ndialect = "openrouter"\nbase_url = "http://router.example/v1"\ndocs = "none"\n'
        'keyless = true\nenforces_no_train = true\nquota = [{ limit = "1000/minute" }]\n'
        '[provider.router.free]\nkind = "prices"\n[provider.router.data_policy]\ntrains = "unknown"\n'
    )
    model = {"id": "maker/free-model:free", "pricing": {"prompt": "0", "completion": "0"}, "context_length": 131_072}
    return Source(name="router", own=own, listing={"data": [model | listed]}, rule=rule)
