"""Long lists, made in turns of a few milliseconds, between which others have theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import TypeVar

from providers.chat import encode

T = TypeVar("T")

_TURN = 0.001
"""Seconds of the event loop that are taken at once."""


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """*items*, leaving the event loop to others after each turn."""
    began = perf_counter()
    for item in items:
        yield item
        if perf_counter() - began > _TURN:
            await asyncio.sleep(0)
            began = perf_counter()


async def encoded(field: str, items: Iterable[object]) -> bytes:
    """The JSON object whose *field* is the list of *items*, which are made as they are asked for."""
    told = [encode(item) async for item in in_turns(items)]
    return await asyncio.to_thread(lambda: b'{"%b":[' % field.encode() + b",".join(told) + b"]}")
