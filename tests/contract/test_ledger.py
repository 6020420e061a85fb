"""What holds of every ledger. A new store is tested by being in the fixture."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from gateway.ledger.buckets import Bucket
from gateway.ledger.embedded import EmbeddedLedger
from gateway.ledger.ledger import Cost, NoRoom, Reservation, Wanted
from providers.dialect import Observation

NOW = 1_795_440_000.0
MINUTE = Bucket(key="p/m/requests", unit="requests", limit=3, window="clock", period=60, window_name="minute")
DAY = Bucket(key="p/*/requests", unit="requests", limit=5, window="calendar", calendar="day", window_name="day")
TOKENS = Bucket(key="p/m/tokens", unit="tokens", limit=100, window="refill", period=60, window_name="minute")
FLIGHT = Bucket(key="p/*/flight", unit="in-flight", limit=2, window="in-flight", window_name="in-flight")


@pytest.fixture(params=["memory", "file"])
def ledger(request, tmp_path):
    made = EmbeddedLedger(None if request.param == "memory" else tmp_path / "ledger.sqlite")
    yield made
    made.aclose()


def wanted(*buckets, name="d", prompt=1.0, output=0.0) -> Wanted:
    return Wanted(name, buckets, Cost(prompt, output))


def used(ledger, bucket, now=NOW) -> float:
    return ledger.levels([bucket], now)[bucket.key].used


def test_a_reservation_debits_every_bucket(ledger):
    held = ledger.reserve([wanted(MINUTE, DAY, TOKENS, FLIGHT, prompt=30, output=20)], NOW)

    assert isinstance(held, Reservation)
    assert [used(ledger, each) for each in (MINUTE, DAY, TOKENS, FLIGHT)] == [1, 1, 50, 1]


def test_what_was_reserved_for_the_answer_stays_where_the_provider_keeps_it(ledger):
    keeping = msgspec.structs.replace(TOKENS, key="p/m/kept", keeps_output=True)
    held = ledger.reserve([wanted(TOKENS, keeping, prompt=30, output=20)], NOW)
    ledger.settle(held, Cost(prompt=25, output=5), NOW)

    assert [used(ledger, each) for each in (TOKENS, keeping)] == [30, 45]


def test_a_refusal_debits_none_and_names_the_bucket_and_when_it_opens(ledger):
    refused = ledger.reserve([wanted(MINUTE, DAY, TOKENS, prompt=101)], NOW)

    assert isinstance(refused, NoRoom)
    assert refused.refusals == ((TOKENS, float("inf")),)
    assert [used(ledger, each) for each in (MINUTE, DAY, TOKENS)] == [0, 0, 0]


def test_the_bucket_that_opens_last_is_the_one_in_the_way(ledger):
    for _ in range(3):
        ledger.reserve([wanted(MINUTE, DAY)], NOW)
    for _ in range(2):
        ledger.reserve([wanted(DAY)], NOW)

    refused = ledger.reserve([wanted(MINUTE, DAY)], NOW)

    assert isinstance(refused, NoRoom)
    assert refused.refusals[0][0] is DAY
    assert refused.opens_at == NOW - NOW % 86400 + 86400


def test_the_first_that_fits_is_taken(ledger):
    held = ledger.reserve([wanted(TOKENS, name="a", prompt=101), wanted(MINUTE, name="b"), wanted(DAY, name="c")], NOW)

    assert isinstance(held, Reservation)
    assert (held.place, held.wanted.deployment) == (1, "b")
    assert used(ledger, DAY) == 0


def test_settling_leaves_the_true_cost(ledger):
    held = ledger.reserve([wanted(MINUTE, TOKENS, FLIGHT, prompt=30, output=50)], NOW)

    ledger.settle(held, Cost(28, 4), NOW)

    assert [used(ledger, each) for each in (MINUTE, TOKENS, FLIGHT)] == [1, 32, 0]


def test_a_refund_leaves_nothing(ledger):
    held = ledger.reserve([wanted(MINUTE, TOKENS, FLIGHT, prompt=30)], NOW)

    ledger.refund(held, NOW)

    assert [used(ledger, each) for each in (MINUTE, TOKENS, FLIGHT)] == [0, 0, 0]


def test_a_refused_request_stays_where_refused_ones_count(ledger):
    counting = Bucket(
        key="p/*/counting", unit="requests", limit=5, window="calendar", calendar="day", counts_refused=True
    )
    held = ledger.reserve([wanted(MINUTE, counting)], NOW)

    ledger.refund(held, NOW, refused=True)

    assert [used(ledger, each) for each in (MINUTE, counting)] == [0, 1]


def test_a_reservation_ends_once(ledger):
    held = ledger.reserve([wanted(TOKENS, prompt=30)], NOW)

    ledger.settle(held, Cost(10), NOW)
    ledger.refund(held, NOW)
    ledger.settle(held, Cost(90), NOW)

    assert used(ledger, TOKENS) == 10


def test_what_the_provider_says_counts_both_ways(ledger):
    ledger.reserve([wanted(MINUTE)], NOW)

    ledger.observe([MINUTE], [Observation("requests", "minute", limit=20, remaining=2)], NOW)

    view = ledger.levels([MINUTE], NOW)[MINUTE.key]
    assert (view.used, view.limit, view.limit_from) == (18, 20, "observed")


def test_an_observation_of_another_window_is_not_ours(ledger):
    ledger.observe([MINUTE, DAY], [Observation("requests", "day", limit=5, remaining=1)], NOW)

    assert [used(ledger, MINUTE), used(ledger, DAY)] == [0, 4]


def test_a_closed_bucket_opens_by_itself_or_by_hand(ledger):
    ledger.close(MINUTE, NOW + 30, "said so", NOW)

    refused = ledger.reserve([wanted(MINUTE)], NOW)
    assert isinstance(refused, NoRoom)
    assert refused.opens_at == NOW + 30
    assert isinstance(ledger.reserve([wanted(MINUTE)], NOW + 30), Reservation)

    ledger.close(DAY, None, "used up", NOW)
    assert isinstance(ledger.reserve([wanted(DAY)], NOW), NoRoom)
    ledger.open(DAY)
    assert isinstance(ledger.reserve([wanted(DAY)], NOW), Reservation)


def test_a_level_survives_a_restart(tmp_path):
    path = tmp_path / "ledger.sqlite"
    first = EmbeddedLedger(path)
    first.reserve([wanted(MINUTE, DAY)], NOW)
    first.observe([DAY], [Observation("requests", "day", limit=1000)], NOW)
    first.aclose()

    second = EmbeddedLedger(path)

    assert (used(second, MINUTE), used(second, DAY)) == (1, 1)
    assert second.levels([DAY], NOW)[DAY.key].limit == 1000
    second.aclose()


def test_threads_on_one_file_never_admit_one_too_many(tmp_path):
    path = tmp_path / "ledger.sqlite"
    EmbeddedLedger(path).aclose()
    many = Bucket(key="p/*/many", unit="requests", limit=50, window="clock", period=60)

    def run(_: int) -> int:
        mine = EmbeddedLedger(path)
        won = sum(isinstance(mine.reserve([wanted(many)], NOW), Reservation) for _ in range(25))
        mine.aclose()
        return won

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(run, range(4))) == 50


_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.contract.test_ledger import MINUTE, NOW, wanted
from gateway.ledger.embedded import EmbeddedLedger
ledger = EmbeddedLedger(Path(sys.argv[1]))
ledger.reserve([wanted(MINUTE)], NOW)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_debited_stays_debited(tmp_path):
    path = tmp_path / "ledger.sqlite"

    died = subprocess.run([sys.executable, "-c", _KILLED, str(path)], cwd=Path.cwd(), check=False)

    assert died.returncode == -signal.SIGKILL
    after = EmbeddedLedger(path)
    assert used(after, MINUTE) == 1
    after.aclose()
