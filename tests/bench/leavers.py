"""
How soon the upstream calls of callers who leave end, and what ten thousand who leave in mid-answer leave behind:
``python -m tests.bench.leavers [COUNT]``.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import hangups
from tests.clock import FakeClock
from tests.simulation.test_leavers import AT_ONCE, leave, opened, wire_of


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def measure(count: int) -> None:
    """Let *count* callers leave, in ten parts, and print what each part left."""
    with TemporaryDirectory() as folder:
        gateway = await opened(Path(folder), FakeClock())
        await leave(gateway, 10 * AT_ONCE)  # what is learned and compiled once is no leak
        groq = wire_of(gateway)._world.providers["groq"]
        say(f"{'left':>7} {'seconds':>8} {'MB':>7} {'tasks':>6} {'calls':>6} {'held':>5}")
        for part in range(10):
            began = time.perf_counter()
            await leave(gateway, count // 10)
            took = time.perf_counter() - began
            groq.calls.clear()
            gateway.ended.clear()
            gc.collect()
            say(
                f"{(part + 1) * count // 10:>7} {took:>8.1f} {resident() / 1e6:>7.1f} {len(asyncio.all_tasks()):>6} "
                f"{len(wire_of(gateway).open):>6} {len(gateway.ledger._journal.held):>5}"
            )


if __name__ == "__main__":
    callers = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    asyncio.run(hangups.measure(say, callers))
    asyncio.run(measure(callers))
