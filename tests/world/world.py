"""A world: providers at their addresses, and what reaches them."""

from __future__ import annotations

import random
from collections.abc import Iterable

from tests.world.clock import now
from tests.world.formats import Asked
from tests.world.http import ConnectionRefused, Request, Response
from tests.world.models import Call, Model
from tests.world.sources import Source

_PATHS = {
    "openrouter": "/api/v1",
    "google": "/v1beta",
    "groq": "/openai/v1",
    "nvidia": "/v1",
    "huggingface": "/v1",
    "ollama": "",
    "zai": "/api/paas/v4",
    "cerebras": "/v1",
}


class World:
    """*sources* by name, each at an address of its own. Make it where the loop runs: it begins now."""

    def __init__(self, sources: Iterable[Source], seed: int) -> None:
        self.sources = {source.name: source for source in sources}
        self.seed, self.begin = seed, now()
        for source in self.sources.values():
            source.open(seed, self.begin)
        self.luck = random.Random(f"subject {seed}")

    def address(self, name: str) -> str:
        """Where *name* is to be found."""
        return f"http://{name}.internal:11434{_PATHS[name]}"

    async def exchange(self, request: Request) -> Response:
        """
        The answer to *request* once its head is here; cancel it, or close its pieces, to leave.

        Raises ConnectionRefused and ConnectionBroken.
        """
        host = request.url.split("://", 1)[1].partition(".")[0]
        source = self.sources.get(host)
        if source is None:
            raise ConnectionRefused
        return await source.exchange(request)

    def deployments(self) -> list[tuple[Source, Model]]:
        """All that is served, in the order of the sources."""
        return [(source, model) for source in self.sources.values() for model in source.models.values()]

    def calls(self) -> list[Call]:
        """All requests for an answer that reached a provider, in their order."""
        return sorted((call for source in self.sources.values() for call in source.calls), key=lambda call: call.at)

    def room_for(self, needs: frozenset[str], asked: Asked, *, private: bool) -> list[tuple[Source, Model]]:
        """Who could begin to answer now, and rightly."""
        return [
            (source, model)
            for source, model in self.deployments()
            if needs <= model.can
            and not model.gone
            and asked.prompt_tokens <= source.holds(model, asked)
            and not (private and model.trains)
            and source.trouble(model.id) is None
            and source.opens_in(model, asked) <= 0
        ]
