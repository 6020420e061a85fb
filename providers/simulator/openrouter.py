"""
OpenRouter's other half.

Free models end in ``:free`` or have only zero prices. Twenty requests a clock minute and fifty a UTC day over all of
them; refused ones count in the day (OpenRouter docs, limits, 2026-08; observed 2026-10). Others cost money.
"""

from __future__ import annotations

from typing import Any, NoReturn

from providers.simulator.base import Exchange, Refusal, SimulatedModel
from providers.simulator.brain import Saying
from providers.simulator.openai_like import CREATED, OpenAILike
from providers.simulator.quotas import Aligned, Calendar, Clock, Meter, fits

PAID = (1e-7, 5e-7)
MODELS = (
    SimulatedModel(id="nvidia/nemotron-3-super-120b-a12b:free", context=262_144, reasoning=True),
    SimulatedModel(id="nvidia/nemotron-3-super-120b-a12b", context=262_144, reasoning=True, price=PAID),
    SimulatedModel(id="google/gemma-4-31b-it:free", context=262_144, vision=True),
    SimulatedModel(id="qwen/qwen3.8-27b:free", context=131_072, reasoning=True),
    SimulatedModel(id="poolside/laguna-s-2.1:free", context=262_144, max_output=32_768),
    SimulatedModel(id="liquid/lfm-2.5-2.6b:free", context=32_768, tools=False, json_schema=False),
    SimulatedModel(id="stealth/space-bunny-alpha", context=1_000_000),
    SimulatedModel(id="openrouter/free", context=200_000, vision=True),
    SimulatedModel(id="openrouter/auto", context=2_000_000, price=(-1.0, -1.0)),
    SimulatedModel(id="openai/gpt-9", context=400_000, vision=True, price=(1e-5, 4e-5)),
)
_BASIC = ["max_tokens", "temperature", "top_p", "stop", "seed", "response_format"]


