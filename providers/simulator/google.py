"""
Google AI Studio's other half, native API.

Requests a minute, input tokens a minute and requests a day for each model; the day ends at midnight in California;
failed requests count (Gemini API docs, rate limits, 2026-09; quotas read off refusals, 2026-08 to 2026-10).
"""

from __future__ import annotations

import base64
import math
from typing import Any, NoReturn
from urllib.parse import parse_qs

import msgspec

from providers.simulator.base import BREAKING, Exchange, Refusal, Simulated, SimulatedModel, decoded_image
from providers.simulator.brain import Saying, Turn, View, output_tokens, prompt_tokens, tokens
from providers.simulator.media import embed_google, speak_google
from providers.simulator.openai_like import pieces
from providers.simulator.quotas import Calendar, Clock, Meter, Rolling


def _gemini(name: str, status: str = "live") -> SimulatedModel:
    return SimulatedModel(id=name, context=1_048_576, max_output=65_536, vision=True, reasoning=True, status=status)


MODELS = (
    _gemini("gemini-3.8-flash"),
    _gemini("gemini-3.5-flash"),
    _gemini("gemini-3.5-flash-lite"),
    _gemini("gemini-3.1-flash-lite"),
    SimulatedModel(id="gemma-4-31b-it", context=262_144, max_output=32_768, vision=True),
    _gemini("gemini-2.5-flash", status="gone"),
    _gemini("gemini-3.1-pro-preview", status="limit_zero"),
    SimulatedModel(id="gemini-3.8-flash-tts", context=8192, tools=False, does="speak"),
    SimulatedModel(id="gemini-embedding-001", context=2048, embedding=True, tools=False),
)
SIGNATURE = base64.b64encode(b"simulated thought").decode()
_METHODS = ["generateContent", "countTokens", "createCachedContent", "batchGenerateContent"]
_IDS = {
    "minute": ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "generate_content_free_tier_requests"),
    "day": ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "generate_content_free_tier_requests"),
    "tokens": ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "generate_content_free_tier_input_token_count"),
}


