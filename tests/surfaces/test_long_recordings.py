"""A recording that is longer than a source takes is cut where nothing is said, and written down as if it had been one."""

from __future__ import annotations

import asyncio
import io
import math
import shutil
import struct
import subprocess
import wave
from itertools import pairwise

import httpx
import pytest

from providers.simulator.media import form_of

RATE = 8000
SAID = 1.0
"""Seconds of speech, after each of which there is half a second of silence."""


def spoken(seconds: float, rate: int = RATE) -> bytes:
    """A WAV file: a tone of a second, half a second of silence, and so on."""
    data = bytearray()
    for number in range(int(seconds * rate)):
        loud = number / rate % (SAID + 0.5) < SAID
        data += struct.pack("<h", int(12_000 * math.sin(number / 3)) if loud else 0)
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        made.writeframes(bytes(data))
    return file.getvalue()


def frames_of(file: bytes) -> bytes:
    with wave.open(io.BytesIO(file)) as read:
        return read.readframes(read.getnframes())


async def written(demo, recording, name="talk.wav", **data):
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=60) as client:
        files = {"file": (name, recording, "application/octet-stream")}
        return await client.post("/v1/audio/transcriptions", files=files, data={"model": "auto"} | data)


def limited(tmp_path, **most):
    own = tmp_path / "own.toml"
    own.write_text("\n".join(f"[provider.{name}.operation.transcribe]\nmost = {size}" for name, size in most.items()))
    return str(own)


def heard(demo, name):
    """The files that the simulated source *name* got."""
    calls = [one for one in demo.world.providers[name].calls if "audio" in one.path and one.served]
    return [form_of(one.body)[1] for one in calls]


@pytest.fixture
async def cut(start, tmp_path):
    """Groq, which takes 80 000 bytes at once: five seconds."""
    return await start(("groq",), FREEWAY_CONFIG=limited(tmp_path, groq=80_000))


async def test_no_sample_is_lost_and_none_is_sent_twice(cut):
    recording = spoken(21)
    found = await written(cut, recording, response_format="verbose_json")
    parts = heard(cut, "groq")

    assert found.status_code == 200, found.text
    assert len(parts) >= 5
    assert all(len(part) <= 80_000 for part in parts)
    assert b"".join(map(frames_of, parts)) == frames_of(recording)


async def test_it_is_cut_where_nothing_is_said(cut):
    await written(cut, spoken(21))
    ends = [frames_of(part)[-400:] for part in heard(cut, "groq")[:-1]]

    assert ends
    assert not any(any(end) for end in ends)


async def test_moments_are_those_of_the_whole(cut):
    found = (await written(cut, spoken(21), response_format="verbose_json")).json()
    segments = found["segments"]
    parts = len(heard(cut, "groq"))

    assert float(found["duration"]) == pytest.approx(21.0)
    assert found["text"] == " ".join(["hello there"] * parts)
    assert [one["id"] for one in segments] == list(range(2 * parts))
    assert [one["start"] for one in segments] == sorted(one["start"] for one in segments)
    assert all(one["end"] == other["start"] for one, other in pairwise(segments))
    assert segments[-1]["end"] == pytest.approx(21.0)


async def test_subtitles_go_on(cut):
    lines = (await written(cut, spoken(21), response_format="srt")).text.split("\n\n")

    assert lines[0].startswith("1\n00:00:00,000 --> ")
    assert "--> 00:00:21,000" in lines[-1]


async def test_a_part_that_fails_is_done_elsewhere(start, tmp_path):
    """Groq fails from its second part on: Cohere gets what is left, cut to what that takes."""
    demo = await start(("groq", "cohere"), FREEWAY_CONFIG=limited(tmp_path, groq=80_000, cohere=120_000))
    groq, cohere = demo.world.providers["groq"], demo.world.providers["cohere"]
    recording = spoken(21)
    groq.fail("rate_limited:day", times=100)
    found = await written(demo, recording)

    assert found.status_code == 200, found.text
    assert found.headers["x-freeway-provider"] == "cohere"
    assert cohere.served
    assert b"".join(map(frames_of, [*heard(demo, "groq"), *heard(demo, "cohere")])) == frames_of(recording)


