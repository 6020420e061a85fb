"""``python -m providers.simulator``: rehearse without keys. Prints what to export."""

from __future__ import annotations

import argparse
import sys

import uvicorn

from providers.simulator.server import config
from providers.simulator.world import World


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m providers.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    host, port = options.host, options.port
    world = World()
    for name, value in world.environment(f"http://{host}:{port}").items():
        sys.stdout.write(f"export {name}={value}\n")
    sys.stdout.flush()
    uvicorn.Server(config(world, host=host, port=port)).run()


if __name__ == "__main__":
    main()
