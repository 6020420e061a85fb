"""One visit to one contender: start it, ask it in every way, stop it."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import uvloop
from msgspec import Struct

from tests.bench import load
from tests.bench.contenders import Contender
from tests.bench.load import Check, Target, WrongAnswer
from tests.bench.processes import MEASURED, Tree

LINES = 32
"""Callers at once where CPU time is measured."""
STREAMS = 8
"""Streams at once where the CPU time of chunks is measured."""
RATE = 50.0
"""Requests a second where added latency is measured."""
STREAM_RATE, SHORT_STREAM = 10.0, 10
"""Streams a second where the time to the first token is measured, and their pieces."""
PIECE_EVERY = 10_000
"""Microseconds between two pieces of a stream: a gateway gets each by itself, as from a real provider."""
LARGE = 35_000
_START_PATIENCE, _POLL = 90.0, 0.01


class Plan(Struct, frozen=True):
    """How much is asked in one visit."""

    rounds: int = 3
    warm_up: int = 400
    small: int = 2000
    large: int = 1000
    pieces: int = 300  # of each stream
    paced: int = 200
    first_tokens: int = 30
    memory_after: int = 10_000
    seconds: float = 3.0  # at most, for each of warm_up, small and large
    memory_seconds: float = 30.0


QUICK = Plan(rounds=1, warm_up=100, small=600, large=300, pieces=150, paced=100, first_tokens=20, memory_after=1500)


class Figures(Struct):
    """What a visit found: milliseconds, MB, and seconds for starts. Latencies are of single requests, sorted."""

    cpu_small: float | None = None
    cpu_large: float | None = None
    cpu_chunks: float | None = None
    latency: list[float] = []
    first_token: list[float] = []
    peak_memory: float | None = None
    memory_after: int = 0  # requests
    start: float | None = None
    start_empty: float | None = None
    asked_upstream: float = 1.0  # requests there for one here


class Machine(Struct, frozen=True):
    """Where visits take place: a folder for files, and the port of the fake upstream."""

    folder: Path
    upstream: int

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run *work* without the garbage collector, which would show in others' latencies."""
        gc.collect()
        gc.disable()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(work)
        finally:
            gc.enable()

    def tell(self, path: str) -> int:
        """Tell or ask the fake upstream something."""
        found: int = self.run(load.tell(self.upstream, path))
        return found


