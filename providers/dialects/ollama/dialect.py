"""
Ollama by its native API (``docs/api.md`` and ``api/types.go`` of Ollama, 2026-08).

Why not its OpenAI endpoint: the size of the context cannot be set there, and a longer prompt is cut in silence.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from providers import errors
from providers import failures as f
from providers.chat import Step, Whole, encode
from providers.dialect import Account, Discovery, HttpRequest, HttpResponse, Listing, Request, Target
from providers.dialects.ollama import MARK
from providers.dialects.ollama.answers import Answer, calls_of, decoded, finish_of, logprobs_of, usage_of
from providers.dialects.ollama.models import described, entry_of
from providers.dialects.ollama.request import context_for, messages_of, names_of, offered, options_of, think
from providers.lenient import decodable
from providers.listing import object_of, read_entries
from providers.observations import Headers, Observation, from_headers
from providers.tool_names import ToolNames
from providers.translation import fingerprint, step_of, whole_of

_LACKS = re.compile(r"does not support (\w+)")
_LACKED = {"thinking": "reasoning", "images": "vision", "image": "vision"}


class Ollama:
    """Ollama's API."""

    framing: Literal["sse", "lines"] = "lines"

    def headers(self, account: Account) -> dict[str, str]:
        headers = {"content-type": "application/json", **account.spec.headers}
        if account.key:
            headers["authorization"] = f"Bearer {account.key}"
        return headers

    def context_for(self, target: Target, request: Request) -> int | None:
        return context_for(target, request)

    def build(self, target: Target, request: Request) -> HttpRequest:
        view, drop = request.view, target.account.spec.dropped(target.model)
        body: dict[str, Any] = {
            "model": target.model,
            "messages": messages_of(view.messages),
            "stream": bool(view.stream),
            "truncate": False,
            "options": {k: v for k, v in options_of(target, request).items() if k not in drop},
        }
        if request.suffix:
            return self._between(target, request, body)
        functions = offered(view)
        if functions:
            body["tools"] = [{"type": "function", "function": function} for function in functions]
        if view.must_call and len(functions) == 1:
            body["format"] = functions[0].parameters or {"type": "object"}
        elif view.shape is not None:
            body["format"] = view.schema or "json"
        if view.logprobs:
            body |= {"logprobs": True, "top_logprobs": view.top_logprobs or 0}
        if "reasoning" in target.capabilities and view.reasoning_effort is not None:
            body["think"] = think(target.model, view.reasoning_effort)
        return HttpRequest("POST", f"{target.account.base_url}/api/chat", self.headers(target.account), encode(body))

    def _between(self, target: Target, request: Request, body: dict[str, Any]) -> HttpRequest:
        """What asks for the text before the suffix, and nothing else of *body* than its options."""
        del body["messages"]
        body |= {"prompt": request.view.messages[-1].text(), "suffix": request.suffix}
        url = f"{target.account.base_url}/api/generate"
        return HttpRequest("POST", url, self.headers(target.account), encode(body))

    # ── answers ──

    def read(self, target: Target, request: Request, body: bytes) -> Whole:
        answer = _told(target.account, body)
        calls = calls_of(answer, 0, fingerprint(body), names_of(request))
        text = answer.text
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
        if answer.message.thinking:
            message["reasoning_content"] = answer.message.thinking
        if calls:
            message["tool_calls"] = calls
        choice: dict[str, Any] = {
            "index": 0,
            "message": message,
            "finish_reason": finish_of(answer, called=bool(calls)),
        }
        if request.view.logprobs:
            choice["logprobs"] = logprobs_of(answer, asked_of=target.model, text=text)
        return whole_of("", answer.model or target.model, [choice], usage_of(answer))

    def reader(self, target: Target, request: Request) -> OllamaReader:
        return OllamaReader(target, names_of(request), logprobs=bool(request.view.logprobs))

    def classify(self, account: Account, response: HttpResponse) -> f.ProviderFailure:
        """
        Which failure an error answer is. Models in the cloud answer 403, and to who is not signed in 401; where a key was sent,
        401 is about that.
        """
        body = errors.read_error(response.body)
        text, status = body.message.lower(), response.status
        if status == 401 and account.key:
            return f.CredentialRejected(body.message or "HTTP 401", status=status, account_wide=True)
        if status in (401, 403):
            return f.NotEntitled(body.message or f"HTTP {status}", status=status)
        lacks = _LACKS.search(text)
        if lacks is not None:
            capability = _LACKED.get(lacks[1], lacks[1])
            return f.Unsupported(body.message, status=status).of(capability)
        if "context" in text and "exceed" in text:
            return f.ContextTooLong(body.message, status=status)
        return errors.classify(account, response)

    def observe(self, account: Account, headers: Headers) -> tuple[Observation, ...]:
        return from_headers(account.spec.limit_headers, headers)

    # ── the model list ──

    def discover(self, account: Account) -> Discovery:
        """
        The installed models. What the list does not tell of one, its own description does.

        A model that merely stands for one elsewhere says where it runs: it is neither local nor free. A gateway that
        speaks Ollama's API says so with its version.
        """
        version = yield HttpRequest("GET", f"{account.base_url}/api/version", self.headers(account))
        if MARK in _object(version):  # our own address, or another gateway's, which would be asked in a circle
            raise f.Unreachable("a Freeway answers there, which is no source of models: set OLLAMA_HOST to an Ollama")
        response = yield HttpRequest("GET", f"{account.base_url}/api/tags", self.headers(account))
        if response.status >= 400:
            raise self.classify(account, response)
        try:
            found = object_of(msgspec.json.decode(decodable(response.body)))
        except (msgspec.DecodeError, RecursionError) as exc:
            raise f.Unreachable(f"the model list cannot be read: {exc!r}") from exc
        told, skipped = read_entries(found.get("models"), entry_of)
        rows = {row.get("model") or row.get("name"): row for row in map(object_of, found["models"])}
        listed = []
        for model in told:
            whole = yield from described(account, self.headers(account), model, rows[model.id])
            listed.append(whole)
        return Listing(tuple(listed), skipped=skipped)


