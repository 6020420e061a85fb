"""A machine at home with Ollama: few answers at once, its own queue, models that must be loaded, contexts cut silently."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import ClassVar

from msgspec import structs

from tests.world import truth
from tests.world.formats import Asked, Format, Ollama, OpenAI, Said
from tests.world.http import Request, Response, told
from tests.world.models import Call, Fault, Model
from tests.world.sources import Source


class Machine(Source):
    """
    *parallel* answers at once, all of one loaded model; *queue* more may wait; loading a model takes *load* seconds and
    waits for what runs. Of a prompt longer than *context* tokens, unless the request asks for more, the beginning is
    dropped, and nobody is told.
    """

    formats: ClassVar[dict[str, Format]] = {"/api/chat": Ollama(), "/v1/chat/completions": OpenAI()}
    key = ""

    def __init__(
        self,
        name: str,
        models: list[Model],
        *,
        parallel: int = 1,
        queue: int = 8,
        load: float = 10.0,
        context: int = 4096,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        super().__init__(name, models, [], faults)
        self.parallel, self.queue, self.load, self.context = parallel, queue, load, context
        self.loaded: tuple[str, int] | None = None
        self._working = 0
        self._waiting: deque[asyncio.Event] = deque()

    def lists(self, path: str, request: Request) -> Response:
        if path.endswith("/api/tags"):
            return told(200, {"models": [self._entry(model) for model in self.models.values()]})
        if path.endswith("/api/ps"):
            loaded = (
                [{**self._entry(self.models[id_]), "context_length": n} for id_, n in [self.loaded]]
                if self.loaded
                else []
            )
            return told(200, {"models": loaded})
        if path.endswith("/api/version"):
            return told(200, {"version": "0.12.0"})
        if path.endswith("/api/show"):
            name = request.body.decode()
            model = next((one for one in self.models.values() if f'"{one.id}"' in name), None)
            return self._shown(model) if model else told(404, {"error": "model not found"})
        return told(404, {"error": "not found"})

    @staticmethod
    def _entry(model: Model) -> dict[str, object]:
        details = {
            "format": "gguf",
            "family": "qwen3",
            "families": ["qwen3"],
            "parameter_size": "8.2B",
            "quantization_level": "Q4_K_M",
        }
        stamp = "2026-11-20T10:11:12.123456789+01:00"
        return {
            "name": model.id,
            "model": model.id,
            "modified_at": stamp,
            "size": 5_200_000_000,
            "digest": "01",
            "details": details,
        }

    @staticmethod
    def _shown(model: Model) -> Response:
        able = [
            "completion",
            *(one for one in ("tools", "vision") if one in model.listed),
            *(["thinking"] if model.thinks else []),
        ]
        info = {"general.architecture": "qwen3", "qwen3.context_length": model.context, "general.basename": model.id}
        details = {"format": "gguf", "family": "qwen3", "families": ["qwen3"], "parameter_size": "8.2B"}
        return told(
            200, {"details": details, "model_info": info, "capabilities": able, "template": "", "parameters": ""}
        )

    def error(self, status: int, message: str, code: str = "") -> Response:
        return told(status, {"error": message})

    def gone(self, model: str) -> Response:
        return told(404, {"error": f"model '{model}' not found"})

    def _over_quota(self, model: Model, asked: Asked, call: Call) -> Response | None:
        if len(self._waiting) >= self.queue:
            call.failed("503 queue is full", 503)
            return told(503, {"error": "server busy, please try again.  maximum pending requests exceeded"})
        return None

    async def _served(self, wire: Format, model: Model, asked: Asked, call: Call) -> Response:
        try:
            await self._turn()
        except BaseException:
            self.in_flight[model.id] -= 1
            raise
        try:
            await self._load(model, asked)
        except BaseException:
            self.in_flight[model.id] -= 1
            self._next()
            raise
        return await super()._served(wire, model, asked, call)

    async def _turn(self) -> None:
        """Return when one of the places is ours."""
        if self._working < self.parallel and not self._waiting:
            self._working += 1
            return
        turn = asyncio.Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self._next()
            else:
                self._waiting.remove(turn)
            raise

    def _next(self) -> None:
        """A place is free: the next has it."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._working -= 1

    async def _load(self, model: Model, asked: Asked) -> None:
        wanted = (model.id, asked.context or self.context)
        if self.loaded != wanted:
            self.loaded = wanted
            await asyncio.sleep(self.load)

    def freed(self, model: Model, began: float) -> None:
        self._next()

    def opens_in(self, model: Model, asked: Asked) -> float:
        return 0.5 if self._working >= self.parallel else 0.0

    def holds(self, model: Model, asked: Asked) -> int:
        return asked.context or self.context

    def work(self, model: Model, asked: Asked) -> Said:
        room = (asked.context or self.context) * 4
        if len(asked.text) > room:
            tag, words = truth.found_in(asked.text[-room:])
            asked = structs.replace(asked, tag=tag, words=words, text=asked.text[-room:])
        return super().work(model, asked)
