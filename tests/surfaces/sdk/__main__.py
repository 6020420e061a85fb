"""``python -m tests.surfaces.sdk``: see the package."""

from __future__ import annotations

import asyncio
import sys

from tests.surfaces.sdk import main

if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
