"""
NVIDIA's other half: forty requests in any minute for the account and not a word about it, worker slots that everybody
shares, a catalogue that lists what is gone (observed 2026-06 to 2026-11).
"""

from __future__ import annotations

from typing import Any, NoReturn

from providers.simulator.base import Exchange, Refusal, SimulatedModel
from providers.simulator.brain import View
from providers.simulator.media import rerank_nvidia
from providers.simulator.openai_like import OpenAILike
from providers.simulator.quotas import Clock, Meter, Rolling

MODELS = (
    SimulatedModel(id="nvidia/nemotron-3-super-120b-a12b", context=262_144, reasoning=True),
    SimulatedModel(id="nvidia/nemotron-3.5-lightning-30b-a3b", context=262_144, reasoning=True),
    SimulatedModel(id="deepseek-ai/deepseek-v4.1-flash", reasoning=True),
    SimulatedModel(id="moonshotai/kimi-k2.6", context=262_144, reasoning=True, vision=True),
    SimulatedModel(id="openai/gpt-oss-20b", reasoning=True),
    SimulatedModel(id="z-ai/glm-5.3-flash", status="not_entitled"),
    SimulatedModel(id="openai/gpt-oss-120b", status="gone"),
    SimulatedModel(id="meta/llama-3.3-70b-instruct", status="gone"),
    SimulatedModel(id="baai/bge-m3", context=8192, embedding=True, tools=False, json_schema=False),
    SimulatedModel(id="nvidia/llama-nemotron-rerank-1b-v2", does="rerank"),
    SimulatedModel(id="nvidia/nv-embedqa-e5-v5", context=512, embedding=True, tools=False, json_schema=False),
)
_KNOWN = {
    "model", "messages", "stream", "stream_options", "max_tokens", "temperature", "top_p", "stop", "seed", "tools",
    "tool_choice", "response_format", "frequency_penalty", "presence_penalty", "chat_template_kwargs", "n", "top_k",
    "logprobs", "top_logprobs", "reasoning_effort", "parallel_tool_calls", "max_completion_tokens", "min_p",
}  # fmt: skip


class Nvidia(OpenAILike):
    """``https://integrate.api.nvidia.com/v1``"""

    name, key, path = "nvidia", "nvapi-sim0123456789", "/v1"
    reasoning_field = "reasoning_content"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, MODELS)
        self.minute = self.meter("account/minute", lambda: Rolling(40))
        self.workers = 16

    async def route(self, exchange: Exchange, path: str) -> None:
        if path.startswith("/retrieval/") and path.endswith("/reranking"):
            self.authorize(exchange)
            await rerank_nvidia(self, exchange, path.removeprefix("/retrieval/").removesuffix("/reranking"))
            return
        await super().route(exchange, path)

    async def embed(self, exchange: Exchange) -> None:
        """Models that tell questions from passages must be told which it is."""
        body = exchange.json()
        if "embedqa" in str(body.get("model")) and body.get("input_type") not in ("query", "passage"):
            _bad("'input_type' parameter is required for asymmetric models")
        await super().embed(exchange)

    def authorize(self, exchange: Exchange) -> None:
        given = exchange.call.headers.get("authorization", "")
        if exchange.call.path.endswith("/models") or given == f"Bearer {self.key}":
            return
        if not given.startswith("Bearer nvapi-"):
            raise Refusal(401, {"detail": "Authentication failed"})
        self.refuse("bad_key", SimulatedModel(id=""))

    def check(self, body: dict[str, Any], model: SimulatedModel, view: View) -> None:
        if unknown := body.keys() - _KNOWN:
            _bad(f"Validation: Unsupported parameter(s): `{min(unknown)}`")
        if view.images_sent and not model.vision:
            _bad("this model takes no images")
        if view.tools and not model.tools:
            self.refuse("no_tools", model)
        if self.in_flight > self.workers:
            self.refuse("busy", model)

    def meters_of(self, model: SimulatedModel, requests: float, tokens: float) -> list[tuple[Meter, float]]:
        return [(self.minute, requests)]

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        problem = {"content-type": "application/problem+json"}
        match why:
            case "bad_key":
                body = {"status": 403, "title": "Forbidden", "detail": "Authorization failed"}
                raise Refusal(403, body, problem)
            case "gone":
                detail = f"The model '{model.id}' has reached its end of life on 2026-08-26T09:00:00Z and is no longer available."
                raise Refusal(410, {"type": "about:blank", "status": 410, "title": "Gone", "detail": detail}, problem)
            case "not_entitled":
                detail = "Function '11111111-2222-4333-8444-555555555555': Not found for account 'sim'"
                raise Refusal(404, {"status": 404, "title": "Not Found", "detail": detail}, problem)
            case "unknown":
                raise Refusal(404, b"404 page not found", {"content-type": "text/plain"})
            case "busy":
                message = f"ResourceExhausted: Worker local total request limit reached ({self.workers}/{self.workers})"
                raise Refusal(503, {"error": {"message": message, "type": "Service Unavailable", "code": 503}})
            case "no_tools":
                message = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
                error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
                raise Refusal(400, {"error": error})
            case "context":
                _bad(f"The maximum context length is {model.context} tokens.")
            case "server_error":
                raise Refusal(500, {"error": {"message": "Internal server error", "code": 500}})
            case _ if why.startswith("rate_limited"):
                raise Refusal(429, {"status": 429, "title": "Too Many Requests"}, problem)
            case _:
                super().refuse(why, model)

    def in_band_error(self, model: SimulatedModel) -> dict[str, Any]:
        message = f"ResourceExhausted: Worker local total request limit reached ({self.workers}/{self.workers})"
        return {"error": {"message": message, "type": "Service Unavailable", "code": 503}}


def _bad(message: str) -> NoReturn:
    error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
    raise Refusal(400, {"error": error})
