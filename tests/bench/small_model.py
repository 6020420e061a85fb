"""
``python -m tests.bench.small_model``: twelve everyday questions to the small model of a fresh machine, through the real gateway.

It needs the extra ``embedded`` and, the first time, a way to the weights.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from msgspec import Struct

from providers.loops import until_loop
from tests.acceptance.process import serving

QUESTIONS = {
    "Say hello.": r"hello|\bhi\b",
    "What is the capital of France?": r"\bparis\b",
    "How do I boil an egg?": r"\bwater\b",
    "Who wrote Romeo and Juliet?": r"shakespeare",
    "What is 7 times 8?": r"\b56\b",
    "Why is the sky blue?": r"scatter",
    "How many days are in a week?": r"\bseven\b|\b7\b",
    "What is the largest planet in the solar system?": r"\bjupiter\b",
    "How do you say 'good morning' in French?": r"\bbonjour\b",
    "Name three primary colors.": r"red.*blue|blue.*red",
    "What does HTTP stand for?": r"hypertext transfer protocol",
    "Write a short poem about the sea.": r"\bsea\b|waves?\b",
}
"""What is asked, and what a right answer has in it (which a wrong one may have, too: a model of this size is read by eye)."""


class Told(Struct, frozen=True):
    """What came of a *question*: *text* of so many *tokens*, whether it has what a *right* answer has, and whether it *loops*."""

    question: str
    text: str
    tokens: int
    right: bool
    loops: bool
    seconds: float


def asked(origin: str, questions: dict[str, str] = QUESTIONS) -> Iterator[Told]:
    """What the gateway at *origin* answers to each."""
    with httpx.Client(base_url=origin, timeout=600) as client:
        for question, right in questions.items():
            begun = time.monotonic()
            body = {"model": "auto", "messages": [{"role": "user", "content": question}]}
            answer = client.post("/v1/chat/completions", json=body).raise_for_status().json()
            text, tokens = answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]
            found = re.search(right, text, re.IGNORECASE | re.DOTALL) is not None
            yield Told(question, text, tokens, found, until_loop(text) != text, time.monotonic() - begun)


def main() -> None:
    """Ask them, and print what came of it."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    with TemporaryDirectory() as home, serving(Path(home), XDG_CACHE_HOME=cache) as (origin, *_):
        told = []
        for one in asked(origin):
            told.append(one)
            marks = f"{'right' if one.right else '     '} {'loops' if one.loops else '     '}"
            sys.stdout.write(f"{marks} {one.tokens:4} tokens {one.seconds:5.1f} s  {one.question}\n    {one.text!r}\n")
    right, loops = sum(one.right for one in told), sum(one.loops for one in told)
    tokens, longest = sum(one.tokens for one in told), max(one.tokens for one in told)
    sys.stdout.write(f"{right} of {len(told)} right, {loops} loops, {tokens} tokens in all, {longest} in the longest\n")


if __name__ == "__main__":
    main()
