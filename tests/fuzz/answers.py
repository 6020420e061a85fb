"""Answers, model lists, headers and framings: the recorded ones, bent, through every dialect."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from providers.chat import Whole, decode_fields, decode_request
from providers.client import Provider
from providers.dialect import Account, Request, Target
from providers.failures import ProviderFailure
from providers.spec import load
from providers.sse import ServerSentEvents
from tests.fuzz import bend

PAYLOADS = Path(__file__).parents[1] / "payloads"
DIALECTS = frozenset({"google", "ollama", "openrouter", "groq", "nvidia", "huggingface", "mistral", "cerebras"})

TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}]
PROMPT = "What is the weather in Paris, and why does stream not work?"


class Wrong(AssertionError):
    """Something that must hold does not."""


class Bent:
    """The wire, and the answer that it gives to everything."""

    def __init__(self, status: int, headers: dict[str, str], body: Sequence[bytes]) -> None:
        self.status, self.headers, self._body = status, headers, body
        self.asked = 0

    async def send(self, request: Any, timeouts: Any) -> Any:
        self.asked += 1
        if self.asked > 100:
            raise Wrong("it asks without end")
        return self

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self._body:
            yield piece

    def finish(self) -> None: ...

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


def _made(kind: Any, **known: Any) -> Any:
    """A *kind* with as much of *known* as it takes: other versions of the providers take less."""
    takes = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in known.items() if name in takes})


class Answers:
    """Makes cases of recorded answers, and looks at what becomes of each."""

    def __init__(self, config: Path) -> None:
        self._specs = load(config / "providers")
        self._whole = self._read("json")
        self._streams = [*self._read("sse"), *self._read("ndjson")]
        self._lists = [(provider, data) for provider, data in self._whole if b'"models"' in data or b'"data"' in data]

    def _read(self, kind: str) -> list[tuple[str, bytes]]:
        paths = [path for path in sorted(PAYLOADS.glob(f"*/*.{kind}")) if path.parent.name in DIALECTS]
        return [(path.parent.name, _body_of(path.read_bytes())) for path in paths]

    def streams(self) -> list[tuple[str, bytes]]:
        """Those of server-sent events, by provider."""
        return [one for one in self._streams if one[1].startswith(b"data:")]

    def bent(self, provider: str, stream: bool, chance: Random) -> Bent:
        """An answer of *provider*, mostly a good one."""
        known = [data for name, data in (self._streams if stream else self._whole) if name == provider]
        status, headers = 200, {"content-type": "text/event-stream" if stream else "application/json"}
        data = chance.choice(known or [b"{}"])
        if chance.random() < 0.4:
            headers |= bend.headers(chance)
            data = bend.document(data, chance) if not stream else bend.octets(data, chance)
        if chance.random() < 0.1:
            status = chance.choice((400, 401, 403, 404, 413, 429, 500, 502, 503))
        return Bent(status, headers, bend.pieces(data, chance))

    def try_one(self, chance: Random) -> None:
        """One case; raises what comes out of it that should not."""
        kind = chance.choice((self._answer, self._stream, self._stream, self._list, self._refusal, self._framing))
        asyncio.run(kind(chance))

    async def _answer(self, chance: Random) -> None:
        provider, data = chance.choice(self._whole)
        await self._send(
            chance, provider, Bent(200, self._json(chance), bend.pieces(bend.document(data, chance), chance)), False
        )

    async def _refusal(self, chance: Random) -> None:
        provider, data = chance.choice(self._whole)
        status = chance.choice((400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529, 302, 204, 999))
        wire = Bent(status, bend.headers(chance), [bend.document(data, chance)])
        await self._send(chance, provider, wire, chance.random() < 0.5)

    async def _stream(self, chance: Random) -> None:
        provider, data = chance.choice(self._streams)
        if chance.random() < 0.5:
            lines = data.split(b"\n")
            at = chance.randrange(len(lines))
            head, colon, event = lines[at].partition(b"data: ")
            lines[at] = head + colon + bend.document(event, chance) if colon else bend.document(lines[at], chance)
            data = b"\n".join(lines)
        else:
            data = bend.octets(data, chance)
        headers = {**bend.headers(chance), "content-type": "text/event-stream"}
        await self._send(chance, provider, Bent(200, headers, bend.pieces(data, chance)), True)

    async def _list(self, chance: Random) -> None:
        provider, data = chance.choice(self._lists)
        wire = Bent(200, {**bend.headers(chance)}, [bend.document(data, chance)])
        try:
            listing = await self._provider(provider, wire).discover()
        except ProviderFailure:
            return
        for model in listing.models:
            _check_listed(model)

    async def _framing(self, chance: Random) -> None:
        """However a stream is cut on its way, its events are the same; cut short, it is never whole."""
        provider, data = chance.choice(self.streams())
        at = chance.randrange(len(data) + 1)
        framing = ServerSentEvents()
        cut = [*framing.feed(data[:at]), *framing.feed(data[at:]), *framing.end()]
        framing = ServerSentEvents()
        if cut != [*framing.feed(data), *framing.end()]:
            raise Wrong(f"cut at {at} the events of {provider} are others")
        headers = {"content-type": "text/event-stream"}
        whole = await self._send(chance, provider, Bent(200, headers, [data]), True)
        short = await self._send(chance, provider, Bent(200, headers, [data[:at]]), True)
        if short is not None and short != whole:
            raise Wrong(f"the first {at} bytes of {len(data)} of {provider} were passed as a whole answer")

    # ── one request ──

    def _json(self, chance: Random) -> dict[str, str]:
        return {**bend.headers(chance), "content-type": "application/json"}

    def _provider(self, name: str, wire: Bent) -> Provider:
        spec = self._specs[name]
        return Provider(Account(spec, spec.base_url, "sk-key"), wire)

    async def _send(self, chance: Random, provider: str, wire: Bent, stream: bool) -> str | None:
        """The text of the answer; None if it failed as a provider may."""
        ask: dict[str, Any] = {"messages": [{"role": "user", "content": PROMPT}], "stream": stream}
        if chance.random() < 0.7:
            ask["tools"] = TOOLS
        body = json.dumps(ask).encode()
        request = _made(Request, view=decode_request(body), fields=decode_fields(body), output_tokens=10)
        one = self._provider(provider, wire)
        target = _made(Target, account=one.account, model="acme/model", capabilities=frozenset({"tools", "reasoning"}))
        try:
            async with asyncio.timeout(20):
                reply = await one.send(target, request)
                if isinstance(reply.whole, Whole):
                    return _check_whole(reply.whole.data)
                data = [step.data for step in reply.head]
                assert reply.rest is not None
                async for steps in reply.rest:
                    data += [step.data for step in steps]
                return _check_chunks(data)
        except ProviderFailure:
            return None
        except TimeoutError as exc:
            raise Wrong("the request has no end") from exc


def _body_of(data: bytes) -> bytes:
    try:
        found = json.loads(data)
    except ValueError:
        return data
    if isinstance(found, dict) and {"status", "headers", "body"} <= found.keys():
        return json.dumps(found["body"]).encode()
    return data


def _check_whole(data: bytes) -> str:
    found = json.loads(data)
    for choice in found["choices"]:
        if not choice["finish_reason"]:
            raise Wrong(f"a whole answer ends with {choice['finish_reason']!r}")
        if not isinstance(choice["message"].get("content"), str | None):
            raise Wrong("the content of an answer is no text")
    return str(found["choices"])


def _check_chunks(events: list[bytes]) -> str:
    said, ended = "", set()
    for event in events:
        found = json.loads(event)
        for choice in found["choices"]:
            delta = choice.get("delta") or {}
            said += f"{delta.get('content') or ''}{delta.get('tool_calls') or ''}"
            reason = choice.get("finish_reason")
            if reason == "":
                raise Wrong("finish_reason '' was passed on")
            if reason:
                ended.add(choice.get("index", 0))
    if not ended:
        raise Wrong("a stream without a reason to finish was passed as whole")
    return said


def _check_listed(model: Any) -> None:
    """What routing computes with has the type that it says."""
    for name in ("context", "max_output"):
        size = getattr(model, name)
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
            raise Wrong(f"a list with a wrong type: {name} of a model is {type(size).__name__}")
    for name in ("prompt_price", "output_price"):
        price = getattr(model, name)
        if price is not None and (not isinstance(price, int | float) or price != price):  # noqa: PLR0124 - NaN
            raise Wrong(f"a list with a wrong type: {name} of a model is {type(price).__name__}")
    if not isinstance(model.id, str) or not model.id.isprintable():
        raise Wrong("the id of a model is no name")
