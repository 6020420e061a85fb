"""How a caller wants to be served, beyond what the body of a request can say: our own headers."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import Struct

from gateway.api.auth import ANYBODY, NETWORK, RawHeaders
from gateway.settings import Requests
from gateway.settings.clients import PRIORITIES, Client
from gateway.words import BadRequest

_LONGEST_WAIT = 3600.0
"""Seconds that a caller may ask us to wait at most, unless its client has another bound."""

_MAX_WAIT, _PRIORITY = b"x-freeway-max-wait", b"x-freeway-priority"
_TIMEOUTS = {b"x-stainless-read-timeout", b"x-stainless-timeout"}
"""Seconds after which the caller's own package gives up: OpenAI's and Anthropic's say it, in Python and in TypeScript."""

_SUBSTITUTE, _RESUME, _TRACE = b"x-freeway-substitute", b"x-freeway-resume", b"x-freeway-trace"
_SESSION = {b"x-session-id", b"x-session-affinity"}  # as some client programs send them
_LONGEST_NAME = 200
_TRUTH = {b"true": True, b"1": True, b"false": False, b"0": False}


class Options(Struct, frozen=True, kw_only=True):
    """
    How one request of *client*, which came *now*, is to be served (moments are unix seconds). *caller* is the name under
    which it waits, *deadline* until when. A higher *priority* goes first of those that wait. *substitute*: another model
    may serve where the one asked for is gone. *resume*: another deployment may continue a stream that broke. *traced*: the
    answer says in a header what was passed over. *says_wait*: the deadline is the caller's own word. At *gives_up_at* it
    stops waiting for the head of an answer, if it says so. *session* is what the caller calls the conversation;
    *output_tokens* are reserved for an answer that the caller does not bound. *chores* are words by which a program's own
    small requests are known. *sparing* is of what the client has used its share: providers and ``provider/model``. *address* is what the path says where a route leaves it open,
    *query* what follows it.
    """

    id: str
    now: float
    client: Client
    caller: str
    deadline: float
    priority: int
    substitute: bool
    resume: bool
    traced: bool
    session: str
    output_tokens: int
    chores: tuple[str, ...] = ()
    sparing: frozenset[str] = frozenset()
    says_wait: bool = False
    gives_up_at: float = math.inf
    address: str = ""
    query: str = ""

    def at(self, scope: Any) -> Options:
        """The same for a request to the address in the ASGI *scope*."""
        path, query = scope.get("path_params", {}), scope.get("query_string", b"")
        if not path and not query:
            return self
        address = str(next(iter(path.values()), "")).lstrip("/")
        return msgspec.structs.replace(self, address=address, query=query.decode("latin-1"))


def options_of(
    headers: RawHeaders, defaults: Requests, client: Client, caller: str, request: str, now: float
) -> Options:
    """
    What *headers* say, else what *client* is allowed, else *defaults*, for the request with the id *request* that came *now*; a
    priority never above the client's own, nor a longer wait.

    Raises BadRequest, naming the header.
    """
    longest = max(_LONGEST_WAIT, client.wait or 0.0) if client.max_wait is None else client.max_wait
    priority = PRIORITIES[client.priority]
    max_wait, says_wait = (defaults.max_wait, False) if client.wait is None else (client.wait, True)
    session, gives_up_in = "", math.inf
    truths = {_SUBSTITUTE: defaults.substitute, _RESUME: defaults.resume, _TRACE: False}
    for name, value in headers:
        if name == _MAX_WAIT:
            max_wait, says_wait = _max_wait(value), True
        elif name in _TIMEOUTS:
            gives_up_in = min(gives_up_in, _timeout(value))
        elif name in _SESSION:
            session = value[:_LONGEST_NAME].decode("latin-1")
        elif name in truths:
            truths[name] = _truth(name, value)
        elif name == _PRIORITY:
            asked = PRIORITIES.get(value.decode("latin-1").lower())
            if asked is None:
                raise BadRequest("x-freeway-priority: expected low, normal or high", param="x-freeway-priority")
            priority = min(priority, asked)
    return Options(
        id=request,
        now=now,
        client=client,
        caller=caller,
        deadline=now + min(max_wait, longest),
        priority=priority,
        substitute=truths[_SUBSTITUTE],
        resume=truths[_RESUME],
        traced=truths[_TRACE],
        session=session,
        output_tokens=defaults.output_tokens,
        chores=defaults.chores,
        says_wait=says_wait,
        gives_up_at=now + gives_up_in,
    )


def caller_of(client: Client, scope: Any) -> str:
    """The name under which it waits: the client's, or, where it has no key, the address that it calls from."""
    peer = scope.get("client")
    return f"{client.name} {peer[0]}" if client in (ANYBODY, NETWORK) and peer else client.name


def _max_wait(value: bytes) -> float:
    try:
        return max(0.0, float(value))
    except ValueError as exc:
        raise BadRequest("x-freeway-max-wait: expected seconds", param="x-freeway-max-wait") from exc


def _timeout(value: bytes) -> float:
    """Seconds; infinity if that is no number: a package may say what it likes in its own header."""
    try:
        seconds = float(value)
    except ValueError:
        return math.inf
    return seconds if seconds > 0 else math.inf


def _truth(name: bytes, value: bytes) -> bool:
    if value.lower() not in _TRUTH:
        raise BadRequest(f"{name.decode()}: expected true or false", param=name.decode())
    return _TRUTH[value.lower()]
