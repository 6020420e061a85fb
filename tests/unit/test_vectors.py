"""Vectors that were made are kept within a bound, those used least lately go first, and damage costs nothing but them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.state.vectors import SqliteVectors, bytes_of, key_of

ROW = 1024 + 64


def many(count: int, start: int = 0) -> dict[bytes, bytes]:
    return {key_of("space", f"{number}"): bytes(1024) for number in range(start, start + count)}


@pytest.mark.parametrize(
    ("size", "count"), [("256MiB", 256 * 2**20), ("1 GB", 10**9), ("10KiB", 10_240), ("7B", 7), ("2 MB", 2_000_000)]
)
def test_a_size_is_read_as_people_write_it(size, count):
    assert bytes_of(size) == count


async def test_what_was_kept_is_found_after_a_restart(tmp_path: Path):
    path = tmp_path / "vectors.sqlite"
    kept = SqliteVectors(path, 100 * ROW)
    await kept.put(many(3))
    await kept.aclose()
    again = SqliteVectors(path, 100 * ROW)

    assert await again.get(many(5)) == many(3)
    assert path.stat().st_mode & 0o777 == 0o600
    await again.aclose()


async def test_there_is_never_more_than_the_bound_and_what_was_used_lately_stays():
    kept = SqliteVectors(None, 10 * ROW)
    await kept.put(many(10))
    await kept.get(many(3))
    await kept.put(many(4, start=10))

    found = await kept.get(many(14))
    assert len(found) == 10
    assert many(3).keys() | many(4, start=10).keys() <= found.keys()
    await kept.aclose()


async def test_a_damaged_file_is_begun_anew(tmp_path: Path):
    path = tmp_path / "vectors.sqlite"
    path.write_bytes(b"no database" * 1000)
    kept = SqliteVectors(path, 100 * ROW)
    await kept.put(many(1))

    assert await kept.get(many(1)) == many(1)
    await kept.aclose()


async def test_nothing_of_a_text_is_in_the_file(tmp_path: Path):
    path = tmp_path / "vectors.sqlite"
    kept = SqliteVectors(path, 100 * ROW)
    await kept.put({key_of("space", "a very secret text"): bytes(16)})
    await kept.aclose()

    assert b"secret" not in path.read_bytes()


def test_a_space_and_a_text_are_told_apart():
    assert key_of("a", "b") != key_of("b", "a")
    assert key_of("a", "1") != key_of("a", [1])
