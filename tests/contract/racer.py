"""
A process that races others for the same buckets: ``python -m tests.contract.racer URL FOLDER CALLERS PATIENCE``.

It writes ``ready`` once it knows as many replicas as stand in ``FOLDER/replicas``, waits for ``FOLDER/go``, and reserves
until it is refused for good or killed. Every admission is a line in a file of its own, written before it counts.
PATIENCE is how many seconds it waits for the store: on a starved machine one that is well may answer late.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

from gateway.clock import WallClock
from gateway.quota import redis as shared
from gateway.quota import redis_peers
from gateway.quota.buckets import Bucket
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, Offer, Reservation

REQUESTS = Bucket(
    key="a/requests", account="a", unit="requests", limit=600, window="rolling", period=86_400, window_name="day"
)
TOKENS = Bucket(
    key="a/tokens", account="a", unit="tokens", limit=30_000, window="rolling", period=86_400, window_name="day"
)
FLIGHT = Bucket(key="a/flight", account="a", unit="in-flight", limit=9, window="in-flight")
BUCKETS = [REQUESTS, TOKENS, FLIGHT]

TRUE, RESERVED = Cost(20, 25), Cost(20, 80)


async def main(url: str, folder: Path, callers: int) -> None:
    ledger = Ledger(shared.open_store(url), WallClock(), buckets=lambda: BUCKETS)
    await ledger.serve()
    replicas = int((folder / "replicas").read_text())
    while ledger.condition().replicas < replicas:  # noqa: ASYNC110 - what is waited for knows nothing of us
        await asyncio.sleep(0.02)
    (folder / f"ready-{os.getpid()}").touch()
    while not (folder / "go").exists():  # noqa: ASYNC110 - what is waited for knows nothing of us
        await asyncio.sleep(0.005)
    with (folder / f"admitted-{os.getpid()}").open("ab", buffering=0) as admitted:
        await asyncio.gather(*(caller(ledger, admitted, folder) for _ in range(callers)))
    await ledger.aclose()


async def caller(ledger: Ledger, admitted, folder: Path) -> None:
    while not (folder / "stop").exists():
        held = await ledger.reserve([Offer("d", (REQUESTS, TOKENS, FLIGHT), RESERVED)])
        if isinstance(held, Reservation):
            admitted.write(f"{time.time()} {held.id} begun\n".encode())
            await asyncio.sleep(random.uniform(0, 0.02))
            admitted.write(f"{time.time()} {held.id} ended\n".encode())
            ledger.settle(held, TRUE)
        elif held.refusals[0].bucket.key != FLIGHT.key and ledger.condition().lost is None:
            return
        else:
            await asyncio.sleep(random.uniform(0.005, 0.02))  # forty-eight who ask without a pause starve the store


if __name__ == "__main__":
    shared.PATIENCE = float(sys.argv[4])
    redis_peers.HEARTBEAT_PATIENCE = 4 * shared.PATIENCE
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
