"""Requests, made from the typed definitions of each surface and bent, through the surface's reading and every dialect."""

from __future__ import annotations

import json
from random import Random
from typing import Any, cast

import msgspec
from msgspec import inspect as types

from gateway.api.openai_chat import ChatCompletions
from gateway.api.openai_completions import Completions
from gateway.api.openai_embeddings import Embeddings
from gateway.api.options import options_of
from gateway.api.responses_archive import Archive
from gateway.settings import Client, Requests, Settings
from gateway.words import GatewayError
from providers.chat import ChatRequest
from providers.client import Provider
from providers.dialect import Account, AnyRequest, Target
from providers.failures import ProviderFailure
from providers.spec import ProviderSpec
from tests.fuzz import bend
from tests.fuzz.answers import Wrong

_CLIENT = Client(name="fuzz", key_sha256="0" * 64)
_WORDS = (
    "user", "assistant", "system", "tool", "text", "image_url", "function", "auto", "required", "none", "hello", "file",
    "json_schema", "json_object", "data:image/png;base64,AAAA", "https://example.com/a.png", "{}", '{"a": 1}', "call_1",
)  # fmt: skip
EXAMPLE: dict[str, Any] = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "12"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}],
    "tool_choice": "auto", "max_tokens": 100, "temperature": 0.5, "stream": True, "stop": ["x"], "n": 1, "user": "u",
    "response_format": {"type": "json_object"}, "reasoning_effort": "low", "models": ["auto"], "provider": {"order": ["groq"]},
}  # fmt: skip
_SIMPLE: dict[type, tuple[Any, ...]] = {
    types.BoolType: (True, False),
    types.IntType: (0, 1, 7, 1000, -1, 2**31),
    types.FloatType: (0.0, 0.7, 2.5, -1.0),
    types.StrType: _WORDS,
    types.NoneType: (None,),
}
_OTHERS = {
    Completions: {"model": "auto", "prompt": "Once upon", "max_tokens": 5, "stream": True, "echo": False},
    Embeddings: {"model": "auto", "input": ["a", "b"], "dimensions": 64, "encoding_format": "float"},
}


class Made:
    """Values of a type, as ``msgspec.inspect`` describes it."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def of(self, kind: Any, depth: int = 0) -> Any:
        """One of *kind*, which lies so deep in another."""
        chance = self._chance
        match kind:
            case types.UnionType(types=many):
                return self.of(chance.choice(many), depth)
            case types.StructType(fields=fields):
                kept = [one for one in fields if one.required or chance.random() < 0.6]
                return {one.encode_name: self.of(one.type, depth + 1) for one in kept}
            case types.ListType(item_type=item) | types.VarTupleType(item_type=item):
                return [self.of(item, depth + 1) for _ in range(chance.randrange(4) if depth < 8 else 0)]
            case types.DictType(value_type=inner):
                return {chance.choice(_WORDS): self.of(inner, depth + 1) for _ in range(chance.randrange(3))}
            case _:
                return self._simple(kind)

    def _simple(self, kind: Any) -> Any:
        if isinstance(kind, types.LiteralType):
            return self._chance.choice(kind.values)
        return self._chance.choice(_SIMPLE.get(type(kind), (*_WORDS, *bend.ODD)))


class RequestsIn:
    """Makes cases, and looks at what becomes of each."""

    def __init__(self, specs: dict[str, ProviderSpec]) -> None:
        self._accounts = [Account(spec, spec.base_url, "sk-key") for spec in specs.values()]
        self._type = types.type_info(ChatRequest)
        self._known = {name: EXAMPLE[name] for name in ("model",)}

    def try_one(self, chance: Random) -> None:
        """One case; raises what comes out of it that should not."""
        surface, body = self._made(chance)
        headers = [(name.encode(), told.encode()) for name, told in _headers(chance).items()]
        try:
            options = options_of(headers, Requests(), _CLIENT, "fuzz", "req_1", 0.0)
            call = surface().parse(body, options)
        except GatewayError as error:
            if error.status >= 500:
                raise Wrong(f"a request is answered with {error.status}: {error.message}") from error
            msgspec.json.decode(surface().render_error(error))
            return
        hash(call.wants)
        if call.prompt_tokens < 0 or call.output_tokens < 0:
            raise Wrong("a request of fewer than no tokens")
        for account in self._accounts:
            self._built(call.request, account)

    def _made(self, chance: Random) -> tuple[Any, bytes]:
        if chance.random() < 0.2:
            surface, example = chance.choice(list(_OTHERS.items()))
            return surface, bend.document(json.dumps(example).encode(), chance)
        if chance.random() < 0.4:
            made = {**self._known, **Made(chance).of(self._type)}
            return _chat, json.dumps(made, default=str).encode(errors="surrogatepass")
        return _chat, bend.document(json.dumps(EXAMPLE).encode(), chance)

    def _built(self, request: AnyRequest, account: Account) -> None:
        target = Target(account, "acme/model", frozenset({"tools", "vision", "stream"}), 8192)
        try:
            built = Provider(account, cast(Any, None))._build(target, request)
        except ProviderFailure:
            return
        sent = json.loads(built.body or b"{}")
        if "sk-key" in json.dumps(sent) or any("\n" in told or "\r" in told for told in built.headers.values()):
            raise Wrong("a key is in a body, or a header has two lines")


def _chat() -> ChatCompletions:
    return ChatCompletions(Archive(None, Settings()))


def _headers(chance: Random) -> dict[str, str]:
    names = (
        "x-freeway-max-wait",
        "x-freeway-priority",
        "x-freeway-resume",
        "x-freeway-substitute",
        "x-freeway-trace",
        "x-session-id",
    )
    told = ("", "1", "-5", "nan", "inf", "1e999", "true", "TRUE", "high", "low", "x" * 1000, "\x00", "é")
    return {chance.choice(names): chance.choice(told) for _ in range(chance.randrange(3))}
