"""Providers by name: their errors, headers and lists, as they document them or were measured (November 2026)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import ClassVar

from tests.world.clock import now
from tests.world.formats import Asked, Format, Gemini, OpenAI
from tests.world.http import Request, Response, told
from tests.world.models import Call, Model
from tests.world.quotas import Counter, Limit
from tests.world.sources import Source


class OpenRouter(Source):
    """Free models of one account, which share its quota; what an upstream does is told as an error of its own."""

    formats: ClassVar[dict[str, Format]] = {"/chat/completions": OpenAI(usage_at="always", comments=True)}

    def lists(self, path: str, request: Request) -> Response:
        if path.endswith("/key"):
            day = next(one for one in self.counters[next(iter(self.models))] if one.limit.window == "day")
            left = max(0.0, day.left(now()))
            daily = {"limit": day.limit.amount, "remaining": left, "used": day.limit.amount - left}
            return told(200, {"data": {"label": "sk-or-v1-0a1...9f8", "usage": 0, "free_model_daily_requests": daily}})
        if not path.endswith("/models"):
            return self.error(404, "Not Found")
        return told(200, {"data": [_openrouter_entry(model) for model in self.models.values()]})

    def error(self, status: int, message: str, code: str = "") -> Response:
        return told(status, {"error": {"message": message, "code": status}, "user_id": "user_example"})

    def bad_key(self) -> Response:
        return self.error(401, "User not found.")

    def gone(self, model: str) -> Response:
        return self.error(404, f"No endpoints found for {model}.")

    def overloaded(self, model: Model) -> Response:
        """200 with an error in it, regular on free endpoints."""
        body = {"message": "Upstream error from Nvidia: Service temporarily overloaded", "code": 502}
        return told(200, {"id": "gen-1", "error": body})

    def too_many_at_once(self, model: Model) -> Response:
        raw = f"{model.id} is temporarily rate-limited upstream. Please retry shortly."
        metadata = {"raw": raw, "provider_name": "Upstream", "limit_source": "upstream_provider_shared_pool"}
        return told(429, {"error": {"message": "Provider returned error", "code": 429, "metadata": metadata}})

    def rate_limited(self, counter: Counter, wait: float, model: Model) -> Response:
        if counter.limit.secret:
            return self.too_many_at_once(model)
        daily = counter.limit.window == "day"
        reset = str(int((now() + wait) * 1000))
        source = "openrouter_free_tier_daily" if daily else "openrouter_free_tier_per_minute"
        message = f"Rate limit exceeded: free-models-per-{'day' if daily else 'min'}. "
        headers = {
            "X-RateLimit-Limit": f"{counter.limit.amount:g}",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": reset,
        }
        metadata = {"headers": headers, "limit_source": source, "provider_name": None}
        return told(429, {"error": {"message": message, "code": 429, "metadata": metadata}, "user_id": "user_example"})

    def _lacking(self, model: Model, asked: Asked, call: Call) -> Response | None:
        if asked.denies and model.trains:
            call.failed("refused: it trains", 404)
            detail = {"code": "privacy_restricted", "retryable": False, "excluded_by": ["data_policy:training"]}
            said = "No endpoints found matching your data policy."
            return told(404, {"error": {"message": said, "code": 404, "availability": detail}})
        if asked.requires and asked.schema and "schema" not in model.can:
            call.failed("no schema", 404)
            return self.error(404, "No endpoints found that can handle the requested parameters.")
        if asked.tools and "tools" not in model.can:
            call.failed("no tools", 404)
            return self.error(404, "No endpoints found that support tool use.")
        if asked.shown is not None and "vision" not in model.can:
            call.failed("no vision", 404)
            return self.error(404, "No endpoints found that support image input")
        return super()._lacking(model, asked, call)


def _openrouter_entry(model: Model) -> dict[str, object]:
    parameters = ["max_tokens", "temperature", "top_p", "stop", "seed"]
    parameters += ["tools", "tool_choice"] if "tools" in model.listed else []
    parameters += ["response_format", "structured_outputs"] if "schema" in model.listed else []
    parameters += ["reasoning", "include_reasoning"] if model.thinks else []
    inputs = ["text", *(["image"] if "vision" in model.listed else [])]
    return {
        "id": model.id,
        "canonical_slug": model.id.removesuffix(":free"),
        "name": model.id,
        "created": 1_786_000_000,
        "context_length": model.context,
        "architecture": {"modality": "text->text", "input_modalities": inputs, "output_modalities": ["text"]},
        "pricing": {"prompt": "0", "completion": "0"},
        "top_provider": {"context_length": model.context, "max_completion_tokens": model.longest},
        "supported_parameters": parameters,
        "expiration_date": None,
    }


class Google(Source):
    """AI Studio without billing: limits for each model, 429s that name the window, days of California."""

    formats: ClassVar[dict[str, Format]] = {
        ":generateContent": Gemini(),
        ":streamGenerateContent": Gemini(),
        "/openai/chat/completions": OpenAI(),
    }

    def lists(self, path: str, request: Request) -> Response:
        if not path.endswith("/models"):
            return self.error(404, "not found")
        entries = [
            {
                "name": f"models/{model.id}",
                "displayName": model.id,
                "inputTokenLimit": model.context,
                "outputTokenLimit": model.longest,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
                "thinking": bool(model.thinks),
            }
            for model in self.models.values()
        ]
        return told(200, {"models": entries})

    def error(self, status: int, message: str, code: str = "") -> Response:
        named = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
        return told(status, {"error": {"code": status, "message": message, "status": named.get(status, "INTERNAL")}})

    def bad_key(self) -> Response:
        message = "API key not valid. Please pass a valid API key."
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
        }
        error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": [info]}
        return told(400, {"error": error})

    def gone(self, model: str) -> Response:
        return self.error(404, f"This model models/{model} is no longer available to new users.")

    def overloaded(self, model: Model) -> Response:
        return self.error(503, "This model is currently experiencing high demand. Please try again later.")

    def rate_limited(self, counter: Counter, wait: float, model: Model) -> Response:
        limit, daily = counter.limit, counter.limit.window == "day"
        metric = "free_tier_input_token_count" if limit.unit == "prompt" else "free_tier_requests"
        quota = "GenerateContentInputTokensPerModelPerMinute-FreeTier"
        if limit.unit == "requests":
            quota = f"GenerateRequestsPer{'Day' if daily else 'Minute'}PerProjectPerModel-FreeTier"
        retry = 34.0 if daily else wait
        violation = {
            "quotaMetric": f"generativelanguage.googleapis.com/generate_content_{metric}",
            "quotaId": quota,
            "quotaDimensions": {"location": "global", "model": model.id},
            "quotaValue": f"{limit.amount:g}",
        }
        said = (
            "You exceeded your current quota, please check your plan and billing details. \n"
            f"* Quota exceeded for metric: {violation['quotaMetric']}, limit: {limit.amount:g}, model: {model.id}\n"
            f"Please retry in {retry:.8f}s."
        )
        details = [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{math.ceil(retry)}s"},
        ]
        error = {"code": 429, "message": said, "status": "RESOURCE_EXHAUSTED", "details": details}
        return told(429, {"error": error})


class Groq(Source):
    """Limits for each model, told in the headers of every answer; tokens are debited with what the answer may take."""

    formats: ClassVar[dict[str, Format]] = {"/chat/completions": OpenAI(usage_at="x_groq")}

    def lists(self, path: str, request: Request) -> Response:
        entries = [
            {
                "id": model.id,
                "object": "model",
                "created": 1_786_000_000,
                "owned_by": "someone",
                "active": True,
                "context_window": model.context,
                "max_completion_tokens": model.longest,
            }
            for model in self.models.values()
        ]
        return told(200, {"object": "list", "data": entries})

    def headers(self, model: Model) -> dict[str, str]:
        found = dict[str, str]()
        for counter in self.counters[model.id]:
            unit, span = counter.limit.unit, counter.limit.seconds
            if (unit == "requests" and span > 60) or (unit == "tokens" and span <= 60):
                left = max(0.0, counter.left(now()))
                found[f"x-ratelimit-limit-{unit}"] = f"{counter.limit.amount:.0f}"
                found[f"x-ratelimit-remaining-{unit}"] = f"{left:.0f}"
                back = (counter.limit.amount - left) * span / counter.limit.amount
                found[f"x-ratelimit-reset-{unit}"] = f"{back:.3f}s"
        return found

    def rate_limited(self, counter: Counter, wait: float, model: Model) -> Response:
        limit = counter.limit
        span = "day" if limit.seconds > 60 else "minute"
        short = f"{'T' if limit.unit == 'tokens' else 'R'}P{span[0].upper()}"
        where = (
            f"model `{model.id}` in organization `org_1` service tier `on_demand` on {limit.unit} per {span} ({short})"
        )
        if math.isfinite(wait) and wait > limit.seconds and limit.unit == "tokens":  # it never fits
            said = f"Request too large for {where}: Limit {limit.amount:.0f}, please reduce your message size and try again."
            body = {"error": {"message": said, "type": "tokens", "code": "rate_limit_exceeded"}}
            return told(413, body, **{"retry-after": "65"})
        said = f"Rate limit reached for {where}: Limit {limit.amount:.0f}. Please try again in {wait:.3f}s."
        body = {"error": {"message": said, "type": limit.unit, "code": "rate_limit_exceeded"}}
        return told(429, body, **{"retry-after": f"{math.ceil(wait)}", **self.headers(model)})


class Nvidia(Source):
    """One list for everybody; 429s that say nothing; heads that come long before the first token."""

    formats: ClassVar[dict[str, Format]] = {"/chat/completions": OpenAI(reasoning="reasoning_content")}
    head_first = True

    def lists(self, path: str, request: Request) -> Response:
        entries = [{"id": id_, "object": "model", "created": 735_790_403, "owned_by": "x"} for id_ in self.models]
        return told(200, {"object": "list", "data": entries})

    def bad_key(self) -> Response:
        return told(403, {"status": 403, "title": "Forbidden", "detail": "Authorization failed"})

    def gone(self, model: str) -> Response:
        detail = f"The model '{model}' has reached its end of life on 2026-08-26T09:00:00Z and is no longer available."
        return told(410, {"status": 410, "title": "Gone", "detail": detail}, content_type="application/problem+json")

    def rate_limited(self, counter: Counter, wait: float, model: Model) -> Response:
        body = {"status": 429, "title": "Too Many Requests"}
        return told(429, body, content_type="application/problem+json")

    def overloaded(self, model: Model) -> Response:
        return self.too_many_at_once(model)

    def too_many_at_once(self, model: Model) -> Response:
        message = (
            f"ResourceExhausted: Worker local total request limit reached ({model.slots or 16}/{model.slots or 16})"
        )
        return told(503, {"error": {"message": message, "type": "Service Unavailable", "code": 503}})


class HuggingFace(Source):
    """A monthly credit in dollars, and models that a provider behind it gives away."""

    def lists(self, path: str, request: Request) -> Response:
        if path.endswith("whoami-v2"):
            end = datetime(2026, 12, 1, tzinfo=UTC).isoformat()
            return told(200, {"name": "me", "type": "user", "isPro": False, "canPay": False, "periodEnd": end})
        entries = []
        for model in self.models.values():
            entry: dict[str, object] = {
                "provider": "upstream",
                "status": "live",
                "context_length": model.context,
                "pricing": {"input": model.price[0], "output": model.price[1]},
                "supports_tools": "tools" in model.listed,
                "supports_structured_output": "schema" in model.listed,
                "is_model_author": False,
            }
            if not any(model.price):
                entry["is_free"] = True
            inputs = ["text", *(["image"] if "vision" in model.listed else [])]
            architecture = {"input_modalities": inputs, "output_modalities": ["text"]}
            entries.append({"id": model.id, "object": "model", "architecture": architecture, "providers": [entry]})
        return told(200, {"object": "list", "data": entries})

    def rate_limited(self, counter: Counter, wait: float, model: Model) -> Response:
        if counter.limit.unit == "dollars":
            return told(
                402,
                {"error": "You have depleted your monthly included credits. Purchase pre-paid credits to continue."},
            )
        return told(429, {"error": "Too Many Requests"})

    def bad_key(self) -> Response:
        return told(401, {"error": "Invalid username or password."})

    def _cost(self, limit: Limit, model: Model, asked: Asked) -> float:
        return 0.0 if limit.unit == "dollars" and not any(model.price) else super()._cost(limit, model, asked)

    def named(self, model: str) -> str:
        """It may say which provider behind is meant: ``owner/name:provider``."""
        return model.partition(":")[0]


class Zai(Source):
    """Free models, one request at a time; numbers of its own for every error."""

    formats: ClassVar[dict[str, Format]] = {"/chat/completions": OpenAI(reasoning="reasoning_content")}

    def lists(self, path: str, request: Request) -> Response:
        return told(200, {"object": "list", "data": []})  # it leaves out the free ones

    def too_many_at_once(self, model: Model) -> Response:
        return told(429, {"error": {"code": "1302", "message": "Rate limit reached for requests"}})

    def rate_limited(self, counter: Counter, wait: float, model: Model) -> Response:
        return self.too_many_at_once(model)


class Cerebras(Source):
    """Limits by minute, hour and day, told in the headers of every answer."""

    def lists(self, path: str, request: Request) -> Response:
        return told(
            200, {"object": "list", "data": [{"id": id_, "object": "model", "owned_by": "c"} for id_ in self.models]}
        )

    def headers(self, model: Model) -> dict[str, str]:
        found = dict[str, str]()
        for counter in self.counters[model.id]:
            span = {60.0: "minute", 3600.0: "hour"}.get(counter.limit.seconds, "day")
            name = f"{counter.limit.unit}-{span}"
            found[f"x-ratelimit-limit-{name}"] = f"{counter.limit.amount:.0f}"
            found[f"x-ratelimit-remaining-{name}"] = f"{max(0.0, counter.left(now())):.0f}"
        return found

    def rate_limited(self, counter: Counter, wait: float, model: Model) -> Response:
        said = {
            "message": "Requests per minute limit exceeded - too many requests sent.",
            "type": "too_many_requests_error",
        }
        body = {**said, "param": "quota", "code": "request_quota_exceeded"}
        return told(429, body, **{"retry-after": f"{math.ceil(wait)}", **self.headers(model)})
