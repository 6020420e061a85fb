"""
Google AI Studio by its native API, ``v1beta`` (Google AI documentation and the types of google-genai 3.4, 2026-11).

Why not its OpenAI endpoint: thoughts, their signatures and the index of a tool call get lost there.
"""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from providers import failures as f
from providers.chat import CompletionDetails, PromptDetails, Step, Usage, Whole, encode
from providers.dialect import Account, Discovery, HttpRequest, HttpResponse, Listed, Listing, Request, Target
from providers.dialects.google.failures import classify
from providers.dialects.google.request import body_of, names_of
from providers.lenient import decodable, whole_number
from providers.listing import object_of, read_entries, strings_of, tokens_of
from providers.observations import Headers, Observation, from_headers
from providers.spec import Operation
from providers.tool_calls import call_id
from providers.tool_names import ToolNames
from providers.translation import fingerprint, step_of, tool_call, whole_of

_PAGES = 20  # of the model list, at most

_REFUSED = frozenset(
    {
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
    }
)  # fmt: skip
_BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE",
        "MALFORMED_RESPONSE", "LANGUAGE", "NO_IMAGE", "IMAGE_OTHER",
    }
)  # fmt: skip
"""Reasons to finish: moderation's, and those that leave no usable answer."""

_DOES: dict[str, Operation] = {"generateContent": "chat", "embedContent": "embed"}
"""What a model does that the list says can be called so."""

_CUT = frozenset({"MAX_TOKENS", "CONTINUATION"})


# ── what comes over the wire ──


class _FunctionCall(Struct):
    name: str = ""
    id: str | None = None
    args: Raw = Raw(b"{}")


