"""The end of the gateway's life, in two steps: it begins, and it is over. What has to be done then is registered here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class Drain:
    """*begun*: nothing new is taken on, what has begun is finished."""

    def __init__(self) -> None:
        self.begun = False
        self._at_begin: list[Callable[[], None]] = []
        self._at_end: list[Callable[[], Awaitable[None]]] = []

    def on_begin(self, do: Callable[[], None]) -> None:
        """*do* when it begins."""
        self._at_begin.append(do)

    def on_end(self, do: Callable[[], Awaitable[None]]) -> None:
        """*do* when nothing is left to be finished."""
        self._at_end.append(do)

    def begin(self) -> None:
        """From now on."""
        if not self.begun:
            self.begun = True
            for do in self._at_begin:
                do()

    async def end(self) -> None:
        """It is over."""
        for do in self._at_end:
            await do()
