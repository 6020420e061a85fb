"""What every simulated provider is made of: models, a record of calls, faults that can be switched on, and HTTP."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NoReturn

import msgspec
from msgspec import Struct, field

from providers.simulator.brain import Saying, View, think
from providers.simulator.quotas import Clock, Meter, fits

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
JSON = "application/json"
BREAKING = ("error_in_stream", "limited_in_stream")
"""Faults that are told in mid-stream."""


class SimulatedModel(Struct, kw_only=True):
    """A model on offer. *price* is dollars for a token in and out. *status*: live, gone, not_entitled, limit_zero."""

    id: str
    context: int = 131_072
    max_output: int = 8192
    tools: bool = True
    vision: bool = False
    reasoning: bool = False
    json_schema: bool = True
    embedding: bool = False
    does: str = ""  # another operation that it is for: rerank, transcribe, speak, image, moderate
    weights: str = ""  # those that it really has, if not those of its name
    fills: bool = False  # writes what stands between two texts
    price: tuple[float, float] = (0.0, 0.0)
    status: str = "live"
    think_tag: bool = False  # writes its thought into the answer and closes it with a stray tag
    runs_at: str | None = None

    @property
    def space(self) -> str:
        """What tells its vectors from those of other weights."""
        return self.weights or self.id.rpartition("/")[2].partition(":")[0]


class Call(Struct, kw_only=True):
    """A call that was made, and what came of it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    model: str = ""
    status: int = 0
    served: bool = False
    cancelled: bool = False
    charged: float = 0.0


class Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def decoded_image(text: str) -> bytes:
    """The bytes that *text* is in base64. Raises Refusal, as a provider does, if it is none."""
    try:
        return base64.b64decode(text)
    except ValueError as exc:
        error = {"message": "the image is not valid base64", "type": "invalid_request_error", "code": 400}
        raise Refusal(400, {"error": error}) from exc


class Fault(Struct):
    """Something that goes wrong the next *times* times, for one model or any."""

    name: str
    times: int
    model: str | None


class Exchange(Struct):
    """One HTTP exchange: the call, and how to answer it."""

    call: Call
    receive: Receive
    send: Send
    abort: Callable[[], None]
    query: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def json(self) -> Any:
        """The body; Refusal 400 if it is not JSON."""
        try:
            return msgspec.json.decode(self.call.body)
        except msgspec.DecodeError as exc:
            raise Refusal(400, {"error": {"message": f"invalid JSON: {exc}", "code": 400}}) from exc

    async def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        """A whole answer: JSON, or text as it is."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        await self.start(status, {"content-type": JSON, **(headers or {}), "content-length": str(len(data))})
        await self.send({"type": "http.response.body", "body": data})

    async def start(self, status: int, headers: dict[str, str]) -> None:
        self.call.status = status
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def piece(self, data: bytes) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self.send({"type": "http.response.body", "body": b""})

    async def hang(self) -> None:
        """Say nothing until the caller leaves."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.call.cancelled = True


