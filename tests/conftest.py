"""What all tests share: the shipped configuration, simulated providers, and a gateway before them."""

from __future__ import annotations

import functools
import gc
import pickle
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import hypothesis
import msgspec
import pytest
import structlog

from gateway.catalog import database, discovery
from gateway.catalog.names import Names
from gateway.cli import shipped_config
from gateway.commands.demo import SIX, Demo, opened
from gateway.events import Observer
from gateway.quota import redis as shared
from gateway.quota import redis_peers
from gateway.settings import reading
from providers.simulator.world import World
from tests.clock import FakeClock

# How quick a machine is proves nothing. The same examples each time, so that what fails has been changed; others are tried by
# `make test PYTEST_ARGS="--hypothesis-profile anew"`.
hypothesis.settings.register_profile("same", deadline=None, derandomize=True)
hypothesis.settings.register_profile("anew", deadline=None)
hypothesis.settings.load_profile("same")

CONFIG = shipped_config()
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _read_once() -> Iterator[None]:
    """
    What each gateway reads when it starts, and no test changes, is read once: the shipped configuration, the models
    database, the certificates of the system (which are needed by nobody here, and loaded by every HTTP client).
    """
    read, known = reading._read, dict[bytes, database.Database]()

    @functools.cache
    def shipped(path: Path) -> bytes:
        return pickle.dumps(read(path))

    def of_names(names: Names) -> database.Database:
        key = msgspec.json.encode(names)
        if key not in known:
            known[key] = database.bundled(names)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            reading, "_read", lambda path: pickle.loads(shipped(path)) if CONFIG in path.parents else read(path)
        )
        patch.setattr(discovery, "bundled", of_names)
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """How a test has the log written is over with the test: its standard error is."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """
    ``await start()`` gives a running gateway before the six simulated providers; ``names`` chooses some of them,
    ``clock`` sets the time of both sides, ``arrange`` may change the simulated world before it is met, ``observers``
    are told of what happens, other arguments are environment variables.
    """
    async with AsyncExitStack() as stack:

        async def begin(
            names: tuple[str, ...] = SIX,
            clock: FakeClock | None = None,
            arrange: Callable[[World], None] = lambda _: None,
            observers: Sequence[Observer] = (),
            **environ: str,
        ) -> Demo:
            world = World(clock, names=names) if clock else World(names=names)
            arrange(world)
            if "ollama" not in names:
                environ.setdefault("OLLAMA_HOST", "http://127.0.0.1:9")  # discard: nobody is there
            demo = opened(CONFIG, tmp_path / "state", world, clock=clock, environ=environ, observers=observers)
            return await stack.enter_async_context(demo)

        yield begin


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a starved machine a Redis that is well may answer late: it is not taken for lost."""
    monkeypatch.setattr(shared, "PATIENCE", 30.0)
    monkeypatch.setattr(redis_peers, "HEARTBEAT_PATIENCE", 120.0)


def pytest_collection_finish() -> None:
    """What is imported by now stays: looking through all of it for garbage again and again was most of many tests."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say at the end what was not run, and why."""
    left_out = len(terminalreporter.stats.get("deselected", ()))
    if left_out:
        why = (
            "need a container engine; `make test-all` runs them" if "engine" in config.option.markexpr else "deselected"
        )
        terminalreporter.write_line(f"not run: {left_out} tests ({why})")
    for report in terminalreporter.stats.get("skipped", ()):
        terminalreporter.write_line(f"not run: {report.nodeid}: {report.longrepr[2]}")
