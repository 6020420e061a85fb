"""Where recordings are cut: no frame is lost or sent twice, whatever the file and whatever its sources take."""

from __future__ import annotations

import io
import math
import shutil
import wave
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers import waves
from providers.sound import HEADER, Piece, Recording, TranscribeRequest, Transcript, TranscriptionRequest, Waves


def file_of(folder: Path, data: bytes, *, channels: int = 1, width: int = 2, rate: int = 8000) -> Recording:
    path = folder / "recording"
    with wave.open(str(path), "wb") as made:
        made.setparams((channels, width, rate, 0, "NONE", "not compressed"))
        made.writeframes(data)
    return Recording(path, "a.wav", "audio/wav", path.stat().st_size, len(data) / channels / width / rate)


def parts_of(recording: Recording, limits: list[tuple[float, float]]) -> list[Recording]:
    """The parts that sources of *limits* (bytes and seconds) get by turns."""
    parts: list[Recording] = []
    left: Recording | None = recording
    while left is not None:
        parts.append(left.first(*limits[len(parts) % len(limits)]))
        left = left.after(parts[-1])
    return parts


def frames_of(part: Recording) -> bytes:
    with waves.opened(part) as file, wave.open(io.BytesIO(file.read())) as read:
        return read.readframes(read.getnframes())


@settings(deadline=None, max_examples=60)
@given(
    data=st.binary(min_size=200, max_size=6000),
    form=st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 3, 4]), st.sampled_from([50, 800, 8000])),
    limits=st.lists(st.tuples(st.integers(HEADER + 400, 3000), st.floats(0.5, 60)), min_size=1, max_size=3),
)
def test_parts_put_together_are_the_recording(tmp_path_factory, data, form, limits):
    channels, width, rate = form
    data = data[: len(data) // (channels * width) * channels * width]
    folder = tmp_path_factory.mktemp("recordings")
    recording = file_of(folder, data, channels=channels, width=width, rate=rate)
    found = waves.divisible(recording, min(most for most, _ in limits), min(seconds for _, seconds in limits))
    if found is None:  # too small a source for such frames
        assert (
            min(seconds * rate for _, seconds in limits) < 8
            or min(most for most, _ in limits) - HEADER < 16 * channels * width
        )
        return
    parts = parts_of(found, [(float(most), seconds) for most, seconds in limits])

    assert b"".join(map(frames_of, parts)) == data
    assert sum(part.seconds for part in parts) == pytest.approx(found.seconds)
    for place, part in enumerate(parts):
        most, seconds = limits[place % len(limits)]
        with waves.opened(part) as file:
            assert len(file.read()) == part.size
        assert part.size <= max(most, recording.size if len(parts) == 1 else 0)
        assert part.seconds <= seconds


@given(
    cuts=st.lists(st.tuples(st.integers(1, 999), st.floats(0, 9)), max_size=30, unique_by=lambda one: one[0]).map(
        sorted
    ),
    counts=st.lists(st.integers(1, 1200), min_size=1, max_size=4),
)
def test_frames_are_never_lost_nor_sent_twice(cuts, counts):
    """Also where there are no cuts, or none that is near enough: then all that is left goes at once."""
    left = Waves(8000, 2, 1000, 0, 1000, tuple(cut for cut, _ in cuts), tuple(loud for _, loud in cuts))
    ends = [0]
    while ends[-1] < 1000:
        part = left.first(counts[len(ends) % len(counts)])
        assert part.start == ends[-1] < part.end
        ends.append(part.end)
        left = Waves(8000, 2, 1000, part.end, 1000, left.cuts, left.loud)

    assert ends == sorted(set(ends))


@pytest.mark.parametrize(("channels", "width"), [(1, 1), (1, 2), (2, 2), (1, 3), (2, 4)])
def test_the_quietest_moment_is_found(tmp_path, channels, width):
    """Silence of a fifth of a second in noise, which only one of two channels need have."""
    silence = b"\x80" if width == 1 else b"\x00"
    loud = (b"\x10" if width == 1 else b"\x00" * (width - 1) + b"\x50") * channels
    quiet = silence * width * channels
    data = loud * 5600 + quiet * 1600 + loud * 8800
    found = waves.divisible(
        file_of(tmp_path, data, channels=channels, width=width), HEADER + 8000 * width * channels, 60.0
    )
    assert found is not None
    part = found.first(HEADER + 8000 * width * channels, 60.0)

    assert part.waves is not None
    assert 5600 < part.waves.end < 7200


def test_speech_in_one_channel_alone_is_no_silence(tmp_path):
    """The left one is silent early and the right one late: only where both are may it be cut."""
    left, right, none = b"\x00\x50\x00\x00", b"\x00\x00\x00\x50", bytes(4)
    data = right * 5000 + none * 1200 + left * 9800
    found = waves.divisible(file_of(tmp_path, data, channels=2), HEADER + 8000 * 4, 60.0)
    assert found is not None
    part = found.first(HEADER + 8000 * 4, 60.0)

    assert part.waves is not None
    assert 5000 < part.waves.end < 6200


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"OggS" + bytes(99), b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00" + bytes(40)]
)
def test_what_is_no_wav_file_cannot_be_cut(tmp_path, data):
    path = tmp_path / "recording"
    path.write_bytes(data)

    assert waves.divisible(Recording(path, "a", "audio/wav", len(data), 1.0), 50, 1.0) is None


