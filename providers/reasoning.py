"""
Reasoning that a model writes into its answer, between marks of its own, taken apart from what it says.

Some chat templates open the thought themselves, so that only the closing mark is ever written. In a whole answer that
is plain to see; in a stream it must be known beforehand (``opens_in_reasoning``). Harmony (gpt-oss) and Gemma 4 mark what
is said, too, as a channel beside that of their thoughts.
"""

from __future__ import annotations

from msgspec import Struct

OPENING, CLOSING = "<think>", "</think>"

UNOPENED = "reasoning that nothing opened"
UNCLOSED = "no reasoning where some was expected"
"""What is told of an answer that shows whether its model's answers begin inside a thought."""


class Mark(Struct, frozen=True):
    """What begins a part of an answer, what ends it, and whether the part is reasoning."""

    opening: str
    closing: tuple[str, ...]
    reasoning: bool = True


_TAGS = ("think", "thinking", "thought", "reasoning", "mm:think", "seed:think")
_HARMONY = ("<|channel|>", "<|start|>assistant<|channel|>")

MARKS = (
    *(Mark(f"<{tag}>", (f"</{tag}>",)) for tag in _TAGS),
    Mark("[THINK]", ("[/THINK]",)),
    Mark("◁think▷", ("◁/think▷",)),
    Mark("<|channel>thought", ("<channel|>",)),
    *(Mark(f"{channel}analysis<|message|>", ("<|end|>",)) for channel in _HARMONY),
    *(Mark(f"{channel}final<|message|>", ("<|return|>", "<|end|>"), False) for channel in _HARMONY),
    *(Mark(f"{channel}commentary<|message|>", ("<|end|>",), False) for channel in _HARMONY),
)
"""Those of Qwen, DeepSeek and most others, MiniMax, Seed, Magistral, Kimi, Gemma 4, and gpt-oss."""

_CLOSINGS = tuple(closing for mark in MARKS if mark.reasoning for closing in mark.closing)
_FIRST = frozenset({"", *(mark.opening[0] for mark in MARKS)})


def split_reasoning(content: str, opens_in_reasoning: bool = False, *, cut: bool = False) -> tuple[str, str]:
    """A whole answer as (thought, said). *cut*: its length was bounded, so a thought may lack its closing mark."""
    return ReasoningSplitter(opens_in_reasoning).feed(content, last=True, cut=cut)


def closes_alone(content: str) -> bool:
    """Whether *content*, of which nothing opens a thought, has the mark that closes one on a line of its own."""
    before, closing, after = content.partition(CLOSING)
    if not closing or OPENING in before:
        return False
    return before.rstrip(" ")[-1:] in ("", "\n") and after.lstrip(" ")[:1] in ("", "\n")


class ReasoningSplitter:
    """
    The same for an answer that comes in pieces, whose marks may be cut anywhere.

    Joined, the pieces are what ``split_reasoning`` makes of the whole. One case has no such answer: where a thought was
    taken for open and no mark ever closes it, the model did not think, and what was passed on as thought is said at the
    end, so that what is said is right in any case.
    """

    def __init__(self, opens_in_reasoning: bool = False) -> None:
        self._assumed = opens_in_reasoning
        self._within: Mark | None = None
        self._plain = False  # all that follows is said
        self._marked = False  # a part had a mark
        self._held = ""  # blanks and what may be the beginning of a mark
        self._began = False  # something of the part was not blank
        self._unproved: list[str] = []  # passed on as thought though no mark has shown it to be one
        self.unclosed = False  # a thought was taken for open, and was none

    def concerned(self, content: str | None) -> bool:
        """Whether the next piece may have to be taken apart; the common answer is no, and costs nothing."""
        if self._plain:
            return False
        if self._within is None and not self._held and not self._assumed and not self._marked:
            if content and content.lstrip()[:1] not in _FIRST:
                self._plain = True
            return bool(content) and not self._plain
        return bool(content) or self._within is not None or bool(self._held) or self._assumed

    def comes_apart(self) -> None:
        """The reasoning of this answer comes in a field of its own: none is to be looked for in what it says."""
        if self._unproved or (self._within is None and not self._marked):
            self._plain, self._within = True, None

    def feed(self, content: str, *, last: bool = False, cut: bool = False) -> tuple[str, str]:
        """One piece as (thought, said). With *last*, nothing is held back."""
        text, self._held = self._held + content, ""
        thought, said = list[str](), list[str]()
        while True:
            if self._plain:
                said.append(text)
                break
            if self._within is None:
                entered = self._enter(text, last=last)
                if entered is None:
                    break
                text = entered
                continue
            into = thought if self._within.reasoning else said
            before, closing, text = _cut(text, self._within.closing)
            if not closing:
                self._goes_on(before, thought, said, last=last, cut=cut)
                break
            into.append(self._trimmed(before.rstrip() if self._within.reasoning else before))
            self._within, self._assumed, self._marked = None, False, True
            self._unproved.clear()
        return "".join(thought), "".join(said)

    def _enter(self, text: str, *, last: bool) -> str | None:
        """What of *text* follows the mark that begins it, or all of it where none does; None: that is not known yet."""
        start = text.lstrip()
        mark = next((mark for mark in MARKS if start.startswith(mark.opening)), None)
        self._began = False
        if mark is not None:
            self._within, self._assumed = mark, False
            return start.removeprefix(mark.opening)
        if not last and any(mark.opening.startswith(start) for mark in MARKS):
            self._held = text
            return None
        if self._assumed:
            self._within = _ASSUMED
            return text
        self._plain = True
        return start if self._marked else text

    def _goes_on(self, text: str, thought: list[str], said: list[str], *, last: bool, cut: bool) -> None:
        """*text* is within a part that does not end in it."""
        assert self._within is not None
        if not last:
            kept = self._hold(text, self._within)
            (thought if self._within.reasoning else said).append(self._trimmed(kept))
        elif self._assumed and not cut:
            said.append("".join(self._unproved) + text)
            self._plain, self._within, self.unclosed = True, None, True
            self._unproved.clear()
        elif self._within.reasoning:
            thought.append(self._trimmed(text.rstrip()))
        else:
            said.append(text)

    def _hold(self, text: str, within: Mark) -> str:
        """*text* without an ending that may be the beginning of a closing mark, and without the blanks before it."""
        kept = text[: len(text) - beginning_at_the_end(text, within.closing)]
        if within.reasoning:
            kept = kept.rstrip()
        self._held = text[len(kept) :]
        if self._assumed:
            self._unproved.append(kept)
        return kept

    def _trimmed(self, text: str) -> str:
        """A thought begins without the blanks that set it apart."""
        if not self._began and (self._within is None or self._within.reasoning):
            text = text.lstrip()
            self._began = bool(text)
        return text


_ASSUMED = Mark("", _CLOSINGS)


def beginning_at_the_end(text: str, marks: tuple[str, ...]) -> int:
    """How many characters at the end of *text* may be the beginning of one of *marks*."""
    longest = min(len(text), max(map(len, marks)) - 1)
    for size in range(longest, 0, -1):
        tail = text[-size:]
        if any(len(mark) > size and mark.startswith(tail) for mark in marks):
            return size
    return 0


def _cut(text: str, marks: tuple[str, ...]) -> tuple[str, str, str]:
    """*text* at the first of *marks* in it, as ``str.partition`` cuts it."""
    found = min(((at, mark) for mark in marks if (at := text.find(mark)) >= 0), default=None)
    if found is None:
        return text, "", ""
    at, mark = found
    return text[:at], mark, text[at + len(mark) :]
