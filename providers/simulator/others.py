"""
The other halves of providers that need no code in the gateway: Mistral, Cerebras, Cloudflare, Cohere, Z.ai and OVHcloud, each
with its own headers and refusals (observed 2026-08 to 2026-10).
"""

from __future__ import annotations

from typing import Any, NoReturn

from providers.simulator.base import Exchange, Refusal, SimulatedModel
from providers.simulator.brain import Saying, View
from providers.simulator.media import moderate_mistral, rerank_cohere, run_cloudflare, transcribe_openai
from providers.simulator.openai_like import OpenAILike
from providers.simulator.quotas import Aligned, Calendar, Clock, Meter, Rolling


class Mistral(OpenAILike):
    """``https://api.mistral.ai/v1``: requests and tokens a clock minute for each model; unknown fields are a 422."""

    name, key, path = "mistral", "sim-mistral-0123456789", "/v1"
    usage_always = True
    factor = 1  # of the limits of free mode

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, (SimulatedModel(id="ministral-8b-latest", context=262_144, vision=True),
                                 SimulatedModel(id="mistral-small-latest", vision=True),
                                 SimulatedModel(id="mistral-embed", context=8192, embedding=True, tools=False),
                                 SimulatedModel(id="mistral-moderation-latest", does="moderate", tools=False)))  # fmt: skip

    async def route(self, exchange: Exchange, path: str) -> None:
        if path == "/moderations":
            self.authorize(exchange)
            await moderate_mistral(self, exchange)
            return
        await super().route(exchange, path)

    def entry(self, model: SimulatedModel) -> dict[str, Any]:
        can = {
            "completion_chat": not model.embedding and not model.does,
            "function_calling": model.tools,
            "vision": model.vision,
            "reasoning": False,
        }
        return {**super().entry(model), "capabilities": can, "max_context_length": model.context, "aliases": []}

    def check(self, body: dict[str, Any], model: SimulatedModel, view: View) -> None:
        for name in ("logit_bias", "logprobs", "user", "stream_options", "max_completion_tokens", "seed"):
            if name in body:
                detail = [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]
                raise Refusal(422, {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error"})

    def meters_of(self, model: SimulatedModel, requests: float, tokens: float) -> list[tuple[Meter, float]]:
        return [
            (self.meter(f"{model.id}/minute", lambda: Aligned(50 * self.factor)), requests),
            (self.meter(f"{model.id}/tokens", lambda: Aligned(50_000 * self.factor)), tokens),
        ]

    def upgrade(self) -> None:
        self.factor = 20
        self.meters.clear()

    def admit(self, model: SimulatedModel, prompt: int, reserved: int) -> None:
        super().admit(model, prompt, 0)

    def settle(self, model: SimulatedModel, prompt: int, reserved: int, output: int) -> None:
        self.meters_of(model, 0, 0)[1][0].take(output, self.clock())

    def bill(self, exchange: Exchange, model: SimulatedModel, usage: dict[str, Any], fault: str | None) -> None:
        if self.factor > 1:
            self.charge(exchange, usage["total_tokens"] * 1e-7)

    def over(self, meter: Meter, amount: float, model: SimulatedModel) -> NoReturn:
        self._limited("req" if meter is self.meters_of(model, 0, 0)[0][0] else "tokens", meter)

    def _limited(self, row: str, meter: Meter) -> NoReturn:
        told = {f"x-ratelimit-limit-{row}-minute": f"{meter.limit:.0f}", f"x-ratelimit-remaining-{row}-minute": "0"}
        body = {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "param": None}
        raise Refusal(429, {**body, "code": "1300"}, told)

    def headers(self, model: SimulatedModel) -> dict[str, str]:
        now = self.clock()
        (minute, _), (tokens, _) = self.meters_of(model, 0, 0)
        return {
            "x-ratelimit-limit-req-minute": f"{minute.limit:.0f}",
            "x-ratelimit-remaining-req-minute": f"{minute.limit - minute.used(now):.0f}",
            "x-ratelimit-limit-tokens-minute": f"{tokens.limit:.0f}",
            "x-ratelimit-remaining-tokens-minute": f"{max(0, tokens.limit - tokens.used(now)):.0f}",
        }

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        if why.startswith("rate_limited"):
            row, place = ("tokens", 1) if why.endswith("tokens") else ("req", 0)
            self._limited(row, self.meters_of(model, 0, 0)[place][0])
        super().refuse(why, model)


class Cerebras(OpenAILike):
    """``https://api.cerebras.ai/v1``: five requests a minute, and a queue that is full at times."""

    name, key, path = "cerebras", "csk-sim0123456789", "/v1"
    usage_always = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(
            clock, (SimulatedModel(id="gpt-oss-120b", reasoning=True), SimulatedModel(id="qwen-3.8-27b", vision=True))
        )

    _TOLD = ("requests-minute", "requests-hour", "requests-day", "tokens-minute", "tokens-hour", "tokens-day")

    def authorize(self, exchange: Exchange) -> None:
        if exchange.call.headers.get("user-agent", "").startswith("Python-urllib"):
            raise Refusal(403, b"error code: 1010", {"content-type": "text/plain"})
        super().authorize(exchange)

    def meters_of(self, model: SimulatedModel, requests: float, tokens: float) -> list[tuple[Meter, float]]:
        return [
            (self.meter(f"{model.id}/minute", lambda: Aligned(5)), requests),
            (self.meter(f"{model.id}/hour", lambda: Aligned(150, 3600)), requests),
            (self.meter(f"{model.id}/day", lambda: Calendar(2400)), requests),
            (self.meter(f"{model.id}/tokens", lambda: Aligned(30_000)), tokens),
            (self.meter(f"{model.id}/tokens-hour", lambda: Aligned(1e6, 3600)), tokens),
            (self.meter(f"{model.id}/tokens-day", lambda: Calendar(1e6)), tokens),
        ]

    def headers(self, model: SimulatedModel) -> dict[str, str]:
        now = self.clock()
        headers = {}
        for name, (meter, _) in zip(self._TOLD, self.meters_of(model, 0, 0), strict=True):
            resets_in = meter.resets_at(now, meter.limit) - now
            headers[f"x-ratelimit-limit-{name}"] = f"{meter.limit:.0f}"
            headers[f"x-ratelimit-remaining-{name}"] = f"{max(0, meter.limit - meter.used(now)):.0f}"
            headers[f"x-ratelimit-reset-{name}"] = f"{resets_in:.3f}"
        return headers

    def over(self, meter: Meter, amount: float, model: SimulatedModel) -> NoReturn:
        body = {"message": "Requests rate limit exceeded", "type": "too_many_requests_error", "param": "quota",
                "code": "request_quota_exceeded"}  # fmt: skip
        raise Refusal(429, body, self.headers(model))

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        if why == "busy":
            body = {"message": "We are experiencing high traffic right now!", "type": "too_many_requests_error",
                    "param": "queue", "code": "queue_exceeded"}  # fmt: skip
            raise Refusal(429, body, {"x-should-retry": "false"})
        if why == "gone":
            body = {"message": f"Model {model.id} is archived.", "type": "not_found_error", "param": "model",
                    "code": "model_archived"}  # fmt: skip
            raise Refusal(404, body)
        super().refuse(why, model)


_NEURONS = {
    "@cf/openai/gpt-oss-120b": (31_818, 68_182),
    "@cf/qwen/qwen3.8-27b": (40_909, 290_909),
    "@cf/baai/bge-m3": (1_075, 0),
}
"""For a million tokens of the prompt, and of the answer (Workers AI pricing page, 2026-09)."""


class Cloudflare(OpenAILike):
    """``https://api.cloudflare.com/client/v4/accounts/{id}/ai/v1``: ten thousand neurons a UTC day."""

    name, key, path = "cloudflare", "sim-cloudflare-0123456789", "/client/v4/accounts/simaccount/ai/v1"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, (SimulatedModel(id="@cf/openai/gpt-oss-120b", reasoning=True),
                                 SimulatedModel(id="@cf/qwen/qwen3.8-27b", vision=True),
                                 SimulatedModel(id="@cf/baai/bge-m3", context=8192, embedding=True, tools=False),
                                 SimulatedModel(id="@cf/baai/bge-reranker-base", does="rerank"),
                                 SimulatedModel(id="@cf/openai/whisper-large-v3-turbo", does="transcribe"),
                                 SimulatedModel(id="@cf/meta/llama-guard-3-8b", does="moderate"),
                                 SimulatedModel(id="@cf/black-forest-labs/flux-1-schnell", does="image")))  # fmt: skip
        self.neurons = self.meter("account/neurons", lambda: Calendar(10_000))
        self.paid = False

    def upgrade(self) -> None:
        """Workers Paid: nothing is refused, and what exceeds the free neurons is billed."""
        self.paid = True

    async def handle(self, exchange: Exchange) -> None:
        """``/ai/run`` lies beside the address of what looks like OpenAI."""
        exchange.call.path = exchange.call.path.replace("/ai/run/", "/ai/v1/run/")
        await super().handle(exchange)

    async def route(self, exchange: Exchange, path: str) -> None:
        if path.startswith("/run/"):
            self.authorize(exchange)
            await run_cloudflare(self, exchange, path.removeprefix("/run/"))
            return
        await super().route(exchange, path)

    def listing(self) -> dict[str, Any]:
        errors = [{"code": 7000, "message": "No route for that URI"}]
        raise Refusal(404, {"result": None, "success": False, "errors": errors, "messages": []})

    def admit(self, model: SimulatedModel, prompt: int, reserved: int) -> None:
        if self.neurons.used(self.clock()) >= self.neurons.limit and not self.paid:
            self.refuse("rate_limited:day", model)

    def bill(self, exchange: Exchange, model: SimulatedModel, usage: dict[str, Any], fault: str | None) -> None:
        prompt, output = _NEURONS[model.id]
        neurons = (usage["prompt_tokens"] * prompt + usage["completion_tokens"] * output) / 1e6
        left = max(0.0, self.neurons.limit - self.neurons.used(self.clock()))
        self.neurons.take(neurons, self.clock())
        if neurons > left:
            self.charge(exchange, (neurons - left) * 0.011 / 1000)

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        if why.startswith("rate_limited"):
            message = "AiError: you have used up your daily free allocation of 10,000 neurons, please upgrade"
            body = {"result": None, "success": False, "errors": [{"code": 4006, "message": message}], "messages": []}
            raise Refusal(429, body)
        if why == "busy":
            errors = [{"code": 3040, "message": "Capacity temporarily exceeded, please try again."}]
            raise Refusal(429, {"result": None, "success": False, "errors": errors, "messages": []})
        super().refuse(why, model)


class Cohere(OpenAILike):
    """``https://api.cohere.ai/compatibility/v1`` and ``/v2``: twenty calls a minute, a thousand a month."""

    name, key, path = "cohere", "sim-cohere-0123456789", "/compatibility/v1"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, (SimulatedModel(id="command-a-03-2025"),
                                 SimulatedModel(id="embed-v4.0", context=128_000, embedding=True, tools=False),
                                 SimulatedModel(id="rerank-v4.0-fast", does="rerank"),
                                 SimulatedModel(id="cohere-transcribe-03-2026", does="transcribe")))  # fmt: skip

    async def handle(self, exchange: Exchange) -> None:
        """Its own API lies beside the address of what looks like OpenAI."""
        exchange.call.path = exchange.call.path.replace("/v2/", "/compatibility/v1/v2/")
        await super().handle(exchange)

    async def route(self, exchange: Exchange, path: str) -> None:
        self.authorize(exchange)
        if path == "/v2/rerank":
            await rerank_cohere(self, exchange)
        elif path == "/v2/audio/transcriptions":
            await transcribe_openai(self, exchange)
        else:
            await super().route(exchange, path)

    def meters_of(self, model: SimulatedModel, requests: float, tokens: float) -> list[tuple[Meter, float]]:
        minute = {"rerank": 10, "transcribe": 5}.get(model.does, 20)
        return [
            (self.meter(f"{model.id}/minute", lambda: Rolling(minute)), requests),
            (self.meter("account/month", lambda: Calendar(1000, month=True)), requests),
        ]


