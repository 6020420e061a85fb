"""
``python -m tests.bench.hops``: how far one has to walk to follow one request, from ``answer`` to its debit being settled.

One whole answer is asked of a gateway with five deployments, of which the first serves it; a profiler notes each call of a
function of ``gateway``. Counted from the moment at which the pipeline's ``answer`` is entered until the ledger's ``settle``
returns:

- *modules*, *functions*: how many different ones were called. *calls*: how many calls there were. A coroutine that goes on
  is no new call, and a comprehension is part of the function that it stands in.
- *rooms*: the folders directly below ``gateway/`` that were entered; a file directly below it is a room of its own.
- *climbs*: followed by reading, each pair of a calling and a called function is read once. It is a climb if it leads from
  one room into another that was entered earlier than the one that it starts from.

Measured twice: the first request of a gateway, and one after others like it, a second apart. Run as a file, with ``-P`` and
another tree on ``PYTHONPATH``, it measures that tree: it calls only what old and new trees share.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Any, Self

from tests.clock import FakeClock
from tests.simulation.flowing import Caller
from tests.simulation.inside import Inside

FIVE = ("one", "two", "three", "four", "five")
LATER = 10
"""Requests that are answered before the one that is measured as a later one."""

_ENTRIES = {("gateway.request.pipeline", "answer"), ("gateway.pipeline", "answer")}
_PARTS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "free-model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def room_of(module: str) -> str:
    """The folder or file below ``gateway/`` that *module* is in."""
    return module.split(".")[1] if "." in module else module


class Walk:
    """What was called. To be used as a context; begins and ends by itself in between."""

    def __init__(self) -> None:
        self.calls: Counter[CodeType] = Counter()
        self.modules: dict[str, int] = {}
        self.rooms: list[str] = []
        self.climbs: dict[tuple[str, str], None] = {}
        self._seen: dict[int, FrameType] = {}  # frames are kept, or another could get the same number
        self._first: FrameType | None = None
        self.over = False

    def __enter__(self) -> Self:
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, _: Any) -> None:
        if self.over or event not in ("call", "return"):
            return
        module, code = frame.f_globals.get("__name__", ""), frame.f_code
        if not module.startswith("gateway."):
            return
        if event == "return":
            self.over = self._first is not None and _settles(module, code)
            return
        if self._first is None and (module, code.co_name) in _ENTRIES:
            self._first = frame
        if self._first is None or code.co_name in _PARTS or id(frame) in self._seen:
            return
        self._seen[id(frame)] = frame
        self._called(frame, module)

    def _called(self, frame: FrameType, module: str) -> None:
        self.calls[frame.f_code] += 1
        self.modules[module] = self.modules.get(module, 0) + 1
        room, caller = room_of(module), _caller(frame)
        if room not in self.rooms:
            self.rooms.append(room)
        if caller is None or frame is self._first:
            return
        start = room_of(caller.f_globals["__name__"])
        if start in self.rooms and self.rooms.index(room) < self.rooms.index(start):
            self.climbs[_name(caller), _name(frame)] = None


def _settles(module: str, code: CodeType) -> bool:
    return module.endswith(".ledger") and code.co_qualname == "Ledger.settle"


def _caller(frame: FrameType) -> FrameType | None:
    """The function of the gateway that called *frame*, directly or by way of another library."""
    one = frame.f_back
    while one is not None:
        if one.f_globals.get("__name__", "").startswith("gateway.") and one.f_code.co_name not in _PARTS:
            return one
        one = one.f_back
    return None


def _name(frame: FrameType) -> str:
    return f"{frame.f_globals['__name__']}:{frame.f_code.co_qualname}"


# ── a gateway with five deployments ──


class _World:
    """Five providers that are nothing but names."""

    def __init__(self) -> None:
        self.providers = dict.fromkeys(FIVE)

    def environment(self, origin: str) -> dict[str, str]:
        return {}


class _Whole:
    status = 200
    headers: dict[str, str] = {"content-type": "application/json"}  # noqa: RUF012 - it is never changed

    async def pieces(self) -> AsyncIterator[bytes]:
        yield json.dumps(_ANSWER).encode()

    def close(self) -> None: ...


class _Wire:
    """Every provider answers at once."""

    async def send(self, call: Any, timeouts: Any) -> _Whole:
        return _Whole()

    async def aclose(self) -> None: ...


def _settings() -> str:
    """Five providers in the words of a file of one's own."""
    return "".join(
        f'[provider.{name}]\ntitle = "{name}"\nbase_url = "http://{name}.example/v1"\ndocs = "none"\nkeyless = true\n'
        f'listed_at = ""\nstatic_models = ["free-model"]\ncapabilities = ["tools"]\n'
        f'quota = [{{ limit = "1000/minute" }}, {{ limit = "100000/day" }}]\n'
        f'[provider.{name}.free]\nkind = "plan"\nbecause = "it is made up"\n'
        for name in FIVE
    )


async def walked(folder: Path, before: int) -> Walk:
    """The walk of one request that asks for whatever there is, after so many others *before* it."""
    own = folder / "own.toml"
    own.write_text(_settings())
    world, wire, clock = _World(), _Wire(), FakeClock()
    gateway = Inside(world, clock, folder, wire=wire, FREEWAY_CONFIG=str(own))  # type: ignore[arg-type]
    await gateway.look(*FIVE)
    caller, walk = Caller(gateway), Walk()
    body = {"model": "auto", "max_tokens": 20, "messages": [{"role": "user", "content": "Say: yes"}]}
    for _ in range(before):
        await caller.ask(body)
        clock.advance(1.0)
    with walk:
        heard = await caller.ask(body)
    if heard.status != 200 or not walk.over:
        raise RuntimeError(f"the request was not followed to its end: {heard.status} {heard.body!r}")
    return walk


def main() -> None:
    """Print what was counted."""
    for title, before in (("the first request", 0), ("a later one", LATER)):
        with TemporaryDirectory() as folder:
            walk = asyncio.run(walked(Path(folder), before))
        print(f"{title}: modules {len(walk.modules)}, functions {len(walk.calls)}, calls {walk.calls.total()}")  # noqa: T201
        print(f"  rooms {len(walk.rooms)}: {', '.join(walk.rooms)}")  # noqa: T201
        print(f"  climbs {len(walk.climbs)}")  # noqa: T201
        for caller, called in walk.climbs:
            print(f"    {caller} → {called}")  # noqa: T201


if __name__ == "__main__":
    main()
