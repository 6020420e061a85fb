"""A provider: what it lets in, how long it takes, what it answers, and how it fails."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import Counter as Tally
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from msgspec import structs

from tests.world import truth
from tests.world.clock import now
from tests.world.formats import Asked, Format, OpenAI, Part, Said, Usage
from tests.world.http import ConnectionBroken, ConnectionRefused, Request, Response, once, told
from tests.world.models import Call, Fault, Model, draw
from tests.world.quotas import Counter, Limit

PIECES = 6
"""In how many pieces the text of a stream comes."""

SILENCE = 600.0
"""Seconds that a provider which hangs keeps a connection open."""

_DEFAULT_BOUND = 1024


class Source:
    """One account at a provider. Subclasses say what its errors and its lists look like."""

    formats: ClassVar[dict[str, Format]] = {"/chat/completions": OpenAI()}
    key = "secret-key"
    head_first = False

    def __init__(
        self,
        name: str,
        models: list[Model],
        limits: list[Limit],
        faults: tuple[Fault, ...] = (),
        *,
        at_once: int | None = None,
    ) -> None:
        self.name, self.faults, self.limits, self.at_once = name, faults, limits, at_once
        if self.key:
            self.key = f"{self.key}-of-{name}"  # gateways with the same credential are one account
        self.models = {model.id: model for model in models}
        self.calls: list[Call] = []
        self.seed, self.begin = 0, 0.0
        self.counters: dict[str, list[Counter]] = {}
        self.in_flight: Tally[str] = Tally()
        self._asked: Tally[tuple[str, str]] = Tally()

    def change(self, model: str, **more: Any) -> None:
        """In truth *model* is not as the catalogue has it. What its list says stays."""
        known = self.models[model]
        self.models[model] = structs.replace(known, **{"lists": known.listed, **more})

    def open(self, seed: int, begin: float) -> None:
        """The world begins."""
        self.seed, self.begin = seed, begin
        shared = [Counter(limit, self.name, begin) for limit in self.limits if limit.scope == "account"]
        for id_ in self.models:
            own = [Counter(one, f"{self.name}/{id_}", begin) for one in self.limits if one.scope != "account"]
            self.counters[id_] = [one for one in (*shared, *own) if one.limit.counts(id_)]

    # ── what is true now, for those who may know ──

    def trouble(self, model: str) -> Fault | None:
        """What is wrong with *model* now."""
        at = now() - self.begin
        return next((fault for fault in self.faults if fault.kind != "breaks" and fault.holds(at, model)), None)

    def opens_in(self, model: Model, asked: Asked) -> float:
        """Seconds until *model* has room for *asked*; 0: it has."""
        waits = [
            counter.opens_in(self._cost(counter.limit, model, asked), now()) for counter in self.counters[model.id]
        ]
        return max([*waits, 0.5 if self._crowded(model) else 0.0])

    def holds(self, model: Model, asked: Asked) -> int:
        """The longest prompt that *model* would read whole."""
        return model.context

    # ── the border ──

    async def exchange(self, request: Request) -> Response:
        """Answer a request. Cancelling it, or closing its pieces, is the caller's leaving."""
        path = request.url.split("://", 1)[1].partition("/")[2].partition("?")[0]
        if request.method == "GET" or not (found := self._format_of("/" + path)):
            await self._suffer(Call("", self.name, "", now()), only_all=True)
            return self.lists("/" + path, request)
        wire, model = found
        body = json.loads(request.body)
        asked = wire.read(body, model)
        asked.model = self.named(asked.model)
        if "streamGenerateContent" in path:
            asked.stream = True
        call = Call(asked.tag, self.name, asked.model, now(), denies=asked.denies)
        self.calls.append(call)
        try:
            return await self._answer(wire, asked, call, request)
        except asyncio.CancelledError:
            if call.over is None:
                call.failed(call.cause or "left by its caller", call.status, lasting=False)
            raise

    def _format_of(self, path: str) -> tuple[Format, str] | None:
        for end, wire in self.formats.items():
            if path.endswith(end):
                return wire, path.rpartition("/")[2].partition(":")[0] if ":" in end else ""
        return None

    async def _answer(self, wire: Format, asked: Asked, call: Call, request: Request) -> Response:
        await self._suffer(call)
        await asyncio.sleep(0.05)
        model = self.models.get(asked.model)
        refusal = (
            self._locked(request, call)
            or self._unserved(model, asked, call)
            or (model is not None and self._lacking(model, asked, call))
            or (model is not None and self._over_quota(model, asked, call))
            or (model is not None and self._unlucky(model, asked, call))
        )
        if refusal:
            return refusal
        assert model is not None
        self.in_flight[model.id] += 1
        return await self._served(wire, model, asked, call)

    async def _served(self, wire: Format, model: Model, asked: Asked, call: Call) -> Response:
        call.status = 200
        answering = self._pieces(wire, model, asked, call)
        if asked.stream:
            first = await anext(answering)
            return Response(200, {"content-type": wire.content_type, **self.headers(model)}, _with(first, answering))
        body = b"".join([piece async for piece in answering])
        return Response(200, {"content-type": "application/json", **self.headers(model)}, once(body))

    async def _pieces(self, wire: Format, model: Model, asked: Asked, call: Call) -> AsyncIterator[bytes]:
        """The answer, as it comes; what is in flight is counted until it is over."""
        said = self.work(model, asked)
        drawn, began = draw(self.seed, model, asked.tag, asked.words), now()
        breaks_at = self._breaks_at(model, asked)
        try:
            if self.head_first:
                yield b""
            await asyncio.sleep(drawn.first)
            if asked.stream and (head := wire.head(asked)):
                yield head
            for number, part in enumerate(said.parts):
                await asyncio.sleep(_tokens(part, model) / model.pace)
                if breaks_at is not None and number >= breaks_at * len(said.parts):
                    call.failed("broke", 200, lasting=False)
                    raise ConnectionBroken
                if part.kind != "reasoning" and call.visible_at is None:
                    call.visible_at = now()
                if asked.stream:
                    yield wire.piece(asked, part, said.usage)
            self._settle(model, said.usage)
            call.over = now()
            yield (wire.end(asked, said.end, said.usage) if asked.stream else wire.whole(asked, said))
        finally:
            self.in_flight[model.id] -= 1
            self.freed(model, began)
            if call.over is None:
                call.failed("left by its caller", 200, lasting=False)

    # ── for subclasses ──

    def named(self, model: str) -> str:
        """The id of what a request calls *model*."""
        return model

    def freed(self, model: Model, began: float) -> None:
        """An answer that *began* then is over."""

    def headers(self, model: Model) -> dict[str, str]:
        """Those of an answer."""
        return {}

    def lists(self, path: str, request: Request) -> Response:
        """The answer to a GET, or to a POST that asks no model."""
        raise NotImplementedError

    def rate_limited(self, counter: Counter, wait: float, model: Model) -> Response:
        """The answer where *counter* is full for so many seconds."""
        raise NotImplementedError

    def error(self, status: int, message: str, code: str = "") -> Response:
        """Any other error."""
        return told(status, {"error": {"message": message, "type": "invalid_request_error", "code": code or None}})

    # ── failing ──

    async def _suffer(self, call: Call, *, only_all: bool = False) -> None:
        at = now() - self.begin
        for fault in self.faults:
            if not fault.holds(at, call.model) or (only_all and fault.models):
                continue
            if fault.kind == "refuse":
                call.failed("connection refused", 0)
                raise ConnectionRefused
            if fault.kind == "hang":
                call.cause, call.lasting = "hangs", True
                await asyncio.sleep(SILENCE)
                call.failed("hangs", 0)
                raise ConnectionBroken

    def _locked(self, request: Request, call: Call) -> Response | None:
        fault = self.trouble(call.model)
        credentials = " ".join(request.headers.values())
        if fault is not None and fault.kind == "revoked":
            call.failed("key revoked", 401)
        elif self.key and self.key not in credentials:
            call.failed("wrong key", 401)
        else:
            return None
        return self.bad_key()

    def bad_key(self) -> Response:
        return self.error(401, "Invalid API Key", "invalid_api_key")

    def _unserved(self, model: Model | None, asked: Asked, call: Call) -> Response | None:
        if model is None or model.gone:
            call.failed("no such model", 404)
            return self.gone(asked.model)
        fault = self.trouble(call.model)
        if fault is not None and fault.kind == "down":
            self._charge(model, asked, refused=True)
            call.failed("down", 503)
            return self.overloaded(model)
        if fault is not None and fault.kind == "busy":
            call.failed("429 without a hint", 429)
            return self.error(429, "Too Many Requests")
        return None

    def gone(self, model: str) -> Response:
        return self.error(
            404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found"
        )

    def overloaded(self, model: Model) -> Response:
        return self.error(503, f"{model.id} is currently over capacity. Please try again and back off exponentially.")

    def _lacking(self, model: Model, asked: Asked, call: Call) -> Response | None:
        """The refusal of what *model* cannot do, unless it ignores it."""
        needs = {"tools": asked.tools, "vision": asked.shown is not None, "schema": asked.schema}
        for kind, needed in needs.items():
            if needed and kind not in model.can and f"{kind}-ignored" not in model.flaws:
                status, message = model.says or (400, _LACKS[kind].format(model.id))
                call.failed(f"no {kind}", status)
                return self.error(status, message)
        if asked.prompt_tokens > model.context:
            call.failed("context too long", 400)
            said = f"This model's maximum context length is {model.context} tokens. Please reduce the length of the messages."
            return self.error(400, said, "context_length_exceeded")
        return None

    def _over_quota(self, model: Model, asked: Asked, call: Call) -> Response | None:
        if self._crowded(model):
            call.failed(f"429 {model.slots or self.at_once} at once", 429)
            return self.too_many_at_once(model)
        for counter in self.counters[model.id]:
            wait = counter.opens_in(self._cost(counter.limit, model, asked), now())
            if wait > 0:
                self._charge(model, asked, refused=True)
                call.failed(f"429 {counter.limit.label}", 429)
                return self.rate_limited(counter, wait, model)
        self._charge(model, asked)
        return None

    def _crowded(self, model: Model) -> bool:
        """Whether as many are answered at once as may be."""
        alone = model.slots is not None and self.in_flight[model.id] >= model.slots
        return alone or (self.at_once is not None and self.in_flight.total() >= self.at_once)

    def too_many_at_once(self, model: Model) -> Response:
        return self.error(429, "Rate limit reached for requests")

    def _unlucky(self, model: Model, asked: Asked, call: Call) -> Response | None:
        self._asked[model.id, asked.tag] += 1
        if self._luck(model, asked).random() < model.busy:
            call.failed("503 by chance", 503, lasting=False)
            return self.overloaded(model)
        return None

    def _luck(self, model: Model, asked: Asked) -> random.Random:
        return random.Random(f"{self.seed} {model.id} {asked.tag} {self._asked[model.id, asked.tag]}")

    def _breaks_at(self, model: Model, asked: Asked) -> float | None:
        """At which share of the answer it breaks, if it does."""
        at, luck = now() - self.begin, self._luck(model, asked)
        luck.random()
        often = any(fault.kind == "breaks" and fault.holds(at, model.id) for fault in self.faults)
        share = max(model.breaks, 0.35 if often else 0.0)
        return luck.random() if asked.stream and luck.random() < share else None

    # ── counting ──

    def _cost(self, limit: Limit, model: Model, asked: Asked) -> float:
        """What *asked* takes of *limit* when it is let in."""
        match limit.unit:
            case "requests":
                return 1.0
            case "prompt":
                return float(asked.prompt_tokens)
            case "tokens" if limit.reserves_output:
                return float(asked.prompt_tokens + (asked.bound or _DEFAULT_BOUND))
            case "tokens":
                return float(asked.prompt_tokens)
            case _:
                return 1e-6

    def _charge(self, model: Model, asked: Asked, *, refused: bool = False) -> None:
        for counter in self.counters[model.id]:
            if not refused or counter.limit.counts_refused:
                counter.take(self._cost(counter.limit, model, asked), now())

    def _settle(self, model: Model, usage: Usage) -> None:
        for counter in self.counters[model.id]:
            if counter.limit.unit == "dollars":
                counter.take((usage.prompt * model.price[0] + usage.output * model.price[1]) / 1e6, now())
            elif counter.limit.unit == "tokens" and not counter.limit.reserves_output:
                counter.take(float(usage.output), now())

    # ── answering ──

    def work(self, model: Model, asked: Asked) -> Said:
        """What *model* says."""
        parts = [Part("reasoning", "Let me see. " * max(1, model.thinks // 6))] * 2 if model.thinks else []
        luck = self._luck(model, asked)
        luck.random()
        prompt, end = asked.prompt_tokens, "stop"
        if luck.random() < model.thinks_only:
            usage = Usage(prompt, model.thinks + 2, model.thinks + 2)
            return Said(parts or [Part("reasoning", "Hm.")], end, usage)
        if asked.tools and "tools" in model.can:
            parts = [*parts, Part("tool", json.dumps({"tag": asked.tag}))]
        elif asked.schema and "schema" in model.can:
            parts = [*parts, Part("text", truth.structured(asked.tag, asked.words))]
        else:
            seen = (asked.shown or "") if "vision" in model.can else ""
            text, end = _bounded(truth.answer(asked.tag, asked.words, seen), model, asked)
            parts = [*parts, *_cut(text)]
        output = model.thinks + sum(len(part.text) // 4 for part in parts if part.kind != "reasoning") + 4
        return Said(parts, end, Usage(prompt, output, model.thinks))


_LACKS = {
    "tools": "{} does not support tools",
    "vision": "{} is not a multimodal model",
    "schema": "This model does not support response format `json_schema`. ({})",
}


def _bounded(text: str, model: Model, asked: Asked) -> tuple[str, str]:
    """*text* from where it is to be continued, as long as it may be, and why it ends."""
    if asked.said and text.startswith(asked.said):
        text = text[len(asked.said) :]
    if asked.bound is None:
        return text, "stop"
    room = max(0, asked.bound - model.thinks) * 4
    return (text, "stop") if len(text) <= room else (text[:room], "length")


def _cut(text: str) -> list[Part]:
    size = max(1, math.ceil(len(text) / PIECES))
    return [Part("text", text[at : at + size]) for at in range(0, len(text), size)]


def _tokens(part: Part, model: Model) -> float:
    return model.thinks / 2 if part.kind == "reasoning" else len(part.text) / 4


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for piece in rest:
            yield piece
    finally:
        await rest.aclose()  # type: ignore[attr-defined]
