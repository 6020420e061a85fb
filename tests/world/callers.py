"""Callers: what they ask, how, and how long they stay. That last thing they tell nobody: they leave."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from tests.world import truth
from tests.world.clock import now

_TOOL = {
    "type": "function",
    "function": {
        "name": truth.FUNCTION,
        "description": "Record what was asked for.",
        "parameters": {"type": "object", "properties": {"tag": {"type": "string"}}, "required": ["tag"]},
    },
}


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of request: what it needs, and bounds of its prompt (tokens) and its answer (words)."""

    name: str
    prompt: tuple[int, int] = (60, 400)
    words: tuple[int, int] = (30, 160)
    streams: float = 0.6
    vision: bool = False
    tools: bool = False
    schema: bool = False
    no_train: bool = False

    @property
    def needs(self) -> frozenset[str]:
        flags = {"vision": self.vision, "tools": self.tools, "schema": self.schema}
        return frozenset(name for name, needed in flags.items() if needed)


class Client(Struct, frozen=True, kw_only=True):
    """
    A program with callers behind it. They stay for *patience* seconds (a median; *spread* is the lognormal's sigma), at
    least *least*: to the first visible piece of a stream, to the end of a whole answer.
    """

    name: str
    patience: float = 30.0
    spread: float = 0.4
    least: float = 6.0


class Asking(Struct, frozen=True, kw_only=True):
    """One request. *at* is seconds of the world."""

    tag: str
    at: float
    kind: Kind
    client: str
    patience: float
    words: int
    prompt: int
    stream: bool

    def body(self) -> dict[str, Any]:
        """As OpenAI's API has it."""
        text: Any = truth.prompt(self.tag, self.words, self.prompt)
        if self.kind.vision:
            picture = {"type": "image_url", "image_url": {"url": truth.picture(self.tag)}}
            text = [{"type": "text", "text": text}, picture]
        body: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": text}], "stream": self.stream}
        if self.kind.tools:
            body["tools"] = [_TOOL]
        if self.kind.schema:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": truth.SCHEMA, "strict": True},
            }
        if self.kind.no_train:
            body["provider"] = {"data_collection": "deny"}
        return body


class Load(Struct, frozen=True, kw_only=True):
    """What is asked: *rate* in requests a minute at a second of the world, of *kinds* at a second, from *clients*."""

    rate: Callable[[float], float]
    kinds: Callable[[float], Mapping[Kind, float]]
    clients: Mapping[Client, float]

    def requests(self, seed: int, seconds: float) -> Iterator[Asking]:
        """All that is asked in the first *seconds*: a Poisson process, thinned."""
        chance = random.Random(f"callers {seed}")
        highest, at, number = max(self.rate(float(s)) for s in range(0, int(seconds), 10)), 0.0, 0
        while (at := at + chance.expovariate(highest / 60.0)) < seconds:
            if chance.random() >= self.rate(at) / highest:
                continue
            number += 1
            kinds = self.kinds(at)
            kind = chance.choices(list(kinds), list(kinds.values()))[0]
            client = chance.choices(list(self.clients), list(self.clients.values()))[0]
            yield Asking(
                tag=f"a{number:05d}",
                at=at,
                kind=kind,
                client=client.name,
                patience=max(client.least, client.patience * math.exp(chance.gauss(0.0, client.spread))),
                words=chance.randint(*kind.words),
                prompt=chance.randint(*kind.prompt),
                stream=chance.random() < kind.streams,
            )


class Heard(Struct):
    """What reached a caller, as far as it came. Moments are seconds of the world's clock (unix)."""

    status: int = 0
    text: str = ""
    arguments: str = ""
    finish: str | None = None
    error: str = ""
    ended: bool = False
    visible_at: float | None = None
    over_at: float | None = None
    left: bool = False
    _rest: bytes = b""

    def take(self, piece: bytes, *, stream: bool) -> None:
        """*piece* arrived."""
        self._rest += piece
        if not stream:
            return
        *events, self._rest = self._rest.split(b"\n\n")
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(b"data: "):
                    self._event(line[6:])

    def whole(self) -> None:
        """What arrived was an answer in one piece, or an error."""
        try:
            body = json.loads(self._rest or b"{}")
        except ValueError:
            self.error = "no JSON"
            return
        if self.status != 200 or "choices" not in body:
            self.error = json.dumps(body)[:3000]
            return
        (choice,) = body["choices"]
        self._message(choice["message"])
        self.finish, self.ended = choice["finish_reason"], True

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.ended = self.finish is not None
            return
        chunk = json.loads(data)
        if "error" in chunk:
            self.error = json.dumps(chunk["error"])[:3000]
            return
        for choice in chunk.get("choices") or ():
            self._message(choice["delta"])
            self.finish = choice.get("finish_reason") or self.finish

    def _message(self, message: dict[str, Any]) -> None:
        calls = message.get("tool_calls") or ()
        self.text += message.get("content") or ""
        self.arguments += "".join(call["function"].get("arguments") or "" for call in calls)
        if self.visible_at is None and (self.text or calls):
            self.visible_at = now()
