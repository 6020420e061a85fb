"""Every failure of every provider: what its caller sees, and what was learned from it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from math import ceil

import pytest

from gateway.commands.demo import SIX
from providers.simulator.brain import Saying
from providers.simulator.world import ALL, World
from tests.clock import FakeClock, eventually
from tests.simulation.flowing import Caller, Flowing
from tests.simulation.inside import Inside
from tests.simulator.desk import FREE

NAMES = [kind.name for kind in ALL]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
TEXT = "Zwölf große Äpfel — 日本 🍏. " * 8

STORY = "".join(f"word{number} " for number in range(40))
DEEPSEEK = "nvidia/deepseek-ai/deepseek-v4.1-flash"
RESUME = {"x-freeway-resume": "true"}

Open = Callable[..., Awaitable["Bench"]]


class Bench:
    """A gateway before some providers, called without a server."""

    def __init__(self, world: World, clock: FakeClock, folder, head: float) -> None:
        own = folder / "own.toml"
        own.write_text("".join(f"[provider.{name}.timeouts]\nhead = {head}\n" for name in world.providers))
        self.world, self.clock = world, clock
        self.wire = Flowing(world)
        self.gateway = Inside(world, clock, folder, wire=self.wire, FREEWAY_CONFIG=str(own))
        self.caller = Caller(self.gateway)

    async def ask(self, model="auto", **more):
        headers = {"x-freeway-max-wait": "0", **more.pop("headers", {})}
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
        return await self.caller.ask(body, **headers)

    def pinned(self, name: str) -> str:
        """One deployment of the provider called *name*."""
        wanted = f"{name}/{FREE[name]}"
        return next(d.name for d in self.gateway.engine.view.catalog.deployments() if d.name.startswith(wanted))

    def forget(self) -> None:
        """What was learned, but for closed buckets; and a minute passes."""
        self.clock.advance(61)
        for provider in self.world.providers.values():
            provider.meters.clear()
        engine = self.gateway.engine
        self.recover()
        for name in engine.view.catalog.learned.out(self.clock()):
            engine.view.catalog.learned.readmit(name)
        engine.view.catalog.learned._hear_able({})
        self.gateway.failed.clear()
        self.gateway.ended.clear()

    def recover(self) -> None:
        """As if each had answered since."""
        for deployment in self.gateway.engine.view.catalog.deployments():
            self.gateway.engine.view.health.served(deployment.name, self.clock())

    def calls(self) -> int:
        return sum(
            "chat" in call.path or "enerateContent" in call.path
            for one in self.world.providers.values()
            for call in one.calls
        )

    async def closed(self, pinned: str) -> bool:
        """Whether a bucket of *pinned* is closed, or full though it was hardly used."""
        deployment = next(d for d in self.gateway.engine.view.catalog.deployments() if d.name == pinned)
        levels = await self.gateway.ledger.levels(deployment.buckets)
        return any(level.closed_until or level.used >= level.limit for level in levels.values())

    async def used(self, pinned: str) -> float:
        """What *pinned* has used of all its buckets together."""
        deployment = next(d for d in self.gateway.engine.view.catalog.deployments() if d.name == pinned)
        levels = await self.gateway.ledger.levels(deployment.buckets)
        return sum(level.used for level in levels.values())

    def cooled(self, pinned: str) -> bool:
        return self.gateway.engine.view.health.blocked(pinned, self.clock()) is not None

    def withdrawn(self, pinned: str) -> bool:
        return bool(
            {pinned, pinned.partition("/")[0]} & self.gateway.engine.view.catalog.learned.out(self.clock()).keys()
        )

    def lacks(self, pinned: str, capability: str) -> bool:
        return self.gateway.engine.view.catalog.learned.known(pinned, capability, self.clock()) is False


@pytest.fixture
async def opened(tmp_path, clock) -> AsyncIterator[Open]:
    benches: list[Bench] = []

    async def begin(*names: str, head: float = 30.0) -> Bench:
        world = World(clock, names=names)
        for provider in world.providers.values():
            provider.brain = lambda view: Saying(TEXT)
        bench = Bench(world, clock, tmp_path, head)
        await bench.gateway.look(*names)
        benches.append(bench)
        return bench

    yield begin
    for bench in benches:
        await eventually(lambda bench=bench: not bench.wire.open)  # type: ignore[misc]  # no call is still open


SEEN = {
    "RateLimited": 429,
    "Busy": 429,
    "ModelGone": 404,
    "WouldCost": 503,
    "CredentialRejected": 503,
    "NotEntitled": 503,
    "ContextTooLong": 400,
    "TooLarge": 400,
    "RefusedHere": 400,
    "Unsupported": 400,
    "ContentRefused": 400,
    "Unreachable": 503,
    "NoAnswer": 503,
}
"""What a caller sees who named the one deployment that failed."""

MEANT = {
    "busy": {"Busy"},
    "server_error": {"Busy", "Unreachable"},
    "gone": {"ModelGone"},
    "would_cost": {"WouldCost"},
    "bad_key": {"CredentialRejected"},
    "not_entitled": {"NotEntitled", "ModelGone", "WouldCost"},  # some say it in the same words
    "context": {"ContextTooLong"},
    "no_tools": {"Unsupported"},
    "moderation": {"ContentRefused"},
    "error_200": {"Busy", "Unreachable"},
    "html": {"Unreachable"},
    "bad_json": {"Unreachable"},
    "reset": {"Unreachable"},
    "empty": {"NoAnswer"},
    "rate_limited:minute": {"RateLimited"},
}

OTHERWISE = {
    ("ovhcloud", "no_tools"): {"RefusedHere"},
    ("ovhcloud", "bad_key"): {"NotEntitled"},
    ("ollama", "bad_key"): {"NotEntitled"},  # there is no key: it is the model that wants an account
    ("cohere", "no_tools"): {"RefusedHere"},  # in what words it says so is told nowhere
    ("huggingface", "rate_limited:minute"): {"Busy"},  # whose limit it was is not told
}

NEVER = {("nvidia", "moderation"), ("ollama", "moderation"), ("cloudflare", "no_tools")}
"""They have no moderation; it says in its list who takes tools."""


@pytest.mark.parametrize("name", NAMES)
async def test_each_failure_is_seen_and_learned_from(opened, name):
    bench = await opened(name)
    pinned = bench.pinned(name)
    for fault, meant in MEANT.items():
        if (name, fault) in NEVER:
            continue
        bench.forget()
        bench.world.providers[name].fail(fault)
        more = {"tools": [TOOL]} if fault == "no_tools" else {}

        heard = await bench.ask(pinned, **more)
        failed, sent = bench.gateway.failed, bench.calls()
        where = (name, fault, failed, heard.body)

        assert len(failed) == 1, where
        assert failed[0] in OTHERWISE.get((name, fault), meant), where
        assert heard.status == SEEN[failed[0]], where
        again = await bench.ask(pinned, **more)
        match failed[0]:
            case "RateLimited":
                assert await bench.closed(pinned) or bench.cooled(pinned), where
            case "Busy" | "Unreachable":
                assert bench.cooled(pinned), where
            case "ModelGone" | "WouldCost" | "CredentialRejected" | "NotEntitled":
                assert bench.withdrawn(pinned), where
            case "Unsupported":
                assert bench.lacks(pinned, "tools"), where
            case _:  # the request's fault: the deployment is as good as before
                assert again.status == 200, where
                continue
        assert bench.calls() == sent, where  # nothing was sent to find out again
        assert again.status in (400, 404, 429, 503), where


@pytest.mark.parametrize("name", SIX)
async def test_a_stream_whose_characters_are_cut_in_two_arrives_whole(opened, name):
    bench = await opened(name)
    bench.world.providers[name].fail("split_utf8")

    heard = await bench.ask(bench.pinned(name), stream=True)

    assert heard.status == 200
    assert heard.text() == TEXT
    assert heard.finishes() == ["stop"]
    assert heard.events()[-1] == "[DONE]"


@pytest.mark.parametrize("name", NAMES)
async def test_an_answer_that_drips_byte_by_byte_arrives_whole(opened, name):
    """Every line and every character is cut in two, and so is every line end of two."""
    bench = await opened(name)
    bench.world.providers[name].brain = lambda view: Saying(TEXT[:60])
    bench.world.providers[name].fail("drip_bytes", times=2)

    streamed = await bench.ask(bench.pinned(name), stream=True, stream_options={"include_usage": True})
    whole = await bench.ask(bench.pinned(name))

    assert (streamed.text(), streamed.finishes(), streamed.errors()) == (TEXT[:60], ["stop"], [])
    assert streamed.events()[-1] == "[DONE]"
    assert [event["usage"]["completion_tokens"] > 0 for event in streamed.chunks() if event.get("usage")] == [True]
    answer = json.loads(whole.body)
    assert [(c["message"]["content"], c["finish_reason"]) for c in answer["choices"]] == [(TEXT[:60], "stop")]
    assert answer["usage"]["completion_tokens"] > 0
    assert bench.gateway.failed == []


@pytest.mark.parametrize("fault", ["cut", "error_in_stream"])
@pytest.mark.parametrize("name", SIX)
async def test_a_stream_that_breaks_is_told_once_and_never_passed_off_as_whole(opened, name, fault):
    bench = await opened(name)
    bench.world.providers[name].fail(fault)

    heard = await bench.ask(bench.pinned(name), stream=True)

    assert bench.gateway.failed == ["Interrupted"]
    assert heard.errors() == ["interrupted"]
    assert "error" in heard.events()[-1]
    assert heard.text()
    assert TEXT.startswith(heard.text())
    assert heard.finishes() == []
    assert heard.ended
    assert bench.cooled(bench.pinned(name))
    assert [ended.outcome for ended in bench.gateway.ended] == ["interrupted"]
    assert not bench.gateway.ledger._journal.held


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ollama"])  # it tells no codes
async def test_a_limit_that_is_told_in_mid_stream_is_learned_like_one_told_before(opened, name):
    bench = await opened(name)
    pinned = bench.pinned(name)
    bench.world.providers[name].fail("limited_in_stream")
    before = await bench.used(pinned)

    heard = await bench.ask(pinned, stream=True)

    assert heard.errors() == ["interrupted"]
    assert heard.text()
    assert TEXT.startswith(heard.text())
    assert heard.finishes() == []
    assert bench.gateway.failed == ["Interrupted"]
    assert await bench.used(pinned) > before or name == "zai"  # it was sent, and counts; there only while it is
    assert bench.cooled(pinned)
    assert not bench.gateway.ledger._journal.held
    if name in ("cloudflare", "huggingface", "zai"):  # whose limit it was is not told
        return
    bench.recover()  # what is left is what was told of the limit
    sent = bench.calls()
    again = await bench.ask(pinned, stream=True)
    assert await bench.closed(pinned)
    assert (again.status, bench.calls()) == (429, sent)
    assert again.availability()["retry_after"] > 1


@pytest.mark.parametrize("code", [400, 401, 402, 404, 413, 503])
async def test_whatever_is_told_in_mid_stream_the_caller_hears_of_a_break_and_what_lasts_is_learned(opened, code):
    bench = await opened("groq")
    pinned = bench.pinned("groq")
    bench.world.providers["groq"].broken = lambda body: {"error": {"message": "no more", "code": code}}
    bench.world.providers["groq"].fail("error_in_stream")

    heard = await bench.ask(pinned, stream=True)

    assert (heard.errors(), heard.ended, heard.finishes()) == (["interrupted"], True, [])
    assert bench.cooled(pinned)
    assert bench.withdrawn(pinned) == (code in (401, 402, 404))
    assert await bench.used(pinned) > 0


async def test_a_stream_that_met_a_limit_goes_on_elsewhere_and_its_source_rests_as_told(opened):
    bench = await opened("google", "groq")
    pinned = bench.pinned("google")
    bench.world.providers["google"].brain = lambda view: Saying(STORY)
    bench.world.providers["groq"].brain = lambda view: Saying(STORY[len(view.turns[-2].text) :])
    bench.world.providers["google"].fail("limited_in_stream")

    heard = await bench.ask(pinned, models=[bench.pinned("groq")], stream=True, headers=RESUME)
    bench.recover()
    sent = bench.calls()
    again = await bench.ask(pinned)

    assert (heard.text(), heard.finishes(), heard.errors()) == (STORY, ["stop"], [])
    assert (again.status, bench.calls()) == (429, sent)
    assert again.availability()["retry_after"] == pytest.approx(60, abs=1)  # what its minute told


@pytest.mark.parametrize("name", ["google", "groq", "ollama"])  # each way of framing
async def test_a_provider_that_hangs_is_left_and_another_answers(opened, name):
    other = "groq" if name != "groq" else "mistral"
    bench = await opened(name, other, head=0.3)
    bench.world.providers[name].fail("hang")
    bench.world.providers[name].fail("hang_stream")
    body = {"stream": True, "models": [bench.pinned(other)]}

    heard = [await bench.ask(bench.pinned(name), **body)]
    bench.recover()
    heard.append(await bench.ask(bench.pinned(name), **body))

    assert [one.text() for one in heard] == [TEXT, TEXT]
    assert [one.headers["x-freeway-provider"] for one in heard] == [other, other]
    assert bench.gateway.failed == ["Unreachable", "Unreachable"]
    assert not bench.gateway.ledger._journal.held


SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
CALL = [("f", {"a": "b" * 400})]
HELD_TOGETHER = {
    "several answers": ({"n": 2}, Saying(STORY)),
    "logprobs": ({"logprobs": True}, Saying(STORY)),
    "a schema": ({"response_format": SCHEMA}, Saying('{"a": "' + "b" * 90)),
    "a tool called midway": ({"tools": [TOOL]}, Saying("I shall look that up.", calls=CALL)),
}


@pytest.mark.parametrize(("more", "saying"), HELD_TOGETHER.values(), ids=HELD_TOGETHER.keys())
async def test_what_must_hold_together_is_not_continued_by_another(opened, more, saying):
    bench = await opened("nvidia")
    for deployment in bench.gateway.engine.view.catalog.deployments():  # any of them could go on
        for capability in ("n", "logprobs"):
            bench.gateway.engine.view.catalog.learned.learn(deployment.name, capability, bench.clock(), has=True)
    nvidia = bench.world.providers["nvidia"]
    nvidia.brain = lambda view: saying
    nvidia.fail("cut")

    heard = await bench.ask(DEEPSEEK, models=["auto"], stream=True, headers=RESUME, **more)

    assert heard.errors() == ["interrupted"]
    assert "error" in heard.events()[-1]
    assert bench.calls() == 1
    assert saying.text.startswith(heard.text())
    assert heard.text()
    assert any(c["delta"].get("tool_calls") for e in heard.chunks() for c in e.get("choices", ())) == bool(saying.calls)
    assert heard.finishes() == []


PASSING = ["busy", "server_error", "error_200", "html", "bad_json", "reset", "empty", "rate_limited:minute"]
LASTING = ["gone", "would_cost", "bad_key", "not_entitled"]


@pytest.mark.parametrize("fallbacks", [True, False])
async def test_who_comes_back_when_told_is_served_and_a_moment_sooner_is_not(opened, fallbacks):
    bench = await opened("groq")
    ask = partial(bench.ask, bench.pinned("groq"), provider={"allow_fallbacks": fallbacks})
    for fault in PASSING:
        bench.forget()
        bench.world.providers["groq"].fail(fault)

        told = await ask()
        wait, sent = told.availability()["retry_after"], bench.calls()

        assert told.status in (429, 503), fault
        assert told.availability()["retryable"], fault
        assert told.headers["retry-after"] == str(ceil(wait)), fault
        assert wait >= 1, fault
        if wait > 1:
            bench.clock.advance(wait - 1)
            assert (await ask()).status in (429, 503), fault
            assert bench.calls() == sent, fault
        bench.clock.advance(1.001)
        assert (await ask()).status == 200, fault


async def test_no_time_is_told_where_nothing_passes_by_itself(opened):
    bench = await opened("groq")
    for fault in LASTING:
        bench.forget()
        bench.world.providers["groq"].fail(fault)

        told = await bench.ask(bench.pinned("groq"))

        is_gone = bench.gateway.failed[-1] == "ModelGone"  # Groq says the same of a model that an account may not use
        assert told.status == (404 if is_gone else 503), fault
        assert "retry-after" not in told.headers, fault
        if is_gone:  # which says what comes nearest, and nothing of when
            continue
        assert told.availability()["retry_after"] is None, fault
        assert not told.availability()["retryable"], fault


@pytest.mark.parametrize("other", ["bad_key", "rate_limited:day", "busy"])
async def test_of_several_that_failed_the_first_that_is_back_is_told(opened, other):
    """Whether or not there is a time for the other, too."""
    bench = await opened("groq", "nvidia")
    bench.world.providers["groq"].fail(other)
    bench.world.providers["nvidia"].fail("html")

    told = await bench.ask(bench.pinned("groq"), models=[bench.pinned("nvidia")])

    back_at = [
        bench.gateway.engine.view.health.blocked(bench.pinned(name), bench.clock()) for name in ("groq", "nvidia")
    ]
    assert len(bench.gateway.failed) == 2
    assert told.availability()["retry_after"] == min(at.until for at in back_at if at) - bench.clock()


async def test_who_has_had_all_attempts_may_come_back_at_once_where_another_is_ready(opened):
    bench = await opened("groq", "mistral")
    ask = partial(
        bench.ask, bench.pinned("groq"), models=[bench.pinned("mistral")], provider={"allow_fallbacks": False}
    )
    bench.world.providers["groq"].fail("html")

    told = await ask()

    assert (told.status, told.availability()["retry_after"]) == (503, 1.0)
    assert (await ask()).headers["x-freeway-provider"] == "mistral"


async def test_no_time_is_told_for_one_that_cools_while_its_account_is_out(opened):
    bench = await opened("groq")
    groq = bench.world.providers["groq"]
    groq.fail("html")
    groq.fail("bad_key")

    told = await bench.ask("groq/openai/gpt-oss-20b", models=["groq/openai/gpt-oss-120b"])

    assert bench.gateway.failed == ["Unreachable", "CredentialRejected"]
    assert told.availability()["retry_after"] is None
