"""
The requests that are being served and the last ones that were: for the page and ``GET /admin/v1/requests``. Never a prompt.

An observer on the way of every request, so it does little: some fields are set, and nothing is searched.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from gateway.events import Attempted, Began, Ended, Event, Leaving

KEPT = 10_000
"""Requests that are remembered once they are over."""

_LONGEST = 200  # characters of what came from outside


class Seen(Struct, kw_only=True):
    """
    A request: ``waiting`` (for capacity or a source), ``serving`` (by *deployment*), or how it ended. *at* is when it came (unix
    seconds), *attempts* those that failed: the deployment, the class of the failure, what was said.
    """

    id: str
    at: float
    client: str
    asked: str
    operation: str = ""
    state: str = "waiting"
    status: int | None = None
    deployment: str | None = None
    model: str | None = None
    attempts: list[tuple[str, str, str]] = field(default_factory=list)
    waited: float = 0.0
    first_content: float | None = None
    took: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None


class Recent:
    """The observer. *changed* hears the id of each request that began, went on or ended, while it is set."""

    changed: Callable[[str], None] | None = None

    def __init__(self, kept: int = KEPT) -> None:
        self._live: dict[str, Seen] = {}
        self._over: dict[str, Seen] = {}  # in the order in which they were over
        self.kept = kept

    def __call__(self, event: Event) -> None:
        match event:
            case Leaving() if event.request in self._live:
                found = self._live[event.request]
                found.state, found.deployment = "serving", event.deployment
            case Began():
                self._live[event.request] = Seen(
                    id=event.request,
                    at=event.at,
                    client=event.client,
                    asked=event.asked[:_LONGEST],
                    operation=event.operation,
                )
            case Ended():
                self._end(event)
            case Attempted() if event.request in self._live:
                found = self._live[event.request]
                found.attempts.append((event.deployment, event.failure, event.message[:_LONGEST]))
                found.state, found.deployment = "waiting", None
            case _:
                return
        if self.changed is not None:
            self.changed(event.request)

    @property
    def live(self) -> int:
        """How many are being served."""
        return len(self._live)

    def get(self, request: str) -> Seen | None:
        """The request with that id, if it is remembered."""
        return self._live.get(request) or self._over.get(request)

    def all(self) -> list[Seen]:
        """Every request that is remembered, in no order that says anything."""
        return [*self._over.values(), *self._live.values()]

    def _end(self, event: Ended) -> None:
        found = self._live.pop(event.request, None)
        if found is None:  # it was refused before it was understood
            found = Seen(id=event.request, at=event.at - event.took, client=event.client, asked=event.asked[:_LONGEST])
        found.state, found.status = event.outcome, event.status
        found.deployment, found.model = event.deployment, event.model
        found.waited, found.first_content, found.took = event.waited, event.first_content, event.took
        if event.usage is not None:
            found.prompt_tokens, found.output_tokens = event.usage.prompt_tokens, event.usage.completion_tokens
        self._over[event.request] = found
        if len(self._over) > self.kept:
            del self._over[next(iter(self._over))]