class Google(Simulated):
    """``https://generativelanguage.googleapis.com/v1beta``"""

    name, key, path = "google", "AQ.sim0123456789", "/v1beta"
    page_size = 50

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, MODELS)

    async def route(self, exchange: Exchange, path: str) -> None:
        self.authorize(exchange)
        if path == "/models":
            await exchange.answer(200, self._page(exchange))
            return
        model, colon, method = path.removeprefix("/models/").partition(":")
        if method == "generateContent" and "tts" in model:
            await speak_google(self, exchange, model)
            return
        if method == "batchEmbedContents":
            await embed_google(self, exchange, model)
            return
        if not colon or method not in ("generateContent", "streamGenerateContent", "countTokens"):
            _refuse(404, f"unknown path {path}", "NOT_FOUND")
        exchange.call.model = model
        await self._generate(exchange, model, method)

    def authorize(self, exchange: Exchange) -> None:
        headers = exchange.call.headers
        key, bearer = headers.get("x-goog-api-key"), headers.get("authorization")
        if key and bearer:
            _refuse(400, "Multiple authentication credentials received. Please pass only one.", "INVALID_ARGUMENT")
        if bearer:
            reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED"}
            message = "Request had invalid authentication credentials. Expected OAuth 2 access token."
            _refuse(401, message, "UNAUTHENTICATED", [reason])
        if not key:
            _refuse(403, "Method doesn't allow unregistered callers. Please use API Key.", "PERMISSION_DENIED")
        if key != self.key:
            self.refuse("bad_key", SimulatedModel(id=""))

    def _page(self, exchange: Exchange) -> dict[str, Any]:
        asked = parse_qs(exchange.query)
        start, size = int(asked.get("pageToken", ["0"])[0]), min(int(asked.get("pageSize", ["50"])[0]), self.page_size)
        shown = self.models[start : start + size]
        page: dict[str, Any] = {"models": [_entry(model) for model in shown]}
        if start + size < len(self.models):
            page["nextPageToken"] = str(start + size)
        return page

    # ── generate ──

    async def _generate(self, exchange: Exchange, name: str, method: str) -> None:
        body = exchange.json()
        fault = self.due(name)
        if fault and await self.spoil(exchange, fault):
            return
        model = self.model(name)
        view = _view(body, model)
        prompt = prompt_tokens(view)
        if method == "countTokens":
            await exchange.answer(200, {"totalTokens": prompt})
            return
        if model.reasoning:
            _check_signatures(body)
        streamed = method == "streamGenerateContent"
        if fault and fault not in _LATER:
            if fault in ("busy", "server_error"):
                self.take(model, prompt)
            self.refuse(fault, model)
        if prompt > model.context:
            self.refuse("context", model)
        self.take(model, prompt)
        saying = Saying() if fault == "empty" else self.brain(view)
        usage = _usage(prompt, saying)
        if streamed:
            done = await self._say_streamed(exchange, model, saying, usage, fault)
        else:
            done = await self._say_whole(exchange, model, saying, usage, fault)
        if done:
            exchange.call.served = True
            self.served += 1

    async def _say_whole(
        self, exchange: Exchange, model: SimulatedModel, saying: Saying, usage: dict[str, Any], fault: str | None
    ) -> bool:
        if fault in ("error_200", "error_in_stream"):
            await exchange.answer(200, _error(503, "The model is overloaded.", "UNAVAILABLE"))
            return False
        if fault == "cut":
            exchange.abort()
            return False
        parts = _parts(saying, model)
        await exchange.answer(200, self._answer(model, parts, usage, _finish(saying)))
        return fault is None

    async def _say_streamed(
        self, exchange: Exchange, model: SimulatedModel, saying: Saying, usage: dict[str, Any], fault: str | None
    ) -> bool:
        headers = {"content-type": "text/event-stream"}
        overloaded = _error(503, "The model is overloaded.", "UNAVAILABLE")
        limited = fault == "limited_in_stream"
        broken = _event(self.refusal("rate_limited:minute", model) if limited else overloaded)
        if fault == "error_200":
            return await self.stream(exchange, [broken], headers, None) and False
        parts = [
            {**part, "text": piece}
            for part in _parts(saying, model)
            if part.get("text")
            for piece in pieces(part["text"])
        ]
        parts += [part for part in _parts(saying, model) if "functionCall" in part]
        early = {**usage, "candidatesTokenCount": 1}
        events = [_event(self._answer(model, [part], early, None)) for part in parts]
        last = _event(self._answer(model, [{"text": ""}], usage, _finish(saying)))
        events = [*events[: max(2, len(events) // 2)], broken] if fault in BREAKING else [*events, last]
        return await self.stream(exchange, events, headers, fault) and fault != "empty"

    def _answer(
        self, model: SimulatedModel, parts: list[dict[str, Any]], usage: dict[str, Any], finish: str | None
    ) -> dict[str, Any]:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": model.id,
            "responseId": f"r-{len(self.calls)}",
        }

    # ── quota ──

    def meters_of(self, model: SimulatedModel, requests: float, tokens: float) -> list[tuple[Meter, float]]:
        if model.embedding:
            return [
                (self.meter(f"{model.id}/minute", lambda: Rolling(100)), requests),
                (self.meter(f"{model.id}/day", lambda: Calendar(1000, "America/Los_Angeles")), requests),
                (self.meter(f"{model.id}/tokens", lambda: Rolling(30_000)), tokens),
            ]
        if model.does == "speak":
            return [
                (self.meter(f"{model.id}/minute", lambda: Rolling(3)), requests),
                (self.meter(f"{model.id}/day", lambda: Calendar(10, "America/Los_Angeles")), requests),
                (self.meter(f"{model.id}/tokens", lambda: Rolling(10_000)), tokens),
            ]
        minute, day = (15, 500) if "lite" in model.id else (15, 1500) if "gemma" in model.id else (5, 20)
        return [
            (self.meter(f"{model.id}/minute", lambda: Rolling(minute)), requests),
            (self.meter(f"{model.id}/day", lambda: Calendar(day, "America/Los_Angeles")), requests),
            (self.meter(f"{model.id}/tokens", lambda: Rolling(16_000 if "gemma" in model.id else 250_000)), tokens),
        ]

    def over(self, meter: Meter, amount: float, model: SimulatedModel) -> NoReturn:
        row = next(key.rpartition("/")[2] for key, known in self.meters.items() if known is meter)
        self._limited(row, meter, amount, model)

    def _limited(self, row: str, meter: Meter, amount: float, model: SimulatedModel) -> NoReturn:
        now = self.clock()
        # The delay is true for a minute's limit and says nothing about a day's.
        wait = 42.87350591 if row == "day" else max(0.1, meter.resets_at(now, amount) - now)
        quota_id, metric = _IDS[row]
        violation = {
            "quotaMetric": f"generativelanguage.googleapis.com/{metric}",
            "quotaId": quota_id,
            "quotaDimensions": {"location": "global", "model": model.id},
            "quotaValue": f"{meter.limit:.0f}",
        }
        _exhausted(f"limit: {meter.limit:.0f}", violation, metric, model, wait)

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        match why:
            case "bad_key":
                reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
                _refuse(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", [reason])
            case "gone" | "unknown":
                message = (
                    f"models/{model.id} is not found for API version v1beta, or is not supported for generateContent."
                )
                _refuse(404, message, "NOT_FOUND")
            case "limit_zero" | "not_entitled":
                quota_id, metric = _IDS["day"]
                violation = {"quotaMetric": metric, "quotaId": quota_id, "quotaDimensions": {"model": model.id}}
                _exhausted("limit: 0", violation, metric, model, 34.0)
            case "busy":
                message = "This model is currently experiencing high demand. Please try again later."
                _refuse(503, message, "UNAVAILABLE")
            case "would_cost":
                _refuse(429, "Your prepayment credits are depleted.", "RESOURCE_EXHAUSTED")
            case "context" | "too_large":
                message = f"The input token count exceeds the maximum number of tokens allowed {model.context}."
                _refuse(400, message, "INVALID_ARGUMENT")
            case "no_tools":
                _refuse(400, "Function calling is not enabled for this model", "INVALID_ARGUMENT")
            case "moderation":
                blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": model.id}
                raise Refusal(200, blocked)
            case "server_error":
                _refuse(500, "An internal error has occurred. Please retry or report.", "INTERNAL")
            case _:
                row = {"day": "day", "tokens": "tokens"}.get(why.partition(":")[2], "minute")
                self.meters_of(model, 1, 1)
                meter = self.meters[f"{model.id}/{row}"]
                meter.take(max(0.0, meter.limit - meter.used(self.clock())), self.clock())
                self._limited(row, meter, 1, model)


_LATER = (*BREAKING, "error_200", "cut", "empty", "hang_stream", "drip", "drip_bytes", "split_utf8", "price_turned")


def _exhausted(limit: str, violation: dict[str, Any], metric: str, model: SimulatedModel, wait: float) -> NoReturn:
    message = (
        "You exceeded your current quota, please check your plan and billing details. \n* Quota exceeded for metric: "
        f"generativelanguage.googleapis.com/{metric}, {limit}, model: {model.id}\nPlease retry in {wait:.6g}s."
    )
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{math.floor(wait)}s"},
    ]
    _refuse(429, message, "RESOURCE_EXHAUSTED", details)


def _refuse(status: int, message: str, kind: str, details: list[Any] | None = None) -> NoReturn:
    raise Refusal(status, _error(status, message, kind, details))


def _error(status: int, message: str, kind: str, details: list[Any] | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"code": status, "message": message, "status": kind}
    return {"error": {**error, "details": details} if details else error}


def _entry(model: SimulatedModel) -> dict[str, Any]:
    return {
        "name": f"models/{model.id}", "version": "001", "displayName": model.id, "inputTokenLimit": model.context,
        "outputTokenLimit": model.max_output, "thinking": model.reasoning,
        "supportedGenerationMethods": ["embedContent"] if model.embedding else _METHODS,
    }  # fmt: skip


def _view(body: dict[str, Any], model: SimulatedModel) -> View:
    if not isinstance(body.get("contents"), list) or not body["contents"]:
        _refuse(400, "* GenerateContentRequest.contents: contents is not specified", "INVALID_ARGUMENT")
    config = body.get("generationConfig") or {}
    system = body.get("systemInstruction")
    turns = [_turn({"role": "system", **system})] if system else []
    calling = ((body.get("toolConfig") or {}).get("functionCallingConfig")) or {}
    names = calling.get("allowedFunctionNames") or []
    is_json = config.get("responseMimeType") == "application/json"
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    return View(
        model=model.id,
        turns=turns + [_turn(content) for content in body["contents"]],
        tools={
            declared["name"]: _either(declared, "parametersJsonSchema") or declared.get("parameters") or {}
            for tool in body.get("tools") or ()
            for declared in tool.get("functionDeclarations") or ()
        },
        tool_choice=names[0] if names else {"NONE": "none", "ANY": "required"}.get(calling.get("mode", ""), "auto"),
        schema=schema if is_json else None,
        json_mode=is_json and not schema,
        max_tokens=config.get("maxOutputTokens"),
        reasons=model.reasoning and bool(_either(config.get("thinkingConfig") or {}, "includeThoughts")),
    )


def _either(fields: dict[str, Any], name: str) -> Any:
    """Of two spellings: Google's own package writes some names with underscores."""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return fields.get(name, fields.get(snake))


def _turn(content: dict[str, Any]) -> Turn:
    texts, images, is_result = [], [], False
    for part in content.get("parts", ()):
        if "text" in part and not part.get("thought"):
            texts.append(part["text"])
        if "inlineData" in part:
            images.append(decoded_image(part["inlineData"]["data"]))
        if "functionResponse" in part:
            is_result = True
            response = part["functionResponse"]["response"]
            plain = next(iter(response.values())) if len(response) == 1 else response
            texts.append(plain if isinstance(plain, str) else msgspec.json.encode(plain).decode())
    return Turn(content.get("role", "user"), "\n".join(texts), images, is_result)


def _check_signatures(body: dict[str, Any]) -> None:
    for content in body["contents"]:
        for part in content.get("parts", ()):
            if "functionCall" in part:
                if not part.get("thoughtSignature"):
                    message = (
                        "Function call is missing a thought_signature in functionCall parts. This is required for tools "
                        "to work correctly."
                    )
                    _refuse(400, message, "INVALID_ARGUMENT")
                break  # of parallel calls only the first carries one


def _parts(saying: Saying, model: SimulatedModel) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if saying.reasoning:
        parts.append({"text": saying.reasoning, "thought": True})
    if saying.text:
        parts.append({"text": saying.text})
    for place, (name, args) in enumerate(saying.calls):
        part: dict[str, Any] = {"functionCall": {"name": name, "args": args}}
        if model.reasoning and place == 0:
            part["thoughtSignature"] = SIGNATURE
        parts.append(part)
    return parts


def _usage(prompt: int, saying: Saying) -> dict[str, Any]:
    thoughts = tokens(saying.reasoning)
    said = output_tokens(saying) - thoughts
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": said, "totalTokenCount": prompt + said + thoughts}
    return {**usage, "thoughtsTokenCount": thoughts} if thoughts else usage


def _finish(saying: Saying) -> str:
    return "MAX_TOKENS" if saying.cut else "STOP"


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\r\n\r\n"
