"""
Ollama by its native API (``docs/api.md`` and ``api/types.go`` of Ollama, 2026-08); the types are those of its package.

Why not its OpenAI endpoint: the size of the context cannot be set there, and a longer prompt is cut in silence.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Any, Literal, TypeVar

import msgspec
import ollama
from msgspec import Raw
from pydantic import BaseModel, ValidationError

from providers import errors
from providers import failures as f
from providers.chat import FunctionCall, Message, Step, ToolCall, Usage, Whole, encode
from providers.dialect import Account, ChatOnly, Discovery, HttpRequest, HttpResponse, Listed, Listing, Request, Target
from providers.history import system_first
from providers.lenient import decodable
from providers.listing import object_of, read_entries, strings_of, tokens_of
from providers.observations import Headers, Observation, from_headers
from providers.parameters import OFF, nearest
from providers.tool_names import ToolNames
from providers.translation import (
    arguments_of,
    fingerprint,
    image_of,
    not_carried,
    step_of,
    stops_of,
    tool_call,
    whole_of,
)

SMALLEST_CONTEXT = 4096
OUTPUT_ALLOWANCE = 4096
"""Tokens kept for an answer whose length the caller did not bound."""

_CLOUD = re.compile(r"[-:]cloud$")
_PARAMETERS = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*([kmbtKMBT])")
_UNITS = {"K": 1e-6, "M": 1e-3, "B": 1.0, "T": 1e3}
_LACKS = re.compile(r"does not support (\w+)")
_LACKED = {"thinking": "reasoning", "images": "vision", "image": "vision"}
_GIVES = {"tools": ("tools",), "vision": ("vision",), "thinking": ("reasoning",)}
_COMPLETES = ("json_object", "json_schema")  # a grammar holds any model to a schema

_OPTIONS = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")
_RAW_OPTIONS = ("min_p", "repeat_penalty")  # passed as the caller spelled them
_ANY_NAME = re.compile(r".*\Z", re.DOTALL)
_WORDS = ("low", "medium", "high")
"""
What ``think`` may be for gpt-oss, which ignores anything else. Other models are only told whether to: servers older than
2026-08 refuse words for them (Ollama documentation, thinking, 2026-08).
"""


# ── the package's types, with the fields that it leaves out ──


class _Function(ollama.Message.ToolCall.Function):
    index: int | None = None


class _ToolCall(ollama.Message.ToolCall):
    id: str | None = None
    function: _Function


class _Message(ollama.Message):
    tool_calls: Sequence[_ToolCall] | None = None


class _Answer(ollama.ChatResponse):
    message: _Message = _Message(role="assistant")
    error: Any = None


T = TypeVar("T", bound=BaseModel)


def _decoded(kind: type[T], body: bytes) -> T:
    """
    *body* as *kind*. The package's types are stricter than Ollama: a field that they refuse is left out.

    Raises Unreachable if nothing of that kind is left.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        pass
    try:
        found = msgspec.json.decode(decodable(body))
        try:
            return kind.model_validate(found)
        except ValidationError as exc:
            for error in exc.errors(include_url=False):
                _leave_out(found, error["loc"])
            return kind.model_validate(found)
    except (ValidationError, msgspec.DecodeError, RecursionError) as exc:
        raise f.Unreachable(f"the answer is not one of Ollama's: {type(exc).__name__}") from exc


def _leave_out(found: Any, path: Sequence[int | str]) -> None:
    """Take what is at *path* out of *found*; arguments of a call that are none, or a text, become an object."""
    for key in path[:-1]:
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError):
            return
    last = path[-1] if path else None
    if isinstance(found, dict) and last == "arguments":
        said = found.get("arguments")
        found["arguments"] = arguments_of(FunctionCall("", said if isinstance(said, str) else encode(said).decode()))
        if said is None:
            found["arguments"] = {}
    elif isinstance(found, dict) and isinstance(last, str):
        found.pop(last, None)


