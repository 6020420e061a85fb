"""A request's body is read within its bound, compressed or not."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.body import Left, inflated, read_body
from gateway.words import BadRequest, TooBig

LIMIT = 1000


async def body_of(*pieces: bytes, encoding: str = "", limit: int = LIMIT) -> bytes:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    coming = iter(messages)

    async def receive() -> Any:
        return next(coming)

    headers = [(b"content-encoding", encoding.encode())] if encoding else []
    return await read_body(receive, headers, limit)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
async def test_a_gzip_body_is_read_however_it_comes_in_pieces(encoding):
    sent = gzip.compress(b'{"model": "auto"}')

    for cut in range(len(sent)):
        assert await body_of(sent[:cut], sent[cut:], encoding=encoding) == b'{"model": "auto"}'


@given(members=st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_a_body_of_several_members_is_all_of_them(members: list[bytes]):
    assert inflated(b"".join(map(gzip.compress, members)), LIMIT) == b"".join(members)


async def test_what_grows_beyond_the_bound_is_refused():
    fits, bomb = gzip.compress(b"x" * LIMIT), gzip.compress(gzip.compress(b"0" * 10_000_000))

    assert len(await body_of(fits, encoding="gzip")) == LIMIT
    with pytest.raises(TooBig):
        await body_of(gzip.compress(b"x" * (LIMIT + 1)), encoding="gzip")
    with pytest.raises(TooBig):
        await body_of(gzip.compress(b"0" * 10_000_000), encoding="gzip", limit=100_000)
    with pytest.raises(TooBig):
        await body_of(fits, fits, encoding="gzip")
    assert len(await body_of(bomb, encoding="gzip", limit=100_000)) < 100_000  # only one layer is taken off


@pytest.mark.parametrize(
    "sent", [b"{}", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"rest"], ids=["plain", "cut", "and more"]
)
async def test_what_cannot_be_inflated_is_the_callers_fault(sent):
    with pytest.raises(BadRequest):
        await body_of(sent, encoding="gzip")


async def test_an_encoding_that_is_not_known_is_named():
    with pytest.raises(BadRequest, match="expected gzip"):
        await body_of(b"{}", encoding="br")
    assert await body_of(b"{}", encoding="identity") == b"{}"


async def test_a_caller_who_leaves_is_noticed():
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(Left):
        await read_body(receive, [], LIMIT)
