"""
Who is tested: ``Subject`` is all that a world wants of it. Beside the one from outside there are simple ones here: a failover
that knows nothing, a tuned policy as other gateways have it, and one that knows what only the world can know.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any, Protocol

from tests.world.clock import now
from tests.world.formats import Asked, OpenAI
from tests.world.http import ConnectionBroken, ConnectionRefused, Request, Response
from tests.world.models import Model, draw
from tests.world.sources import Source
from tests.world.world import World


class Ear(Protocol):
    """A caller's end. *left* is set when the caller is gone."""

    left: asyncio.Event

    def begin(self, status: int) -> None:
        """The head of an answer is here."""

    def take(self, piece: bytes) -> None:
        """So is a piece of its body."""


class Subject(Protocol):
    """A gateway, from the side of its callers; the way to the providers is ``World.exchange``."""

    async def open(self, world: World) -> None: ...

    async def ask(self, body: dict[str, Any], client: str, ear: Ear) -> None:
        """Answer *body*, a request in OpenAI's terms; return when that is over, or soon after the caller left."""

    async def close(self) -> None: ...


_CHAT = {"google": "/openai/chat/completions", "ollama": "/v1/chat/completions"}
Deployment = tuple[Source, Model]


class _Simple:
    """What the simple ones share: one attempt after another, and what comes of the first that answers is passed on."""

    timeout = 30.0

    async def open(self, world: World) -> None:
        self.world = world

    async def close(self) -> None: ...

    async def ask(self, body: dict[str, Any], client: str, ear: Ear) -> None:
        asking = asyncio.ensure_future(self._answer(body, ear))
        leaving = asyncio.ensure_future(ear.left.wait())
        await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking

    async def _answer(self, body: dict[str, Any], ear: Ear) -> None:
        raise NotImplementedError

    async def attempt(self, one: Deployment, body: dict[str, Any], ear: Ear) -> int:
        """Ask *one*, and pass its answer on if it is one. Returns the status; 0: none came."""
        source, model = one
        url = self.world.address(source.name) + _CHAT.get(source.name, "/chat/completions")
        headers = {"authorization": f"Bearer {source.key}", "content-type": "application/json"}
        request = Request("POST", url, headers, json.dumps({**body, "model": model.id}).encode())
        try:
            async with asyncio.timeout(self.timeout):
                response = await self.world.exchange(request)
        except (ConnectionRefused, ConnectionBroken, TimeoutError):
            return 0
        async with aclosing(response.pieces) as pieces:  # type: ignore[type-var]
            if response.status != 200:
                return response.status
            return await self._pass_on(response, pieces, ear)

    async def _pass_on(self, response: Response, pieces: AsyncIterator[bytes], ear: Ear) -> int:
        first = True
        with suppress(ConnectionBroken):
            async for piece in pieces:
                if first:
                    ear.begin(response.status)
                first = False
                ear.take(piece)
        return 0 if first else 200


def refuse(ear: Ear, status: int = 429) -> None:
    """Tell a caller that there is no answer."""
    ear.begin(status)
    ear.take(b'{"error": {"message": "no provider answered"}}')


class Failover(_Simple):
    """Tries one after the other in a fixed order, with five attempts; knows no limits and no capabilities."""

    attempts = 5

    async def _answer(self, body: dict[str, Any], ear: Ear) -> None:
        for one in self.world.deployments()[: self.attempts]:
            if await self.attempt(one, body, ear) == 200:
                return
        refuse(ear, 503)


class Tuned(_Simple):
    """
    As gateways are tuned: a random deployment of those whose published limits of a minute and listed capabilities allow it,
    weighted by those limits; three retries; what failed rests; who finds nothing asks again each second for 30 s.
    """

    attempts, rests, waits, timeout = 4, 30.0, 30.0, 20.0

    async def open(self, world: World) -> None:
        await super().open(world)
        self._rests_until: dict[str, float] = defaultdict(float)
        self._sent: dict[str, list[float]] = defaultdict(list)

    async def _answer(self, body: dict[str, Any], ear: Ear) -> None:
        needs, private = _needs(body)
        until, left = now() + self.waits, self.attempts
        while left and now() < until:
            able = [one for one in self.world.deployments() if needs <= one[1].listed and self._free(one)]
            able = [one for one in able if not (private and one[1].trains)]
            if not able:
                await asyncio.sleep(1.0)
                continue
            one = self.world.luck.choices(able, [self._a_minute(one) for one in able])[0]
            left -= 1
            self._sent[_name(one)].append(now())
            if await self.attempt(one, body, ear) == 200:
                return
            self._rests_until[_name(one)] = now() + self.rests
        refuse(ear)

    def _a_minute(self, one: Deployment) -> float:
        source, model = one
        told = [
            c.limit.amount for c in source.counters[model.id] if c.limit.unit == "requests" and c.limit.seconds == 60
        ]
        return min([*told, 30.0])

    def _free(self, one: Deployment) -> bool:
        name = _name(one)
        if now() < self._rests_until[name]:
            return False
        sent = self._sent[name] = [at for at in self._sent[name] if at > now() - 60.0]
        return len(sent) < self._a_minute(one)


class Greedy(_Simple):
    """Knows every true limit, capability and outage, and takes the fastest that has room; who finds none waits."""

    waits, timeout = 60.0, 300.0

    async def _answer(self, body: dict[str, Any], ear: Ear) -> None:
        (needs, private), until = _needs(body), now() + self.waits
        asked = asked_of(body)
        asked.bound = body["max_tokens"] = 1024
        asked.schema = asked.tools = False
        while now() < until:
            able = self.world.room_for(needs, asked, private=private)
            if not able:
                await asyncio.sleep(0.25)
                continue
            one = min(able, key=lambda d: draw(self.world.seed, d[1], asked.tag, asked.words).visible)
            if await self.attempt(one, body, ear) == 200:
                return
        refuse(ear)


def asked_of(body: dict[str, Any]) -> Asked:
    """What *body* asks, as a provider would read it."""
    return OpenAI().read(body, "any")


def _needs(body: dict[str, Any]) -> tuple[frozenset[str], bool]:
    asked = asked_of(body)
    flags = {"vision": asked.shown is not None, "tools": asked.tools, "schema": asked.schema}
    return frozenset(name for name, needed in flags.items() if needed), asked.denies


def _name(one: Deployment) -> str:
    return f"{one[0].name}/{one[1].id}"


SIMPLE: dict[str, Callable[[], Subject]] = {
    "greedy with true limits": Greedy,
    "tuned policy": Tuned,
    "naive failover": Failover,
}