class Simulated:
    """A provider's other half. Subclasses say how it spells things, counts, and refuses."""

    name = ""
    key: str | None = "sim-key"
    path = "/v1"

    def __init__(self, clock: Clock, models: Iterable[SimulatedModel]) -> None:
        self.clock = clock
        self.models = list(models)
        self.calls: deque[Call] = deque(maxlen=20_000)
        self.faults: list[Fault] = []
        self.served = self.refused = self.in_flight = 0
        self.charged = 0.0
        self.brain: Callable[[View], Saying] = think
        self.pace = 0.0
        self.meters: dict[str, Meter] = {}

    # ── for tests ──

    def fail(self, fault: str, *, times: int = 1, model: str | None = None) -> None:
        """The next *times* calls (to *model*) meet *fault*."""
        self.faults.append(Fault(fault, times, model))

    def eat(self, requests: int, model: str, tokens: int = 0) -> None:
        """Another program uses the same account."""
        for meter, amount in self.meters_of(self.model(model), requests, tokens):
            meter.take(amount, self.clock())

    def upgrade(self) -> None:
        """The account's owner puts the account on a plan that is paid for: more is allowed, and all of it is charged."""
        raise NotImplementedError

    @property
    def quota(self) -> dict[str, tuple[float, float]]:
        """Every meter that was touched: what is used, and the limit."""
        return {name: (meter.used(self.clock()), meter.limit) for name, meter in self.meters.items()}

    # ── for subclasses ──

    def meter(self, key: str, make: Callable[[], Meter]) -> Meter:
        """The meter *key*, made when first asked for."""
        if key not in self.meters:
            self.meters[key] = make()
        return self.meters[key]

    def meters_of(self, model: SimulatedModel, requests: float, tokens: float) -> list[tuple[Meter, float]]:
        """What a request debits, and how much."""
        return []

    def model(self, name: str) -> SimulatedModel:
        """The model called *name*; refuses if there is none."""
        model = next((model for model in self.models if model.id == name), None)
        if model is None:
            self.refuse("unknown", SimulatedModel(id=name))
        if model.status != "live":
            self.refuse(model.status, model)
        return model

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        """Raise the Refusal that this provider gives for *why*: a fault's name, or a model's status."""
        raise NotImplementedError

    def refusal(self, why: str, model: SimulatedModel) -> Any:
        """The body in which *why* is told, for a stream that has begun."""
        try:
            self.refuse(why, model)
        except Refusal as refusal:
            return refusal.body

    def take(self, model: SimulatedModel, tokens: float) -> None:
        """Debit what a request takes, or refuse it."""
        now = self.clock()
        wanted = self.meters_of(model, 1, tokens)
        for meter, amount in wanted:
            if not fits(meter, amount, now):
                self.over(meter, amount, model)
        for meter, amount in wanted:
            meter.take(amount, now)

    def hear(self, model: SimulatedModel, seconds: float) -> None:
        """Debit so many seconds of sound, or refuse them."""

    def over(self, meter: Meter, amount: float, model: SimulatedModel) -> NoReturn:
        """Refuse: *amount* does not fit into *meter*."""
        raise NotImplementedError

    def due(self, model: str) -> str | None:
        """The fault that this call meets."""
        for fault in self.faults:
            if fault.times > 0 and fault.model in (None, model):
                fault.times -= 1
                return fault.name
        return None

    # ── HTTP ──

    async def handle(self, exchange: Exchange) -> None:
        """Answer *exchange*, whatever comes of it."""
        self.calls.append(exchange.call)
        self.in_flight += 1
        try:
            await self.route(exchange, exchange.call.path.removeprefix(self.path))
        except Refusal as refusal:
            self.refused += refusal.status == 429
            await exchange.answer(refusal.status, refusal.body, refusal.headers)
        except asyncio.CancelledError:
            exchange.call.cancelled = True
            raise
        finally:
            self.in_flight -= 1

    async def route(self, exchange: Exchange, path: str) -> None:
        """Answer a call to *path* below the provider's own base."""
        raise NotImplementedError

    async def stream(self, exchange: Exchange, events: list[bytes], headers: dict[str, str], fault: str | None) -> bool:
        """
        Send *events* one by one; True if the caller took them all.

        *fault* may break it in the middle, hang it after the head, slow it down, or cut its bytes anywhere.
        """
        await exchange.start(200, headers)
        if fault == "hang_stream":
            await exchange.hang()
            return False
        watch = asyncio.ensure_future(exchange.receive())
        try:
            for place, event in enumerate(events):
                if fault == "cut" and place == _middle(events):
                    exchange.abort()
                    return False
                if watch.done():
                    exchange.call.cancelled = True
                    return False
                for data in _split(event) if fault == "split_utf8" else (event,):
                    await exchange.piece(data)
                    if fault == "split_utf8":
                        await asyncio.sleep(0)
                pace = 0.02 if fault == "drip" else self.pace
                if pace:
                    await asyncio.wait({watch}, timeout=pace)
            if fault in BREAKING:
                await exchange.end()
                return False
            await exchange.end()
            return True
        finally:
            watch.cancel()

    async def spoil(self, exchange: Exchange, fault: str) -> bool:
        """Meet *fault* if it is one that spoils the whole answer, or its way; True if there is nothing left to answer."""
        match fault:
            case "hang":
                await exchange.hang()
            case "reset":
                exchange.abort()
            case "html":
                page = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
                await exchange.answer(200, page, {"content-type": "text/html"})
            case "bad_json":
                await exchange.answer(200, b'{"id": "x", "choices": [{"ind')
            case "drip_bytes":
                exchange.send = _dripping(exchange.send)
                return False
            case _:
                return False
        return True

    def charge(self, exchange: Exchange, dollars: float) -> None:
        """Money that left its owner's account."""
        exchange.call.charged += dollars
        self.charged += dollars


def _dripping(send: Send) -> Send:
    """*send*, byte by byte."""

    async def drip(message: dict[str, Any]) -> None:
        body = message.get("body", b"")
        for place in range(len(body) - 1):
            await send({**message, "body": body[place : place + 1], "more_body": True})
            await asyncio.sleep(0)
        await send({**message, "body": body[-1:]} if body else message)

    return drip


def _middle(events: list[bytes]) -> int:
    return max(2, len(events) // 2)


def _split(event: bytes) -> list[bytes]:
    """Pieces of three bytes: every line and every character longer than that is cut."""
    return [event[i : i + 3] for i in range(0, len(event), 3)]
