"""What all tests share: the shipped configuration, simulated providers, and a gateway before them."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import shipped_config
from gateway.commands.demo import SIX, Demo, opened
from gateway.events import Observer
from gateway.ledger import shared
from providers.simulator.world import World
from tests.clock import FakeClock

CONFIG = shipped_config()
ROOT = Path(__file__).parents[1]


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
    monkeypatch.setattr(shared, "_BEAT_PATIENCE", 120.0)


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
