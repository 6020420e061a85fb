"""Processes on a core of their own, with what they and all their children cost, and an end by their own number."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_TICK = 1e9 / os.sysconf("SC_CLK_TCK")
_PARENT_TIMES = slice(13, 15)  # of the fields after the name in /proc/PID/stat: user and system time of ended children
_SESSION = 3
_PROCESS_CLOCK = 2  # the scheduler's own clock of a process, in nanoseconds


class Cores:
    """One core for what is measured, another for everything else."""

    def __init__(self) -> None:
        self.allowed = sorted(os.sched_getaffinity(0))
        self.gateway = {self.allowed[0]}
        self.rest = {self.allowed[-1]}

    @contextmanager
    def measured(self) -> Iterator[None]:
        """What is started in here runs on the core of the gateways."""
        os.sched_setaffinity(0, self.gateway)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.rest)


class Tree:
    """A process that was started here, and all its children."""

    def __init__(self, argv: list[str], env: Mapping[str, str], log: Path, *, listen: bool = False) -> None:
        with log.open("ab") as out:
            self.began = time.perf_counter()
            self._process = subprocess.Popen(
                argv,
                env=dict(env),
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if listen else out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def first_line(self) -> str:
        """The first line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def ended(self) -> bool:
        return self._process.poll() is not None

    def cpu(self) -> float:
        """Milliseconds that the tree has spent on a core, user and system, ended children included."""
        spent = 0.0
        for pid, fields in self._members():
            with suppress(OSError):
                spent += time.clock_gettime(~pid << 3 | _PROCESS_CLOCK) * 1e9
            spent += sum(map(int, fields[_PARENT_TIMES])) * _TICK
        return spent / 1e6

    def peak_memory(self) -> float:
        """The most that was resident, in MB, summed over the tree."""
        total = 0
        for pid, _ in self._members():
            with suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text("utf-8")
                total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
        return total / 1024

    def stop(self) -> None:
        """SIGTERM to the process, then SIGKILL to whoever of the tree is left, each by its number."""
        if not self.ended():
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        for pid, _ in self._members():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _members(self) -> list[tuple[int, list[str]]]:
        """Everybody in the session that the process leads, with the fields of /proc/PID/stat after the name."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                    if fields[_SESSION] == str(self._process.pid):
                        found.append((int(entry.name), fields))
        return found
