"""
``python -m tests.fuzz --count 20000``: that many bent requests, as many bent answers, and as many requests at every
door of the whole gateway; what is wrong is listed by kind.

``--only answers`` needs nothing of the gateway, and so runs over the providers of an older version, too.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.fuzz.answers import Answers

ROOT = Path(__file__).parents[2]


def run(name: str, try_one: Callable[[Random], None], count: int, seed: int) -> dict[str, tuple[int, int, str]]:
    """What is wrong, by kind and place: how often, the first case's number, and its traceback."""
    found: dict[str, tuple[int, int, str]] = {}
    began = time.monotonic()
    for number in range(seed, seed + count):
        try:
            try_one(Random(f"{name} {number}"))
        except Exception as exc:  # noqa: BLE001 - each is a finding
            frame = traceback.extract_tb(exc.__traceback__)[-1]
            said = re.sub(r"0x\w+|\d+", "N", str(exc))[:80]
            kind = f"{type(exc).__name__}: {said} ({Path(frame.filename).name}, {frame.name})"
            times, first, told = found.get(kind, (0, number, "".join(traceback.format_exception(exc))))
            found[kind] = (times + 1, first, told)
    print(f"{name}: {count} cases in {time.monotonic() - began:.0f} s, {len(found)} kinds of findings")
    for kind, (times, first, _) in sorted(found.items(), key=lambda item: -item[1][0]):
        print(f"  {times:6} x {kind}, first case {first}")
    return found


def main() -> int:
    """The status: 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", choices=["answers", "requests", "doors"])
    parser.add_argument("--config", type=Path, default=ROOT / "config")
    parser.add_argument("--verbose", action="store_true", help="print a traceback of each kind")
    given = parser.parse_args()
    found: dict[str, tuple[int, int, str]] = {}
    if given.only in (None, "answers"):
        found |= run("answers", Answers(given.config).try_one, given.count, given.seed)
    if given.only in (None, "requests"):
        from providers.spec import load  # noqa: PLC0415 - see the module's docstring
        from tests.fuzz.requests import RequestsIn  # noqa: PLC0415

        found |= run("requests", RequestsIn(load(given.config / "providers")).try_one, given.count, given.seed)
    if given.only in (None, "doors"):
        from tests.fuzz.doors import Doors  # noqa: PLC0415

        doors = Doors()
        found |= run("doors", doors.try_one, given.count, given.seed)
        doors.close()
    if given.verbose:
        for _, _, told in found.values():
            print(told)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
