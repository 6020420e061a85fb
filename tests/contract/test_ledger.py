"""What holds of every ledger, whatever its store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.quota.buckets import LEARNED_FOR, LEASE, Bucket
from gateway.quota.ledger import Ledger
from gateway.quota.nouns import Cost, NoRoom, Offer, Refusal, Reservation
from gateway.routing.prices import Prices
from providers.observations import Observation

MINUTE = Bucket(key="p/m/requests", unit="requests", limit=3, window="clock", period=60, window_name="minute")
DAY = Bucket(key="p/*/requests", unit="requests", limit=5, window="calendar", calendar="day", window_name="day")
TOKENS = Bucket(key="p/m/tokens", unit="tokens", limit=100, window="refill", period=60, window_name="minute")
ROLLING = Bucket(key="p/m/rolling", unit="requests", limit=4, window="rolling", period=60, window_name="minute")
FLIGHT = Bucket(key="p/*/flight", unit="in-flight", limit=2, window="in-flight", window_name="in-flight")
FREED: list[int] = []
COUNTED = (MINUTE, DAY, TOKENS, ROLLING)


def offer(*buckets, name="d", prompt=1.0, output=0.0) -> Offer:
    return Offer(name, buckets, Cost(prompt, output))


async def take(ledger, *buckets, **cost) -> Reservation:
    held = await ledger.reserve([offer(*buckets, **cost)])
    assert isinstance(held, Reservation)
    return held


async def refused(ledger, *buckets, **cost) -> NoRoom:
    room = await ledger.reserve([offer(*buckets, **cost)])
    assert isinstance(room, NoRoom)
    return room


async def view(ledger, bucket):
    return (await ledger.levels([bucket]))[bucket.key]


async def used(ledger, *buckets) -> list[float]:
    levels = await ledger.levels(buckets)
    return [levels[bucket.key].used for bucket in buckets]


# ── looking ──


async def test_an_opening_is_what_a_refusal_would_tell_and_debits_nothing(ledger):
    for _ in range(3):
        await take(ledger, MINUTE, TOKENS, prompt=30)
    asked = [offer(MINUTE, DAY), offer(TOKENS, prompt=40), offer(TOKENS, prompt=101), offer(DAY), offer()]
    before = await used(ledger, MINUTE, DAY, TOKENS)

    openings = await ledger.openings(asked)

    refusals = [(await refused(ledger, *one.buckets, prompt=one.cost.prompt)).refusals[0] for one in asked[:3]]
    assert openings[:3] == refusals
    assert openings[3:] == [None, None]
    assert await used(ledger, MINUTE, DAY, TOKENS) == before


# ── reserving ──


async def test_a_reservation_debits_every_bucket(ledger):
    await take(ledger, MINUTE, DAY, TOKENS, ROLLING, FLIGHT, prompt=30, output=20)

    assert await used(ledger, MINUTE, DAY, TOKENS, ROLLING, FLIGHT) == [1, 1, 50, 1, 1]


async def test_a_refusal_debits_none_and_names_the_bucket(ledger):
    room = await refused(ledger, MINUTE, DAY, TOKENS, prompt=101)

    assert room.refusals == (Refusal(TOKENS, float("inf")),)
    assert await used(ledger, MINUTE, DAY, TOKENS) == [0, 0, 0]


async def test_the_bucket_that_opens_last_is_the_one_in_the_way(ledger, clock):
    for _ in range(3):
        await take(ledger, MINUTE, DAY)
    for _ in range(2):
        await take(ledger, DAY)

    room = await refused(ledger, MINUTE, DAY)

    assert room.refusals[0].bucket is DAY
    assert room.opens_at == clock() - clock() % 86_400 + 86_400


@pytest.mark.parametrize("bucket", [MINUTE, DAY, TOKENS, ROLLING], ids=lambda u: u.window)
async def test_a_full_bucket_opens_when_it_says_and_not_before(ledger, clock, bucket):
    clock.advance(7.3)
    while isinstance(await ledger.reserve([offer(bucket, prompt=20)]), Reservation):
        clock.advance(0.1)

    opens = (await refused(ledger, bucket, prompt=20)).opens_at

    clock.advance(opens - clock() - 0.01)
    await refused(ledger, bucket, prompt=20)
    clock.advance(0.011)
    await take(ledger, bucket, prompt=20)


async def test_the_first_that_fits_is_taken(ledger):
    offers = [offer(TOKENS, name="a", prompt=101), offer(MINUTE, name="b"), offer(DAY, name="c")]
    held = await ledger.reserve(offers)

    assert isinstance(held, Reservation)
    assert (held.place, held.offer.deployment) == (1, "b")
    assert await used(ledger, MINUTE, DAY) == [1, 0]


async def test_among_many_the_first_that_fits_is_found_however_far_down(ledger):
    for _ in range(3):
        await take(ledger, MINUTE)
    offers = [*(offer(MINUTE, name=f"full-{i}") for i in range(100)), offer(DAY, name="there")]

    held = await ledger.reserve(offers)

    assert isinstance(held, Reservation)
    assert (held.place, held.offer.deployment) == (100, "there")


async def test_a_deployment_without_buckets_has_always_room(ledger):
    held = await ledger.reserve([offer(name="local")])

    assert isinstance(held, Reservation)
    ledger.settle(held, Cost())


# ── ending ──


async def test_settling_leaves_the_true_cost(ledger):
    held = await take(ledger, MINUTE, TOKENS, ROLLING, FLIGHT, prompt=30, output=50)

    ledger.settle(held, Cost(28, 4))

    assert await used(ledger, MINUTE, TOKENS, ROLLING, FLIGHT) == [1, 32, 1, 0]


async def test_an_answer_longer_than_reserved_is_counted_whole(ledger):
    held = await take(ledger, TOKENS, prompt=30, output=10)

    ledger.settle(held, Cost(30, 60))

    assert await used(ledger, TOKENS) == [90]


async def test_what_was_reserved_for_the_answer_stays_where_the_provider_keeps_it(ledger):
    keeping = msgspec.structs.replace(TOKENS, key="p/m/kept", keeps_output=True)
    held = await take(ledger, TOKENS, keeping, prompt=30, output=20)

    ledger.settle(held, Cost(prompt=25, output=5))

    assert await used(ledger, TOKENS, keeping) == [30, 45]


async def test_a_refund_leaves_nothing(ledger):
    held = await take(ledger, *COUNTED, FLIGHT, prompt=30)

    ledger.refund(held)

    assert await used(ledger, *COUNTED, FLIGHT) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(("because", "left"), [("unsent", [0, 0, 0]), ("refused", [0, 1, 0]), ("failed", [0, 0, 1])])
async def test_what_was_not_served_stays_where_the_provider_counts_it(ledger, because, left):
    refusing = msgspec.structs.replace(DAY, key="p/*/refusing", counts_refused=True)
    failing = msgspec.structs.replace(DAY, key="p/*/failing", counts_failed=True)
    held = await take(ledger, MINUTE, refusing, failing)

    ledger.refund(held, because)

    assert await used(ledger, MINUTE, refusing, failing) == left


async def test_a_reservation_ends_once(ledger):
    held = await take(ledger, TOKENS, prompt=30)

    ledger.settle(held, Cost(10))
    ledger.refund(held)
    ledger.settle(held, Cost(90))

    assert await used(ledger, TOKENS) == [10]


async def test_what_ends_after_its_window_changes_nothing_in_the_next(ledger, clock):
    held = await take(ledger, MINUTE, DAY)
    clock.advance(86_400)
    await take(ledger, MINUTE, DAY)

    ledger.refund(held)

    assert await used(ledger, MINUTE, DAY) == [1, 1]


async def test_what_a_dead_process_held_comes_back_when_its_lease_ends(ledger, clock):
    await take(ledger, FLIGHT)
    await take(ledger, FLIGHT)
    await refused(ledger, FLIGHT)

    clock.advance(LEASE)

    await take(ledger, FLIGHT)


async def test_demand_is_noted_once_when_a_reservation_first_ends(ledger, clock):
    day = msgspec.structs.replace(DAY, key="p/*/tokens", unit="tokens", limit=100_000)
    held = await take(ledger, day, prompt=100, output=100)

    ledger.settle(held, Cost(100, 50))
    once = ledger.cache.demand.steps(day, 100_000, clock() + 86_400, clock())
    ledger.settle(held, Cost(100, 50))
    ledger.refund(held)

    assert once
    assert ledger.cache.demand.steps(day, 100_000, clock() + 86_400, clock()) == once


async def test_a_full_in_flight_bucket_opens_when_a_slot_is_freed_and_says_so(ledger):
    held = [await take(ledger, FLIGHT) for _ in range(2)]
    before = len(FREED)

    room = await refused(ledger, FLIGHT)

    assert room.refusals == (Refusal(FLIGHT, float("inf"), when_freed=True),)
    assert await ledger.openings([offer(FLIGHT)]) == list(room.refusals)
    ledger.refund(held[0])
    await ledger.flush()
    assert len(FREED) > before  # and not before a look at the levels shows it
    await take(ledger, FLIGHT)


async def test_a_moment_binds_before_a_slot_does_and_what_never_fits_before_both(ledger, clock):
    for _ in range(3):
        await take(ledger, MINUTE)
    for _ in range(2):
        await take(ledger, FLIGHT)

    timed = (await refused(ledger, FLIGHT, MINUTE)).refusals[0]
    never = (await refused(ledger, MINUTE, TOKENS, FLIGHT, prompt=101)).refusals[0]

    assert (timed.bucket, timed.when_freed, timed.opens_at) == (MINUTE, False, clock() - clock() % 60 + 60)
    assert (never.bucket, never.when_freed, never.opens_at) == (TOKENS, False, float("inf"))
    clock.advance(60)
    assert (await refused(ledger, FLIGHT, MINUTE)).refusals[0].when_freed


async def test_a_caller_who_leaves_leaves_no_debit(ledger):
    leaving = [asyncio.create_task(ledger.reserve([offer(MINUTE, FLIGHT)])) for _ in range(2)]
    await asyncio.sleep(0)
    leaving[0].cancel()
    await asyncio.wait(leaving)

    ledger.refund(leaving[1].result())
    assert await used(ledger, MINUTE, FLIGHT) == [0, 0]


# ── what providers say ──


def said(remaining=None, limit=None, unit="requests", window="minute", by="answer headers") -> Observation:
    return Observation(unit, window, limit, remaining, by=by)


async def test_what_somebody_else_took_is_counted(ledger, clock):
    held = await take(ledger, MINUTE)

    ledger.settle(held, Cost(), [said(limit=20, remaining=2)])

    level = await view(ledger, MINUTE)
    assert (level.used, level.limit, level.limit_from) == (18, 20, "answer headers")
    assert (level.said_by, level.said_at) == ("answer headers", clock())


@pytest.mark.parametrize("bucket", [MINUTE, DAY, ROLLING], ids=lambda u: u.window)
async def test_what_we_counted_too_much_is_given_back(ledger, clock, bucket):
    for _ in range(2):
        ledger.settle(await take(ledger, bucket), Cost())
    clock.advance(1)
    held = await take(ledger, bucket)

    ledger.settle(held, Cost(), [said(remaining=bucket.limit - 1, window=bucket.window_name)])

    assert await used(ledger, bucket) == [1]


async def test_a_lower_count_is_not_believed_while_others_are_on_their_way(ledger, clock):
    await take(ledger, MINUTE)
    held = await take(ledger, MINUTE)
    clock.advance(1)

    ledger.settle(held, Cost(), [said(remaining=2)])

    assert await used(ledger, MINUTE) == [2]


async def test_a_lower_count_is_not_believed_if_something_was_sent_since(ledger, clock):
    old = await take(ledger, MINUTE)
    clock.advance(1)
    ledger.settle(await take(ledger, MINUTE), Cost())

    ledger.settle(old, Cost(), [said(remaining=2)])

    assert await used(ledger, MINUTE) == [2]


async def test_what_a_key_endpoint_says_is_taken_in_without_a_reservation(ledger, clock):
    ledger.settle(await take(ledger, DAY), Cost())
    clock.advance(5)

    ledger.observe([MINUTE, DAY], [said(limit=1000, remaining=990, window="day", by="GET /key")], clock())

    level = await view(ledger, DAY)
    assert (level.used, level.limit, level.limit_from) == (10, 1000, "GET /key")
    assert await used(ledger, MINUTE) == [0]


async def test_a_learned_limit_fades_unless_it_is_said_again(ledger, clock):
    ledger.observe([DAY], [said(limit=1000, window="day")], clock())
    await ledger.flush()
    clock.advance(LEARNED_FOR - 1)
    assert (await view(ledger, DAY)).limit == 1000

    clock.advance(1)
    level = await view(ledger, DAY)
    assert (level.limit, level.limit_from) == (5, "configured")


async def test_a_limit_may_be_learned_to_be_lower(ledger, clock):
    ledger.observe([DAY], [said(limit=1, window="day")], clock())

    await take(ledger, DAY)
    await refused(ledger, DAY)


@pytest.mark.parametrize("bucket", [MINUTE, DAY], ids=lambda u: u.window)
async def test_what_was_said_of_one_window_does_not_count_in_the_next(ledger, clock, bucket):
    clock.advance(86_400 - clock() % 86_400 - 0.01)
    held = await take(ledger, bucket)
    ledger.settle(held, Cost(), [said(remaining=0, window=bucket.window_name)])
    ledger.close(bucket, None, "used up")
    clock.advance(0.02)

    await take(ledger, bucket)

    assert await used(ledger, bucket) == [1]


# ── closing ──


@pytest.mark.parametrize("bucket", [MINUTE, DAY, TOKENS, ROLLING, FLIGHT], ids=lambda u: u.window)
async def test_a_closed_bucket_opens_by_itself(ledger, clock, bucket):
    ledger.close(bucket, 90, "said so")

    room = await refused(ledger, bucket)
    assert room.opens_at == clock() + 90
    level = await view(ledger, bucket)
    assert (level.closed_until, level.closed_because) == (clock() + 90, "said so")
    clock.advance(89)
    ledger.close(bucket, 0.5, "a shorter close shortens nothing")
    await refused(ledger, bucket)
    clock.advance(1)
    await take(ledger, bucket)
    assert (await view(ledger, bucket)).closed_until is None


@pytest.mark.parametrize(
    ("bucket", "opens_in"), [(MINUTE, 60), (DAY, 86_400), (TOKENS, 0.6), (ROLLING, 60), (FLIGHT, 1)], ids=str
)
async def test_a_close_without_an_end_lasts_as_long_as_the_window(ledger, clock, bucket, opens_in):
    clock.advance(86_400 - clock() % 86_400)

    ledger.close(bucket, None, "used up")

    assert (await refused(ledger, bucket)).opens_at == pytest.approx(clock() + opens_in)


async def test_a_close_is_lifted_by_hand(ledger):
    ledger.close(DAY, None, "by mistake")
    await refused(ledger, DAY)

    ledger.open(DAY)

    await take(ledger, DAY)


# ── calendars ──

PACIFIC = Bucket(
    key="g/m/requests/day",
    unit="requests",
    limit=2,
    window="calendar",
    calendar="day",
    zone="America/Los_Angeles",
    window_name="day",
)
MONTH = Bucket(
    key="h/*/dollars/month", unit="requests", limit=2, window="calendar", calendar="month", window_name="month"
)


@pytest.mark.parametrize(
    ("bucket", "now", "opens"),
    [
        (PACIFIC, datetime(2026, 11, 1, 8, 30, tzinfo=UTC), datetime(2026, 11, 2, 8, tzinfo=UTC)),  # 25 hours
        (PACIFIC, datetime(2027, 3, 14, 9, 30, tzinfo=UTC), datetime(2027, 3, 15, 7, tzinfo=UTC)),  # 23 hours
        (PACIFIC, datetime(2026, 11, 23, 7, 59, 59, tzinfo=UTC), datetime(2026, 11, 23, 8, tzinfo=UTC)),
        (MONTH, datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        (MONTH, datetime(2028, 2, 29, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)),
    ],
)
async def test_days_and_months_end_where_their_zone_says(ledger, clock, bucket, now, opens):
    clock.advance(now.timestamp() - clock())
    for _ in range(2):
        await take(ledger, bucket)

    assert (await refused(ledger, bucket)).opens_at == opens.timestamp()
    clock.advance(opens.timestamp() - clock())
    await take(ledger, bucket)


# ── prices ──


async def test_prices_are_known_without_asking(ledger, clock):
    prices = Prices(ledger.cache, lambda: [DAY, TOKENS])
    for _ in range(4):
        await take(ledger, DAY, TOKENS, prompt=25)

    found = prices.current(clock())

    assert found[DAY.key].price > 0.4
    assert found[DAY.key].at == clock()


async def test_a_price_is_not_what_it_was_when_the_day_was_young(ledger, clock):
    """One of five just after midnight is a lot; it is hardly anything at noon, though nothing was taken since."""
    clock.advance(86_400 - clock() % 86_400 + 60)
    prices = Prices(ledger.cache, lambda: [DAY])
    await take(ledger, DAY)
    at_once = prices.current(clock())[DAY.key].price
    clock.advance(12 * 3600)

    assert prices.current(clock())[DAY.key].price < at_once / 20


# ── memory ──


async def test_levels_corrections_and_closes_survive_a_restart(make_store, clock):
    first = Ledger(await make_store(), clock)
    await take(first, *COUNTED)
    first.observe([DAY], [said(limit=1000, window="day", by="GET /key")], clock())
    first.close(TOKENS, 300, "said so")
    before = await first.levels(COUNTED)
    await first.aclose()

    second = Ledger(await make_store(), clock)

    assert await second.levels(COUNTED) == before
    assert before[DAY.key].limit == 1000
    await second.aclose()


async def test_two_ledgers_on_one_store_see_each_other(make_store, clock):
    one, other = Ledger(await make_store(), clock), Ledger(await make_store(), clock)
    await take(one, MINUTE)
    await take(other, MINUTE)
    await take(one, MINUTE)

    await refused(other, MINUTE)
    assert await used(one, MINUTE) == [3]
    await one.aclose()
    await other.aclose()