class Ollama(ChatOnly):
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
        view, drop = request.view, target.account.spec.drop
        body: dict[str, Any] = {
            "model": target.model,
            "messages": _messages(view.messages),
            "stream": bool(view.stream),
            "truncate": False,
            "options": {k: v for k, v in _options(target, request).items() if k not in drop},
        }
        functions = view.functions()
        if functions and view.tool_choice != "none":
            body["tools"] = [{"type": "function", "function": function} for function in functions]
        wanted = view.response_format
        if wanted is not None and wanted.type != "text":
            body["format"] = (wanted.json_schema.schema if wanted.json_schema else None) or "json"
        if "reasoning" in target.capabilities and view.reasoning_effort is not None:
            body["think"] = _think(target.model, view.reasoning_effort)
        return HttpRequest("POST", f"{target.account.base_url}/api/chat", self.headers(target.account), encode(body))

    # ── answers ──

    def read(self, target: Target, request: Request, body: bytes) -> Whole:
        answer = _told(target.account, body)
        calls = _calls(answer, 0, fingerprint(body), names_of(request))
        text = answer.message.content or ""
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
        if answer.message.thinking:
            message["reasoning_content"] = answer.message.thinking
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": _finish(answer, called=bool(calls))}
        return whole_of("", answer.model or target.model, [choice], usage_of(answer))

    def reader(self, target: Target, request: Request) -> OllamaReader:
        return OllamaReader(target, names_of(request))

    def classify(self, account: Account, response: HttpResponse) -> f.ProviderFailure:
        """Which failure an error answer is. Models in the cloud answer 401 and 403 to who is not entitled to them."""
        body = errors.read_error(response.body)
        text, status = body.message.lower(), response.status
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

        A model that merely stands for one elsewhere says where it runs: it is neither local nor free.
        """
        response = yield HttpRequest("GET", f"{account.base_url}/api/tags", self.headers(account))
        if response.status >= 400:
            raise self.classify(account, response)
        try:
            found = object_of(msgspec.json.decode(decodable(response.body)))
        except (msgspec.DecodeError, RecursionError) as exc:
            raise f.Unreachable(f"the model list cannot be read: {exc!r}") from exc
        told, skipped = read_entries(found.get("models"), _entry)
        rows = {row.get("model") or row.get("name"): row for row in map(object_of, found["models"])}
        listed = []
        for model in told:
            described = yield from self._described(account, model, rows[model.id])
            listed.append(described)
        return Listing(tuple(listed), skipped=skipped)

    def _described(
        self, account: Account, model: Listed, row: dict[str, Any]
    ) -> Generator[HttpRequest, HttpResponse, Listed]:
        """*model* with what its description adds to its *row*."""
        told = row.get("capabilities")
        capabilities = strings_of(told) if isinstance(told, list) else None
        context = model.context
        if capabilities is None or (context is None and model.runs_at is None and "completion" in capabilities):
            body = encode({"model": model.id})
            response = yield HttpRequest("POST", f"{account.base_url}/api/show", self.headers(account), body)
            shown = _shown(response)
            if shown is not None:
                capabilities = tuple(shown.capabilities or ()) if capabilities is None else capabilities
                context = context or _context_of(shown)
        if capabilities is None:
            return msgspec.structs.replace(model, context=context)
        gives = {ours for theirs in capabilities for ours in _GIVES.get(theirs, ())}
        chats = "completion" in capabilities
        return msgspec.structs.replace(
            model,
            operations=frozenset({"chat"}) if chats else frozenset(),
            capabilities=frozenset(gives.union(_COMPLETES) if chats else gives),
            context=context,
        )


class OllamaReader:
    """Reads one stream of lines; the last one is ``done``."""

    def __init__(self, target: Target, tools: ToolNames) -> None:
        self._target, self._tools = target, tools
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
        calls = _calls(answer, self._calls, self._name, self._tools)
        delta: dict[str, Any] = {} if self._began else {"role": "assistant"}
        if answer.message.thinking:
            delta["reasoning_content"] = answer.message.thinking
        if answer.message.content:
            delta["content"] = answer.message.content
        if calls:
            delta["tool_calls"] = [{"index": self._calls + place, **call} for place, call in enumerate(calls)]
        self._calls += len(calls)
        self._began = True
        model = answer.model or self._target.model
        finish = _finish(answer, called=self._calls > 0) if answer.done else None
        steps = []
        if delta or finish is not None:
            steps.append(step_of("", model, [{"index": 0, "delta": delta, "finish_reason": finish}]))
        if answer.done:
            self._done = True
            usage = usage_of(answer)
            if usage is not None:
                steps.append(step_of("", model, [], usage))
        return steps


# ── requests ──


def _think(model: str, effort: str) -> str | bool:
    """How much to think. What merely stands for *none* turns it off where it can be."""
    if "gpt-oss" in model:
        return nearest(effort, _WORDS) or "medium"
    return effort not in OFF


def _messages(messages: list[Message]) -> list[dict[str, Any]]:
    spelled = []
    names: dict[str, str] = {}  # of the functions called so far, by the call's id
    for message in system_first(messages):
        role: str = {"developer": "system", "function": "tool"}.get(message.role, message.role)
        made: dict[str, Any] = {"role": role, "content": message.text()}
        images = _images(message)
        if images:
            made["images"] = images
        if message.role == "assistant":
            if message.reasoning_content:
                made["thinking"] = message.reasoning_content
            if message.tool_calls:
                names.update({call.id: call.function.name for call in message.tool_calls})
                made["tool_calls"] = [_call(call) for call in message.tool_calls]
        elif role == "tool":
            name = names.get(message.tool_call_id or "") or message.name
            if name:
                made["tool_name"] = name
            if message.tool_call_id:
                made["tool_call_id"] = message.tool_call_id
        spelled.append(made)
    return spelled


def _images(message: Message) -> list[str]:
    images = []
    for part in message.parts():
        if part.type == "image_url" and part.image_url is not None:
            images.append(image_of(part.image_url).data)
        elif part.type not in ("text", "refusal"):
            raise not_carried(part)
    return images


def _call(call: ToolCall) -> dict[str, Any]:
    made: dict[str, Any] = {"function": {"name": call.function.name, "arguments": arguments_of(call.function)}}
    return {"id": call.id, **made} if call.id else made


def _options(target: Target, request: Request) -> dict[str, Any]:
    view = request.view
    options: dict[str, Any] = dict(target.account.spec.defaults)
    options["num_ctx"] = context_for(target, request)
    for name in _OPTIONS:
        value = getattr(view, name)
        if value is not None:
            options[name] = value
    options.update(
        {
            name: request.fields[name]
            for name in _RAW_OPTIONS
            if bytes(request.fields.get(name, Raw(b"null"))) != b"null"
        }
    )
    if view.output_tokens is not None:
        options["num_predict"] = view.output_tokens
    if view.stop:
        options["stop"] = stops_of(view.stop)
    return options


def context_for(target: Target, request: Request) -> int:
    """
    The context to load the model with: enough for the prompt and the answer, else all that the model has.

    In coarse steps, and no less than it is loaded with, since another size loads the model anew.
    """
    needed = request.prompt_tokens + (request.view.output_tokens or OUTPUT_ALLOWANCE)
    size = max(SMALLEST_CONTEXT, request.least_context)
    while size < needed:
        size *= 2
    return size if target.context is None else min(size, target.context)


def names_of(request: Request) -> ToolNames:
    """The names of *request*'s tools: Ollama takes any."""
    return ToolNames((function.name for function in request.view.functions()), _ANY_NAME)


