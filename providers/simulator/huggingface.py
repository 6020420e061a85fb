"""
Hugging Face's other half: a router to other providers, paid from ten cents a month (Hugging Face docs, pricing of
Inference Providers, 2026-08).
"""

from __future__ import annotations

from typing import Any, NoReturn

from providers.simulator.base import Exchange, Refusal, SimulatedModel
from providers.simulator.brain import View
from providers.simulator.media import embed_huggingface
from providers.simulator.openai_like import CREATED, OpenAILike
from providers.simulator.quotas import Calendar, Clock

_MILLION = 1e-6
_OWN, _VECTORS = "/hf-inference/models/", "/pipeline/feature-extraction"
_SERVE = ("together", "cerebras", "featherless-ai")
MODELS = (
    SimulatedModel(id="openai/gpt-oss-120b", reasoning=True, price=(0.15 * _MILLION, 0.6 * _MILLION)),
    SimulatedModel(id="Qwen/Qwen3.8-27B", vision=True, price=(0.1 * _MILLION, 0.3 * _MILLION)),
    SimulatedModel(id="meta-llama/Llama-3.3-70B-Instruct", price=(0.2 * _MILLION, 0.4 * _MILLION)),
    SimulatedModel(id="BAAI/bge-m3", context=8192, embedding=True, tools=False, price=(0.5 * _MILLION, 0.0)),
)


class HuggingFace(OpenAILike):
    """``https://router.huggingface.co/v1``"""

    name, key, path = "huggingface", "hf_sim0123456789", "/v1"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, MODELS)
        self.credit = self.meter("account/month", lambda: Calendar(0.10, month=True))
        self._served_by = "together"
        self.can_pay: bool | None = False  # whether a card or a balance is behind the account; None: the hub is away

    async def route(self, exchange: Exchange, path: str) -> None:
        """The hub lies beside the router, and says who the key's owner is."""
        if path == "/api/whoami-v2":
            self.authorize(exchange)
            if self.can_pay is None:
                raise Refusal(503, {"error": "Service Unavailable"})
            await exchange.answer(200, {"type": "user", "name": "sim", "isPro": False, "canPay": self.can_pay})
        elif path.startswith(_OWN) and path.endswith(_VECTORS):
            self.authorize(exchange)
            await embed_huggingface(self, exchange, path.removeprefix(_OWN).removesuffix(_VECTORS))
        else:
            await super().route(exchange, path)

    def authorize(self, exchange: Exchange) -> None:
        if not exchange.call.path.endswith("/models"):
            super().authorize(exchange)

    def listing(self) -> dict[str, Any]:
        """Of chats alone."""
        return {"object": "list", "data": [self.entry(model) for model in self.models if not model.embedding]}

    def entry(self, model: SimulatedModel) -> dict[str, Any]:
        def served(provider: str, factor: float) -> dict[str, Any]:
            pricing = {"input": model.price[0] / _MILLION * factor, "output": model.price[1] / _MILLION * factor}
            return {
                "provider": provider, "status": "live", "context_length": model.context, "pricing": pricing,
                "supports_tools": model.tools, "supports_structured_output": model.json_schema, "is_model_author": False,
            }  # fmt: skip

        unpriced = {"provider": "featherless-ai", "status": "live", "is_model_author": False}
        modalities = ["text", "image"] if model.vision else ["text"]
        return {
            "id": model.id, "object": "model", "created": CREATED, "owned_by": model.id.partition("/")[0],
            "architecture": {"input_modalities": modalities, "output_modalities": ["text"]},
            "providers": [served("together", 1.0), served("cerebras", 2.0), unpriced],
        }  # fmt: skip

    def model(self, name: str) -> SimulatedModel:
        plain, _, suffix = name.partition(":")
        self._served_by = suffix if suffix in _SERVE else "together"
        return super().model(plain)

    def check(self, body: dict[str, Any], model: SimulatedModel, view: View) -> None:
        if view.images_sent and not model.vision:
            raise Refusal(400, {"error": {"message": "this model takes no images", "type": "invalid_request_error"}})

    def admit(self, model: SimulatedModel, prompt: int, reserved: int) -> None:
        if self.credit.used(self.clock()) >= self.credit.limit and not self.can_pay:
            self.refuse("would_cost", model)

    def bill(self, exchange: Exchange, model: SimulatedModel, usage: dict[str, Any], fault: str | None) -> None:
        """The credit pays; what exceeds it would be its owner's money."""
        factor = 2.0 if self._served_by == "cerebras" else 1.0
        dollars = usage["prompt_tokens"] * model.price[0] + usage["completion_tokens"] * model.price[1]
        left = max(0.0, self.credit.limit - self.credit.used(self.clock()))
        self.credit.take(dollars * factor, self.clock())
        if dollars * factor > left:
            self.charge(exchange, dollars * factor - left)

    def headers(self, model: SimulatedModel) -> dict[str, str]:
        return {"x-inference-provider": self._served_by, "x-request-id": "Root=1-sim"}

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        match why:
            case "bad_key":
                raise Refusal(401, {"error": "Invalid username or password."})
            case "would_cost":
                message = (
                    "You have depleted your monthly included credits. Purchase pre-paid credits to continue using "
                    "Inference Providers. Alternatively, subscribe to PRO to get 20x more included usage."
                )
                raise Refusal(402, {"error": message})
            case "gone" | "unknown" | "not_entitled":
                message = f"The requested model '{model.id}' is not supported by any provider you have enabled."
                error = {"message": message, "type": "invalid_request_error", "param": "model",
                         "code": "model_not_supported"}  # fmt: skip
                raise Refusal(400, {"error": error})
            case "busy":
                raise Refusal(503, {"error": "Service Unavailable"})
            case _ if why.startswith("rate_limited"):
                raise Refusal(429, {"error": {"message": "Too many requests", "type": "rate_limit"}})
            case _:
                super().refuse(why, model)
