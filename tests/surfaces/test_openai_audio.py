"""Sound through OpenAI's own package: written down, translated, read aloud; and never held whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai import APIStatusError, AsyncOpenAI

from gateway.api.body import Left
from gateway.api.form import read_form
from gateway.words import BadRequest, TooBig
from providers.simulator.media import wav_of

SOUND = ("speech.wav", wav_of(2.0), "audio/wav")


@pytest.fixture(params=["groq", "cloudflare", "cohere"])
async def demo(request, start):
    return await start((request.param,))


async def package(demo: Any) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{demo.base_url}/v1", api_key="any", max_retries=0) as client:
        yield client


async def test_a_recording_is_written_down(demo):
    async for client in package(demo):
        found = await client.audio.transcriptions.create(model="auto", file=SOUND)

    assert found.text == "hello there"


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ("text", "hello there\n"),
        ("srt", "1\n00:00:00,000 --> 00:00:01,000\nhello\n\n2\n00:00:01,000 --> 00:00:02,000\nthere\n"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nhello\n\n00:00:01.000 --> 00:00:02.000\nthere\n"),
    ],
)
async def test_it_is_told_in_every_shape(start, shape, told):
    demo = await start(("groq",))
    async for client in package(demo):
        found: Any = await client.audio.transcriptions.create(
            model="whisper-large-v3", file=SOUND, response_format=shape
        )
        whole = await client.audio.transcriptions.create(
            model="whisper-large-v3", file=SOUND, response_format="verbose_json", timestamp_granularities=["segment"]
        )

    assert found == told
    assert [one.text.strip() for one in whole.segments or []] == ["hello", "there"]
    assert float(whole.duration) == pytest.approx(2.0)


async def test_a_translation_says_so_to_its_source(start):
    demo = await start(("groq",))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        found = await client.post("/v1/audio/translations", files={"file": SOUND}, data={"model": "whisper-large-v3"})

    assert found.json() == {"text": "hello there"}
    assert demo.world.providers["groq"].calls[-1].path.endswith("/audio/translations")


async def test_sound_is_counted_in_seconds(start):
    """Two hours of sound an hour: a third recording of an hour waits, or is told when."""
    demo = await start(("groq",))
    async with httpx.AsyncClient(base_url=demo.base_url, timeout=60) as client:
        answers = [
            await client.post(
                "/v1/audio/transcriptions",
                headers={"x-freeway-max-wait": "0"},
                files={"file": ("a.wav", wav_of(1400), "audio/wav")},
                data={"model": "groq/whisper-large-v3"},
            )
            for _ in range(6)
        ]

    assert [one.status_code for one in answers] == [200] * 5 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 3600
    assert demo.world.providers["groq"].refused == 0


@pytest.mark.parametrize(
    ("files", "data", "status", "said"),
    [
        ({}, {"model": "auto"}, 400, "multipart"),
        ({"file": ("a.wav", b"", "audio/wav")}, {"model": "auto"}, 400, "file"),
        ({"file": SOUND}, {"model": "nonsense"}, 404, "nonsense"),
        ({"file": SOUND}, {"temperature": "warm"}, 400, "temperature"),
        ({"file": SOUND}, {"response_format": "docx"}, 400, "response_format"),
    ],
)
async def test_what_cannot_be_read_is_named(start, files, data, status, said):
    demo = await start(("groq",))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        found = await client.post("/v1/audio/transcriptions", files=files or None, data=data)

    assert found.status_code == status
    assert said in found.json()["error"]["message"]


async def test_a_text_is_read_aloud(start):
    demo = await start(("groq",))
    async for client in package(demo):
        found = await client.audio.speech.create(
            model="auto", voice="hannah", input="one two three", response_format="wav"
        )

    assert found.content == wav_of(0.3)
    assert found.response.headers["content-type"] == "audio/wav"


async def test_a_format_that_cannot_be_made_is_refused_with_what_helps(start, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    demo = await start(("groq",))
    async for client in package(demo):
        with pytest.raises(APIStatusError, match="install ffmpeg"):
            await client.audio.speech.create(model="auto", voice="hannah", input="hi", response_format="mp3")


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech"])
async def test_where_no_source_can_it_is_said_which_key_would_bring_one(start, path):
    demo = await start(("mistral",))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        if path.endswith("speech"):
            found = await client.post(path, json={"input": "hi", "response_format": "wav"})
        else:
            found = await client.post(path, files={"file": SOUND})

    assert found.status_code == 400
    assert "a key for" in found.json()["error"]["message"]
    assert "Groq" in found.json()["error"]["message"]


async def test_a_recording_is_bounded_apart_from_other_bodies(start, tmp_path):
    """``max_body`` holds for JSON, ``max_upload`` for a file: one is no reason to refuse the other."""
    own = tmp_path / "own.toml"
    own.write_text("[server]\nmax_body = 5_000\nmax_upload = 40_000\n")
    demo = await start(("groq",), FREEWAY_CONFIG=str(own))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        answers = [
            await client.post("/v1/audio/transcriptions", files={"file": ("a.wav", wav_of(seconds), "audio/wav")})
            for seconds in (2.0, 3.0)
        ]

    assert [one.status_code for one in answers] == [200, 413]
    assert "40000" in answers[1].json()["error"]["message"]


# ── forms ──

HEAD = [(b"content-type", b"multipart/form-data; boundary=b")]


def coming(*pieces: bytes, cut: bool = False) -> Any:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    last: dict[str, Any] = (
        {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False}
    )
    given = iter([*messages, last])

    async def receive() -> Any:
        return next(given)

    return receive


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nauto\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
)


async def test_a_great_recording_is_never_held_whole():
    piece = bytes(64 * 1024)
    tracemalloc.start()
    try:
        form = await read_form(coming(FORM, *[piece] * 480, b"\r\n--b--\r\n"), HEAD, 100 * 1024 * 1024)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = form.file.path.stat().st_size
    form.close()

    assert size == form.file.size == 480 * 64 * 1024
    assert most < 10 * 1024 * 1024
    assert not form.file.path.exists()


async def test_a_file_that_is_too_long_is_refused_as_soon_as_it_is():
    with pytest.raises(TooBig, match="the file is longer than 1000 bytes"):
        await read_form(coming(FORM, bytes(2000), b"never read"), HEAD, 1000)


async def test_a_form_that_is_cut_or_no_form_is_refused():
    with pytest.raises(BadRequest, match="form"):
        await read_form(coming(FORM, b"half"), HEAD, 1000)
    with pytest.raises(Left):
        await read_form(coming(FORM, cut=True), HEAD, 1000)
    with pytest.raises(BadRequest, match="multipart"):
        await read_form(coming(b"{}"), [(b"content-type", b"application/json")], 1000)


@pytest.mark.parametrize("at", range(1, len(FORM), 7))
async def test_a_form_may_come_in_any_pieces(at):
    whole = FORM + b"sound\r\n--b--\r\n"
    form = await read_form(coming(whole[:at], whole[at:]), HEAD, 1000)
    found = form.file.path.read_bytes()
    form.close()

    assert (form.fields, found, form.file.name) == ({"model": "auto"}, b"sound", "a.bin")