# ── answers ──


def _told(account: Account, body: bytes) -> _Answer:
    """An answer or a line of one; raises a ProviderFailure if it tells of one."""
    answer = _decoded(_Answer, body)
    if answer.error is not None:
        raise Ollama().classify(account, HttpResponse(500, {}, encode({"error": answer.error})))
    return answer


def _calls(answer: _Answer, before: int, name: str, tools: ToolNames) -> list[dict[str, Any]]:
    """The calls in *answer*. One without an id gets one from *name* and its place, so that it is the same each time."""
    return [
        tool_call(
            call.id or f"call_{name}_{before + place}",
            tools.called(call.function.name),
            encode(dict(call.function.arguments)).decode(),
        )
        for place, call in enumerate(answer.message.tool_calls or ())
    ]


def _finish(answer: _Answer, *, called: bool) -> str:
    if answer.done_reason == "length":
        return "length"
    return "tool_calls" if called else "stop"


def usage_of(answer: ollama.ChatResponse) -> Usage | None:
    """Tokens, where they are told. A prompt of none does not exist: servers leave it out when all of it was cached."""
    if not answer.prompt_eval_count:
        return None
    return Usage(prompt_tokens=answer.prompt_eval_count, completion_tokens=answer.eval_count or 0)


# ── the model list ──


def _entry(row: dict[str, Any]) -> Listed:
    """One row of the list. Newer servers tell the context in it, and where a model runs that is not here."""
    name = row.get("model") or row["name"]
    elsewhere = row.get("remote_host") or ("ollama.com" if row.get("remote_model") or _CLOUD.search(name) else None)
    details = object_of(row.get("details"))
    return Listed(
        id=name,
        context=tokens_of(details.get("context_length")),
        runs_at=None if elsewhere is None else str(elsewhere),
        parameters=_billions(details.get("parameter_size")),
        family=details["family"] if isinstance(details.get("family"), str) else None,
    )


def _billions(told: object) -> float | None:
    """``8.2B``, ``494.03M`` or ``1T`` parameters, in billions."""
    found = _PARAMETERS.fullmatch(told.strip()) if isinstance(told, str) else None
    return None if found is None else float(found[1]) * _UNITS[found[2].upper()]


def _shown(response: HttpResponse) -> ollama.ShowResponse | None:
    """What a model is, or None if it cannot be told: one that cannot be read keeps no other from being listed."""
    if response.status != 200:
        return None
    try:
        return ollama.ShowResponse.model_validate_json(response.body)
    except ValidationError:
        return None


def _context_of(shown: ollama.ShowResponse) -> int | None:
    facts = object_of(shown.modelinfo)
    return tokens_of(facts.get(f"{facts.get('general.architecture')}.context_length"))
