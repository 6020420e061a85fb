"""What is told when models come, go, and change; and who hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, cast

import msgspec
import pytest

from gateway.background import Background
from gateway.catalog.changes import KEPT, History, between, of_limits
from gateway.catalog.substitutes import Profile, nearest
from gateway.events import Changed
from gateway.observe.webhook import Webhook
from gateway.state.sqlite import SqliteState
from gateway.state.store import StateStore
from tests.clock import FakeClock, eventually
from tests.deployments import deployment
from tests.unit.test_client import Canned

AT = 1000.0


def told(before, after, listed=()) -> list[tuple[str, str]]:
    was, now = ({d.name: d for d in some} for some in (before, after))
    return [(change.kind, change.name) for change in between(was, now, listed, AT)]


def test_who_comes_and_who_goes():
    stays, goes, comes = (deployment(f"groq/{name}") for name in ("stays", "goes", "comes"))

    assert told([stays, goes], [stays, comes]) == [("vanished", "groq/goes"), ("appeared", "groq/comes")]


def test_who_is_still_listed_but_not_free_became_paid():
    assert told([deployment("groq/a")], [], listed=["a"]) == [("became paid", "groq/a")]


def test_abilities_and_sizes():
    before = deployment("groq/a", talents="tools vision")
    after = msgspec.structs.replace(before, capabilities=frozenset({"tools", "audio"}), context=7)

    assert told([before], [after]) == [
        ("capability gained", "groq/a"),
        ("capability lost", "groq/a"),
        ("limit changed", "groq/a"),
    ]
    assert told([before], [before]) == []


def test_the_limits_of_an_account():
    (change,) = of_limits("openrouter", {"requests/day": 50, "x": 1}, {"requests/day": 1000, "x": 1, "new": 3}, AT)

    assert (change.name, change.detail) == ("openrouter", "requests/day: 50, now 1000")


# ── history ──


def history() -> History:
    clock = FakeClock()
    return History(StateStore(SqliteState(None, clock), clock))


def test_the_latest_comes_first_and_the_oldest_is_forgotten():
    kept = history()
    for number in range(KEPT + 5):
        kept(Changed("appeared", f"groq/{number}", "", float(number)))

    changes = kept.changes()
    assert len(changes) == KEPT
    assert changes[0].name == f"groq/{KEPT + 4}"
    assert changes[-1].name == "groq/5"


def test_what_two_gateways_notice_is_one_change():
    kept = history()
    for moment in (AT, AT + 5):
        kept(Changed("appeared", "groq/a", "", moment))

    assert len(kept.changes()) == 1


# ── webhook ──


class Listening:
    """A wire to a webhook that answers *statuses* in turn, then 204."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.heard = list(statuses), list[Any]()

    async def send(self, call, timeouts):
        self.heard.append((call.url, msgspec.json.decode(call.body)))
        return Canned(self.statuses.pop(0) if self.statuses else 204, {}, [])


@pytest.fixture
async def begin(clock) -> AsyncIterator[Callable[..., Webhook]]:
    """A webhook at the other end of a wire, told in the background until the test ends."""
    background, alone = Background(clock, lambda _: None), StateStore(SqliteState(None, clock), clock)

    def started(wire: Listening, state: StateStore = alone) -> Webhook:
        webhook = Webhook("https://hook.example/x", clock)
        background.run(f"webhook {id(webhook)}", partial(webhook.tell_forever, cast(Any, wire), state))
        return webhook

    yield started
    await background.stop()


async def test_a_webhook_hears_of_each_change(begin):
    wire = Listening()
    webhook = begin(wire)
    webhook(Changed("became paid", "groq/a", "why", AT))
    await eventually(lambda: wire.heard)

    assert wire.heard == [
        ("https://hook.example/x", {"kind": "became paid", "name": "groq/a", "detail": "why", "at": AT})
    ]


async def test_a_webhook_that_fails_is_told_again(begin, clock):
    wire = Listening(500, 503)
    webhook = begin(wire)
    webhook(Changed("appeared", "groq/a", "", AT))
    for seconds in (5, 10):
        await eventually(lambda: clock._sleepers)
        clock.advance(seconds)
        await asyncio.sleep(0)
    await eventually(lambda: len(wire.heard) == 3)


async def test_only_one_of_several_gateways_tells(begin, clock):
    wire, state = Listening(), StateStore(SqliteState(None, clock), clock)
    webhooks = [begin(wire, state) for _ in range(3)]
    for webhook in webhooks:
        webhook(Changed("appeared", "groq/a", "", AT))
        webhook(Changed("appeared", f"groq/{id(webhook)}", "", AT))
    await eventually(lambda: len(wire.heard) >= 4)
    await asyncio.sleep(0)

    assert len(wire.heard) == 4


async def test_a_charge_is_told_whatever_else_waits_to_be_told(begin):
    wire = Listening()
    webhook = begin(wire)
    for number in range(500):
        webhook(Changed("appeared", f"groq/{number}", "", AT))
    webhook(Changed("charged", "groq", "it cost something", AT))
    await eventually(lambda: any(told["kind"] == "charged" for _, told in wire.heard))

    assert len(wire.heard) == 200


# ── substitutes ──


def profile(model: str, quality: float, talents: str = "", context: int | None = None) -> Profile:
    return Profile(model=model, quality=quality, capabilities=frozenset(talents.split()), context=context)


GONE = profile("gemini-3.5-flash", 0.8, "tools vision", 1_000_000)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        (
            [profile("gemini-3.6-flash", 0.8, "tools vision", 1_000_000), profile("x", 0.8, "tools vision", 1_000_000)],
            0,
        ),
        ([profile("a", 0.8, "tools"), profile("b", 0.7, "tools vision")], 1),
        ([profile("a", 0.5, "tools vision"), profile("b", 0.9, "tools vision")], 1),
        ([profile("a", 0.8, "tools vision", 8_000), profile("b", 0.75, "tools vision", 1_000_000)], 1),
    ],
)
def test_the_nearest_stands_in(others, chosen):
    assert nearest(GONE, others) is others[chosen]


def test_where_there_is_no_model_none_stands_in():
    assert nearest(GONE, []) is None
