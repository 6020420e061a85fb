"""One visit to one contender: start it, ask it in every way, stop it."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import urlsplit

import uvloop
from msgspec import Struct, field

from tests.bench import load, wire
from tests.bench.contenders import Contender
from tests.bench.load import Target, WrongAnswer, check_stream, check_whole
from tests.bench.processes import Cores, Tree

LINES = 32
"""Callers at once where CPU time is measured."""
RATE = 50.0
"""Requests a second where added latency is measured."""
STREAM_RATE = 10.0
"""Streams a second where the time to the first token is measured."""
PIECE_EVERY = 10_000
"""Microseconds between two pieces of a stream: a gateway gets each by itself, as from a real provider."""
LARGE = 35_000
_START_PATIENCE, _POLL = 90.0, 0.01


class Plan(Struct, frozen=True):
    """How much is asked in one visit."""

    rounds: int = 2
    warm_up: int = 500
    small: int = 2000
    large: int = 1000
    streams: int = 8
    pieces: int = 500
    paced: int = 300
    first_tokens: int = 60
    memory_after: int = 10_000
    seconds: float = 30.0  # at most, for each measurement


QUICK = Plan(
    rounds=1, warm_up=100, small=600, large=300, pieces=150, paced=100, first_tokens=20, memory_after=1500, seconds=10.0
)


class Figures(Struct):
    """What visits found: lists of one value for each, or of all times. Milliseconds, MB, and seconds for starts."""

    cpu_small: list[float] = field(default_factory=list)
    cpu_large: list[float] = field(default_factory=list)
    cpu_chunks: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)
    peak_memory: list[float] = field(default_factory=list)
    memory_after: int = 0
    start: list[float] = field(default_factory=list)
    start_empty: list[float] = field(default_factory=list)
    asked_upstream: list[float] = field(default_factory=list)  # requests there for one here


class Machine:
    """What a visit needs: the cores, the fake upstream, a place for files."""

    def __init__(self, folder: Path, upstream: int) -> None:
        self.cores = Cores()
        self.folder = folder
        self.upstream = upstream
        os.sched_setaffinity(0, self.cores.rest)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run *work* without the garbage collector, which would show in other's latencies."""
        gc.collect()
        gc.disable()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(work)
        finally:
            gc.enable()

    def served(self) -> int:
        """How many requests the upstream has answered so far."""
        return int(self.run(load.tell(self.upstream, "/served")))


class Visit:
    """Measures *contender* once, into *figures*."""

    def __init__(self, machine: Machine, contender: Contender, plan: Plan, figures: Figures) -> None:
        self.machine, self.contender, self.plan, self.figures = machine, contender, plan, figures
        self._small = wire.request(contender.model)
        self._large = wire.request(contender.model, size=LARGE)
        self._answered = 0

    def measure(self, *, last: bool) -> None:
        """All of it; the memory only in the *last* visit. Raises WrongAnswer."""
        self.machine.run(load.tell(self.machine.upstream, f"/pace/{PIECE_EVERY}"))
        if self.contender.command is None:
            self._latencies(Target(self.machine.upstream, self.contender.path, self.contender.model))
            return
        folder = Path(mkdtemp(prefix=f"{self.contender.name}-", dir=self.machine.folder))
        if self.contender.remembers:
            tree, target = self._start(folder, self.figures.start_empty)
            try:
                self._settle(target)
            finally:
                tree.stop()
        tree, target = self._start(folder, self.figures.start)
        try:
            self._costs(tree, target)
            self._latencies(target)
            if last:
                self._memory(tree, target)
        finally:
            tree.stop()

    # ── start ──

    def _start(self, folder: Path, seconds: list[float]) -> tuple[Tree, Target]:
        """Start the contender, and wait until it has answered a request."""
        contender, port = self.contender, _free_port()
        assert contender.command is not None
        surroundings = {"PATH": os.defpath, "HOME": str(folder), "LANG": "C.UTF-8"}
        argv = contender.command(folder, self.machine.upstream, port)
        env = surroundings | contender.env(folder, self.machine.upstream, port)
        log = folder / "log"
        with self.machine.cores.measured():
            tree = Tree(argv, env, log, listen=contender.announces)
        try:
            if contender.announces:
                port = urlsplit(tree.first_line()).port or 0
            target = Target(port, contender.path, contender.model)
            self._await_answer(tree, target, log)
        except BaseException:
            tree.stop()
            raise
        seconds.append(time.perf_counter() - tree.began)
        return tree, target

    def _await_answer(self, tree: Tree, target: Target, log: Path) -> None:
        problem: Exception | None = None
        while time.perf_counter() < tree.began + _START_PATIENCE and not tree.ended():
            try:
                self.machine.run(load.once(target, self._small, check_whole))
            except (OSError, WrongAnswer) as exc:
                problem = exc
                time.sleep(_POLL)
            else:
                return
        said = log.read_text("utf-8", "replace")[-500:]
        raise WrongAnswer(f"it did not start to answer: {problem}; its log ends: {said}")

    def _settle(self, target: Target) -> None:
        """Give it time to write down what it knows before it is stopped."""
        self.machine.run(load.paced(target, self._small, check_whole, rate=10.0, count=10))

    # ── costs ──

    def _costs(self, tree: Tree, target: Target) -> None:
        plan, figures = self.plan, self.figures
        self._flood(target, self._small, plan.warm_up)
        figures.cpu_small.append(self._cost(tree, target, self._small, plan.small))
        figures.cpu_large.append(self._cost(tree, target, self._large, plan.large))
        self._chunks(tree, target)

    def _cost(self, tree: Tree, target: Target, body: bytes, count: int) -> float:
        """Milliseconds of CPU time for a request."""
        self._flood(target, body, LINES)
        served, spent = self.machine.served(), tree.cpu()
        answered = self._flood(target, body, count)
        spent = tree.cpu() - spent
        self.figures.asked_upstream.append((self.machine.served() - served) / answered)
        return spent / answered

    def _flood(self, target: Target, body: bytes, count: int) -> int:
        work = load.closed(target, body, check_whole, lines=LINES, count=count, seconds=self.plan.seconds)
        answered: int = self.machine.run(work)
        self._answered += answered
        return answered

    def _chunks(self, tree: Tree, target: Target) -> None:
        plan = self.plan
        body = wire.request(self.contender.model, stream=plan.pieces)
        check = check_stream(plan.pieces)
        spent = tree.cpu()
        work = load.closed(target, body, check, lines=plan.streams, count=plan.streams, seconds=plan.seconds)
        answered = self.machine.run(work)
        self.figures.cpu_chunks.append((tree.cpu() - spent) / (answered * plan.pieces) * 1000)

    # ── latency ──

    def _latencies(self, target: Target) -> None:
        plan, pieces = self.plan, 10
        work = load.paced(target, self._small, check_whole, rate=RATE, count=plan.paced)
        self.figures.latency += [reply.last * 1000 for reply in self.machine.run(work)]
        body = wire.request(self.contender.model, stream=pieces)
        work = load.paced(target, body, check_stream(pieces), rate=STREAM_RATE, count=plan.first_tokens)
        self.figures.first_token += [reply.first * 1000 for reply in self.machine.run(work)]

    # ── memory ──

    def _memory(self, tree: Tree, target: Target) -> None:
        while self._answered < self.plan.memory_after:
            self._flood(target, self._small, min(1000, self.plan.memory_after - self._answered))
        self.figures.memory_after = self._answered
        self.figures.peak_memory.append(tree.peak_memory())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
