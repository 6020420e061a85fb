"""
A recording that is longer than a source takes at once: where it may be cut is found out before anything is sent, and each source
then gets as much as it takes of what is left.
"""

from __future__ import annotations

import asyncio
import math

from gateway.request.engine import Engine
from gateway.request.parts import sound_for
from gateway.words import Call, TooBig
from providers import waves
from providers.sound import Recording, TranscribeRequest


async def divisible(call: Call, request: TranscribeRequest, engine: Engine) -> TranscribeRequest:
    """
    *request* with a recording that can be cut, where one of the sources that *call* allows takes less than all of it.

    Raises TooBig where it cannot be cut and no source takes all of it.
    """
    recording = request.recording
    fitting = engine.view.catalog.fitting(call.wants, engine.clock.now())
    limits = [sound_for(one.deployment) for one in fitting]
    taking = [most >= recording.size and seconds >= recording.seconds for most, seconds in limits]
    if all(taking):
        return request
    least = min(most for most, _ in limits), min(seconds for _, seconds in limits)
    found = await asyncio.to_thread(_divisible, recording, *least, convert=not any(taking))
    if found is not None:
        return request.of(found)
    if any(taking):
        return request
    raise TooBig(_said(recording, max(most for most, _ in limits), max(seconds for _, seconds in limits)), param="file")


def _divisible(recording: Recording, most: float, seconds: float, *, convert: bool) -> Recording | None:
    """*recording* with the places where it may be cut; only where *convert*, it may become another file for that."""
    found = waves.divisible(recording, most, seconds)
    if found is not None or not convert:
        return found
    other = waves.converted(recording)
    return None if other is None else waves.divisible(other, most, seconds)


def _said(recording: Recording, most: float, seconds: float) -> str:
    by_size = recording.size > most
    has = f"{recording.size} bytes" if by_size else f"about {recording.seconds:.0f} s"
    takes = f"{most:.0f} bytes" if by_size else f"{seconds:.0f} s" if seconds < math.inf else "that"
    return (
        f"file: the recording has {has}, and no source takes more than {takes} at once; send it as WAV (PCM), which is cut at "
        "silence here, or install ffmpeg on the gateway's machine, which makes WAV of other formats, or send shorter recordings"
    )
