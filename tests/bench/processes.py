"""Processes on a core of their own, with what they and all their children cost, and an end by their own number."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_CORES = sorted(os.sched_getaffinity(0))
MEASURED, REST = {_CORES[0]}, {_CORES[-1]}
"""One core for what is measured, another for everything else."""

_TICK = 1e9 / os.sysconf("SC_CLK_TCK")
_SESSION, _ENDED_CHILDREN = 3, slice(13, 15)  # of the fields after the name in /proc/PID/stat
_PROCESS_CLOCK = 2  # the scheduler's own clock of a process, in nanoseconds: CPUCLOCK_SCHED of Linux


class Tree:
    """A process that was started here, on *core*, and all its children. What it says goes to *log*."""

    def __init__(self, argv: list[str], env: Mapping[str, str], log: Path, core: set[int]) -> None:
        self.log = log
        os.sched_setaffinity(0, core)
        try:
            with log.open("wb") as out:
                self.began = time.perf_counter()
                self._process = subprocess.Popen(
                    argv,
                    env=dict(env),
                    cwd=log.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        finally:
            os.sched_setaffinity(0, REST)

    def said(self) -> str:
        """All that it said so far."""
        return self.log.read_text("utf-8", "replace")

    def ended(self) -> bool:
        return self._process.poll() is not None

    def cpu(self) -> float:
        """Milliseconds that the tree has spent on a core, user and system, ended children included."""
        spent = 0.0
        for pid, fields in self._members():
            with suppress(OSError):
                spent += time.clock_gettime(~pid << 3 | _PROCESS_CLOCK) * 1e9
            spent += sum(map(int, fields[_ENDED_CHILDREN])) * _TICK
        return spent / 1e6

    def peak_memory(self) -> float:
        """The most that was resident, in MB, summed over the tree."""
        total = 0
        for pid, _ in self._members():
            with suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text("utf-8")
                total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
        return total / 1024

    def stop(self) -> None:
        """SIGTERM to the process, then SIGKILL to those of the tree that are left, each by its number."""
        if not self.ended():
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        for pid, _ in self._members():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def _members(self) -> list[tuple[int, list[str]]]:
        """All processes of the session that the process leads, with the fields of /proc/PID/stat after the name."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                    if fields[_SESSION] == str(self._process.pid):
                        found.append((int(entry.name), fields))
        return found