async def test_where_a_part_cannot_be_done_at_all_the_whole_fails(cut):
    cut.world.providers["groq"].fail("server_error", times=100)
    async with httpx.AsyncClient(base_url=cut.base_url, timeout=60, headers={"x-freeway-max-wait": "0"}) as client:
        found = await client.post(
            "/v1/audio/transcriptions", files={"file": ("a.wav", spoken(21))}, data={"model": "auto"}
        )

    assert found.status_code in (429, 503)
    assert "error" in found.json()


async def test_more_than_an_hour_holds_is_cut_by_seconds(start):
    """Groq has 7 200 s of sound an hour: a recording of three hours is no reason to refuse it outright."""
    demo = await start(("groq",))
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setparams((1, 1, 800, 0, "NONE", "not compressed"))
        made.writeframes(b"\x80" * (800 * 3 * 3600))
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=60, headers={"x-freeway-max-wait": "0"}) as client:
        found = await client.post(
            "/v1/audio/transcriptions",
            files={"file": ("a.wav", file.getvalue())},
            data={"model": "groq/whisper-large-v3"},
        )
    parts = [one for one in demo.world.providers["groq"].calls if "audio" in one.path]

    assert len(parts) == 1  # the first part went, and the next has to wait for the hour
    assert found.status_code == 429
    assert demo.world.providers["groq"].refused == 0


async def test_what_can_be_sent_whole_is_sent_whole_and_as_it_came(cut):
    recording = spoken(4)
    await written(cut, recording)

    assert heard(cut, "groq") == [recording]


@pytest.mark.parametrize("recording", [b"OggS" + bytes(100_000), b"RIFF\x00\x00\x00\x00WAVEnonsense" + bytes(100_000)])
async def test_what_cannot_be_cut_is_refused_with_what_helps(cut, recording, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    found = await written(cut, recording, name="talk.ogg")

    assert found.status_code == 413
    for word in ("no source takes more than 80000 bytes", "WAV", "install ffmpeg"):
        assert word in found.json()["error"]["message"]
    assert not heard(cut, "groq")


async def test_what_cannot_be_cut_goes_whole_to_a_source_that_takes_it(start, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    demo = await start(("groq", "cohere"), FREEWAY_CONFIG=limited(tmp_path, groq=80_000))
    recording = b"OggS" + bytes(100_000)
    found = await written(demo, recording, name="talk.ogg")

    assert found.status_code == 200, found.text
    assert heard(demo, "cohere") == [recording]
    assert not heard(demo, "groq")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on this machine")
@pytest.mark.parametrize("form", ["flac", "mp3", "wav"])
async def test_other_formats_are_cut_with_ffmpeg(start, tmp_path, form):
    """Numbers with a fraction are another format, too, whatever the name of the file is."""
    codec = {"flac": "flac", "mp3": "libmp3lame", "wav": "pcm_f32le"}[form]
    command = ["ffmpeg", "-loglevel", "error", "-i", "pipe:0", "-c:a", codec, "-b:a", "64k", "-f", form, "pipe:1"]
    run = await asyncio.to_thread(subprocess.run, command, input=spoken(21), capture_output=True, check=True)
    recording = run.stdout
    demo = await start(("groq",), FREEWAY_CONFIG=limited(tmp_path, groq=len(recording) - 1000))
    found = await written(demo, recording, name=f"talk.{form}", response_format="verbose_json")

    assert found.status_code == 200, found.text
    assert sum(len(frames_of(part)) for part in heard(demo, "groq")) / 32_000 == pytest.approx(21, abs=0.3)
    assert float(found.json()["duration"]) == pytest.approx(21, abs=0.3)
