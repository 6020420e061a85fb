"""``python -m tests.clients [PROGRAM or SCENARIO …]``: see the package."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.clients.installed import NotToBeHad
from tests.clients.programs import CONNECTED, PROGRAMS, Program, perform
from tests.clients.stage import SCENARIOS, staged, timed


def main(wanted: Sequence[str]) -> int:
    """
    Run the programs and scenarios *wanted* (all, if none are) and say in a table how long each took; gives how many failed.
    """
    scenarios = [name for name in SCENARIOS if name in wanted] or list(SCENARIOS)
    names = set(wanted) - set(SCENARIOS)
    every = [*PROGRAMS, *(program for program in CONNECTED if program not in PROGRAMS)]
    chosen = [program for program in every if not names or any(name in program.name for name in names)]
    print(f"{'program':<14}{'version':<11}{'door':<11}" + "".join(f"{name:>10}" for name in scenarios), flush=True)
    wrong: list[str] = []
    for program in chosen:
        print(f"{program.name:<14}{program.version:<11}{program.door:<11}", end="", flush=True)
        try:
            program.find()
        except NotToBeHad as exc:
            print(f"  not run: {exc}", flush=True)
            continue
        for name in scenarios:
            if not program.plays(name):
                print(f"{'-':>10}", end="", flush=True)
                continue
            took, found = run(program, name)
            wrong += [f"{program.name}, {program.door}, {name}: {found}"] if found else []
            print(f"{'FAILED' if found else f'{took:.1f} s':>10}", end="", flush=True)
        print(flush=True)
    for told in wrong:
        print(f"\n{told}")
    return len(wrong)


def run(program: Program, scenario: str) -> tuple[float, str]:
    """Seconds that *program* took in *scenario*, and what was wrong about it."""
    took = timed()
    try:
        with tempfile.TemporaryDirectory() as folder, staged(Path(folder), SCENARIOS[scenario]) as stage:
            took = timed()
            found = perform(program, scenario, stage)
            if found:
                found += "\n" + "\n".join(line[:300] for line in stage.requests()[-5:])
            return took(), found
    except AssertionError as exc:  # of the stage: the others go on
        return took(), f"the stage: {exc}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
