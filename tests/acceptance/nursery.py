"""
A process that has read what the program takes long to read, and forks into it: most of what a short command does is
reading its own code.

Each line of standard input is an order: to start the program, which is answered with its process's id, or to tell with
which status a process has ended. What reads the environment when it is imported (the commands and their consoles) is
left to the child.
"""

from __future__ import annotations

import gc
import json
import os
import sys

import httpx  # noqa: F401
import uvicorn  # noqa: F401
import uvloop  # noqa: F401
from rich import console, progress, table  # noqa: F401

import gateway.app
import gateway.cli
import gateway.observe.log
import providers.dialects.google.dialect
import providers.dialects.ollama.dialect
import providers.simulator.world  # noqa: F401


def obey() -> bool:
    """Carry out orders until there are no more; True in a child that is to become the program."""
    for line in sys.stdin:
        order = json.loads(line)
        if "poll" in order:
            pid, status = os.waitpid(order["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            take_place(**order)
            return True
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    return False


def take_place(argv: list[str], environ: dict[str, str], cwd: str, files: list[str]) -> None:
    """*files* are those of standard input, output and error."""
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    sys.argv = argv
    for number, (path, mode) in enumerate(zip(files, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        opened = os.open(path, mode | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)


if __name__ == "__main__":
    gc.freeze()
    if obey():
        gateway.cli.main()
