"""Clients that are kept in the store: made, changed, and known to every gateway of it."""

from __future__ import annotations

import math
from datetime import date
from hashlib import sha256

import pytest

from gateway import settings as s
from gateway.api.auth import ANYBODY, Authenticator
from gateway.api.drain import Drain
from gateway.settings.clients import Client, Limit, limit_of
from gateway.state.clients import TOPIC, KeptClients
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateStore
from gateway.words import Unauthorized
from tests.clock import FakeClock
from tests.conftest import CONFIG


class Replica:
    """What one gateway knows of clients."""

    def __init__(self, path, clock: FakeClock, **environ: str) -> None:
        self.state = StateStore(SqliteState(path, clock), clock)
        self.by = Authenticator(s.load(CONFIG, environ, CONFIG), Drain(), clock)
        self.kept = KeptClients(self.state, clock, lambda: self.by.declared)
        self.kept.watch(self.by.keep)

    def admits(self, key: str) -> str:
        return self.by.admit([(b"authorization", f"Bearer {key}".encode())]).name


@pytest.fixture
async def replicas(tmp_path, clock):
    made = [Replica(tmp_path / "state.sqlite", clock), Replica(tmp_path / "state.sqlite", clock)]
    yield made
    for one in made:
        await one.state.aclose()


async def test_what_one_gateway_makes_the_other_admits_after_one_exchange_and_refuses_after_another(replicas):
    one, other = replicas
    key = one.kept.add("alice")
    assert one.admits(key) == "alice"  # at once here
    assert other.by.admit([]) is ANYBODY

    await one.state.exchange()
    await other.state.exchange()
    assert other.admits(key) == "alice"

    other.kept.revoke("alice")
    await other.state.exchange()
    await one.state.exchange()
    for by in replicas:
        with pytest.raises(Unauthorized, match="'alice' was revoked"):
            by.admits(key)


async def test_a_gateway_does_not_stand_open_because_the_last_key_was_taken_away(replicas):
    one, _ = replicas
    assert one.by.open

    one.kept.add("alice")
    one.kept.revoke("alice")

    assert not one.by.open
    with pytest.raises(Unauthorized):
        one.by.admit([])


@pytest.mark.parametrize("environ", [{"HOST": "0.0.0.0"}, {"HOST": "192.168.1.5"}])
def test_what_others_can_reach_is_never_open(environ, clock):
    by = Authenticator(s.load(CONFIG, environ, CONFIG), Drain(), clock)

    assert not by.open
    with pytest.raises(Unauthorized):
        by.admit([])


async def test_nothing_but_a_hash_of_a_key_is_kept(replicas, tmp_path):
    one, _ = replicas
    key = one.kept.add("alice")
    await one.state.exchange()

    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert key.encode() not in written
    assert sha256(key.encode()).hexdigest().encode() in written


async def test_another_key_takes_the_place_of_the_one_before_and_what_is_allowed_stays(replicas):
    one, _ = replicas
    before = one.kept.add("alice", limits=("20/minute",), no_train=True)

    after = one.kept.rotate("alice")

    assert one.admits(after) == "alice"
    with pytest.raises(Unauthorized, match="wrong API key"):
        one.admits(before)
    assert one.kept.all()[0].limits == ("20/minute",)
    assert one.kept.all()[0].no_train


async def test_a_key_is_taken_on_its_last_day_and_refused_from_then_on_saying_so(replicas, clock):
    one, _ = replicas
    day = date(2027, 6, 30)
    key = one.kept.add("alice", expires=day)
    end = Client(name="a", key_sha256="0" * 64, expires=day).expires_at

    clock.advance(end - clock.now() - 1)
    assert one.admits(key) == "alice"
    clock.advance(1)
    with pytest.raises(Unauthorized, match="expired at 2027-07-01 00:00 UTC"):
        one.admits(key)


async def test_the_configuration_goes_before_the_store_and_may_change_while_it_runs(replicas):
    one, _ = replicas
    key = one.kept.add("alice")
    mine = Client(name="alice", key_sha256=sha256(b"declared").hexdigest(), priority="low")

    one.by.declare([mine])
    assert one.by.admit([(b"x-api-key", b"declared")]) is mine
    with pytest.raises(Unauthorized):
        one.admits(key)
    with pytest.raises(ValueError, match="the configuration file has a client 'alice' already"):
        one.kept.add("alice")
    assert one.by.clients == [(mine, True)]

    one.by.declare([])
    assert one.admits(key) == "alice"


async def test_an_entry_that_cannot_be_read_admits_nobody_and_does_not_open_the_gateway(replicas):
    one, other = replicas
    one.state.set(TOPIC, "bob", {"client": {"name": "bob", "from": "a later version"}})
    await one.state.exchange()
    await other.state.exchange()

    assert not other.by.open
    with pytest.raises(Unauthorized):
        other.by.admit([])


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("20/minute", Limit(20, "requests", "minute", 60)),
        ("500 requests/day", Limit(500, "requests", "day", 86400)),
        ("200000 tokens/day", Limit(200_000, "tokens", "day", 86400)),
        ("1 request per 5 minutes", Limit(1, "requests", "5 minute", 300)),
        ("3000 Tokens per 2 hour", Limit(3000, "tokens", "2 hour", 7200)),
    ],
)
def test_the_unit_is_taken_off_before_the_notation_is_read(text, limit):
    assert limit_of(text) == limit
    assert limit_of(str(limit)) == limit


@pytest.mark.parametrize("text", ["", "20", "0/minute", "20/minute;3/day", "5 tokens requests/day", "-1/day", "x/day"])
def test_what_is_no_limit_is_told_with_examples(text):
    with pytest.raises(ValueError, match=r"expected e\.g\. '20/minute', '500/day' or '200000 tokens/day'"):
        limit_of(text)


def test_a_client_without_an_end_never_expires():
    assert Client(name="a", key_sha256="0" * 64).expires_at == math.inf
