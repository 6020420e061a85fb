"""``python -m tests.surfaces.api_fuzz``: see the package."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from tests.surfaces.api_fuzz import run


def main() -> int:
    """Ask, and say what was answered and what went wrong; 1 if anything did."""
    parser = argparse.ArgumentParser(prog="python -m tests.surfaces.api_fuzz")
    parser.add_argument("--count", type=int, default=300, help="requests for each method of each path")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed makes the same requests")
    parser.add_argument("--only", default="", help="paths that this is in")
    asked = parser.parse_args()
    found = asyncio.run(run(asked.count, asked.seed, asked.only))
    for failure in found.failures:
        sys.stdout.write(f"{failure}\n\n")
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(found.statuses.items()))
    sys.stdout.write(f"seed {asked.seed}: {statuses or 'nothing was asked'}; {len(found.failures)} operations failed\n")
    return 1 if found.failures or not found.statuses else 0


if __name__ == "__main__":
    sys.exit(main())
