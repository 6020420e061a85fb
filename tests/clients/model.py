"""
The model that client programs are given: it does what their user asks with the tools that they offer.

It has no state: what it does follows from the conversation that it is shown, as with a real model. So it goes on after
a program has shortened the conversation, from the summary that it wrote itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from providers.simulator.brain import Saying, Turn, View, instance

READ = "Read the notes."
TASK = "Write the word freeway into hello.txt"
TEXT = "freeway\n"
READ_ALL = "The notes are read."
DONE = "Done: hello.txt has the word."
LEFT = "What is left to do: write the word"
SUMMARY = f"The notes were read. {LEFT} freeway into hello.txt."

_SUMMARIZE = re.compile(r"summar|state_snapshot", re.IGNORECASE)
"""In the last words of a program that wants its conversation shortened."""

_WHOLE_FILES = "*file listing*"
"""By this aider says how it wants files: as text."""

_WRITERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "write": lambda path: {"filePath": str(path), "content": TEXT},  # OpenCode
    "Write": lambda path: {"file_path": str(path), "filepath": str(path), "content": TEXT},  # Claude Code; Continue
    "editor": lambda path: {"path": str(path), "new_text": TEXT},  # Cline
    "write_file": lambda path: {"file_path": str(path), "content": TEXT},  # Gemini CLI, Qwen Code, and our own
    "exec_command": lambda path: {"cmd": f"echo freeway > {path}"},  # Codex
}
_READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "read": lambda path: {"filePath": str(path)},
    "Read": lambda path: {"file_path": str(path)},
    "read_file": lambda path: {"file_path": str(path)},
    "exec_command": lambda path: {"cmd": f"cat {path}", "max_output_tokens": 10_000},
}


class Worker:
    """
    A model that works in *project*: it reads as many *notes* as there are, writes ``hello.txt`` and says that it is done.
    *seen* are the requests that it was sent.
    """

    def __init__(self, project: Path, notes: int = 0) -> None:
        self._project, self.notes = project, notes
        self.seen: list[View] = []

    def __call__(self, view: View) -> Saying:
        self.seen.append(view)
        return self._say(view)

    @property
    def goes_on_from_a_summary(self) -> bool:
        return any(LEFT in turn.text for view in self.seen for turn in view.turns)

    def _say(self, view: View) -> Saying:
        last = view.turns[-1] if view.turns else Turn("user")
        if view.schema is not None:
            return Saying(msgspec.json.encode(instance(view.schema)).decode())
        if _wants_a_summary(last):
            return Saying(f"<summary>{SUMMARY}</summary>")
        writer = next((name for name in _WRITERS if name in view.tools), None)
        if writer is None:
            return _in_text(view)
        return self._work(view, last, writer)

    def _work(self, view: View, last: Turn, writer: str) -> Saying:
        if last.is_result and (self._project / "hello.txt").exists():
            return Saying(DONE)
        results = sum(turn.is_result for turn in view.turns)
        reader = next((name for name in _READERS if name in view.tools), None)
        if reader and results < self.notes and not any(LEFT in turn.text for turn in view.turns):
            return Saying(calls=[(reader, _READERS[reader](self._project / f"notes{results + 1}.txt"))])
        if not any("hello.txt" in turn.text for turn in view.turns if not turn.is_result):
            return Saying(READ_ALL)
        arguments, known = _WRITERS[writer](self._project / "hello.txt"), view.tools[writer].get("properties", {})
        return Saying(
            calls=[(writer, {name: value for name, value in arguments.items() if name in known or not known})]
        )


def _wants_a_summary(last: Turn) -> bool:
    """Whether a program's *last* words want its conversation shortened: neither the task, nor what comes after a summary."""
    told = last.is_result or LEFT in last.text or TASK in last.text[-500:]
    return not told and _SUMMARIZE.search(last.text) is not None


def _in_text(view: View) -> Saying:
    """A file as aider wants it; else a title, or whatever a small job without tools is about."""
    if any(_WHOLE_FILES in turn.text for turn in view.turns):
        return Saying(f"{DONE}\n\nhello.txt\n```\n{TEXT}```\n")
    return Saying("A word in a file")
