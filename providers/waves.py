"""
Recordings as files: where one may be cut, and a part of it as a file of its own. It reads and writes, and is called beside the loop.

Only WAV files of whole numbers are cut here, as Python's own ``wave`` reads them. Another format becomes one by ffmpeg, if it is on
this machine: one channel, 16 000 numbers of 16 bits a second, to which Whisper brings every recording (Groq console, speech to text
page, 2026-09).
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from providers.sound import HEADER, Recording, Waves

_LOOKED_AT = 10.0
"""Seconds before the latest place for a cut in which the quietest moment is looked for."""

_HELD = 2 * 1024 * 1024
"""Bytes of a recording that are held at a time for that, which are less than that many seconds of many channels."""

_MOMENT = 0.1
"""Seconds of which the quietest are cut in their middle."""

_HEARD = 8000
"""Numbers a second that are enough to tell how loud it is."""

_COPIED = 65_536
"""Bytes that are copied at a time."""

_DEMUXERS = "aac,aiff,amr,asf,caf,flac,matroska,mov,mp3,ogg,w64,wav"
"""What a recording may be for ffmpeg: none of them names another file, as a playlist does."""

_PATIENCE = 600.0
"""Seconds that ffmpeg may take for one recording."""

_UNREADABLE = (wave.Error, EOFError, OSError, RuntimeError, ValueError)
"""What ``wave`` raises for files that are none, or are broken."""

_ARRAYS = {1: "b", 2: "h", 4: "i"}


def divisible(recording: Recording, most: float, seconds: float) -> Recording | None:
    """*recording* with the places where it may be cut, so that parts of *most* bytes and *seconds* can be made; None: it cannot be."""
    try:
        with wave.open(str(recording.path), "rb") as file:
            rate, frame = file.getframerate(), file.getnchannels() * file.getsampwidth()
            frames = min(file.getnframes(), recording.path.stat().st_size // frame)
            if not frames or not rate or file.getsampwidth() not in (1, 2, 3, 4):
                return None
            grain = int(min((most - HEADER) / frame, seconds * rate)) // 8
            if grain < 1:
                return None
            width = max(1, min(grain, int(_LOOKED_AT * rate), _HELD // frame))
            found = [_quietest(file, end, width) for end in range(grain, frames, grain)]
    except _UNREADABLE:
        return None
    cuts, loud = tuple(cut for cut, _ in found), tuple(loud for _, loud in found)
    return replace(recording, seconds=frames / rate, waves=Waves(rate, frame, frames, 0, frames, cuts, loud))


def converted(recording: Recording) -> Recording | None:
    """*recording* as a WAV file beside it, by ffmpeg; None: ffmpeg is not there, or cannot read it."""
    ffmpeg, path = shutil.which("ffmpeg"), recording.path.with_suffix(".wav")
    if ffmpeg is None:
        return None
    read = ["-protocol_whitelist", "file", "-format_whitelist", _DEMUXERS, "-i", f"file:{recording.path}"]
    made = ["-vn", "-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le", "-y", f"file:{path}"]
    command = [ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "error", *read, *made]
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=_PATIENCE)  # noqa: S603 - none of it is a caller's
    except (subprocess.SubprocessError, OSError):
        path.unlink(missing_ok=True)
        return None
    return Recording(path, f"{Path(recording.name).stem}.wav", "audio/wav", path.stat().st_size, recording.seconds)


def opened(recording: Recording) -> BinaryIO:
    """*recording* as a file to be read and closed. A part is a file of its own, which is gone when it is closed."""
    part = recording.waves
    if part is None or part.is_whole():
        return recording.path.open("rb")
    file: BinaryIO = tempfile.TemporaryFile(dir=recording.path.parent)  # noqa: SIM115 - who reads it closes it
    try:
        with wave.open(str(recording.path), "rb") as source, wave.open(file, "wb") as target:
            target.setparams(source.getparams())
            target.setnframes(part.end - part.start)
            source.setpos(part.start)
            left = part.end - part.start
            while left > 0 and (frames := source.readframes(min(left, _COPIED // part.frame + 1))):
                target.writeframesraw(frames)
                left -= len(frames) // part.frame
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _quietest(file: wave.Wave_read, end: int, width: int) -> tuple[int, float]:
    """The frame in the middle of the quietest moment of the *width* frames before *end*, and how loud that is."""
    moment = max(1, min(width // 3, int(_MOMENT * file.getframerate())))
    file.setpos(end - width)
    data = file.readframes(width)
    loud = list(_loudness(data, file.getsampwidth(), file.getnchannels(), moment, file.getframerate()))
    place = min(range(len(loud)), key=lambda one: (loud[one], -one), default=0)
    return end - width + place * moment + (moment + 1) // 2, loud[place] if loud else 0.0


def _loudness(data: bytes, width: int, channels: int, moment: int, rate: int) -> Iterator[float]:
    """How loud each *moment* (frames) of *data* is, whose numbers have *width* bytes: the mean of their sizes."""
    if width == 1:  # these have no sign: 128 is silence
        data = bytes(byte ^ 0x80 for byte in data)
    elif width == 3:  # without the last byte, which tells little
        shorter = bytearray(len(data) // 3 * 2)
        shorter[0::2], shorter[1::2] = data[1::3], data[2::3]
        data, width = bytes(shorter), 2
    numbers = array(_ARRAYS[width], data[: len(data) // width * width])
    step = channels * max(1, rate // _HEARD) + 1  # one more than a whole frame, so that all channels have their turn
    size = moment * channels
    for start in range(0, len(numbers) - size + 1, size):
        heard = numbers[start : start + size : step]
        yield sum(map(abs, heard)) / len(heard)