class Visit:
    """Measures *contender* once, into *figures*; how much memory it takes only if *weighs*."""

    def __init__(self, machine: Machine, contender: Contender, plan: Plan, *, weighs: bool) -> None:
        self.machine, self.contender, self.plan, self.weighs = machine, contender, plan, weighs
        self.figures = Figures()
        self._spoken = contender.spoken
        self._small = self._body()
        self._answered = 0

    def measure(self) -> Figures:
        """All of it. Raises WrongAnswer, or OSError."""
        if self.contender.start is None:
            self._latencies(self._target(self.machine.upstream))
            return self.figures
        folder = Path(mkdtemp(prefix="visit-", dir=self.machine.folder))
        if self.contender.remembers:
            tree, target = self._started(folder)
            self.figures.start_empty = time.perf_counter() - tree.began
            try:  # give it time to write down what it knows
                self.machine.run(load.paced(target, self._small, self._spoken.check_whole, rate=20.0, count=10))
            finally:
                tree.stop()
        tree, target = self._started(folder)
        self.figures.start = time.perf_counter() - tree.began
        try:
            self._costs(tree, target)
            self._latencies(target)
            if self.weighs:
                self._weigh(tree, target)
        finally:
            tree.stop()
        return self.figures

    def _target(self, port: int) -> Target:
        return Target(port, self.contender.path or self._spoken.path, self.contender.model)

    def _body(self, size: int = 0, *, stream: bool = False) -> bytes:
        return self._spoken.request(self.contender.model, size, stream)

    # ── start ──

    def _started(self, folder: Path) -> tuple[Tree, Target]:
        """Start the contender, and wait until it has answered a request."""
        assert self.contender.start is not None
        port = _free_port()
        start = self.contender.start(folder, self.machine.upstream, port)
        surroundings = {"PATH": os.defpath, "HOME": str(folder), "LANG": "C.UTF-8"}
        tree = Tree(start.argv, surroundings | start.env, folder / "log", MEASURED)
        try:
            while True:
                if start.announces:
                    announced = re.search(r"http://127\.0\.0\.1:(\d+)/", tree.said())
                    port = int(announced[1]) if announced else 0
                problem = self._first_answer(self._target(port))
                if problem is None:
                    return tree, self._target(port)
                if tree.ended() or time.perf_counter() > tree.began + _START_PATIENCE:
                    raise WrongAnswer(f"it did not start to answer: {problem}; it said: {tree.said()[-500:]}")
                time.sleep(_POLL)
        except BaseException:
            tree.stop()
            raise

    def _first_answer(self, target: Target) -> Exception | None:
        """Ask once: why there is no right answer yet, or None if there is."""
        try:
            self.machine.run(load.closed(target, self._small, self._spoken.check_whole, lines=1, count=1))
        except (OSError, WrongAnswer) as exc:
            return exc
        return None

    # ── costs ──

    def _costs(self, tree: Tree, target: Target) -> None:
        plan, figures = self.plan, self.figures
        large = self._body(LARGE)
        self._flood(target, self._small, plan.warm_up, plan.seconds)
        served, answered = self.machine.tell("/served"), self._answered
        figures.cpu_small = self._cost(tree, target, self._small, plan.small)
        self._flood(target, large, LINES, plan.seconds)
        figures.cpu_large = self._cost(tree, target, large, plan.large)
        figures.asked_upstream = (self.machine.tell("/served") - served) / (self._answered - answered)
        if self._spoken.check_stream is not None:
            figures.cpu_chunks = self._chunks(tree, target, self._spoken.check_stream)

    def _cost(self, tree: Tree, target: Target, body: bytes, count: int) -> float:
        """Milliseconds of CPU time for a request."""
        spent = tree.cpu()
        answered = self._flood(target, body, count, self.plan.seconds)
        return (tree.cpu() - spent) / answered

    def _flood(self, target: Target, body: bytes, count: int, seconds: float) -> int:
        work = load.closed(target, body, self._spoken.check_whole, lines=LINES, count=count, seconds=seconds)
        answered: int = self.machine.run(work)
        self._answered += answered
        return answered

    def _chunks(self, tree: Tree, target: Target, check_stream: Callable[[int], Check]) -> float:
        """Milliseconds of CPU time for 1000 chunks."""
        pieces = self.plan.pieces
        self.machine.tell(f"/play/{pieces}/{PIECE_EVERY}")
        body, check = self._body(stream=True), check_stream(pieces)
        spent = tree.cpu()
        self.machine.run(load.closed(target, body, check, lines=STREAMS, count=STREAMS))
        return (tree.cpu() - spent) / (STREAMS * pieces) * 1000

    # ── latency ──

    def _latencies(self, target: Target) -> None:
        plan = self.plan
        replies = self.machine.run(
            load.paced(target, self._small, self._spoken.check_whole, rate=RATE, count=plan.paced)
        )
        self.figures.latency = sorted(reply.last * 1000 for reply in replies)
        if self._spoken.check_stream is None:
            return
        self.machine.tell(f"/play/{SHORT_STREAM}/{PIECE_EVERY}")
        body, check = self._body(stream=True), self._spoken.check_stream(SHORT_STREAM)
        replies = self.machine.run(load.paced(target, body, check, rate=STREAM_RATE, count=plan.first_tokens))
        self.figures.first_token = sorted(reply.first * 1000 for reply in replies)

    # ── memory ──

    def _weigh(self, tree: Tree, target: Target) -> None:
        self._flood(target, self._small, self.plan.memory_after - self._answered, self.plan.memory_seconds)
        self.figures.memory_after = self._answered
        self.figures.peak_memory = tree.peak_memory()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