class OllamaReader:
    """Reads one stream of lines; the last one is ``done``."""

    def __init__(self, target: Target, tools: ToolNames, *, logprobs: bool) -> None:
        self._target, self._tools, self._logprobs = target, tools, logprobs
        self._name = ""  # stands for the answer in the ids of its calls
        self._calls = 0  # so far
        self._began = False
        self._done = False

    def finished(self) -> bool:
        return self._done

    def ended(self) -> bool:
        return self._done

    def feed(self, event: bytes) -> list[Step]:
        answer = _told(self._target.account, event)
        self._name = self._name or fingerprint(event)
        calls = calls_of(answer, self._calls, self._name, self._tools)
        delta: dict[str, Any] = {} if self._began else {"role": "assistant"}
        if answer.message.thinking:
            delta["reasoning_content"] = answer.message.thinking
        if answer.text:
            delta["content"] = answer.text
        if calls:
            delta["tool_calls"] = [{"index": self._calls + place, **call} for place, call in enumerate(calls)]
        self._calls += len(calls)
        self._began = True
        model = answer.model or self._target.model
        finish = finish_of(answer, called=self._calls > 0) if answer.done else None
        steps = []
        if delta or finish is not None:
            choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
            if self._logprobs:
                choice["logprobs"] = logprobs_of(answer, asked_of=model, text=answer.message.content or "")
            steps.append(step_of("", model, [choice]))
        if answer.done:
            self._done = True
            usage = usage_of(answer)
            if usage is not None:
                steps.append(step_of("", model, [], usage))
        return steps


def _object(response: HttpResponse) -> dict[str, Any]:
    """The JSON object that *response* is; an empty one if it is none: old servers do not tell their version."""
    try:
        return object_of(msgspec.json.decode(decodable(response.body)))
    except (msgspec.DecodeError, RecursionError):
        return {}


def _told(account: Account, body: bytes) -> Answer:
    """An answer or a line of one; raises a ProviderFailure if it tells of one."""
    answer = decoded(Answer, body)
    if answer.error is not None:
        raise Ollama().classify(account, HttpResponse(500, {}, encode({"error": answer.error})))
    return answer
