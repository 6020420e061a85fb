"""What the pipeline tells observers: frozen values. Observers watch, they do not take part."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from providers.chat import Usage


class Began(Struct, frozen=True):
    """A request of *client* was understood, and is about to be served: it *asked* for a model. An ``Ended`` follows."""

    request: str
    client: str
    asked: str
    operation: str
    at: float  # unix seconds, when it came


class Attempted(Struct, frozen=True):
    """A provider failed a request. *failure* is the class's name."""

    request: str
    deployment: str
    failure: str
    message: str


class Hedged(Struct, frozen=True):
    """A second source, *deployment*, was asked, too, as the first said nothing for too long. It *won* if it served."""

    request: str
    deployment: str
    outcome: Literal["won", "lost"]


class Ended(Struct, frozen=True, kw_only=True):
    """
    A request is over. *outcome* is ``served``, ``interrupted``, ``left`` (by its caller) or an error's code.

    Times are in seconds: to the first content, *waited* for capacity, *overhead* (what the gateway itself took; None if
    no source served), and altogether. *model* is the canonical name of what served. *dollars* is what the provider says it
    cost, *saved* what it would have cost where the model is paid for.
    """

    request: str
    client: str
    asked: str
    outcome: str
    status: int
    deployment: str | None
    attempts: int
    first_content: float | None
    took: float
    usage: Usage | None
    dollars: float = 0.0
    model: str | None = None
    waited: float = 0.0
    overhead: float | None = None
    saved: float = 0.0
    passed_over: int = 0  # better places that had no room when the serving one was reserved
    at: float = 0.0  # unix seconds, when it was over


class KeyRefused(Struct, frozen=True):
    """A caller at the address *peer* sent no client key, or a wrong one, to the *path* of ours."""

    path: str
    peer: str


class Withdrawn(Struct, frozen=True):
    """A deployment or an account was taken out; *alarm* if a person should look."""

    name: str
    because: str
    until: float
    alarm: bool


ChangeKind = Literal[
    "appeared",
    "vanished",
    "became paid",
    "withdrawn",
    "readmitted",
    "capability gained",
    "capability lost",
    "limit changed",
    "charged",
]


_SAME_WITHIN = 3600.0
"""Seconds within which a change that several gateways notice is one."""


class Changed(Struct, frozen=True):
    """Something about a model or an account is not as it was. *name* is a deployment's or an account's."""

    kind: ChangeKind
    name: str
    detail: str
    at: float  # unix seconds

    @property
    def key(self) -> str:
        """The same for two gateways that noticed the same change."""
        return f"{int(self.at / _SAME_WITHIN)} {self.kind} {self.name} {self.detail}"[:300]


class Reloaded(Struct, frozen=True):
    """Settings were taken in: the keys that are set otherwise *now*, and those that count with the next start."""

    now: tuple[str, ...]
    later: tuple[str, ...]


class ReloadRefused(Struct, frozen=True):
    """What is set now has *mistakes*: everything stays as it was."""

    mistakes: tuple[str, ...]


class Discovered(Struct, frozen=True):
    """A provider's list was read, with so many free models, or could not be had."""

    provider: str
    models: int
    problem: str | None


class StoreChanged(Struct, frozen=True):
    """
    The ledger's store was lost, for the reason that *lost* gives, or is there (None). *set_aside* are the buckets whose
    value in it could not be read: they are closed until their window is over.
    """

    store: str
    lost: str | None
    replicas: int
    set_aside: tuple[str, ...] = ()


class StateChanged(Struct, frozen=True):
    """What the gateways of one store know besides quotas cannot be exchanged, for the reason that *lost* gives; None: it can."""

    lost: str | None


class LoopFailed(Struct, frozen=True):
    """
    A background loop raised *error* (with its traceback): *failures* times in a row by now. It starts again in
    *restarts_in* seconds.
    """

    loop: str
    error: str
    failures: int
    restarts_in: float


class EntriesUnreadable(Struct, frozen=True):
    """
    What another version, or a fault, wrote under *keys* of a topic of the state cannot be read. It stays where it is,
    and is left out here. *because* is what is wrong with the first of them.
    """

    topic: str
    keys: tuple[str, ...]
    because: str


class StateSetAside(Struct, frozen=True):
    """The state file was damaged: it is kept under the name *kept_as*, and an empty one has taken its place."""

    file: str
    kept_as: str
    because: str


class Counted(Struct, frozen=True, kw_only=True):
    """
    A provider counted what an answer took. Dollars: *spent* money, what is taken from a free monthly *credit*, and what the
    same tokens would have cost where the model is paid for (*saved*; None: no such price is known).
    """

    provider: str
    model: str
    spent: float
    credit: float
    saved: float | None
    at: float  # unix seconds


class Leaving(Struct, frozen=True):
    """A call is about to leave for *deployment*; a ``Left`` follows, whatever comes of it. *request* is the id of its request."""

    deployment: str
    request: str = ""


class ProofRead(Struct, frozen=True):
    """Why a deployment was free: what was read, where, and when (unix seconds)."""

    kind: str
    because: str
    source: str
    since: float


class Left(Struct, frozen=True, kw_only=True):
    """
    What came of a call that was to leave. *at* is when its debit was made (unix seconds), *debits* what stays debited, by bucket,
    *told* the dollars that its answer says it cost (None: it says nothing). *failure* is the class of what went wrong; one that was
    not *sent* never left.
    """

    request: str
    deployment: str
    at: float
    proof: ProofRead
    debits: dict[str, float]
    sent: bool = True
    failure: str = ""
    told: float | None = None


class Bug(Struct, frozen=True):
    """
    Something went wrong that no code foresaw: *where* (a path, a task), with the traceback. *request* is the id of the
    request that met it, empty if there is none.
    """

    where: str
    traceback: str
    request: str = ""


Event = (
    Began
    | Attempted
    | Bug
    | Counted
    | Leaving
    | Left
    | Hedged
    | Ended
    | KeyRefused
    | Withdrawn
    | Discovered
    | Changed
    | StoreChanged
    | StateChanged
    | LoopFailed
    | EntriesUnreadable
    | StateSetAside
    | Reloaded
    | ReloadRefused
)
Observer = Callable[[Event], None]


class Announcer:
    """Tells every observer. One that has a bug stops neither what happened nor the others, which hear of the bug."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def add(self, observer: Observer) -> None:
        """From now on *observer* is told, too."""
        self._observers = (*self._observers, observer)

    def __call__(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except Exception as exc:  # noqa: BLE001 - an observer watches, it takes no part
                if not isinstance(event, Bug):
                    where = f"the observer {type(observer).__name__}"
                    self(Bug(where, "".join(traceback.format_exception(exc))))
