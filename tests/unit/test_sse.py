"""However bytes are cut on their way, the same events come out."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import sse
from providers.sse import EventTooLong, Lines, ServerSentEvents
from tests.payloads import FOLDER, body

STREAMS = sorted(f"{path.parent.name}/{path.name}" for path in FOLDER.glob("*/*.sse"))


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """*data* in pieces, cut at *places* (counted round its end)."""
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(marks)]


def events(pieces: Iterable[bytes], framing: ServerSentEvents | Lines | None = None) -> list[bytes]:
    framing = framing or ServerSentEvents()
    found = [event for piece in pieces for event in framing.feed(piece)]
    return [*found, *framing.end()]


cuts = st.lists(st.integers(0, 10**6), max_size=40)
text = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_recorded_stream_cut_at_every_byte_has_the_same_events(name: str, line_end: bytes):
    data = body(name).replace(b"\n", line_end)

    assert events([data[i : i + 1] for i in range(len(data))]) == events([body(name)])


def says_something(one: str) -> bool:
    """What keeps a stream alive and stands in a data line is left out."""
    stripped = one.encode().strip()
    return stripped not in (b"", b"null") and not stripped.startswith(b":")


@given(st.lists(text.filter(says_something)), cuts, st.sampled_from([b"\n", b"\r\n"]))
def test_cuts_do_not_matter(said: list[str], places: list[int], line_end: bytes):
    data = b"".join(b"data: " + one.encode() + line_end * 2 for one in said)

    assert events(cut(data, places)) == [one.encode() for one in said]


@given(st.binary(max_size=400), cuts)
def test_whatever_comes_is_read_without_a_fault(data: bytes, places: list[int]):
    assert events(cut(data, places)) == events([data])


@given(st.lists(text.filter(str.strip)), cuts)
def test_lines_are_the_same_however_they_are_cut(said: list[str], places: list[int]):
    data = b"\n".join(one.encode() for one in said)

    assert events(cut(data, places), Lines()) == [one.encode().strip() for one in said if one.encode().strip()]


def test_a_line_end_cut_in_two_is_one_line_end():
    assert events([b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n"]) == [b"a\nb"]


def test_comments_names_and_ids_are_left_out():
    assert events([b": OPENROUTER PROCESSING\n\nevent: x\nid: 7\nretry: 3\ndata: a\n\n"]) == [b"a"]


def test_the_blank_after_the_colon_is_no_part_of_the_data_and_a_second_one_is():
    assert events([b"data:a\n\ndata: b\n\ndata:  c\n\n"]) == [b"a", b"b", b" c"]


def test_several_lines_of_data_are_one_event():
    assert events([b"data: a\ndata: b\n\n"]) == [b"a\nb"]


def test_an_event_without_its_blank_line_is_given_at_the_end():
    assert events([b"data: a\n\ndata: b"]) == [b"a", b"b"]


@pytest.mark.parametrize("framing", [ServerSentEvents, Lines])
def test_an_event_without_end_is_an_accident(framing, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sse, "MAX_EVENT", 100)

    with pytest.raises(EventTooLong):
        events([b"a"] * 101, framing())


def test_an_event_of_many_lines_without_end_is_an_accident_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sse, "MAX_EVENT", 100)

    with pytest.raises(EventTooLong):
        events([b"data: a\n"] * 101)
