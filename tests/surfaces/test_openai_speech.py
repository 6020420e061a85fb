"""Texts are read aloud, whichever source has a voice, in the voice and the format that were asked for."""

from __future__ import annotations

import io
import shutil
import wave

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.operations.speak import wav

SPEAKERS = ["groq", "google"]
VOICES = {"groq": {"alloy": "hannah", "Troy": "troy"}, "google": {"alloy": "Kore", "puck": "Puck", "": "Kore"}}


async def said(demo, **asked):
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=60) as client:
        return await client.post("/v1/audio/speech", json={"model": "auto", "response_format": "wav"} | asked)


@pytest.mark.parametrize("name", SPEAKERS)
async def test_a_text_is_read_aloud_as_a_wav_file(start, name):
    """Gemini gives bare numbers: they become a file without any help from ffmpeg."""
    demo = await start((name,))
    found = await said(demo, input="one two three")

    assert found.status_code == 200, found.text
    assert found.headers["content-type"] == "audio/wav"
    assert found.headers["x-freeway-provider"] == name
    with wave.open(io.BytesIO(found.content)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(0.3)
        assert file.getframerate() == (24_000 if name == "google" else 8000)


@pytest.mark.parametrize(
    ("name", "asked", "own"), [(n, asked, own) for n, v in VOICES.items() for asked, own in v.items()]
)
async def test_a_voice_is_asked_for_by_the_name_that_its_source_has(start, name, asked, own):
    demo = await start((name,))
    found = await said(demo, input="hi", **({"voice": asked} if asked else {}))
    sent = msgspec.json.decode(demo.world.providers[name].calls[-1].body)

    assert found.status_code == 200, found.text
    assert own == (
        sent["voice"]
        if name == "groq"
        else sent["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"]
    )


async def test_a_voice_of_one_source_is_not_asked_of_another(start):
    demo = await start(("groq", "google"))
    groq = await said(demo, input="hi", voice="daniel")
    google = await said(demo, input="hi", voice="Sulafat")

    assert groq.headers["x-freeway-provider"] == "groq"
    assert google.headers["x-freeway-provider"] == "google"


async def test_a_voice_that_no_source_has_is_refused_with_those_that_there_are(start):
    demo = await start(("groq",))
    found = await said(demo, input="hi", voice="nobody")

    assert found.status_code == 400
    assert "no voice 'nobody'" in found.text
    assert "hannah" in found.text
    assert not [one for one in demo.world.providers["groq"].calls if "speech" in one.path]


async def test_a_speed_that_no_source_takes_is_said_to_be_dropped(start):
    demo = await start(("groq",))
    faster = await said(demo, input="hi", speed=1.5)
    usual = await said(demo, input="hi", speed=1.0)

    assert faster.headers["x-freeway-dropped"] == "speed"
    assert "x-freeway-dropped" not in usual.headers


async def test_no_more_is_asked_of_a_voice_than_it_has_free(start):
    """Three a minute: the fourth is told when, and Gemini never refuses."""
    demo = await start(("google",))
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=60, headers={"x-freeway-max-wait": "0"}) as client:
        asked = {"model": "auto", "input": "hi", "response_format": "wav"}
        answers = [await client.post("/v1/audio/speech", json=asked) for _ in range(4)]

    assert [one.status_code for one in answers] == [200] * 3 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 65
    assert demo.world.providers["google"].refused == 0


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on this machine")
@pytest.mark.parametrize(("form", "magic"), [("mp3", b"ID3"), ("flac", b"fLaC"), ("opus", b"OggS"), ("aac", b"\xff")])
async def test_other_formats_are_made_by_ffmpeg(start, form, magic):
    demo = await start(("google",))
    found = await said(demo, input="one two three", response_format=form)

    assert found.status_code == 200, found.text
    assert found.content.startswith(magic)


@given(st.binary(max_size=200).map(lambda data: data[: len(data) // 2 * 2]), st.integers(8000, 48_000))
def test_a_wav_file_holds_its_numbers_bit_for_bit(samples, rate):
    with wave.open(io.BytesIO(wav(samples, rate))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
        assert file.readframes(file.getnframes()) == samples
