"""
Ollama's other half, native API: lines of JSON, arguments that are objects, prompts cut silently at ``num_ctx`` unless
``truncate`` is false, one request at a time and a queue (Ollama docs and server, 2026-08).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec

from providers.simulator.base import Exchange, Refusal, Simulated, SimulatedModel, decoded_image
from providers.simulator.brain import Saying, Turn, View, output_tokens, prompt_tokens
from providers.simulator.media import embed_ollama, guard_ollama
from providers.simulator.openai_like import pieces
from providers.simulator.quotas import Clock

MODELS = (
    SimulatedModel(id="qwen3.8:8b", context=40_960, reasoning=True),
    SimulatedModel(id="gemma4:12b", context=131_072, vision=True),
    SimulatedModel(id="llama2:latest", context=4096, tools=False),
    SimulatedModel(id="nomic-embed-text:latest", context=2048, embedding=True, tools=False),
    SimulatedModel(id="bge-m3:latest", context=8192, embedding=True, tools=False),
    SimulatedModel(id="llama-guard3:8b", context=131_072, tools=False, does="moderate"),
    SimulatedModel(id="gpt-oss:120b-cloud", runs_at="https://ollama.com:443"),
)
_OLD = "llama2:latest"  # an entry without capabilities, as older servers write them
_STAMP = "2026-11-20T10:11:12.123456789+01:00"


class Ollama(Simulated):
    """``http://localhost:11434``"""

    name, key, path = "ollama", None, ""
    default_context = 4096
    max_queue = 512

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, MODELS)

    async def route(self, exchange: Exchange, path: str) -> None:
        match (exchange.call.method, path):
            case ("GET", "/api/version"):
                await exchange.answer(200, {"version": "0.15.2"})
            case ("GET", "/api/tags"):
                live = [model for model in self.models if model.status == "live"]
                await exchange.answer(200, {"models": [_tag(model) for model in live]})
            case ("GET", "/api/ps"):
                await exchange.answer(200, {"models": []})
            case ("POST", "/api/show"):
                body = exchange.json()
                await exchange.answer(200, _show(self.model(body.get("model") or body.get("name"))))
            case ("POST", "/api/embed"):
                await embed_ollama(self, exchange)
            case ("POST", "/v1/chat/completions"):
                await guard_ollama(self, exchange)
            case ("POST", "/api/chat" | "/api/generate"):
                await self._chat(exchange)
            case _:
                raise Refusal(404, b"404 page not found", {"content-type": "text/plain"})

    def refuse(self, why: str, model: SimulatedModel) -> NoReturn:
        status, message = {
            "unknown": (404, f"model '{model.id}' not found"),
            "gone": (404, f"model '{model.id}' not found"),
            "no_tools": (400, f"registry.ollama.ai/library/{model.id} does not support tools"),
            "busy": (503, "server busy, please try again.  maximum pending requests exceeded"),
            "context": (400, "the input length exceeds the context length"),
            "bad_key": (401, "unauthorized"),
            "not_entitled": (403, "this model requires a subscription, upgrade for access: https://ollama.com/upgrade"),
            "would_cost": (402, "payment required"),
            "too_large": (413, "request too large"),
            "moderation": (403, "refused"),
            "server_error": (500, "llama runner process has terminated"),
        }.get(why, (429, "too many requests"))
        raise Refusal(status, {"error": message})

    async def _chat(self, exchange: Exchange) -> None:
        body = exchange.json()
        if "suffix" in body:  # what stands between two texts
            body["messages"] = [{"role": "user", "content": f"{body['prompt']} ... {body['suffix']}"}]
        exchange.call.model = str(body.get("model"))
        fault = self.due(exchange.call.model)
        if fault and await self.spoil(exchange, fault):
            return
        model = self.model(exchange.call.model)
        if fault and fault not in _LATER:
            self.refuse(fault, model)
        if self.in_flight > self.max_queue:
            self.refuse("busy", model)
        if body.get("tools") and not model.tools:
            self.refuse("no_tools", model)
        if "suffix" in body and not model.fills:
            raise Refusal(400, {"error": f"registry.ollama.ai/library/{model.id} does not support insert"})
        if model.embedding:
            raise Refusal(400, {"error": f'"{model.id}" does not support chat'})
        if body.get("think") and not model.reasoning:
            raise Refusal(400, {"error": f'"{model.id}" does not support thinking'})
        view = _view(body, model)
        prompt = self._fitted(body, view, model)
        saying = Saying() if fault == "empty" else self.brain(view)
        if await self._say(exchange, body, saying, prompt, fault):
            exchange.call.served = fault != "empty"
            self.served += exchange.call.served

    def _fitted(self, body: dict[str, Any], view: View, model: SimulatedModel) -> int:
        """The prompt's tokens, after the server has cut it to the context that it was told to load."""
        context = min((body.get("options") or {}).get("num_ctx") or self.default_context, model.context)
        while prompt_tokens(view) > context and len(view.turns) > 1:
            if body.get("truncate") is False:
                self.refuse("context", model)
            view.turns.pop(0)
        if prompt_tokens(view) > context:
            if body.get("truncate") is False:
                self.refuse("context", model)
            last = view.turns[-1]
            last.text = last.text.encode()[-context * 4 :].decode(errors="ignore")
        return min(prompt_tokens(view), context)

    async def _say(
        self, exchange: Exchange, body: dict[str, Any], saying: Saying, prompt: int, fault: str | None
    ) -> bool:
        streamed = body.get("stream", True)
        if fault == "error_200" or (fault == "error_in_stream" and not streamed):
            await exchange.answer(200, {"error": "an error was encountered while running the model"})
            return False
        if fault == "cut" and not streamed:
            exchange.abort()
            return False
        end = {
            "done": True, "done_reason": "length" if saying.cut else "stop", "total_duration": 1_883_583_583,
            "load_duration": 130_908_200, "prompt_eval_count": prompt, "prompt_eval_duration": 342_546_000,
            "eval_count": output_tokens(saying), "eval_duration": 1_410_000_000,
        }  # fmt: skip
        if not streamed:
            message: dict[str, Any] = {"role": "assistant", "content": saying.text}
            if saying.reasoning:
                message["thinking"] = saying.reasoning
            if saying.calls:
                message["tool_calls"] = _calls(saying)
            likely = _likely(body, saying.text)
            await exchange.answer(200, {**self._line(body), **_said(body, message), **likely, **end})
            return True
        messages: list[dict[str, Any]] = [{"content": "", "thinking": piece} for piece in pieces(saying.reasoning)]
        messages += [{"content": piece} for piece in pieces(saying.text)]
        messages += [{"content": "", "tool_calls": [call]} for call in _calls(saying)]
        lines = [
            {
                **self._line(body),
                **_said(body, {"role": "assistant", **m}),
                **_likely(body, m["content"]),
                "done": False,
            }
            for m in messages
        ]
        last: dict[str, Any] = {**self._line(body), **_said(body, {"role": "assistant", "content": ""}), **end}
        if fault == "error_in_stream":
            lines = [*lines[: max(2, len(lines) // 2)], {"error": "an error was encountered while running the model"}]
        else:
            lines.append(last)
        events = [msgspec.json.encode(line) + b"\n" for line in lines]
        return await self.stream(exchange, events, {"content-type": "application/x-ndjson"}, fault)

    def _line(self, body: dict[str, Any]) -> dict[str, Any]:
        stamp = datetime.fromtimestamp(self.clock(), UTC).isoformat().replace("+00:00", "Z")
        return {"model": body["model"], "created_at": stamp}


def _said(body: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    """*message* as what *body* asks for has it."""
    return {"response": message["content"]} if "suffix" in body else {"message": message}


def _likely(body: dict[str, Any], text: str) -> dict[str, Any]:
    """How likely each token of *text* was, for those who ask (since 0.12.11)."""
    if not body.get("logprobs") or not text:
        return {}
    tops = range(int(body.get("top_logprobs") or 0))
    rows = [{"token": piece, "logprob": -0.1, "bytes": list(piece.encode())} for piece in pieces(text)]
    return {"logprobs": [{**row, "top_logprobs": [row for _ in tops]} for row in rows]}


_LATER = (
    "error_200",
    "error_in_stream",
    "cut",
    "empty",
    "hang_stream",
    "drip",
    "drip_bytes",
    "split_utf8",
    "price_turned",
)


def _view(body: dict[str, Any], model: SimulatedModel) -> View:
    form = body.get("format")
    options = body.get("options") or {}
    limit = options.get("num_predict")
    return View(
        model=model.id,
        turns=[_turn(message) for message in body["messages"]],
        tools={t["function"]["name"]: t["function"].get("parameters") or {} for t in body.get("tools") or ()},
        schema=form if isinstance(form, dict) else None,
        json_mode=form == "json",
        max_tokens=limit if limit and limit > 0 else None,
        reasons=model.reasoning and body.get("think") is not False,
    )


def _turn(message: dict[str, Any]) -> Turn:
    for call in message.get("tool_calls") or ():
        if not isinstance(call["function"]["arguments"], dict):
            raise Refusal(400, {"error": "json: cannot unmarshal string into Go struct field .arguments of type map"})
    images = [decoded_image(image) for image in message.get("images") or ()]
    return Turn(message["role"], message.get("content") or "", images, is_result=message["role"] == "tool")


def _calls(saying: Saying) -> list[dict[str, Any]]:
    return [
        {"id": f"call_x{place}", "function": {"index": place, "name": name, "arguments": args}}
        for place, (name, args) in enumerate(saying.calls)
    ]


def _capabilities(model: SimulatedModel) -> list[str]:
    if model.embedding:
        return ["embedding"]
    named = {"tools": model.tools, "vision": model.vision, "thinking": model.reasoning, "insert": model.fills}
    return ["completion", *(name for name, has in named.items() if has)]


def _details(model: SimulatedModel) -> dict[str, Any]:
    family = "bert" if model.embedding else "qwen3"
    return {
        "parent_model": "", "format": "gguf", "family": family, "families": [family], "parameter_size": _SIZES.get(model.id, "8.2B"),
        "quantization_level": "Q4_K_M",
    }  # fmt: skip


_SIZES = {"bge-m3:latest": "566.70M", "nomic-embed-text:latest": "136.73M"}


def _tag(model: SimulatedModel) -> dict[str, Any]:
    tag = {
        "name": model.id, "model": model.id, "modified_at": _STAMP, "size": 5_200_000_000, "digest": "0" * 64,
        "details": _details(model),
    }  # fmt: skip
    if model.runs_at:
        tag |= {"remote_model": model.id.removesuffix("-cloud"), "remote_host": model.runs_at}
    if model.id != _OLD:
        tag["capabilities"] = _capabilities(model)
        tag["details"] = {**_details(model), "context_length": model.context}
    return tag


def _show(model: SimulatedModel) -> dict[str, Any]:
    return {
        "license": "Apache 2.0", "modelfile": f"FROM {model.id}", "parameters": "", "template": "{{ .Prompt }}",
        "details": _details(model), "capabilities": _capabilities(model), "modified_at": "2026-11-20T10:11:12Z",
        "model_info": {"general.architecture": "qwen3", "qwen3.context_length": model.context},
    }  # fmt: skip
