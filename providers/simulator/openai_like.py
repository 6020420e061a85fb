"""The other half of an OpenAI-compatible provider: what OpenRouter, Groq, NVIDIA, Hugging Face and others share."""

from __future__ import annotations

import base64
import re
import struct
from typing import Any, NoReturn

import msgspec

from providers.simulator.base import BREAKING, Exchange, Refusal, Simulated, SimulatedModel, decoded_image
from providers.simulator.brain import Saying, Turn, View, output_tokens, prompt_tokens, tokens
from providers.simulator.media import speak_openai, transcribe_openai, vectors_of
from providers.simulator.quotas import Meter

CREATED = 1_795_440_000
_PIECE = 12  # characters of text in one chunk
_DATA_URL = re.compile(r"data:[^;,]+;base64,(.*)", re.DOTALL)


class OpenAILike(Simulated):
    """Chat completions, whole and streamed, and the model list."""

    reasoning_field = "reasoning"
    usage_always = False  # streams end with usage even unasked

    async def route(self, exchange: Exchange, path: str) -> None:
        method = exchange.call.method
        self.authorize(exchange)
        if (method, path) == ("GET", "/models"):
            await exchange.answer(200, self.listing())
        elif (method, path) == ("POST", "/chat/completions"):
            await self.chat(exchange)
        elif (method, path) == ("POST", "/embeddings"):
            await self.embed(exchange)
        elif (method, path) in (("POST", "/audio/transcriptions"), ("POST", "/audio/translations")):
            await transcribe_openai(self, exchange)
        elif (method, path) == ("POST", "/audio/speech"):
            await speak_openai(self, exchange)
        else:
            raise Refusal(404, {"error": {"message": f"no such path: {path}", "code": 404}})

    # ── what differs ──

    def authorize(self, exchange: Exchange) -> None:
        """Refuse a wrong key."""
        given = exchange.call.headers.get("authorization", "")
        if given != f"Bearer {self.key}":
            self.refuse("bad_key", SimulatedModel(id=""))

    def listing(self) -> dict[str, Any]:
        """The model list."""
        return {"object": "list", "data": [self.entry(model) for model in self.models]}

    def entry(self, model: SimulatedModel) -> dict[str, Any]:
        return {"id": model.id, "object": "model", "created": CREATED, "owned_by": self.name}

    def check(self, body: dict[str, Any], model: SimulatedModel, view: View) -> None:
        """Refuse what this provider or model cannot do."""

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        status, message, code = {
            "bad_key": (401, "Invalid API key", "invalid_api_key"),
            "busy": (503, "Service overloaded", "overloaded"),
            "server_error": (500, "Internal server error", "internal_error"),
            "gone": (404, f"The model {model.id} does not exist", "model_not_found"),
            "unknown": (404, f"The model {model.id} does not exist", "model_not_found"),
            "would_cost": (402, "Payment required", "payment_required"),
            "not_entitled": (403, "You may not use this model", "forbidden"),
            "context": (400, f"maximum context length is {model.context} tokens", "context_length_exceeded"),
            "no_tools": (400, "this model does not support tools", "unsupported"),
            "moderation": (403, "Your input was flagged", "content_policy_violation"),
            "too_large": (413, "Request too large", "too_large"),
        }.get(why, (429, "Rate limit exceeded", "rate_limit_exceeded"))
        raise Refusal(status, {"error": {"message": message, "type": "error", "code": code}})

    def over(self, meter: Meter, amount: float, model: SimulatedModel) -> NoReturn:
        self.refuse("rate_limited", model)

    def admit(self, model: SimulatedModel, prompt: int, reserved: int) -> None:
        """Count the request, or refuse it. *reserved* output tokens may be counted beforehand."""
        self.take(model, prompt + reserved)

    def settle(self, model: SimulatedModel, prompt: int, reserved: int, output: int) -> None:
        """Count what was really said."""

    def headers(self, model: SimulatedModel) -> dict[str, str]:
        """Of every answer."""
        return {}

    def usage(self, prompt: int, saying: Saying, model: SimulatedModel) -> dict[str, Any]:
        output = output_tokens(saying)
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}

    def envelope(self, body: dict[str, Any]) -> dict[str, Any]:
        """Fields of every chunk and every answer."""
        return {"id": f"chatcmpl-sim{len(self.calls)}", "created": int(self.clock()), "model": body["model"]}

    def in_band_error(self, model: SimulatedModel) -> dict[str, Any]:
        """An error that comes with status 200."""
        return {"error": {"message": "Service temporarily overloaded", "code": 502}}

    # ── a chat ──

    async def chat(self, exchange: Exchange) -> None:
        body = exchange.json()
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
            raise Refusal(400, {"error": {"message": "messages: expected a list", "code": 400}})
        exchange.call.model = str(body.get("model"))
        fault = self.due(exchange.call.model)
        if fault and await self.spoil(exchange, fault):
            return
        model = self.model(exchange.call.model)
        view = view_of(body, model)
        self.check(body, model, view)
        if fault and fault not in _LATER:
            self.refuse(fault, model)
        prompt = prompt_tokens(view)
        if prompt > model.context:
            self.refuse("context", model)
        reserved = view.max_tokens or 0
        self.admit(model, prompt, reserved)
        saying = Saying() if fault == "empty" else self.brain(view)
        self.settle(model, prompt, reserved, output_tokens(saying))
        usage = self.usage(prompt, saying, model)
        self.bill(exchange, model, usage, fault)
        if body.get("stream"):
            done = await self.say_streamed(exchange, body, model, saying, usage, fault)
        else:
            done = await self.say_whole(exchange, body, model, saying, usage, fault)
        if done:
            exchange.call.served = True
            self.served += 1

    # ── embeddings ──

    async def embed(self, exchange: Exchange) -> None:
        body = exchange.json()
        texts = inputs_of(body)
        if not texts:
            raise Refusal(400, {"error": {"message": "input: expected text", "code": 400}})
        exchange.call.model = str(body.get("model"))
        fault = self.due(exchange.call.model)
        if fault and await self.spoil(exchange, fault):
            return
        model = self.model(exchange.call.model)
        if not model.embedding:
            raise Refusal(400, {"error": {"message": f"{model.id} makes no embeddings", "code": 400}})
        if fault and fault not in _LATER:
            self.refuse(fault, model)
        prompt = sum(map(tokens, texts))
        if max(map(tokens, texts)) > model.context:
            self.refuse("context", model)
        self.admit(model, prompt, 0)
        self.settle(model, prompt, 0, 0)
        vectors = vectors_of(model, texts, body.get("dimensions"))
        data = [
            {"object": "embedding", "index": place, "embedding": _encoded(vector, body.get("encoding_format"))}
            for place, vector in enumerate([] if fault == "empty" else vectors)
        ]
        usage = {"prompt_tokens": prompt, "total_tokens": prompt}
        answer = {"object": "list", "data": data, "model": model.id, "usage": usage}
        await exchange.answer(200, answer, self.headers(model))
        exchange.call.served = fault is None
        self.served += fault is None

    def bill(self, exchange: Exchange, model: SimulatedModel, usage: dict[str, Any], fault: str | None) -> None:
        """Charge what a priced model costs."""
        dollars = usage["prompt_tokens"] * model.price[0] + usage["completion_tokens"] * model.price[1]
        if dollars:
            self.charge(exchange, dollars)

    async def say_whole(
        self, exchange: Exchange, body: dict[str, Any], model: SimulatedModel, saying: Saying, usage: dict[str, Any],
        fault: str | None,
    ) -> bool:  # fmt: skip
        if fault in ("error_200", "error_in_stream"):
            await exchange.answer(200, self.in_band_error(model), self.headers(model))
            return False
        if fault == "cut":
            exchange.abort()
            return False
        message = self.message(saying, model)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(saying)}
        answer = {**self.envelope(body), "object": "chat.completion", "choices": [choice], "usage": usage}
        await exchange.answer(200, self.decorate(answer), self.headers(model))
        return fault is None

    def message(self, saying: Saying, model: SimulatedModel) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": saying.text or None}
        if saying.reasoning and model.think_tag:
            message["content"] = f"{saying.reasoning}\n</think>\n\n{saying.text}"
        elif saying.reasoning:
            message[self.reasoning_field] = saying.reasoning
        if saying.calls:
            message["tool_calls"] = [_call(place, name, args) for place, (name, args) in enumerate(saying.calls)]
        return message

    def decorate(self, answer: dict[str, Any]) -> dict[str, Any]:
        """What this provider adds to a whole answer."""
        return answer

    async def say_streamed(
        self, exchange: Exchange, body: dict[str, Any], model: SimulatedModel, saying: Saying, usage: dict[str, Any],
        fault: str | None,
    ) -> bool:  # fmt: skip
        headers = {"content-type": "text/event-stream; charset=utf-8", **self.headers(model)}
        if fault == "error_200":
            return await self.stream(exchange, [event(self.in_band_error(model))], headers, None) and False
        chunks = [
            {**self.envelope(body), "object": "chat.completion.chunk", "choices": [choice]}
            for choice in self.deltas(saying, model)
        ]
        events = [*self.opening(), *(event(chunk) for chunk in chunks)]
        if fault in BREAKING:
            told = self.broken(body) if fault == "error_in_stream" else self.limited(body, model)
            events = [*events[: max(2, len(events) // 2)], event(told)]
        else:
            options = body.get("stream_options") or {}
            events += self.closing(body, usage, bool(options.get("include_usage")) or self.usage_always)
            events.append(b"data: [DONE]\n\n")
        return await self.stream(exchange, events, headers, fault) and fault != "empty"

    def opening(self) -> list[bytes]:
        """What precedes the first chunk."""
        return []

    def broken(self, body: dict[str, Any]) -> dict[str, Any]:
        """The event that tells of an error in mid-stream."""
        return {**self.envelope(body), **self.in_band_error(SimulatedModel(id=body["model"]))}

    def limited(self, body: dict[str, Any], model: SimulatedModel) -> dict[str, Any]:
        """The event that tells in mid-stream that a rate is used up."""
        said = self.refusal("rate_limited:minute", model)
        return {**self.broken(body), "error": {**said.get("error", said), "code": 429}}

    def closing(self, body: dict[str, Any], usage: dict[str, Any], wanted: bool) -> list[bytes]:
        if not wanted:
            return []
        chunk = {**self.envelope(body), "object": "chat.completion.chunk", "choices": [], "usage": usage}
        return [event(chunk)]

    def deltas(self, saying: Saying, model: SimulatedModel) -> list[dict[str, Any]]:
        """The choices of the chunks, one after another."""
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        text = saying.text
        if saying.reasoning and model.think_tag:
            text = f"{saying.reasoning}\n</think>\n\n{saying.text}"
        elif saying.reasoning:
            deltas += [{self.reasoning_field: piece} for piece in pieces(saying.reasoning)]
        deltas += [{"content": piece} for piece in pieces(text)]
        for place, (name, args) in enumerate(saying.calls):
            whole = _call(place, name, args)
            arguments = whole["function"].pop("arguments")
            first = {**whole, "index": place, "function": {**whole["function"], "arguments": ""}}
            deltas.append({"tool_calls": [first]})
            deltas += [
                {"tool_calls": [{"index": place, "function": {"arguments": piece}}]} for piece in pieces(arguments)
            ]
        choices = [{"index": 0, "delta": delta, "finish_reason": None, "logprobs": None} for delta in deltas]
        return [*choices, {"index": 0, "delta": {}, "finish_reason": _finish(saying), "logprobs": None}]


_LATER = (*BREAKING, "error_200", "cut", "empty", "hang_stream", "drip", "drip_bytes", "split_utf8", "price_turned")
"""Faults that come after the request was admitted."""


def view_of(body: dict[str, Any], model: SimulatedModel) -> View:
    """A chat completion request, understood."""
    choice = body.get("tool_choice") or "auto"
    form = body.get("response_format") or {}
    return View(
        model=model.id,
        turns=[_turn(message) for message in body["messages"]],
        tools={
            tool["function"]["name"]: tool["function"].get("parameters") or {}
            for tool in body.get("tools") or ()
            if tool.get("type") == "function"
        },
        tool_choice=choice["function"]["name"] if isinstance(choice, dict) else choice,
        schema=(form.get("json_schema") or {}).get("schema") if form.get("type") == "json_schema" else None,
        json_mode=form.get("type") == "json_object",
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        reasons=model.reasoning,
    )


def inputs_of(body: Any) -> list[str]:
    """What is to be embedded, token numbers as text; none if it cannot be."""
    found = body.get("input") if isinstance(body, dict) else None
    if isinstance(found, str) or (isinstance(found, list) and found and isinstance(found[0], int)):
        found = [found]
    return [str(item) for item in found] if isinstance(found, list) else []


def _encoded(vector: list[float], form: str | None) -> list[float] | str:
    """A vector as it was asked for: numbers, or little-endian floats of four bytes as base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if form == "base64" else vector


def _turn(message: dict[str, Any]) -> Turn:
    content = message.get("content")
    if not isinstance(content, list):
        return Turn(message["role"], content or "", is_result=message["role"] == "tool")
    images = []
    for part in content:
        if part.get("type") == "image_url":
            url = part["image_url"]
            found = _DATA_URL.match(url["url"] if isinstance(url, dict) else url)
            images.append(decoded_image(found[1]) if found else b"")
    text = "\n".join(part["text"] for part in content if part.get("type") == "text")
    return Turn(message["role"], text, images, is_result=message["role"] == "tool")


def pieces(text: str) -> list[str]:
    """*text* as a model would bring it forth."""
    return [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]


def _call(place: int, name: str, args: dict[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(args).decode()
    return {"id": f"call_{place}_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _finish(saying: Saying) -> str:
    return "tool_calls" if saying.calls else "length" if saying.cut else "stop"


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
