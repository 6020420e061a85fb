"""
The small model on this machine, as a process that serves its weights (``weights.py``) through llama.cpp.

A process of its own: several hundred megabytes that come when they are first needed, go when the gateway goes, and cannot
take it down.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

from providers.embedded.gguf import Weights
from providers.failures import Unreachable

_START = 120.0  # seconds that loading may take on a slow disk
_STOP = 5.0


def available() -> bool:
    """Whether what serves the model is installed (the extra ``embedded``)."""
    return find_spec("xllamacpp") is not None


def memory_free(told: Path = Path("/proc/meminfo")) -> int:
    """Bytes of memory that a program could have now; where the system does not tell that, all that the machine has."""
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB", told.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


# ── the server, seen from the gateway ──


class _Orders(Struct):
    """What the server's process is told, on its standard input: not as arguments, which anybody can read."""

    weights: str
    model: str
    context: int
    slots: int
    key: str


class EmbeddedServer:
    """The process that serves the weights: started by the first ``start``, and again if it has died."""

    def __init__(self, weights: Weights, context: int, slots: int) -> None:
        """It gives each of *slots* answers at once a *context* of so many tokens."""
        self.key = secrets.token_urlsafe(24)
        self._orders = _Orders(str(weights.path), weights.model, context, slots, self.key)
        self._process: asyncio.subprocess.Process | None = None
        self._base_url = ""
        self._starting = asyncio.Lock()

    async def start(self) -> str:
        """Its base URL, once it answers. Raises Unreachable."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._base_url = await self._started()
            return self._base_url

    async def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()  # which it takes as the sign to end
        try:
            await asyncio.wait_for(process.wait(), _STOP)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _started(self) -> str:
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "providers.embedded.server",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(self._orders) + b"\n")
        try:
            answer = await asyncio.wait_for(process.stdout.readline(), _START)
        except TimeoutError:
            await self.stop()
            raise Unreachable(f"the embedded model was not loaded within {_START:g} s") from None
        except asyncio.CancelledError:
            await self.stop()
            raise
        told = answer.decode().strip()
        if not told.startswith("http://127.0.0.1:"):
            await self.stop()
            raise Unreachable(f"the embedded model did not start: {told or 'its process ended'}")
        return f"{told}/v1"


# ── the server, in its own process ──


def _serve() -> None:
    """
    Serve what the orders on standard input say; print the address; end when standard input does.

    That happens also when the gateway is killed, so nothing is left running.
    """
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=_Orders)
    try:
        import xllamacpp  # noqa: PLC0415 - large, and only here

        params = xllamacpp.CommonParams()
        params.model.path = orders.weights
        params.model_alias = {orders.model}
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.api_keys = [orders.key]
        params.n_parallel = orders.slots
        params.n_ctx = orders.context * orders.slots
        params.n_gpu_layers = 0
        # Threads meet at every step of every token, and spin until the last is there: beside other work, two of them
        # are many times slower than one. A prompt is read in large pieces: there, all are worth it.
        params.cpuparams.n_threads = 1
        params.cpuparams_batch.n_threads = os.cpu_count() or 1
        params.ui = False
        params.endpoint_slots = False
        server = xllamacpp.Server(params)
    except Exception as exc:  # noqa: BLE001 - whatever it is, the gateway should hear it
        print(" ".join(str(exc).split()) or type(exc).__name__, flush=True)  # noqa: T201
        return
    print(server.listening_address, flush=True)  # noqa: T201
    sys.stdin.buffer.read()
    os._exit(0)  # an answer in the making need not be finished: its reader is gone


if __name__ == "__main__":
    _serve()
