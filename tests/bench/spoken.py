"""The APIs in which a contender may be asked: what is sent, and what a right answer is. All say the same in other words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from tests.bench import load, wire
from tests.bench.load import Check, Reply, WrongAnswer

Json = dict[str, Any]
_TOKENS = (wire.PROMPT_TOKENS, wire.ANSWER_TOKENS)


class Spoken(Struct, frozen=True):
    """
    *request* makes a body from a model, a size and whether to stream; *check_stream* a check for so many pieces, or None where
    nothing streams.
    """

    path: str
    request: Callable[[str, int, bool], bytes]
    check_whole: Check
    check_stream: Callable[[int], Check] | None


def _said(reply: Reply, text: str, usage: tuple[int, int], said: str, *, ended: bool = True) -> None:
    if reply.status != 200 or text != said or usage != _TOKENS or not ended:
        raise WrongAnswer(f"HTTP {reply.status}, {usage=} {ended=}: …{reply.body[-300:]!r}")


def _checks(
    read: Callable[[Json], tuple[str, tuple[int, int]]],
    grow: Callable[[Json], str],
    end: Callable[[Json], tuple[int, int] | None],
) -> tuple[Check, Callable[[int], Check]]:
    """The checks of an API: how a whole answer is read, what an event adds, and the usage in the event that is the end."""

    def check_whole(reply: Reply) -> None:
        try:
            text, usage = read(msgspec.json.decode(reply.body))
        except (msgspec.DecodeError, LookupError, TypeError) as exc:
            raise WrongAnswer(f"HTTP {reply.status}: {reply.body[:300]!r}") from exc
        _said(reply, text, usage, wire.ANSWER)

    def check_stream(pieces: int) -> Check:
        expected = "".join(wire.PIECE.replace("0000", f"{number:04}") for number in range(pieces))

        def check(reply: Reply) -> None:
            lines = [line.removeprefix(b"data: ") for line in bytes(reply.body).splitlines()]
            events = [msgspec.json.decode(line) for line in lines if line.startswith(b"{")]
            ends = [usage for event in events if (usage := end(event)) is not None]
            text = "".join(map(grow, events))
            _said(reply, text, ends[-1] if ends else (0, 0), expected, ended=end(events[-1]) is not None)

        return check

    return check_whole, check_stream


def _chat(model: str, size: int, stream: bool) -> bytes:
    return wire.request(model, size=size, stream=stream)


def _responses(model: str, size: int, stream: bool) -> bytes:
    body = {"model": model, "input": wire.prompt(size), "max_output_tokens": 256, "store": False, "stream": stream}
    return wire.encode(body)


def _messages(model: str, size: int, stream: bool) -> bytes:
    messages = [{"role": "user", "content": wire.prompt(size)}]
    return wire.encode({"model": model, "messages": messages, "max_tokens": 256, "stream": stream})


def _ollama(model: str, size: int, stream: bool) -> bytes:
    messages = [{"role": "user", "content": wire.prompt(size)}]
    return wire.encode({"model": model, "messages": messages, "options": {"num_predict": 256}, "stream": stream})


def _counted(usage: Json) -> tuple[int, int]:
    return usage["input_tokens"], usage["output_tokens"]


def _evaluated(line: Json) -> tuple[int, int]:
    return line["prompt_eval_count"], line["eval_count"]


def _message_ends(event: Json) -> tuple[int, int] | None:
    """The usage is told in the event before the last."""
    if event["type"] == "message_delta":
        return _counted(event["usage"])
    return _TOKENS if event["type"] == "message_stop" else None


CHAT = Spoken("/v1/chat/completions", _chat, load.check_whole, load.check_stream)
RESPONSES = Spoken(
    "/v1/responses",
    _responses,
    *_checks(
        lambda found: (found["output"][0]["content"][0]["text"], _counted(found["usage"])),
        lambda event: event["delta"] if event["type"] == "response.output_text.delta" else "",
        lambda event: _counted(event["response"]["usage"]) if event["type"] == "response.completed" else None,
    ),
)
MESSAGES = Spoken(
    "/v1/messages",
    _messages,
    *_checks(
        lambda found: (found["content"][0]["text"], _counted(found["usage"])),
        lambda event: event["delta"]["text"] if event["type"] == "content_block_delta" else "",
        _message_ends,
    ),
)
OLLAMA = Spoken(
    "/api/chat",
    _ollama,
    *_checks(
        lambda found: (found["message"]["content"], _evaluated(found)),
        lambda event: event["message"]["content"],
        lambda event: _evaluated(event) if event["done"] else None,
    ),
)


def _check_vector(reply: Reply) -> None:
    try:
        found = msgspec.json.decode(reply.body)
        (one,) = found["data"]
        right = len(one["embedding"]) == len(wire.VECTOR) and abs(one["embedding"][1] - wire.VECTOR[1]) < 1e-6
    except (msgspec.DecodeError, LookupError, TypeError, ValueError) as exc:
        raise WrongAnswer(f"HTTP {reply.status}: {reply.body[:300]!r}") from exc
    if reply.status != 200 or not right or found["usage"]["prompt_tokens"] != wire.PROMPT_TOKENS:
        raise WrongAnswer(f"HTTP {reply.status}: {reply.body[-300:]!r}")


EMBEDDINGS = Spoken(
    "/v1/embeddings", lambda model, size, _: wire.embedding(model, size=size), _check_vector, check_stream=None
)