class _Part(Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None


class _Content(Struct):
    parts: list[_Part] | None = None


class _Candidate(Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int = 0

    def parts(self) -> list[_Part]:
        return (self.content.parts if self.content else None) or []


class _Feedback(Struct, rename="camel"):
    block_reason: str | None = None


class _Counts(Struct, rename="camel"):
    prompt_token_count: Any = None  # a number; an answer is not lost for one that is none
    tool_use_prompt_token_count: Any = None
    candidates_token_count: Any = None
    thoughts_token_count: Any = None
    cached_content_token_count: Any = None
    total_token_count: Any = None


class _Answer(Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Counts | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_answers = msgspec.json.Decoder(list[_Answer]).decode


class Google:
    """The Gemini API."""

    framing: Literal["sse", "lines"] = "sse"

    def headers(self, account: Account) -> dict[str, str]:
        """The key goes into its header only: in the address it would reach logs, and a second one is refused."""
        headers = {"content-type": "application/json", **account.spec.headers}
        if account.key:
            headers["x-goog-api-key"] = account.key
        return headers

    def context_for(self, target: Target, request: Request) -> int | None:  # noqa: ARG002 - it has one for all
        return None

    def build(self, target: Target, request: Request) -> HttpRequest:
        verb = "streamGenerateContent?alt=sse" if request.view.stream else "generateContent"
        url = f"{target.account.base_url}/models/{quote(target.model, safe='')}:{verb}"
        return HttpRequest("POST", url, self.headers(target.account), encode(body_of(target, request)))

    # ── answers ──

    def read(self, target: Target, request: Request, body: bytes) -> Whole:
        answer = _decoded(target.account, body)
        if not answer.candidates:
            raise _nothing(answer)
        answer_id, names = answer.response_id or "", names_of(request)
        choices = []
        for candidate in answer.candidates:
            said = _said(candidate, 0, answer.response_id or fingerprint(body), names)
            message: dict[str, Any] = {"role": "assistant", "content": said.text or (None if said.calls else "")}
            if said.thought:
                message["reasoning_content"] = said.thought
            if said.calls:
                message["tool_calls"] = said.calls
            speaks = bool(said.text or said.calls)
            reason = _finish(candidate, spoke=speaks, called=bool(said.calls)) or "stop"
            choices.append({"index": candidate.index, "message": message, "finish_reason": reason})
        return whole_of(answer_id, answer.model_version or target.model, choices, usage_of(answer.usage_metadata))

    def reader(self, target: Target, request: Request) -> GoogleReader:
        return GoogleReader(target, names_of(request))

    def classify(self, account: Account, response: HttpResponse) -> f.ProviderFailure:
        return classify(account, response)

    def observe(self, account: Account, headers: Headers) -> tuple[Observation, ...]:
        return from_headers(account.spec.limit_headers, headers)

    # ── the model list ──

    def discover(self, account: Account) -> Discovery:
        listed, skipped = list[Listed](), 0
        token: object = None
        for _ in range(_PAGES):
            query = f"?pageSize=1000&pageToken={quote(token, safe='')}" if isinstance(token, str) else "?pageSize=1000"
            response = yield HttpRequest("GET", f"{account.base_url}/models{query}", self.headers(account))
            if response.status >= 400:
                raise self.classify(account, response)
            try:
                page = object_of(msgspec.json.decode(decodable(response.body)))
            except (msgspec.DecodeError, RecursionError) as exc:
                raise f.Unreachable(f"the model list cannot be read: {exc!r}") from exc
            models, unread = read_entries(page.get("models", []), _listed)
            listed += models
            skipped += unread
            token = page.get("nextPageToken")
            if not token:
                break
        return Listing(tuple(listed), skipped=skipped)


class GoogleReader:
    """Reads one stream. There is no ``[DONE]``: a candidate ends with its reason to finish."""

    def __init__(self, target: Target, names: ToolNames) -> None:
        self._target, self._names = target, names
        self._open: set[int] = set()
        self._closed: set[int] = set()
        self._spoke: set[int] = set()
        self._calls: dict[int, int] = {}  # so far, by candidate
        self._name: str | None = None  # stands for the answer in the ids of its calls
        self._counted = False

    def finished(self) -> bool:
        return bool(self._closed) and self._open <= self._closed

    def ended(self) -> bool:
        return False

    def feed(self, event: bytes) -> list[Step]:
        answer = _decoded(self._target.account, event)
        if not answer.candidates and answer.prompt_feedback and answer.prompt_feedback.block_reason:
            raise _nothing(answer)
        self._name = self._name or answer.response_id or fingerprint(event)
        choices = [self._choice(candidate) for candidate in answer.candidates or ()]
        answer_id, model = answer.response_id or "", answer.model_version or self._target.model
        steps = [step_of(answer_id, model, [choice]) for choice in choices if choice is not None]
        usage = usage_of(answer.usage_metadata)
        if self.finished() and usage is not None and not self._counted:
            self._counted = True
            steps.append(step_of(answer_id, model, [], usage))
        return steps

    def _choice(self, candidate: _Candidate) -> dict[str, Any] | None:
        """A candidate's piece; None if there is nothing in it."""
        at = candidate.index
        before = self._calls.get(at, 0)
        said = _said(candidate, before, self._name or "", self._names)
        self._calls[at] = before + len(said.calls)
        delta: dict[str, Any] = {} if at in self._open else {"role": "assistant"}
        self._open.add(at)
        if said.text or said.calls:
            self._spoke.add(at)
        if said.thought:
            delta["reasoning_content"] = said.thought
        if said.text:
            delta["content"] = said.text
        if said.calls:
            delta["tool_calls"] = [{"index": before + place, **call} for place, call in enumerate(said.calls)]
        reason = _finish(candidate, spoke=at in self._spoke, called=self._calls[at] > 0)
        if reason is not None:
            self._closed.add(at)
        if not delta and reason is None:
            return None
        return {"index": at, "delta": delta, "finish_reason": reason}


# ── answers ──


class _Said(Struct, frozen=True):
    thought: str
    text: str
    calls: list[dict[str, Any]]


def _decoded(account: Account, body: bytes) -> _Answer:
    """
    An answer or a piece of one; a list holds one, too, when it is wrapped as the compatible endpoint wraps errors.

    Raises a ProviderFailure if it tells of one.
    """
    try:
        wrapped = body.lstrip()[:1] == b"["
        body = decodable(body)
        answer = next(iter(_decode_answers(body)), _Answer()) if wrapped else _decode_answer(body)
    except msgspec.DecodeError as exc:
        raise f.Unreachable(f"the answer is not one of the Gemini API: {exc}") from exc
    if answer.error is not None:
        code = answer.error.get("code") if isinstance(answer.error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        raise classify(account, HttpResponse(status, {}, encode({"error": answer.error})))
    return answer


def _said(candidate: _Candidate, calls_before: int, name: str, tools: ToolNames) -> _Said:
    """
    What *candidate* says. Calls without an id get one from *name* and their place, so that it is the same each time.

    The signature of a call's thought goes where Google's own OpenAI endpoint puts it.
    """
    thought, text, calls = list[str](), list[str](), list[dict[str, Any]]()
    for part in candidate.parts():
        call = part.function_call
        if call is not None:
            made = call_id(call.id, name, f"{candidate.index}_{calls_before + len(calls)}")
            extra = {"google": {"thought_signature": part.thought_signature}} if part.thought_signature else None
            calls.append(tool_call(made, tools.called(call.name), _compact(call.args), extra))
        elif part.text:
            (thought if part.thought else text).append(part.text)
    return _Said("".join(thought), "".join(text), calls)


def _compact(args: Raw) -> str:
    """The arguments as they were sent, numbers and order and all, without the line breaks."""
    text = msgspec.json.format(bytes(args), indent=-1).decode()
    return "{}" if text == "null" else text


def _finish(candidate: _Candidate, *, spoke: bool, called: bool) -> str | None:
    """OpenAI's reason to finish; raises a ProviderFailure if there is no answer to finish."""
    reason = candidate.finish_reason
    if not reason:
        return None
    if reason in _BROKEN:
        raise f.NoAnswer(f"{reason}: {candidate.finish_message or 'the model broke off'}")
    if reason in _REFUSED:
        if not spoke:
            raise f.ContentRefused(f"{reason}: {candidate.finish_message or 'refused by the provider'}")
        return "content_filter"
    if reason in _CUT:
        return "length"
    return "tool_calls" if called else "stop"


def _nothing(answer: _Answer) -> f.ProviderFailure:
    """The failure in an answer without candidates."""
    reason = answer.prompt_feedback.block_reason if answer.prompt_feedback else None
    return f.ContentRefused(f"the prompt was blocked: {reason}") if reason else f.NoAnswer()


def usage_of(counts: _Counts | None) -> Usage | None:
    """Tokens counted as OpenAI counts them: thoughts are output. A prompt of none does not exist: then none are told."""
    if counts is None or (prompt := whole_number(counts.prompt_token_count)) <= 0:
        return None
    thoughts, cached = whole_number(counts.thoughts_token_count), whole_number(counts.cached_content_token_count)
    return Usage(
        prompt_tokens=prompt + whole_number(counts.tool_use_prompt_token_count),
        completion_tokens=whole_number(counts.candidates_token_count) + thoughts,
        total_tokens=whole_number(counts.total_token_count),
        prompt_tokens_details=PromptDetails(cached) if cached else None,
        completion_tokens_details=CompletionDetails(thoughts) if thoughts else None,
    )


# ── the model list ──


def _listed(model: dict[str, Any]) -> Listed:
    """One entry. Raises ``KeyError`` or ``AttributeError`` for one without a name."""
    methods = strings_of(model.get("supportedGenerationMethods"))
    return Listed(
        id=model["name"].removeprefix("models/"),
        operations=frozenset(does for method, does in _DOES.items() if method in methods),
        context=tokens_of(model.get("inputTokenLimit")),
        max_output=tokens_of(model.get("outputTokenLimit")),
    )