class Zai(OpenAILike):
    """``https://api.z.ai/api/paas/v4``: one request at a time; codes instead of statuses."""

    name, key, path = "zai", "sim-zai-0123456789", "/api/paas/v4"
    usage_always = True
    reasoning_field = "reasoning_content"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, (SimulatedModel(id="glm-4.7-flash", reasoning=True),
                                 SimulatedModel(id="glm-4.5-flash", reasoning=True),
                                 SimulatedModel(id="glm-5.2", price=(1e-6, 3e-6))))  # fmt: skip

    def listing(self) -> dict[str, Any]:
        return {"object": "list", "data": [self.entry(model) for model in self.models if any(model.price)]}

    def check(self, body: dict[str, Any], model: SimulatedModel, view: View) -> None:
        if any(model.price):
            self.refuse("would_cost", model)
        if self.in_flight > 1:
            self.refuse("rate_limited", model)

    def usage(self, prompt: int, saying: Saying, model: SimulatedModel) -> dict[str, Any]:
        return {**super().usage(prompt, saying, model), "prompt_tokens_details": {"cached_tokens": 0}}

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        codes = {
            "rate_limited": (429, "1302", "Rate limit reached for requests"),
            "busy": (429, "1305", "The model is overloaded"),
            "would_cost": (429, "1113", "Insufficient balance or no resource package. Please recharge."),
            "gone": (400, "1214", "Model does not exist"),
            "unknown": (400, "1214", "Model does not exist"),
        }
        if why.partition(":")[0] not in codes:
            super().refuse(why, model)
        status, code, message = codes[why.partition(":")[0]]
        raise Refusal(status, {"error": {"code": code, "message": message}})


class OVHcloud(OpenAILike):
    """``https://oai.endpoints.kepler.ai.cloud.ovh.net/v1``, asked without a key: two requests a minute of each model."""

    name, key, path = "ovhcloud", None, "/v1"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, (SimulatedModel(id="gpt-oss-120b", reasoning=True),
                                 SimulatedModel(id="bge-m3", context=8192, embedding=True, tools=False)))  # fmt: skip

    def authorize(self, exchange: Exchange) -> None:
        """No key is wanted, and one would be charged for."""
        if "authorization" in exchange.call.headers:
            self.refuse("bad_key", SimulatedModel(id=""))

    def entry(self, model: SimulatedModel) -> dict[str, Any]:
        return {**super().entry(model), "context_length": model.context, "max_completion_tokens": model.max_output}

    def meters_of(self, model: SimulatedModel, requests: float, tokens: float) -> list[tuple[Meter, float]]:
        return [(self.meter(f"{model.id}/minute", lambda: Rolling(2)), requests)]
