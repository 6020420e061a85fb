"""
Streams as their caller asked for them, whatever dialect they come in: what refine.py does for whole answers, piece by piece.

What needs nothing passes as it is. A stream is held back until it is seen to keep what was promised: that JSON begins, that a
tool is called. Until then the caller has nothing of it, and another source can be asked. Of a whole answer in a stream the
rest is looked at when it ends: what breaks there breaks the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct, field

from providers.call_finder import Called, CallFinder, call_of
from providers.chat import Chunk, ChunkChoice, Step, encode
from providers.costs import Told, told_in
from providers.dialect import Request, StreamReader, Target
from providers.failures import NoAnswer
from providers.reasoning import CLOSING, OPENING, UNCLOSED, UNOPENED, ReasoningSplitter, closes_alone
from providers.refine import REPAIRED, SINGLE, WRITTEN, Asked
from providers.repair import read_json, rest_of
from providers.tool_calls import stem_of

_THINK = b"think>"


class _Said(Struct):
    """What was read of one choice so far. *said* and *arguments* only where they are needed at the end."""

    splitter: ReasoningSplitter
    finder: CallFinder | None
    calls: int = 0  # that were found in the text
    native: int = 0  # that were made as calls
    said: list[str] = []
    kept: bool = False  # what had to be seen of it has been seen
    thought: bool = False  # what it thinks has a beginning, or a field of its own
    arguments: dict[int, list[str]] = field(default_factory=dict)


class RefinedReader:
    """*reader*, whose answers are as their caller asked for them. *mended* tells what was done for that so far."""

    def __init__(self, reader: StreamReader, target: Target, request: Request) -> None:
        self._reader, self._asked = reader, Asked.of(target, request)
        self.mended: list[str] = []
        self.cost = Told()  # the most that any event has told of
        self._choices: dict[int, _Said] = {}
        view = request.view
        self._waits = view.must_call or self._asked.object_like
        self._simple = self._asked.offered is None and view.shape is None
        self._withheld: list[Step] | None = [] if self._waits else None
        self._may_open = "reasoning" in target.capabilities and not target.opens_in_reasoning

    def finished(self) -> bool:
        return self._reader.finished()

    def ended(self) -> bool:
        return self._reader.ended()

    def feed(self, event: bytes) -> list[Step]:
        """The steps in one event, as far as they may be seen; raises a ProviderFailure."""
        if b"cost" in event:
            self.cost = self.cost.or_more(told_in(event))
        steps: list[Step] = []
        for step in self._reader.feed(event):
            if self._may_open and _THINK in step.data:
                self._look_for_thoughts(step.chunk)
            if step.chunk.choices and not self._passes(step.chunk):
                steps += self._refined(step)
            else:
                steps.append(step)
        if self._withheld is None:
            return steps
        self._withheld += steps
        if not all(said.kept for said in self._choices.values()) or not self._choices:
            return []
        steps, self._withheld = self._withheld, None
        return steps

    def _look_for_thoughts(self, chunk: Chunk) -> None:
        """A mark that closes a thought, where none was open, shows that the model's answers begin inside one."""
        for choice in chunk.choices:
            said, text = self._choices.get(choice.index) or self._begin(choice), choice.delta.content or ""
            if CLOSING in text and closes_alone(text) and not said.thought:
                self._mend(UNOPENED)
            said.thought = said.thought or OPENING in text

    def _passes(self, chunk: Chunk) -> bool:
        """Whether *chunk* goes on with text that has been seen to be nothing else."""
        if not self._simple:
            return False
        for choice in chunk.choices:
            said = self._choices.get(choice.index) or self._begin(choice)
            delta = choice.delta
            if delta.reasoning_content:
                said.thought = True
                said.splitter.comes_apart()
            if said.splitter.concerned(delta.content):
                return False
        return True

    def _begin(self, choice: ChunkChoice) -> _Said:
        asked = self._asked
        said = _Said(ReasoningSplitter(asked.target.opens_in_reasoning), asked.finder(), kept=not self._waits)
        self._choices[choice.index] = said
        return said

    def _refined(self, step: Step) -> list[Step]:
        """The steps that *step* becomes: calls that were found go before the end of their choice."""
        fields: dict[str, Any] | None = None
        made: list[tuple[int, list[dict[str, Any]]]] = []
        for place, choice in enumerate(step.chunk.choices):
            said = self._choices.get(choice.index) or self._begin(choice)
            change, calls = self._change(choice, said, partial(stem_of, step.chunk.id, step.data))
            if change:
                fields = fields or msgspec.json.decode(step.data)
                _put(fields["choices"][place], change)
            if calls:
                made.append((choice.index, calls))
        if fields is None and not made:
            return [step]
        fields = fields or msgspec.json.decode(step.data)
        steps = [_step({**fields, "choices": [_calling(index, calls)]}) for index, calls in made]
        return [*steps, _step(fields)] if not made or _says_more(fields) else steps

    def _change(
        self, choice: ChunkChoice, said: _Said, stem: Callable[[], str]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What of *choice* becomes something else, and the pieces of calls that go before it."""
        delta, over = choice.delta, choice.finish_reason is not None
        cut = choice.finish_reason == "length"
        change: dict[str, Any] = {}
        text = delta.content or ""
        if delta.reasoning_content:
            said.thought = True
            said.splitter.comes_apart()
        if said.splitter.concerned(delta.content) or (over and said.splitter.concerned("")):
            thought, text = said.splitter.feed(text, last=over, cut=cut)
            change["content"] = text
            if said.splitter.unclosed:
                self._mend(UNCLOSED)
            if thought:
                change["reasoning_content"] = thought
        pieces: list[dict[str, Any]] = []
        if said.finder is not None and not said.native and (over or said.finder.concerned(text)):
            text, called = said.finder.feed(text, last=over)
            if change or text != (delta.content or ""):
                change["content"] = text
            pieces += self._found(called, said, stem)
        if delta.tool_calls:
            self._native(choice, said, change)
        if over:
            pieces += self._over(choice, said, change)
        self._watch(choice, text, said, change)
        return change, pieces

    def _found(self, called: list[Called], said: _Said, stem: Callable[[], str]) -> list[dict[str, Any]]:
        """Pieces of the calls that the text had."""
        made = []
        for call in called:
            if not self._asked.is_forced(call.name):
                raise self._asked.no_call()
            if self._asked.single and said.calls:
                self._mend(SINGLE)
                continue
            made.append({"index": said.calls, **call_of(said.calls, stem(), call)})
            said.calls += 1
            self._mend(WRITTEN)
        return made

    def _native(self, choice: ChunkChoice, said: _Said, change: dict[str, Any]) -> None:
        """Calls that came as such: of several, one alone where one was asked for."""
        kept = []
        for number, call in enumerate(choice.delta.tool_calls or ()):
            place = call.index if isinstance(call.index, int) else 0
            if self._asked.single and place > 0:
                self._mend(SINGLE)
                continue
            if call.function is not None and call.function.name and not self._asked.is_forced(call.function.name):
                raise self._asked.no_call()
            kept.append(number)
            said.native = max(said.native, place + 1)
            piece = (call.function.arguments if call.function else None) or ""
            said.arguments.setdefault(place, []).append(piece)
        if len(kept) < len(choice.delta.tool_calls or ()):
            change["kept_calls"] = kept

    def _over(self, choice: ChunkChoice, said: _Said, change: dict[str, Any]) -> list[dict[str, Any]]:
        """What a choice that ends lacks: pieces that make the arguments of its calls JSON, and the right reason."""
        if said.calls and choice.finish_reason == "stop":
            change["finish_reason"] = "tool_calls"
        pieces: list[dict[str, Any]] = []
        if choice.finish_reason == "length":
            return pieces
        for place, parts in said.arguments.items():
            arguments = "".join(parts)
            rest = rest_of(arguments or "{}")
            if rest is None:
                raise NoAnswer("the arguments of a call are no JSON object")
            if rest:
                pieces.append({"index": place, "function": {"arguments": rest}})
                self._mend(REPAIRED)
        return pieces

    def _watch(self, choice: ChunkChoice, text: str, said: _Said, change: dict[str, Any]) -> None:
        """See whether the choice keeps what was promised, as far as it has come. Raises NoAnswer if it does not."""
        reason, called = choice.finish_reason, said.calls or said.native
        free = called or reason in ("length", "content_filter") or choice.delta.refusal
        if self._asked.view.must_call and not free and reason is not None:
            raise self._asked.no_call()
        if free:
            said.kept = True
        elif self._asked.view.shape is not None:
            self._watch_shape(text, said, change, over=reason is not None)

    def _watch_shape(self, text: str, said: _Said, change: dict[str, Any], *, over: bool) -> None:
        """The same for JSON: how it begins, and, when it is *over*, all of it, with what closes it."""
        begins = "" if said.kept else "".join((*said.said, text)).lstrip()[:1]
        said.said.append(text)
        if begins and self._asked.object_like and begins not in "{[":
            raise self._asked.broken_shape()
        said.kept = said.kept or bool(begins) or over
        if not over:
            return
        whole = "".join(said.said)
        if rest := rest_of(whole):
            change["content"] = text + rest
            whole += rest
            self._mend(REPAIRED)
        found, repaired = read_json(whole)
        if whole.strip() and (repaired or not self._asked.keeps_shape(found)):
            raise self._asked.broken_shape()

    def _mend(self, what: str) -> None:
        if what not in self.mended:
            self.mended.append(what)


def _put(choice: dict[str, Any], change: dict[str, Any]) -> None:
    """Change *choice* of a chunk."""
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        delta = choice["delta"] = {}
    kept = change.pop("kept_calls", None)
    if kept is not None:
        delta["tool_calls"] = [delta["tool_calls"][number] for number in kept]
        if not kept:
            del delta["tool_calls"]
    if "finish_reason" in change:
        choice["finish_reason"] = change.pop("finish_reason")
    delta.update(change)


def _calling(index: int, calls: list[dict[str, Any]]) -> dict[str, Any]:
    return {"index": index, "delta": {"tool_calls": calls}, "finish_reason": None}


def _says_more(fields: dict[str, Any]) -> bool:
    """Whether a chunk has anything beside the calls that were found in it."""
    if fields.get("usage"):
        return True
    return any(choice.get("finish_reason") or any((choice.get("delta") or {}).values()) for choice in fields["choices"])


def _step(fields: dict[str, Any]) -> Step:
    data = encode(fields)
    return Step(msgspec.json.decode(data, type=Chunk), data)