class OpenRouter(OpenAILike):
    """``https://openrouter.ai/api/v1``"""

    name, key, path = "openrouter", "sk-or-v1-sim0123456789", "/api/v1"
    usage_always = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, MODELS)
        self.minute = self.meter("account/minute", lambda: Aligned(20))
        self.day = self.meter("account/day", lambda: Calendar(50))
        self._turned = False

    async def route(self, exchange: Exchange, path: str) -> None:
        if (exchange.call.method, path) == ("GET", "/key"):
            self.authorize(exchange)
            await exchange.answer(200, {"data": self._key()})
        else:
            await super().route(exchange, path)

    def authorize(self, exchange: Exchange) -> None:
        if exchange.call.path.endswith("/models"):
            return  # the list is public
        given = exchange.call.headers.get("authorization")
        if given is None:
            raise Refusal(401, {"error": {"message": "No auth credentials found", "code": 401}})
        if given != f"Bearer {self.key}":
            raise Refusal(401, {"error": {"message": "User not found.", "code": 401}})

    def _key(self) -> dict[str, Any]:
        used = int(self.day.used(self.clock()))
        limit = int(self.day.limit)
        return {
            "label": "sk-or-v1-sim", "limit": None, "limit_remaining": None, "limit_reset": None, "usage": self.charged,
            "is_free_tier": True, "is_management_key": False, "budgets": [], "effective_budget": None,
            "free_model_daily_requests": {"limit": limit, "remaining": max(0, limit - used), "used": used},
            "rate_limit": {"requests": -1, "interval": "10s", "note": "deprecated"},
        }  # fmt: skip

    def listing(self) -> dict[str, Any]:
        live = [self.entry(model) for model in self.models if model.status == "live"]
        return {"data": live, "total_count": len(live), "links": {"next": None}}

    def entry(self, model: SimulatedModel) -> dict[str, Any]:
        parameters = list(_BASIC)
        parameters += ["tools", "tool_choice"] if model.tools else []
        parameters += ["structured_outputs"] if model.json_schema else []
        parameters += ["reasoning", "include_reasoning", "reasoning_effort"] if model.reasoning else []
        modalities = ["text", "image"] if model.vision else ["text"]
        return {
            "id": model.id, "canonical_slug": model.id.removesuffix(":free"), "name": model.id, "created": CREATED,
            "context_length": model.context,
            "architecture": {"modality": "text->text", "input_modalities": modalities, "output_modalities": ["text"]},
            "pricing": {"prompt": _price(model.price[0]), "completion": _price(model.price[1])},
            "top_provider": {"context_length": model.context, "max_completion_tokens": model.max_output},
            "supported_parameters": parameters, "per_request_limits": None, "expiration_date": None,
        }  # fmt: skip

    def model(self, name: str) -> SimulatedModel:
        found = super().model(name)
        return SimulatedModel(id=name, vision=True, tools=True) if name == "openrouter/free" else found

    def check(self, body: dict[str, Any], model: SimulatedModel, view: Any) -> None:
        ceiling = (body.get("provider") or {}).get("max_price") or {}
        dear = model.price[0] != 0 or model.price[1] != 0
        if dear and "prompt" in ceiling and float(ceiling["prompt"]) <= 0:
            raise Refusal(404, {"error": {"message": f"No endpoints found for {model.id}.", "code": 404}})
        if view.tools and not model.tools:
            self.refuse("no_tools", model)
        if view.images_sent and not model.vision:
            message = "No endpoints found that support image input"
            raise Refusal(404, {"error": {"message": message, "code": 404}})

    def meters_of(self, model: SimulatedModel, requests: float, tokens: float) -> list[tuple[Meter, float]]:
        return [] if any(model.price) else [(self.minute, requests), (self.day, requests)]

    def take(self, model: SimulatedModel, tokens: float) -> None:
        now = self.clock()
        if any(model.price):
            return
        if not fits(self.day, 1, now):
            self.day.take(1, now)
            self._limited("day", model)
        self.day.take(1, now)
        if not fits(self.minute, 1, now):
            self._limited("minute", model)
        self.minute.take(1, now)

    def _limited(self, row: str, model: SimulatedModel) -> NoReturn:
        meter = self.day if row == "day" else self.minute
        told = {
            "X-RateLimit-Limit": f"{meter.limit:.0f}",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": f"{meter.resets_at(self.clock()) * 1000:.0f}",
        }
        messages = {
            "day": "free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
            "minute": "free-models-per-min. ",
        }
        sources = {"day": "openrouter_free_tier_daily", "minute": "openrouter_free_tier_per_minute"}
        metadata = {"headers": told, "limit_source": sources[row], "provider_name": None}
        error = {"message": f"Rate limit exceeded: {messages[row]}", "code": 429, "metadata": metadata}
        raise Refusal(429, {"error": error, "user_id": "user_sim"}, told)

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        match why:
            case "rate_limited" | "rate_limited:minute" | "rate_limited:day":
                self._limited("day" if why.endswith("day") else "minute", model)
            case "rate_limited:upstream" | "upstream":
                raw = f"{model.id} is temporarily rate-limited upstream. Please retry shortly."
                metadata = {"raw": raw, "provider_name": "Sim", "is_byok": False,
                            "limit_source": "upstream_provider_shared_pool"}  # fmt: skip
                error = {"message": "Provider returned error", "code": 429, "metadata": metadata}
                raise Refusal(429, {"error": error}, {"retry-after": "12"})
            case "gone" | "ended":
                self._unavailable(404, "free_variant_ended", model, fallback_models=[model.id.removesuffix(":free")])
            case "unknown":
                self._unavailable(400, "model_not_found", model)
            case "busy":
                self._unavailable(503, "temporarily_unavailable", model, retryable=True, retry_after=8)
            case "not_entitled":
                self._unavailable(404, "privacy_restricted", model, excluded_by=["data_policy:training"])
            case _:
                status, message, kind = _PLAIN.get(why, (500, "Internal Server Error", "server"))
                told = message.format(context=model.context)
                error = {"message": told, "code": status, "metadata": {"error_type": kind}}
                raise Refusal(status, {"error": error})

    def _unavailable(self, status: int, code: str, model: SimulatedModel, **more: object) -> NoReturn:
        availability = {"code": code, "retryable": False, "requested_models": [model.id], **more}
        headers = {"retry-after": str(more["retry_after"])} if "retry_after" in more else {}
        message = f"{model.id}: {code.replace('_', ' ')}"
        error = {"message": message, "error_type": code, "http_status": status, "availability": availability}
        raise Refusal(status, {"error": error}, headers)

    def headers(self, model: SimulatedModel) -> dict[str, str]:
        return {"x-generation-id": "gen-sim"}

    def envelope(self, body: dict[str, Any]) -> dict[str, Any]:
        served = "google/gemma-4-31b-it:free" if body["model"] == "openrouter/free" else body["model"]
        return {"id": f"gen-sim{len(self.calls)}", "provider": "Sim", "model": served, "created": int(self.clock())}

    def usage(self, prompt: int, saying: Saying, model: SimulatedModel) -> dict[str, Any]:
        usage = super().usage(prompt, saying, model)
        cost = usage["prompt_tokens"] * model.price[0] + usage["completion_tokens"] * model.price[1]
        return {**usage, "cost": cost, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}

    def bill(self, exchange: Exchange, model: SimulatedModel, usage: dict[str, Any], fault: str | None) -> None:
        if fault == "price_turned":
            usage["cost"] = 0.0021
        if usage["cost"]:
            self.charge(exchange, usage["cost"])

    def opening(self) -> list[bytes]:
        return [b": OPENROUTER PROCESSING\n\n"] * 2

    def broken(self, body: dict[str, Any]) -> dict[str, Any]:
        error = {"code": 502, "message": "Provider disconnected unexpectedly",
                 "metadata": {"error_type": "provider_unavailable"}}  # fmt: skip
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        return {**self.envelope(body), "object": "chat.completion.chunk", "error": error, "choices": [choice]}

    def in_band_error(self, model: SimulatedModel) -> dict[str, Any]:
        message = "Upstream error from Nvidia: Service temporarily overloaded"
        return {"id": "gen-sim", "error": {"message": message, "code": 502}}


_PLAIN = {
    "bad_key": (401, "User not found.", "authentication"),
    "would_cost": (
        402,
        "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
        "payment_required",
    ),
    "context": (400, "This endpoint's maximum context length is {context} tokens.", "context_length_exceeded"),
    "no_tools": (404, "No endpoints found that support tool use.", "not_found"),
    "moderation": (403, "Your chosen model requires moderation and your input was flagged", "content_policy_violation"),
    "too_large": (413, "Payload too large", "payload_too_large"),
}


def _price(dollars: float) -> str:
    return f"{dollars:.10f}".rstrip("0").rstrip(".") if dollars > 0 else f"{dollars:.0f}"
