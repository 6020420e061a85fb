"""A log line never waits: not for a pipe that is full, that nobody reads, or that is closed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gateway.observe.outlet import Outlet

LINE = "a line of the log, which is not short: " + "x" * 200 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with suppress(OSError):
            os.close(end)


def read_all(reading: int, until: bytes) -> bytes:
    found = b""
    while until not in found:
        found += os.read(reading, 65_536)
    return found


def test_lines_arrive_in_their_order(pipe):
    reading, writing = pipe
    out = Outlet(writing)
    for number in range(100):
        out.write(f"line {number}\n")
    out.close(10)

    assert read_all(reading, b"line 99\n").splitlines() == [b"line %d" % number for number in range(100)]
    assert out.dropped == 0


def test_a_pipe_that_nobody_reads_stops_nobody_and_tells_afterwards_what_was_lost(pipe):
    reading, writing = pipe
    out = Outlet(writing, most=100_000)

    began = time.monotonic()
    for _ in range(20_000):
        out.write(LINE)
    out.close(0.05)
    took = time.monotonic() - began
    lost = out.dropped

    assert lost > 15_000
    assert took < 5
    assert b" log lines were dropped" in read_all(reading, b" log lines were dropped")


@pytest.mark.parametrize("closed", ["reader", "writer"])
def test_a_pipe_that_is_closed_stops_nobody_and_its_lines_are_counted(pipe, closed):
    reading, writing = pipe
    os.close(reading if closed == "reader" else writing)
    out = Outlet(writing)

    for _ in range(100):
        out.write(LINE)
    out.close(10)

    assert out.dropped >= 100


def test_a_line_that_is_no_text_is_written_as_far_as_it_is(pipe):
    reading, writing = pipe
    out = Outlet(writing)
    out.write("half a pair: \ud800.\n")
    out.close(10)

    assert os.read(reading, 100) == b"half a pair: ?.\n"
