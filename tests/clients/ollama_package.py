"""
A program made with the Ollama package, as most in Python are: ``python ollama_package.py [FILE] TASK``.

The package has no way to wait or to shorten a conversation: the program does both, by the package's own errors.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ollama


def write_file(file_path: str, content: str) -> str:
    """
    Write a file.

    Args:
        file_path: where
        content: what
    """
    Path(file_path).write_text(content)
    return "written"


def main(task: str, read: str = "") -> None:
    (model,) = (one.model for one in ollama.list().models if one.model == "auto")
    assert model is not None
    assert "tools" in (ollama.show(model).capabilities or ())
    asked: list[Mapping[str, Any]] = [{"role": "user", "content": task}]
    conversation = [*([{"role": "user", "content": read}] if read else []), *asked]
    while True:
        try:
            calls, text = _streamed(model, conversation)
        except ollama.ResponseError as error:
            if error.status_code == 429:
                time.sleep(1)
            elif error.status_code == 400 and "context length" in error.error:
                conversation = list(asked)
            else:
                raise
            continue
        if not calls:
            sys.stdout.write(f"{text}\n")
            return
        conversation.append({"role": "assistant", "content": text, "tool_calls": calls})
        for call in calls:
            result = write_file(**call.function.arguments)
            conversation.append({"role": "tool", "content": result, "tool_name": call.function.name})


def _streamed(model: str, conversation: list[Mapping[str, Any]]) -> tuple[list[ollama.Message.ToolCall], str]:
    calls: list[ollama.Message.ToolCall] = []
    text = ""
    for piece in ollama.chat(model=model, messages=conversation, tools=[write_file], stream=True):
        calls += piece.message.tool_calls or []
        text += piece.message.content or ""
    return calls, text


if __name__ == "__main__":
    main(sys.argv[-1], Path(sys.argv[1]).read_text() if len(sys.argv) > 2 else "")
