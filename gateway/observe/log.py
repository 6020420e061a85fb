"""One line for each request, and one for each thing that a person may want to know. Prompts and keys are in none."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, TextIO, cast

import msgspec
import structlog

from gateway.events import (
    Attempted,
    Bug,
    Changed,
    Discovered,
    Ended,
    EntriesUnreadable,
    Event,
    Hedged,
    KeyRefused,
    LoopFailed,
    Reloaded,
    ReloadRefused,
    StateChanged,
    StateSetAside,
    StoreChanged,
    Withdrawn,
)
from gateway.observe.outlet import Outlet
from gateway.wording import count, duration

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(
    *, json: bool, secrets: Iterable[str] = (), out: Outlet | None = None, level: str = "info", colors: bool = True
) -> None:
    """
    Write to *out*, or to standard error: short lines on a terminal, one JSON object a line elsewhere; what is below *level* is left
    out. Of what is written, every one of *secrets* is blotted out, wherever it comes from. With *out* given, libraries write there,
    too.
    """
    _hidden.clear()
    hide(secrets)
    renderer = structlog.processors.JSONRenderer(_encoded) if json else Terminal(colors=colors)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso" if json else "%H:%M:%S", utc=json),
            _Blotter(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", out or sys.stderr)),
        cache_logger_on_first_use=True,
    )
    if out is not None:
        logging.basicConfig(handlers=[_OfLibraries()], level=logging.WARNING, force=True)


def _encoded(line: Any, **_: Any) -> str:
    return msgspec.json.encode(line).decode()


class Terminal:
    """Lines for people; of a request ``14:02:11 200 auto → groq/gpt-oss-120b 0.41 s 812→96 alice``."""

    def __init__(self, *, colors: bool) -> None:
        self._colors = colors
        self._else = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)

    def __call__(self, logger: Any, name: str, line: MutableMapping[str, Any]) -> str:
        if line.get("event") != "request":
            return str(self._else(logger, name, line))
        status = self._colored(line["status"])
        return f"{line['timestamp']} {status} {' '.join(_of_a_request(line))}"

    def _colored(self, status: int) -> str:
        if not self._colors:
            return str(status)
        color = 32 if status < 400 else 33 if status < 500 else 31
        return f"\x1b[{color}m{status}\x1b[0m"


def _of_a_request(line: Mapping[str, Any]) -> Iterator[str]:
    """What matters of a request, first things first: asked and served, or why not; time, tokens, client, and what was in the way."""
    yield line["asked"]
    if line["served_by"] is not None:
        yield f"→ {line['served_by']}"
    if line["outcome"] != "served":
        yield line["outcome"]
    yield duration(line["took"])
    if line["prompt_tokens"] is not None:
        yield f"{line['prompt_tokens']}→{line['completion_tokens']}"
    yield line["client"]
    beside = [f"waited {duration(line['waited'])}"] if line["waited"] >= _LONG else []
    beside += (
        [count(line["attempts"], "attempt")]
        if line["attempts"] > 1 or (line["attempts"] and line["served_by"] is None)
        else []
    )
    if beside:
        yield f"({', '.join(beside)})"


_LONG = 0.05  # seconds that are worth a word


_hidden: list[str] = []  # the longest first: one may be part of another


def hide(secrets: Iterable[str]) -> None:
    """From now on blot out these *secrets*, too; those that are not used any more stay hidden."""
    _hidden[:] = sorted({*_hidden, *filter(None, secrets)}, key=len, reverse=True)


class _Blotter:
    """The last step before a line is written."""

    def __call__(self, _: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for name, value in line.items():
            if isinstance(value, str):
                for secret in _hidden:
                    if secret in value:
                        value = blotted(value, secret)  # noqa: PLW2901
                line[name] = value
        return line


_SHORT = 8  # characters of a secret that may be part of other words


def blotted(text: str, secret: str) -> str:
    """*text* without *secret*. A short one is blotted out where it stands alone; one that is a word, where secrets stand."""
    if len(secret) >= _SHORT:
        return text.replace(secret, "***")
    plain = re.escape(secret)
    if secret.isalpha():
        return re.sub(rf"(?<=[:=/\"'@]){plain}(?!\w)|(?<!\w){plain}(?=[@\"'&])", "***", text)
    return re.sub(rf"(?<!\w){plain}(?!\w)", "***", text)


class _OfLibraries(logging.Handler):
    """What libraries log, as lines of ours. Of an exception the message is left out: it may quote a request."""

    def emit(self, record: logging.LogRecord) -> None:
        more: dict[str, str] = {}
        if record.exc_info and record.exc_info[0] is not None:
            where = "".join(traceback.format_tb(record.exc_info[2]))
            more["traceback"] = f"{where}{record.exc_info[0].__qualname__}"
        structlog.get_logger().log(
            record.levelno, "a library says", library=record.name, said=record.getMessage(), **more
        )


class LogObserver:
    """Writes events as log lines. *brief*: what came of a request is enough, and not each attempt, unless for debugging."""

    def __init__(self, *, brief: bool = False) -> None:
        self._log = structlog.get_logger()
        self._in_between = self._log.debug if brief else self._log.info
        self._problems: dict[str, str] = {}  # by provider, the last that was told

    def __call__(self, event: Event) -> None:
        match event:
            case Ended():
                self._ended(event)
            case Attempted():
                self._in_between(
                    "attempt failed",
                    id=event.request,
                    deployment=event.deployment,
                    failure=event.failure,
                    message=event.message[:200],
                )
            case Bug():
                self._log.error("bug", where=event.where[:200], id=event.request, traceback=event.traceback)
            case Hedged():
                self._in_between(
                    "another was asked, too", id=event.request, deployment=event.deployment, outcome=event.outcome
                )
            case KeyRefused():
                self._log.warning("a client key was refused", peer=event.peer, path=event.path)
            case _:
                self._of_sources(event)

    def _of_sources(self, event: Event) -> None:
        match event:
            case Reloaded():
                more = {"with_the_next_start": ", ".join(event.later)} if event.later else {}
                self._log.info("settings taken in", changed=", ".join(event.now), **more)
            case ReloadRefused():
                for mistake in event.mistakes:
                    self._log.error("settings not taken in", mistake=mistake)
            case Withdrawn():
                write = self._log.error if event.alarm else self._log.warning
                write("withdrawn", name=event.name, because=event.because[:200], until=event.until)
            case Discovered():
                self._listed(event)
            case Changed():
                write = self._log.error if event.kind == "charged" else self._log.info
                write("changed", kind=event.kind, name=event.name, detail=event.detail[:200])
            case _:
                self._of_the_gateway(event)

    def _of_the_gateway(self, event: Event) -> None:
        match event:
            case StoreChanged():
                if event.set_aside:
                    self._log.error(
                        "values in the ledger's store could not be read and were set aside for a day: their buckets are"
                        " closed until their window is over; `freeway quota --open` lets one in again",
                        buckets=", ".join(event.set_aside)[:200],
                    )
                if event.lost is None:
                    self._log.warning("the ledger's store is back", store=event.store, replicas=event.replicas)
                else:
                    self._log.error(
                        "the ledger's store is lost: carrying on with this replica's part of every quota",
                        store=event.store,
                        replicas=event.replicas,
                        because=event.lost[:200],
                    )
            case StateChanged(lost=None):
                self._log.warning("the shared state is back: what was learned meanwhile has been told")
            case StateChanged():
                self._log.error(
                    "the shared state is lost: gateways do not hear of each other's cooldowns, lists and withdrawals",
                    because=(event.lost or "")[:200],
                )
            case LoopFailed():
                self._log.error(
                    "a background loop failed and will be started again",
                    loop=event.loop,
                    failures=event.failures,
                    restarts_in=event.restarts_in,
                    traceback=event.error,
                )
            case EntriesUnreadable():
                self._log.warning(
                    "entries of the state cannot be read: they are left as they are and not used",
                    topic=event.topic,
                    count=len(event.keys),
                    keys=", ".join(event.keys)[:200],
                    because=event.because[:200],
                )
            case StateSetAside():
                self._log.error(
                    "the state file was damaged: it is kept under another name, and an empty one is used",
                    file=event.file,
                    kept_as=event.kept_as,
                    because=event.because[:200],
                )

    def _listed(self, event: Discovered) -> None:
        """A list that cannot be had is asked for again and again: its problem is told once, until it is another one."""
        if event.problem is None:
            self._problems.pop(event.provider, None)
            self._log.info("models listed", provider=event.provider, free=event.models)
        elif self._problems.get(event.provider) != event.problem:
            self._problems[event.provider] = event.problem
            self._log.warning("no model list", provider=event.provider, problem=event.problem[:200])

    def _ended(self, event: Ended) -> None:
        usage = event.usage
        self._log.info(
            "request",
            id=event.request,
            client=event.client,
            asked=event.asked[:200],
            outcome=event.outcome,
            status=event.status,
            served_by=event.deployment,
            attempts=event.attempts,
            first_content=_rounded(event.first_content),
            waited=_rounded(event.waited),
            overhead=_rounded(event.overhead),
            took=_rounded(event.took),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
        )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