@pytest.mark.parametrize(("most", "seconds"), [(500.0, math.inf), (math.inf, 0.05)])
def test_either_limit_is_enough_to_cut(tmp_path, most, seconds):
    found = waves.divisible(file_of(tmp_path, bytes(3000)), most, seconds)
    assert found is not None
    parts = parts_of(found, [(most, seconds)])

    assert len(parts) > 1
    assert b"".join(map(frames_of, parts)) == bytes(3000)


@settings(deadline=None, max_examples=200)
@given(
    broken=st.dictionaries(st.integers(0, 59), st.integers(0, 255), max_size=6),
    length=st.integers(0, 600),
    limits=st.sampled_from([(500.0, math.inf), (math.inf, 0.05), (300.0, 1.0)]),
)
def test_a_broken_file_is_cut_or_not_and_nothing_else(tmp_path_factory, broken, length, limits):
    """Whatever its header says: what can be cut is put together again, and what cannot is told so."""
    recording = file_of(tmp_path_factory.mktemp("recordings"), bytes(range(200)) * 3)
    data = bytearray(recording.path.read_bytes())
    for place, value in broken.items():
        data[place] = value
    recording.path.write_bytes(data[: 44 + length])
    found = waves.divisible(recording, *limits)
    if found is not None:
        parts = parts_of(found, [limits])
        assert sum(part.seconds for part in parts) == pytest.approx(found.seconds)
        for part in parts:
            with waves.opened(part) as file:
                file.read()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not on this machine")
def test_a_playlist_cannot_have_ffmpeg_read_other_files(tmp_path):
    """A 'recording' that names another file of this machine, even where its name invites ffmpeg to follow it."""
    secret = file_of(tmp_path, bytes(16_000)).path.rename(tmp_path / "secret.wav")
    playlist = tmp_path / "recording.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n")
    listed = tmp_path / "recording.ffconcat"
    listed.write_text("ffconcat version 1.0\nfile secret.wav\n")

    (tmp_path / "plain").write_bytes(secret.read_bytes())
    assert waves.converted(Recording(tmp_path / "plain", "a.wav", "audio/wav", 16_044, 1.0)) is not None
    for path in (playlist, listed):
        assert waves.converted(Recording(path, "a", "audio/wav", 99, 1.0)) is None


# ── what was said ──

PIECES = st.lists(st.tuples(st.floats(-5, 50), st.floats(-5, 50)), max_size=5).map(
    lambda spans: [Piece(min(span), max(span), "said") for span in sorted(spans, key=min)]
)


@given(st.lists(st.tuples(st.floats(0.5, 20), PIECES), min_size=2, max_size=5))
def test_moments_never_go_back_and_never_leave_the_recording(parts):
    """Whatever a source says of moments, which some stretch beyond the end of what they got."""
    view = TranscriptionRequest()
    asked = [
        TranscribeRequest(view, Recording(Path("a"), "a", "", 1, seconds, Waves(1, 1, 1, 0, 1, (), ())))
        for seconds, _ in parts
    ]
    made = [Transcript("said", segments=list(pieces), words=list(pieces)) for _, pieces in parts]
    whole = Transcript.joined(list(zip(asked, made, strict=True)))
    starts = [one.start for one in whole.segments]

    assert starts == sorted(starts)
    assert all(0 <= one.start <= one.end <= whole.duration + 1e-9 for one in [*whole.segments, *whole.words])
    assert len(whole.segments) == sum(len(pieces) or 1 for _, pieces in parts)
    assert whole.duration == pytest.approx(sum(seconds for seconds, _ in parts))


def test_what_came_in_one_is_told_as_it_came():
    made = Transcript("hi", "English", 3.0, [Piece(0.5, 9.0, "hi")])
    asked = TranscribeRequest(TranscriptionRequest(), Recording(Path("a"), "a", "", 1, 2.0))

    assert Transcript.joined([(asked, made)]) is made
