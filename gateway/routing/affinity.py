"""
Which deployment has the beginning of a conversation in its prompt cache: there, the next turn is read in no time, and
costs less of a quota that does not count what was cached.

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
