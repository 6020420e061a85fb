"""
``POST /v1/completions``, OpenAI's older way to ask: a prompt goes in, and text comes out.

The prompt becomes the one message of a chat: hardly a free source serves anything else, and the models are made for it. With a
suffix, a model that fills gaps is asked for what stands between. What would need the model's raw continuation (several prompts,
tokens, log probabilities) is refused by its name.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gateway.api.openai import OpenAISurface, chat_call, chat_fields, decoded, event, filling, routing_of
from gateway.api.options import Options
from gateway.words import BadRequest, Call
from providers.chat import Step, Usage, Whole, decode_fields, encode, raw

_FINISHES = frozenset({"stop", "length", "content_filter"})
"""Why a completion may end, as the packages of OpenAI know it; whatever else a provider says is ``stop``."""

_NOT_FOR_CHAT = (
    "prompt", "suffix", "echo", "logprobs", "best_of", "messages",
    "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call",
)  # fmt: skip
"""Fields that a chat request spells otherwise, or that a completion has no use for."""


class Legacy(Struct, kw_only=True):
    """The fields that this API has for itself."""

    prompt: str | list[str | int | list[int]]
    suffix: str | None = None
    echo: bool | None = None
    logprobs: bool | int | None = None
    best_of: int | None = None
    n: int | None = None

    def text(self) -> str:
        """The one prompt. Raises BadRequest, naming the field, for what is not served."""
        if self.logprobs is not None and self.logprobs is not False:
            raise _refused("logprobs", "log probabilities are not served here: ask /v1/chat/completions for them")
        if self.best_of is not None and self.best_of > (self.n or 1):
            raise _refused("best_of", "choosing among more answers than 'n' is not served: ask for them by 'n'")
        texts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if not all(isinstance(text, str) for text in texts):
            raise _refused("prompt", "token numbers mean something to one model only: send text")
        if len(texts) != 1:
            raise _refused("prompt", f"expected one prompt, got {len(texts)}: send a request for each")
        if not texts[0]:
            raise _refused("prompt", "is empty")
        return str(texts[0])


_decode_legacy = msgspec.json.Decoder(Legacy).decode


def _refused(field: str, why: str) -> BadRequest:
    return BadRequest(f"{field}: {why}", param=field)


class _Choice(Struct):
    text: str
    index: int = 0
    logprobs: None = None
    finish_reason: str | None = None


class _Completion(Struct):
    id: str
    created: int
    model: str
    choices: list[_Choice]
    usage: Usage | UnsetType = UNSET
    object: str = "text_completion"


class Completions(OpenAISurface):
    """One request."""

    path: ClassVar[str] = "/v1/completions"
    expects: ClassVar[str] = "a completion request"

    def __init__(self) -> None:
        self._id, self._created, self._model = "", 0, ""
        self._echo = ""
        self._echoed: set[int] = set()  # the choices of a stream that have begun
        self._wants_usage = False
        self._usage: Usage | None = None

    def parse(self, body: bytes, options: Options) -> Call:
        """What *body* asks for, to be served as *options* say. Raises BadRequest, naming the field."""
        fields, legacy, routing = decoded(decode_fields, body), decoded(_decode_legacy, body), routing_of(body)
        prompt = legacy.text()
        asked: dict[str, Any] = {name: value for name, value in fields.items() if name not in _NOT_FOR_CHAT}
        asked["messages"] = raw([{"role": "user", "content": prompt}])
        view, fields = chat_fields(encode(asked))
        self._id, self._created = f"cmpl-{options.id}", int(options.now)
        self._echo = prompt if legacy.echo else ""
        self._wants_usage = view.wants_usage
        return filling(chat_call(view, fields, routing, options, hides_reasoning=True), legacy.suffix)

    def render_whole(self, whole: Whole) -> bytes:
        found = whole.completion
        choices = [
            _Choice(
                self._echo + (choice.message.content or choice.message.refusal or ""),
                choice.index,
                finish_reason=_finish(choice.finish_reason) or "stop",
            )
            for choice in found.choices
        ]
        return encode(_Completion(self._id, self._created, found.model, choices, found.usage or UNSET))

    def render_event(self, step: Step) -> bytes:
        """What of the chunk is text or an end; thoughts and roles have no place here."""
        chunk = step.chunk
        self._model, self._usage = chunk.model or self._model, chunk.usage or self._usage
        choices = []
        for choice in chunk.choices:
            text, finish = choice.delta.content or choice.delta.refusal or "", _finish(choice.finish_reason)
            if not text and finish is None:
                continue
            if self._echo and choice.index not in self._echoed:
                self._echoed.add(choice.index)
                text = self._echo + text
            choices.append(_Choice(text, choice.index, finish_reason=finish))
        return event(encode(_Completion(self._id, self._created, self._model, choices))) if choices else b""

    def render_end(self) -> bytes:
        """The usage, if it was asked for, in an event of its own; then the end."""
        end = super().render_end()
        if not self._wants_usage or self._usage is None:
            return end
        return event(encode(_Completion(self._id, self._created, self._model, [], self._usage))) + end


def _finish(reason: str | None) -> str | None:
    return reason if reason is None or reason in _FINISHES else "stop"
