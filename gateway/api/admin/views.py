"""
What ``/admin/v1`` shows, as values: for the page, the command line and programs of one's own.

Moments are unix seconds, durations seconds. Nothing here holds a prompt, an answer or a key.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gateway.catalog.standing import SourceState
from gateway.quota.nouns import LevelView


class Left(Struct, frozen=True, kw_only=True):
    """How many more *answers* about are left for requests that need *capability*, before quotas open again at *until*."""

    capability: str  # chat, tools, vision, audio, embeddings, …; "private" is chat that no source trains on
    answers: int | None  # None: without bound (a local machine)
    until: float | None
    said: str  # "about 1 940 answers until 09:00 Pacific"


class Overview(Struct, frozen=True, kw_only=True):
    """What the page and ``freeway quota`` begin with. *next_step* is the one thing to do, empty if there is none."""

    version: str
    now: float
    started: float
    status: Literal["ok", "degraded", "starting", "no source"]
    problems: list[str]
    next_step: str
    left: list[Left]
    spent: float  # dollars since the records begin
    credit: float  # dollars taken from free credits
    saved: float  # dollars that the same tokens would have cost
    store: str
    replicas: int
    live: int  # requests that are being served now
    waiting: int


class Free(Struct, frozen=True, kw_only=True):
    """How far it is known that nothing costs, and why: *because* was read at *since* from *source*."""

    level: Literal["proven", "promised", "not knowable"]
    because: str
    source: str = ""
    since: float | None = None


class Source(Struct, frozen=True, kw_only=True):
    """A provider and the account there. *reason* says why it is in its *state*, *remedy* what a person can do about it."""

    name: str
    title: str
    state: SourceState
    reason: str
    remedy: str
    key: Literal["none needed", "set", "missing"]
    key_variable: str | None
    key_from: str  # "environment", "keys.env", …; empty: none is set
    get_a_key: str  # the page that makes one
    free: Free | None
    trains: Literal["yes", "no", "unknown"]
    prompts: str  # what becomes of prompts, in words
    models: int
    buckets: list[LevelView]
    looked_at: float | None


class Model(Struct, frozen=True, kw_only=True):
    """A deployment: a model as one account serves it. *available* now, else *why_not*."""

    deployment: str
    model: str
    provider: str
    operations: list[str]
    capabilities: list[str]
    context: int | None
    max_output: int | None
    trains: Literal["yes", "no", "unknown"]
    free: Free
    available: bool
    why_not: str
    opens_at: float | None


class Attempt(Struct, frozen=True, kw_only=True):
    """A deployment that was asked, and what came of it: ``served``, or the class of a failure and what was said."""

    deployment: str
    outcome: str
    message: str


class RequestView(Struct, frozen=True, kw_only=True):
    """A request, never with its prompt. *state* is ``waiting``, ``serving``, or how it ended."""

    id: str
    at: float
    client: str
    asked: str  # the model it asked for
    operation: str
    state: str
    status: int | None
    deployment: str | None
    model: str | None
    attempts: list[Attempt]
    waited: float
    first_content: float | None
    took: float | None
    prompt_tokens: int | None
    output_tokens: int | None
    tokens_per_second: float | None


class Change(Struct, frozen=True, kw_only=True):
    """Something about a model or an account is not as it was."""

    kind: str
    name: str
    detail: str
    at: float


class LimitView(Struct, frozen=True, kw_only=True):
    """A limit of a client, in the notation of ``limits``, and how much of it is used in the window that runs."""

    limit: str
    used: float
    remaining: float
    resets_at: float | None


class ClientView(Struct, frozen=True, kw_only=True):
    """One that may call. *declared* in the configuration file, else made by a command and kept in the store."""

    name: str
    declared: bool
    priority: Literal["low", "normal", "high"]
    no_train: bool
    models: list[str]
    providers: list[str]
    limits: list[LimitView]
    wait: float | None
    max_wait: float | None
    share: float | None
    expires: float | None
    requests: int  # in the last 24 hours
    tokens: int
    last_seen: float | None
    embeddings: str | None = None  # the model that `auto` means where it asks for vectors; None: it never did


class EmbeddingChoice(Struct, frozen=True, kw_only=True):
    """The model that ``auto`` means from now on where the client *name* asks for vectors, and which it *was*; None: not chosen."""

    name: str
    model: str | None
    was: str | None


class Forgotten(Struct, frozen=True, kw_only=True):
    """The *names* of clients that were revoked, and are now forgotten. *open*: requests without a key are taken."""

    names: list[str]
    open: bool


class NewKey(Struct, frozen=True, kw_only=True):
    """A client's key, shown once, when it is made."""

    name: str
    key: str


class UsageRow(Struct, frozen=True, kw_only=True):
    """What was used by one *name* of what was asked for: a client, a model, a provider or a day (``2026-11-27``, UTC)."""

    name: str
    requests: int
    failed: int
    prompt_tokens: int
    output_tokens: int
    saved: float


class Point(Struct, frozen=True, kw_only=True):
    """What happened in the *seconds* from *at*: for plots."""

    at: float
    served: dict[str, int]  # by provider
    refused: int
    retried: int  # attempts that failed before another source served: refusals that no caller saw
    waited: float  # the mean of those that waited
    waiters: int
    prompt_tokens: int
    output_tokens: int
    used: dict[str, float]  # requests that calendar quotas counted, by provider
    lost: dict[str, float]  # requests of calendar quotas that were left when they were reset, by provider


class Series(Struct, frozen=True, kw_only=True):
    """Points in order of time, each of so many *seconds*."""

    seconds: float
    points: list[Point]


class ConfigRow(Struct, frozen=True, kw_only=True):
    """A setting that differs from what is shipped, or any with ``all``: *value* as TOML (secrets as ``***``), and where it comes from."""

    key: str
    value: str
    source: str  # "shipped", "config.toml:12", "keys.env", ".env", "environment", "flag"


class SetupSource(Struct, frozen=True, kw_only=True):
    """What a source would give, for who sets up: *gives* a day by capability, whether it trains, what could cost, where the key is made."""

    name: str
    title: str
    key: Literal["none needed", "set", "missing"]
    key_variable: str | None
    get_a_key: str
    gives: str
    trains: str
    could_cost: str
    near_misses: list[str]  # variables that are set and are not this one


class KeyTried(Struct, frozen=True, kw_only=True):
    """What the provider said to a key. It is stored where it was *accepted*, or where nobody could say (*accepted* is None)."""

    accepted: bool | None
    said: str
    stored: str  # where: a path; empty: it was not


class ConnectView(Struct, frozen=True, kw_only=True):
    """How a program is pointed at this gateway: the *files* it would write (path → text), or *steps* to do by hand."""

    program: str
    title: str
    files: dict[str, str]
    environment: dict[str, str]
    steps: list[str]
