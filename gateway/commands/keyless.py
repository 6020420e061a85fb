"""The question that is asked once: whether prompts may leave this machine for sources that need no key."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable

from gateway.settings import Configured
from gateway.settings.storing import store
from gateway.settings.variables import KEYLESS

WITHIN = 10.0
"""Seconds within which the question is to be answered; then the answer is no."""

Answer = Callable[[float], str | None]
"""What a person types within so many seconds; None: nothing."""


def on_a_terminal() -> bool:
    """Whether a person is there who can be asked."""
    streams = (sys.stdin, sys.stderr)
    return sys.platform != "win32" and all(stream is not None and stream.isatty() for stream in streams)


def typed(seconds: float) -> str | None:
    """A line from the terminal; None if it does not come within so many *seconds*."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return sys.stdin.readline() if ready else None


def ask_once(configured: Configured, say: Callable[[str], None], answer: Answer = typed) -> bool:
    """
    Ask whether prompts may go to sources that need no key, if that is not decided; the answer is stored. True if something was
    decided now.
    """
    titles = [spec.title for spec in configured.settings.provider.values() if spec.keyless and not spec.enabled]
    if not titles or KEYLESS in configured.origins:
        return False
    say(f"Without any key these could answer, too: {', '.join(titles)}. Prompts leave this machine for them.")
    say(f"May they? [y/N, within {WITHIN:.0f} s; {KEYLESS} changes it later] ")
    agreed = (answer(WITHIN) or "").strip().lower() in ("y", "yes")
    try:
        store(configured.keys_file, KEYLESS, "1" if agreed else "0")
    except OSError as exc:
        say(f"The answer cannot be stored ({configured.keys_file}: {exc.strerror}), so it is no. {KEYLESS}=1 says yes.")
        return False
    say("They may." if agreed else "They may not.")
    return True
