"""
Chat completions as OpenAI spells them: what most providers speak, what is spoken inside, and the base of most others.

A chunk is sent on byte for byte where nothing in it must change; only those with another spelling are rewritten.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import msgspec
from msgspec import Raw

from providers import errors
from providers import failures as f
from providers.chat import Message, Whole, encode, raw
from providers.completions import ChunkReader, read_completion
from providers.dialect import Account, Discovery, HttpRequest, HttpResponse, Listed, Listing, Request, Target
from providers.history import in_json, plain_messages
from providers.lenient import decodable
from providers.listing import first_tokens_of, object_of, priced, read_entries, strings_of
from providers.observations import Headers, Observation, from_headers
from providers.parameters import adapt_reasoning, clamp, limit_stops, reasoning_of
from providers.tool_names import ToolNames

PASSED = frozenset(
    {
        "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "n",
        "parallel_tool_calls", "presence_penalty", "reasoning_effort", "response_format", "seed", "stop",
        "temperature", "tool_choice", "top_logprobs", "top_p",
    }
)  # fmt: skip
"""Fields that mean the same to every provider. What else a caller sends stays here: an unknown field is never a 400."""


class OpenAI:
    """The lingua franca. Subclasses override what differs, usually ``adapt``, ``classify`` and ``list_model``."""

    framing: Literal["sse", "lines"] = "sse"
    accepts: frozenset[str] = frozenset()  # fields beyond PASSED that this provider understands

    def headers(self, account: Account) -> dict[str, str]:
        headers = {"content-type": "application/json", **account.spec.headers}
        if account.key:
            headers["authorization"] = f"Bearer {account.key}"
        return headers

    def context_for(self, target: Target, request: Request) -> int | None:  # noqa: ARG002 - it has one for all
        return None

    def build(self, target: Target, request: Request) -> HttpRequest:
        spec, view, names = target.account.spec, request.view, names_of(request)
        fields = {
            name: value
            for name, value in request.fields.items()
            if (name in PASSED or name in self.accepts) and not _says_nothing(value)
        }
        for old, new in spec.rename.items():
            if old in fields:
                value = fields.pop(old)
                fields.setdefault(new, value)
        fields["model"] = raw(target.model)
        fields["messages"] = raw(self.messages(target, request, names))
        _add_tools(fields, request, names)
        if view.stream:
            fields["stream"] = Raw(b"true")
            fields["stream_options"] = Raw(b'{"include_usage":true}')
        adapt_reasoning(fields, target, view.reasoning_effort)
        limit_stops(fields, spec)
        clamp(fields, spec)
        for name in spec.dropped(target.model):
            fields.pop(name, None)
        if view.stream and "tools" in fields:
            fields |= {name: raw(value) for name, value in spec.fact(target.model).streams_tools_with.items()}
        for name, value in spec.defaults.items():
            if name not in fields:
                fields[name] = raw(value)
        self.adapt(fields, target, request)
        asked = "chat/completions"
        if request.suffix:  # only where configuration says that a model fills gaps: Mistral (its FIM endpoint, 2026-08)
            del fields["messages"]
            fields |= {"prompt": raw(view.messages[-1].text()), "suffix": raw(request.suffix)}
            asked = "fim/completions"
        url = f"{target.account.base_url}/{asked}"
        return HttpRequest("POST", url, self.headers(target.account), encode(fields))

    def messages(self, target: Target, request: Request, names: ToolNames) -> list[Message]:
        """The conversation with only what this provider takes: clients replay fields that strict ones refuse."""
        spec = target.account.spec
        given = request.view.messages
        plain = plain_messages(given, names, ids=spec.call_ids, instructions_first=not spec.system_anywhere)
        wanted = request.view.response_format
        if spec.json_in_words and wanted is not None and wanted.type == "json_object":
            plain = in_json(plain)
        if reasoning_of(target).replays:
            reasoning = [message.reasoning_content for message in given if message.role == "assistant"]
            for message, earlier in zip((one for one in plain if one.role == "assistant"), reasoning, strict=True):
                message.reasoning_content = earlier
        return plain

    def adapt(self, fields: dict[str, Raw], target: Target, request: Request) -> None:
        """Change *fields* to what this provider wants."""

    # ── answers ──

    def read(self, target: Target, request: Request, body: bytes) -> Whole:
        return read_completion(names_of(request), body, partial(self.in_band, target.account))

    def reader(self, target: Target, request: Request) -> ChunkReader:
        return ChunkReader(names_of(request), partial(self.in_band, target.account))

    def in_band(self, account: Account, body: bytes) -> f.ProviderFailure:
        """The failure in a body that came with status 200: its own code is the status, where it has one."""
        answer = object_of(msgspec.json.decode(decodable(body)))
        choices = answer.get("choices")
        told = [answer, *map(object_of, choices if isinstance(choices, list) else ())]
        error = next((one["error"] for one in told if one.get("error")), None)
        if error is None:
            error = {name: answer[name] for name in ("message", "detail", "code", "type", "param") if name in answer}
        code = str(error.get("code")) if isinstance(error, dict) else ""
        status = int(code) if code.isdigit() and 400 <= int(code) < 600 else 502
        return self.classify(
            account, HttpResponse(status, {}, encode({"error": error or "the provider gave up midway"}))
        )

    def classify(self, account: Account, response: HttpResponse) -> f.ProviderFailure:
        return errors.classify(account, response)

    def observe(self, account: Account, headers: Headers) -> tuple[Observation, ...]:
        return from_headers(account.spec.limit_headers, headers)

    # ── the model list ──

    def discover(self, account: Account) -> Discovery:
        spec, listed, skipped = account.spec, tuple[Listed, ...](), 0
        if spec.listed_at:
            listed, skipped = self.list_models(account, (yield self.get(account, spec.listed_at)))
        known = {model.id for model in listed}
        static = tuple(Listed(id=model) for model in spec.static_models if model not in known)
        return Listing((*listed, *static), skipped=skipped)

    def get(self, account: Account, path: str) -> HttpRequest:
        return HttpRequest("GET", f"{account.base_url}{path}", self.headers(account))

    def list_models(self, account: Account, response: HttpResponse) -> tuple[tuple[Listed, ...], int]:
        """
        The entries of a list, without aliases of one another, and how many cannot be read.

        Raises a ProviderFailure if it is no list.
        """
        if response.status >= 400:
            raise self.classify(account, response)
        try:
            found = msgspec.json.decode(decodable(response.body))
        except (msgspec.DecodeError, RecursionError) as exc:
            raise f.Unreachable(f"the model list cannot be read: {exc!r}") from exc
        aliases: set[str] = set()  # a model under another name, whose quota is the same one

        def read(entry: dict[str, Any]) -> Listed | None:
            if entry["id"] in aliases:
                return None
            model = self.list_model(entry)
            if model is not None:
                aliases.update(strings_of(entry.get("aliases")))
                if account.spec.list_prices is not None:
                    model = priced(model, entry, account.spec.list_prices)
            return model

        return read_entries(object_of(found).get("data"), read)

    def list_model(self, entry: dict[str, Any]) -> Listed | None:
        """
        One entry; None leaves it out. Many providers add the sizes under one of these names.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` for one that cannot be read.
        """
        sizes = map(entry.get, ("context_window", "context_length", "max_context_length", "context_size"))
        outputs = map(entry.get, ("max_completion_tokens", "max_output_tokens"))
        return Listed(id=entry["id"], context=first_tokens_of(*sizes), max_output=first_tokens_of(*outputs))


def names_of(request: Request) -> ToolNames:
    """The names of *request*'s tools, as those who speak like OpenAI take them."""
    return ToolNames(function.name for function in request.view.functions())


def _says_nothing(value: Raw) -> bool:
    """At OpenAI null is the same as absent, and so is an empty list; servers that read types strictly refuse both."""
    return bytes(value).strip() in (b"null", b"[]")


def _add_tools(fields: dict[str, Raw], request: Request, names: ToolNames) -> None:
    """The tools that are functions, each name once, and the choice among them."""
    functions = request.view.functions()
    if not functions:
        for name in ("tool_choice", "parallel_tool_calls"):
            fields.pop(name, None)
        return
    once = {names.sent(function.name): function for function in reversed(functions)}
    fields["tools"] = raw(
        [
            {"type": "function", "function": msgspec.structs.replace(function, name=name)}
            for name, function in reversed(once.items())
        ]
    )
    choice = request.view.tool_choice
    chosen = object_of(choice.get("function")).get("name") if isinstance(choice, dict) else None
    if isinstance(choice, dict) and isinstance(chosen, str) and names.sent(chosen) != chosen:
        fields["tool_choice"] = raw({**choice, "function": {"name": names.sent(chosen)}})
