"""
Groq's other half.

Requests a minute and a day and tokens a minute and a day, for each model; the day's requests refill without pause;
tokens are counted with the reserved output when a request is admitted, and a request that alone exceeds the minute is
a 413 (measured on free accounts, 2026-08).
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import msgspec

from providers.simulator.base import Exchange, Refusal, SimulatedModel
from providers.simulator.brain import View
from providers.simulator.openai_like import CREATED, OpenAILike, event
from providers.simulator.quotas import Clock, Meter, Refilling, Rolling, fits, go_duration

MODELS = (
    SimulatedModel(id="openai/gpt-oss-120b", reasoning=True, max_output=65_536),
    SimulatedModel(id="openai/gpt-oss-20b", reasoning=True, max_output=65_536),
    SimulatedModel(id="qwen/qwen3.8-27b", reasoning=True, vision=True, max_output=40_960),
    SimulatedModel(id="groq/compound", tools=False, json_schema=False),
    SimulatedModel(id="whisper-large-v3", context=448, tools=False, json_schema=False, does="transcribe"),
    SimulatedModel(id="whisper-large-v3-turbo", context=448, tools=False, json_schema=False, does="transcribe"),
    SimulatedModel(id="canopylabs/orpheus-v1-english", context=4096, tools=False, json_schema=False, does="speak"),
    SimulatedModel(id="openai/gpt-oss-safeguard-20b", reasoning=True, max_output=65_536, does="moderate"),
    SimulatedModel(id="llama-3.3-70b-versatile", status="gone"),
)
_UNSUPPORTED = ("logprobs", "top_logprobs", "logit_bias", "frequency_penalty", "presence_penalty", "metadata", "store")
_PAID = (1.5e-7, 6e-7)
"""What a plan that is paid for charges for a token."""

_OWN_LIMITS = {("groq/compound", "day"): 250.0, ("groq/compound", "tokens"): 70_000.0,
               ("groq/compound", "tokens-day"): 1e12}  # fmt: skip
_ROWS = {"requests": ("requests per minute (RPM)", "requests"), "day": ("requests per day (RPD)", "requests"),
         "tokens": ("tokens per minute (TPM)", "tokens"), "tokens-day": ("tokens per day (TPD)", "tokens")}  # fmt: skip


class Groq(OpenAILike):
    """``https://api.groq.com/openai/v1``"""

    name, key, path = "groq", "gsk_sim0123456789", "/openai/v1"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, MODELS)
        self.limits = {"requests": 30.0, "day": 1000.0, "tokens": 8000.0, "tokens-day": 200_000.0}

    def upgrade(self) -> None:
        self.limits = {row: limit * 10 for row, limit in self.limits.items()}
        self.meters.clear()
        self.models = [msgspec.structs.replace(model, price=_PAID) for model in self.models]

    def bill(self, exchange: Exchange, model: SimulatedModel, usage: dict[str, Any], fault: str | None) -> None:
        if model.price != (0.0, 0.0):
            dollars = usage["prompt_tokens"] * model.price[0] + usage["completion_tokens"] * model.price[1]
            self.charge(exchange, dollars)

    def authorize(self, exchange: Exchange) -> None:
        if exchange.call.headers.get("user-agent", "").startswith("Python-urllib"):
            raise Refusal(403, b"error code: 1010", {"content-type": "text/plain"})
        super().authorize(exchange)

    def listing(self) -> dict[str, Any]:
        live = [model for model in self.models if model.status == "live"]
        return {"object": "list", "data": [self.entry(model) for model in live]}

    def entry(self, model: SimulatedModel) -> dict[str, Any]:
        return {
            "id": model.id, "object": "model", "created": CREATED, "owned_by": "Sim", "active": True,
            "context_window": model.context, "public_apps": None, "max_completion_tokens": model.max_output,
        }  # fmt: skip

    def check(self, body: dict[str, Any], model: SimulatedModel, view: View) -> None:
        for name in _UNSUPPORTED:
            if body.get(name):
                self._bad(f"property '{name}' is unsupported")
        if (body.get("n") or 1) > 1:
            self._bad("'n' : number must be at most 1")
        known = {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning"}
        for place, message in enumerate(body["messages"]):
            if unknown := message.keys() - known:
                self._bad(f"'messages.{place}' : property '{min(unknown)}' is unsupported")
        if view.tools and not model.tools:
            self._bad("tool calling is not supported with this model")
        if view.images_sent and not model.vision:
            self._bad("messages must be text for this model")
        if view.schema is not None and not model.json_schema:
            self._bad("This model does not support response format `json_schema`")

    def meter_named(self, row: str, model: str) -> Meter:
        limit = _OWN_LIMITS.get((model, row), self.limits[row])
        period = 60.0 if row in ("requests", "tokens") else 86_400.0
        make = Rolling if row == "requests" else Refilling
        return self.meter(f"{model}/{row}", lambda: make(limit, period))

    def meters_of(self, model: SimulatedModel, requests: float, tokens: float) -> list[tuple[Meter, float]]:
        amounts = {"requests": requests, "day": requests, "tokens": tokens, "tokens-day": tokens}
        return [(self.meter_named(row, model.id), amounts[row]) for row in _ROWS]

    def hear(self, model: SimulatedModel, seconds: float) -> None:
        """Sound is counted by the hour and by the day."""
        now = self.clock()
        hour = self.meter(f"{model.id}/audio-hour", lambda: Refilling(7200.0, 3600.0))
        day = self.meter(f"{model.id}/audio-day", lambda: Refilling(28_800.0, 86_400.0))
        for window, meter in (("hour", hour), ("day", day)):
            if not fits(meter, seconds, now):
                wait = max(0.001, meter.resets_at(now, seconds) - now)
                message = (
                    f"Rate limit reached for model `{model.id}` in organization `org_sim` on seconds of audio per {window} "
                    f"(ASP{window[0].upper()}): Limit {meter.limit:.0f}, Used {meter.used(now):.0f}, Requested "
                    f"{seconds:.0f}. Please try again in {go_duration(wait)}."
                )
                raise Refusal(429, {"error": {"message": message, "type": "seconds", "code": "rate_limit_exceeded"}})
            meter.take(seconds, now)

    def admit(self, model: SimulatedModel, prompt: int, reserved: int) -> None:
        if prompt + reserved > self.meter_named("tokens", model.id).limit:
            self.refuse("too_large", model)
        super().admit(model, prompt, reserved)

    def settle(self, model: SimulatedModel, prompt: int, reserved: int, output: int) -> None:
        for row in ("tokens", "tokens-day"):
            self.meter_named(row, model.id).take(max(0, output - reserved), self.clock())

    def over(self, meter: Meter, amount: float, model: SimulatedModel) -> NoReturn:
        row = next(row for row in _ROWS if self.meter_named(row, model.id) is meter)
        self._limited(row, meter, amount, model)

    def _limited(self, row: str, meter: Meter, amount: float, model: SimulatedModel) -> NoReturn:
        now = self.clock()
        wait = max(0.001, meter.resets_at(now, amount) - now)
        what, kind = _ROWS[row]
        message = (
            f"Rate limit reached for model `{model.id}` in organization `org_sim` service tier `on_demand` on {what}: "
            f"Limit {meter.limit:.0f}, Used {meter.used(now):.0f}, Requested {amount:.0f}. Please try again in "
            f"{go_duration(wait)}. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing"
        )
        error = {"message": message, "type": kind, "code": "rate_limit_exceeded"}
        raise Refusal(429, {"error": error}, {**self.headers(model), "retry-after": str(math.ceil(wait))})

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        match why:
            case "bad_key":
                self._refuse(401, "Invalid API Key", "invalid_api_key")
            case "gone" | "unknown" | "not_entitled":
                missing = f"The model `{model.id}` does not exist or you do not have access to it."
                self._refuse(404, missing, "model_not_found")
            case "busy":
                busy = f"{model.id} is currently over capacity. Please try again and back off exponentially."
                raise Refusal(503, {"error": {"message": busy, "type": "internal_server_error"}})
            case "too_large":
                message = (
                    f"Request too large for model `{model.id}` in organization `org_sim` service tier `on_demand` on "
                    f"tokens per minute (TPM): Limit 8000, Requested 11088, please reduce your message size and try again."
                )
                error = {"message": message, "type": "tokens", "code": "rate_limit_exceeded"}
                raise Refusal(413, {"error": error}, {**self.headers(model), "retry-after": "65"})
            case "context":
                self._refuse(400, "Please reduce the length of the messages or completion.", "context_length_exceeded")
            case "no_tools":
                self._bad("`tool calling` is not supported with this model")
            case "rate_limited" | "rate_limited:minute" | "rate_limited:day" | "rate_limited:tokens":
                row = {"day": "day", "tokens": "tokens"}.get(why.partition(":")[2], "requests")
                meter = self.meter_named(row, model.id)
                meter.take(max(0.0, meter.limit - meter.used(self.clock())), self.clock())
                self._limited(row, meter, 1, model)
            case _:
                super().refuse(why, model)

    def _bad(self, message: str) -> NoReturn:
        self._refuse(400, message, None)

    def _refuse(self, status: int, message: str, code: str | None) -> NoReturn:
        error = {"message": message, "type": "invalid_request_error", **({"code": code} if code else {})}
        raise Refusal(status, {"error": error})

    def headers(self, model: SimulatedModel) -> dict[str, str]:
        now = self.clock()
        day, minute = self.meter_named("day", model.id), self.meter_named("tokens", model.id)
        assert isinstance(day, Refilling)
        assert isinstance(minute, Refilling)
        return {
            "x-ratelimit-limit-requests": f"{day.limit:.0f}",
            "x-ratelimit-limit-tokens": f"{minute.limit:.0f}",
            "x-ratelimit-remaining-requests": f"{max(0, math.floor(day.limit - day.used(now) + 1e-6)):.0f}",
            "x-ratelimit-remaining-tokens": f"{max(0, math.floor(minute.limit - minute.used(now) + 1e-6)):.0f}",
            "x-ratelimit-reset-requests": go_duration(day.full_at(now) - now),
            "x-ratelimit-reset-tokens": go_duration(minute.full_at(now) - now),
            "x-request-id": "req_sim",
        }

    def decorate(self, answer: dict[str, Any]) -> dict[str, Any]:
        return {**answer, "system_fingerprint": "fp_sim", "x_groq": {"id": "req_sim"}, "service_tier": "on_demand"}

    def closing(self, body: dict[str, Any], usage: dict[str, Any], wanted: bool) -> list[bytes]:
        told = {**self.envelope(body), "object": "chat.completion.chunk", "choices": [],
                "x_groq": {"id": "req_sim", "usage": usage}}  # fmt: skip
        return [event({**told, "usage": usage} if wanted else told)]
