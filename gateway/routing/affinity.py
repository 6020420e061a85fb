"""
Where a conversation is at home: with the deployment that has its beginning in a prompt cache, where the next turn is read
in no time, and costs less of a quota that does not count what was cached; and, while tools are called, with the model that
called them, which knows why, and whose signatures mean nothing to others.

A conversation is known by the id that its caller gives it, else by how it begins: each turn repeats the ones before.
Kept by each process for itself; what is forgotten costs a prompt that is read once more. Moments come in as arguments.
"""

from __future__ import annotations

from collections import OrderedDict

from providers.chat import Message

MOST = 4096
"""Conversations that are remembered, the latest."""

LONG = 1000
"""Tokens of a prompt from which on a cache is worth staying for."""

TOOLS_FOR = 600.0
"""Seconds for which a tool may work before the model that called it is no longer waited for."""

_LOOKED_AT = 2000
"""Characters of each of the first messages that tell a conversation from others."""


class Sessions:
    """What was served last in each conversation."""

    def __init__(self) -> None:
        self._warm: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def warm(self, session: str, now: float) -> str:
        """The name of the deployment that has *session* in its cache; empty if there is none."""
        name, until = self._warm.get(session, ("", 0.0))
        return name if now < until else ""

    def served(self, session: str, name: str, until: float) -> None:
        """The deployment *name* served a turn, and has it in its cache *until* then."""
        if not session:
            return
        self._warm[session] = (name, until)
        self._warm.move_to_end(session)
        if len(self._warm) > MOST:
            self._warm.popitem(last=False)


def in_turn(messages: list[Message]) -> bool:
    """Whether a conversation is in the midst of a turn: a tool has just answered, or the last call of one has a signature."""
    last = messages[-1]
    if last.role in ("tool", "function"):
        return True
    called = next((message.tool_calls for message in reversed(messages) if message.tool_calls), None)
    return any(call.extra_content is not None for call in called or ())


def session_of(client: str, given: str, messages: list[Message]) -> str:
    """The name of the conversation that *client* calls *given*, or, if that is empty, of the one that begins so."""
    if given:
        return f"{client} {given}"
    begins: list[object] = []
    for message in messages:
        text = message.text()
        begins += (message.role, len(text), text[:_LOOKED_AT])
        if message.role == "user":
            break
    return f"{client} #{hash(tuple(begins)):x}"
