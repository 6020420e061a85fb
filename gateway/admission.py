"""The waiting room: bounded, and only for those who will be served in time."""

from __future__ import annotations

from gateway.clock import Clock


class WaitingRoom:
    """*room* requests may wait at once."""

    def __init__(self, clock: Clock, room: int) -> None:
        self._clock = clock
        self._room = room
        self.waiting = 0

    async def wait(self, opens_at: float, deadline: float) -> bool:
        """
        Return True at *opens_at*; False at once if that lies beyond *deadline* or the room is full.

        Moments are unix seconds.
        """
        now = self._clock.now()
        if opens_at > deadline or now >= deadline or self.waiting >= self._room:
            return False
        self.waiting += 1
        try:
            await self._clock.sleep(max(0.0, opens_at - now))
        finally:
            self.waiting -= 1
        return True
