"""A provider's configuration and client, over real HTTP, against its simulated other half."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from providers.chat import decode_fields, decode_request
from providers.client import Provider, Reply
from providers.dialect import Account, Listed, Request, Target
from providers.simulator.base import Simulated, SimulatedModel
from providers.simulator.server import serve
from providers.simulator.world import World
from providers.spec import Timeouts
from providers.wire import HttpWire
from tests.payloads import SPECS

SIMULATED = [name for name in sorted(SPECS) if name in World().providers]


class Stage(Struct):
    """A provider and its other half."""

    name: str
    other: Simulated
    provider: Provider
    wire: HttpWire
    listed: list[Listed]

    def model(self, **wanted: bool) -> SimulatedModel:
        """A live and free model that can do what is *wanted*."""
        pays = self.provider.spec.free.kind == "credit"
        for model in self.other.models:
            able = all(getattr(model, name) == value for name, value in wanted.items())
            chats = model.status == "live" and not model.embedding and "whisper" not in model.id
            if able and chats and (pays or not any(model.price)) and not model.runs_at and self.listed_as(model):
                return model
        raise LookupError(f"{self.name} has no simulated model with {', '.join(wanted)}")

    def listed_as(self, model: SimulatedModel) -> str | None:
        """The id under which the provider's list has *model*."""
        for listed in self.listed:
            if listed.id in (model.id, model.id.removeprefix("models/")) or listed.id.startswith(f"{model.id}:"):
                return listed.id
        return None

    async def ask(
        self,
        model: SimulatedModel | None = None,
        *,
        timeouts: Timeouts | None = None,
        opens_in_reasoning: bool = False,
        **fields: Any,
    ) -> Reply:
        """Send *fields* to *model*, by default one that just chats."""
        model = model or self.model()
        fields = {"messages": [{"role": "user", "content": "Grüezi, wie geht's? 日本語 🙂"}], **fields}
        content = msgspec.json.encode(fields)
        capabilities = frozenset(
            name for name in ("tools", "vision", "reasoning", "json_schema") if getattr(model, name)
        )
        known = (capabilities, model.context, opens_in_reasoning)
        target = Target(self.provider.account, self.listed_as(model) or model.id, *known)
        return await self.by(timeouts).send(target, Request(decode_request(content), decode_fields(content)))

    def by(self, timeouts: Timeouts | None = None, key: str | None = None) -> Provider:
        account = self.provider.account
        spec = replace(account.spec, timeouts=timeouts) if timeouts else account.spec
        return Provider(Account(spec, account.base_url, key or account.key), self.wire)


@asynccontextmanager
async def on_stage(name: str) -> AsyncIterator[Stage]:
    """The provider called *name*, whose list was read."""
    world = World(names=[name])
    async with serve(world) as origin, HttpWire(user_agent="freeway-tests") as wire:
        account = Account(SPECS[name], world.base_urls(origin)[name], world.keys().get(name))
        provider = Provider(account, wire)
        listed = list((await provider.discover()).models)
        world.providers[name].calls.clear()
        yield Stage(name, world.providers[name], provider, wire, listed)
