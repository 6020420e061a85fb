"""
Each tab in a real browser: what is shown is what the admin API says, and what is done on the page is done outside it.

The admin API is the one of ``fake.py`` here, so that states can be shown that a gateway is rarely in.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from gateway.api.admin import views
from tests.clock import eventually
from tests.page.conftest import KINDS, TABS
from tests.page.fake import KEY, NOW, PROVEN, Said, request

pytestmark = pytest.mark.browser


async def settled(page: Page) -> None:
    """Return once the tab has what it asked for."""
    await expect(page.locator("h1")).to_be_visible()
    await expect(page.locator(".skeleton")).to_have_count(0)


async def go(page: Page, tab: str) -> None:
    await page.locator(f'#tabs a[href="#{tab}"]').click()
    await settled(page)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_tab_is_fit_for_everybody(show, kind):
    """No serious finding of axe-core, nothing wider than the screen, and the tab says where it is."""
    page = await show(kind=kind)
    for tab in TABS:
        await go(page, tab)

        found = (await Axe().run(page)).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{tab} is too wide"
        await expect(page.locator("#tabs [aria-current]")).to_have_attribute("href", f"#{tab}")
        assert await page.title() != "Freeway"


async def test_today_says_what_is_left_and_what_it_cost(show, said: Said):
    page = await show()

    await expect(page.locator("h1")).to_have_text("About 1\u202f940 more answers until tomorrow 05:00")
    await expect(page.locator(".hero-line")).to_contain_text("Spent 0.000000 dollars")
    await expect(page.locator(".note.next")).to_contain_text(said.overview.next_step)
    await expect(page.locator(".tiles")).to_contain_text("with pictures14")
    await expect(page.locator(".plot").first).to_contain_text("1\u202f596 served")
    said.tell("overview", msgspec.structs.replace(said.overview, spent=0.25, live=7))
    await expect(page.locator(".alarm")).to_have_text("Spent 0.250000 dollars")


@pytest.mark.parametrize(
    ("status", "title"), [("no source", "No source yet"), ("starting", "Asking the sources what is free")]
)
async def test_before_there_is_a_source_today_says_so_and_leads_on(show, said: Said, status, title):
    said.overview = msgspec.structs.replace(said.overview, status=status, left=[], next_step="set a free key")
    page = await show()

    await expect(page.locator("h1")).to_have_text(title)
    await expect(page.get_by_role("link", name="Set-up").last).to_have_attribute("href", "#setup")


async def test_today_looks_back_as_far_as_one_wants(show, said: Said):
    page = await show()
    await page.get_by_role("button", name="7 days").click()

    await expect(page.get_by_role("button", name="7 days")).to_have_attribute("aria-pressed", "true")
    assert ("series?hours=168", None) in said.asked_for("GET")


async def test_a_closed_limit_is_opened(show, said: Said):
    page = await show("sources")
    google = page.get_by_role("article", name="Google AI Studio")
    await expect(google).to_contain_text(
        "Closed until tomorrow 07:00: the provider said that the day's requests are used up"
    )
    await google.get_by_role("button", name="Open it now").click()

    await eventually(lambda: said.asked_for("POST"))
    assert said.asked_for("POST") == [("buckets/open", {"bucket": "google/gemini-3.8-flash/requests/day"})]


async def test_a_key_is_tried_and_what_the_provider_said_is_shown(show, said: Said):
    page = await show("sources")
    mistral = page.get_by_role("article", name="Mistral")
    await mistral.get_by_role("button", name="New key").click()
    await mistral.get_by_label("Key of Mistral").fill("bad key")
    await mistral.get_by_role("button", name="Try and store it").click()
    await expect(mistral).to_contain_text("mistral refused this key: Invalid API Key")
    await mistral.get_by_label("Key of Mistral").fill(" good key ")
    await mistral.get_by_role("button", name="Try and store it").click()

    await expect(mistral).to_contain_text("Stored in ~/.config/freeway/keys.env")
    await expect(mistral.get_by_label("Key of Mistral")).to_have_count(0)
    assert said.asked_for("PUT") == [
        ("sources/mistral/key", {"key": "bad key"}),
        ("sources/mistral/key", {"key": "good key"}),
    ]


async def test_a_source_is_looked_at_anew_and_let_in_again(show, said: Said):
    page = await show("sources")
    mistral = page.get_by_role("article", name="Mistral")
    await mistral.get_by_role("button", name="Let in again").click()

    await expect(mistral).not_to_contain_text("What to do")
    assert said.asked_for("POST") == [("sources/mistral/readmit", {})]


async def test_a_source_changes_as_it_happens(show, said: Said):
    page = await show("sources")
    await settled(page)
    said.tell("source", msgspec.structs.replace(said.sources[2], state="shut", reason="an answer cost 0.1 dollars"))

    await expect(page.get_by_role("article", name="Groq")).to_contain_text("an answer cost 0.1 dollars")


async def test_a_request_is_followed_from_its_wait_to_its_end(show, said: Said):
    page = await show("requests")
    rows = page.locator(".requests .row")
    await expect(rows).to_have_count(50)
    waiting = request(
        999, id="req_new", at=NOW, state="waiting", deployment=None, model=None, attempts=[], client="bob"
    )
    said.tell("request", waiting)
    await expect(rows.first).to_contain_text("waiting")
    said.tell("request", request(999, id="req_new", at=NOW, client="bob"))

    await expect(rows.first).to_contain_text("served")
    await expect(rows.first).to_contain_text("bob")
    await expect(page.locator(".requests .row", has_text="bob")).to_have_count(1)


async def test_a_request_tells_what_was_tried_and_why(show, said: Said):
    page = await show("requests")
    row = page.locator(".requests .row", has_text="2 attempts")
    await row.get_by_role("button").first.click()
    await expect(row).to_contain_text("Provider returned error: temporarily rate-limited upstream")
    await row.get_by_role("button", name="Why this one?").click()

    await expect(row).to_contain_text("groq/openai/gpt-oss-120b would be asked first")
    await expect(row).to_contain_text("it has this conversation in its cache")
    ((path, body),) = said.asked_for("POST")
    assert (path, body["model"]) == ("explain", "auto")


async def test_requests_are_chosen_by_client_and_older_ones_are_shown(show, said: Said):
    page = await show("requests")
    rows = page.locator(".requests .row")
    await page.get_by_role("button", name="Show older ones").click()
    await expect(rows).to_have_count(64)
    await page.get_by_label("Client").select_option("alice")

    await expect(rows).to_have_count(22)
    await expect(rows.filter(has_text="opencode")).to_have_count(0)


async def test_models_are_found_by_a_part_of_their_name(show, said: Said):
    page = await show("models")
    await page.get_by_role("searchbox").fill("gemini")
    rows = page.locator(".models .row")
    await expect(rows).to_have_count(1)
    await rows.get_by_role("button").first.click()
    await expect(rows).to_contain_text("250 requests a day are used up")
    await rows.get_by_role("button", name="Let it in again").click()
    await eventually(lambda: said.asked_for("POST"))
    await page.get_by_role("searchbox").fill("")
    await page.get_by_label("only what can be used now").check()

    await expect(rows).to_have_count(5)
    assert said.asked_for("POST") == [("models/readmit", {"name": "google/gemini-3.8-flash"})]


async def test_a_change_is_told_as_it_happens(show, said: Said):
    page = await show("changes")
    await settled(page)
    said.tell("change", views.Change(kind="became paid", name="groq/new", detail="1 dollar", at=NOW))

    await expect(page.locator(".change").first).to_contain_text("groq/new")
    await expect(page.get_by_role("link", name="Atom feed")).to_have_attribute("href", "changes.atom")


async def test_a_client_is_made_and_its_key_is_shown_once(show, said: Said):
    page = await show("clients")
    await page.get_by_role("button", name="New client").click()
    await page.get_by_label("Name").fill("bob")
    await page.get_by_label("Limits").fill("20/minute, 200000 tokens/day")
    await page.get_by_label("Share of scarce quota").fill("50")
    await page.get_by_label("Only sources that do not train").check()
    await page.get_by_role("button", name="Make it").click()
    await expect(page.locator(".once")).to_contain_text(KEY)
    await go(page, "today")
    await go(page, "clients")

    await expect(page.get_by_text(KEY)).to_have_count(0)
    ((path, body),) = said.asked_for("POST")
    assert path == "clients"
    assert body == {
        "name": "bob",
        "limits": ["20/minute", "200000 tokens/day"],
        "wait": None,
        "max_wait": None,
        "share": 0.5,
        "expires": None,
        "no_train": True,
        "priority": "normal",
    }


async def test_a_client_is_limited_given_another_key_and_revoked_after_a_second_word(show, said: Said):
    page = await show("clients")
    alice = page.get_by_role("article", name="alice")
    await alice.get_by_role("button", name="Limit").click()
    await alice.get_by_label("Limits of alice").fill("3/minute")
    await alice.get_by_role("button", name="Set limits").click()
    await alice.get_by_role("button", name="Another key").click()
    await expect(page.locator(".once")).to_contain_text(KEY)
    await alice.get_by_role("button", name="Revoke: alice").click()
    assert said.asked_for("DELETE") == []
    await alice.get_by_role("button", name="Revoke for good").click()

    await expect(alice).to_have_count(0)
    assert said.asked_for("PATCH") == [("clients/alice", {"limits": ["3/minute"]})]
    assert said.asked_for("POST") == [("clients/alice/rotate", {})]
    assert said.asked_for("DELETE") == [("clients/alice", None)]
    await expect(page.get_by_role("article", name="home-assistant").get_by_role("button")).to_have_count(0)


async def test_the_playground_streams_and_says_why(show, said: Said):
    page = await show("playground")
    await page.get_by_label("Question").fill("Why is the sky blue?")
    await page.get_by_label("Model").fill("auto:fast")
    await page.get_by_label("no training on it").check()
    await page.get_by_role("button", name="Ask").click()

    await expect(page.locator(".said")).to_have_text("".join(said.answer))
    await expect(page.locator(".answer")).to_contain_text("12 in, 8 out")
    await expect(page.locator(".answer")).to_contain_text("would be asked first")
    posted = dict(said.asked_for("POST"))
    assert posted["chat"] == {
        "model": "auto:fast",
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "provider": {"data_collection": "deny"},
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert posted["explain"].items() <= posted["chat"].items()


async def test_a_program_is_shown_what_it_needs(show, said: Said):
    page = await show("connect")
    await expect(page.locator("pre").nth(1)).to_have_text(next(iter(said.connect[0].files.values())))
    await page.get_by_role("link", name="Claude Code").click()

    await expect(page.locator("pre").nth(1)).to_contain_text("export ANTHROPIC_BASE_URL='http://127.0.0.1:8000'")
    await expect(page.get_by_role("navigation", name="Parts").locator("[aria-current]")).to_have_text("Connect")


async def test_set_up_takes_a_key_and_names_a_near_miss(show, said: Said):
    page = await show("setup")
    google = page.get_by_role("article", name="Google AI Studio")
    await expect(google).to_contain_text("GOOGLE_API_KEY is set, but this source reads GEMINI_API_KEY")
    await google.get_by_text("I have a key").click()
    await google.get_by_label("Key of Google AI Studio").fill("good one")
    await google.get_by_role("button", name="Try and store it").click()
    await expect(google).to_contain_text("google takes this key.")
    await page.get_by_role("button", name="Read the files again").click()

    await expect(page.get_by_role("status")).to_contain_text("changed: requests.max_wait")
    assert said.asked_for("PUT") == [("sources/google/key", {"key": "good one"})]
    await expect(page.get_by_role("region", name="Settings")).to_contain_text("config.toml:2")


# ── who may, and what goes wrong ──


async def test_with_an_admin_key_nothing_is_shown_before_it_is_given(show, said: Said, watch):
    said.admin_key = "right"
    watch.allowed.append("status of 401")
    page = await show("clients")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert {path for path, _ in said.asked_for("GET")} == {"session"}
    await page.get_by_label("Admin key").fill("wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("This is not the admin key.")
    await page.get_by_label("Admin key").fill("right")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("article", name="alice")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()

    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.get_by_text("alice")).to_have_count(0)
    assert not said.signed_in
    assert await page.evaluate("localStorage.length + sessionStorage.length") == 0


async def test_where_nobody_may_in_that_is_told(show, said: Said):
    said.shut = "the page is off: set FREEWAY_ADMIN_KEY to open it"
    page = await show("sources")

    await expect(page.get_by_text(said.shut)).to_be_visible()
    await expect(page.locator("#tabs a")).to_have_count(0)
    assert {path for _, path, _ in said.asked} == {"session"}


EVIL = '<img src=x onerror="alert(1)"><script>alert(2)</script>'


async def test_what_a_provider_says_stays_text(show, said: Said):
    """Names, reasons, error messages, addresses: all of a provider's words are hostile."""
    failed = views.Attempt(deployment=f"evil/{EVIL}", outcome=EVIL, message=EVIL)
    said.requests = [
        request(
            1, asked=EVIL, deployment=f"evil/{EVIL}", model=EVIL, client=EVIL, attempts=[failed, failed], state=EVIL
        )
    ]
    said.models = [
        msgspec.structs.replace(
            said.models[0],
            deployment=f"evil/{EVIL}",
            model=EVIL,
            capabilities=[EVIL],
            operations=[EVIL],
            available=False,
            why_not=EVIL,
            free=msgspec.structs.replace(PROVEN, because=EVIL, source="javascript:alert(3)"),
        )
    ]
    bucket = msgspec.structs.replace(
        said.sources[0].buckets[0], bucket=f"evil/{EVIL}/requests/day", closed_until=NOW + 9, closed_because=EVIL
    )
    evil = {
        "reason": EVIL,
        "remedy": EVIL,
        "prompts": EVIL,
        "get_a_key": "javascript:alert(4)",
        "title": EVIL,
        "buckets": [bucket],
    }
    said.sources = [msgspec.structs.replace(said.sources[0], **evil)]
    said.setup = [msgspec.structs.replace(said.setup[1], title=EVIL, gives=EVIL, get_a_key="javascript:alert(5)")]
    said.changes = [views.Change(kind="vanished", name=EVIL, detail=EVIL, at=NOW)]
    said.overview = msgspec.structs.replace(said.overview, problems=[EVIL], next_step=EVIL)
    said.series.points[-1].served[EVIL] = 4
    said.answer = [EVIL]
    page = await show()
    for tab in TABS:
        await go(page, tab)
        for row in await page.locator(".row-head").all():
            await row.click()
        if tab == "playground":
            await page.get_by_label("Question").fill(EVIL)
            await page.get_by_role("button", name="Ask").click()
            await expect(page.locator(".said")).to_have_text(EVIL)

        assert await page.locator("img:not([src='page/icon.svg']), main script, [onerror]").count() == 0, tab
        assert await page.locator('a[href^="javascript"]').count() == 0, tab
        if tab not in ("clients", "connect", "playground"):
            assert EVIL in (await page.locator("main").text_content() or ""), tab


async def test_a_failure_says_why_and_can_be_tried_again(show, said: Said, watch):
    watch.allowed.append("status of 500")
    page = await show()
    await settled(page)
    said.broken = "the store cannot be read: disk I/O error"
    await page.locator('#tabs a[href="#models"]').click()
    await expect(page.get_by_role("alert")).to_contain_text("the store cannot be read: disk I/O error")
    said.broken = None
    await page.get_by_role("button", name="Try again").click()

    await expect(page.locator(".models .row")).to_have_count(len(said.models))
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_mistake_in_one_tab_is_told_and_takes_no_other_along(show, said: Said, watch):
    watch.allowed.append("TypeError")
    said.sources = [msgspec.structs.replace(said.sources[0], buckets=7)]
    page = await show("sources")
    await expect(page.get_by_role("alert")).to_contain_text("The page has a mistake here")

    await go(page, "models")
    await expect(page.locator(".models .row")).to_have_count(len(said.models))


async def test_an_address_that_makes_no_sense_shows_something(show):
    page = await show("connect/%E0%A4%A")
    await expect(page.get_by_role("heading", name="OpenCode", exact=True)).to_be_visible()
    await page.evaluate("location.hash = '#no-such-tab'")

    await expect(page.locator("h1")).to_contain_text("more answers")


async def test_while_an_answer_is_on_its_way_that_is_told(show, said: Said):
    page = await show()
    await settled(page)
    said.slow = 0.5
    await page.locator('#tabs a[href="#models"]').click()
    await expect(page.locator(".skeleton")).to_contain_text("Loading")

    await expect(page.locator(".models .row")).to_have_count(len(said.models))


async def test_where_there_is_nothing_that_is_told_with_what_to_do(show, said: Said):
    said.sources, said.models, said.requests, said.changes, said.clients, said.setup, said.connect = (
        [],
        [],
        [],
        [],
        [],
        [],
        [],
    )
    said.series = views.Series(seconds=1800.0, points=[])
    page = await show()
    for tab in ("sources", "requests", "models", "changes", "clients"):
        await go(page, tab)
        await expect(page.locator(".empty-title")).to_be_visible()
    await go(page, "today")

    await expect(page.locator("main")).to_contain_text("Nothing has happened yet.")


async def test_with_only_a_keyboard_a_client_is_made(show, said: Said):
    """From the first stop, the link that skips, to the key: no pointer is needed, and where the focus is can be seen."""
    page = await show()
    await settled(page)
    press = page.keyboard.press
    await press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    while await page.evaluate("document.activeElement.textContent") != "Clients":
        await press("Tab")
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    await press("Enter")
    await expect(page.get_by_role("heading", name="Clients")).to_be_visible()
    while await page.evaluate("document.activeElement.textContent") != "New client":
        await press("Tab")
    await press("Space")
    await expect(page.get_by_label("Name")).to_be_visible()
    await press("Tab")
    await page.keyboard.type("carol")
    await press("Enter")

    await expect(page.locator(".once")).to_contain_text(KEY)
    assert outline == "solid"
    assert [body["name"] for _, body in said.asked_for("POST")] == ["carol"]


async def test_what_was_opened_and_typed_stays_while_things_happen(show, said: Said):
    """A drawing that is caused by an event takes neither the focus nor the words away."""
    page = await show("sources")
    mistral = page.get_by_role("article", name="Mistral")
    await mistral.get_by_role("button", name="New key").click()
    await mistral.get_by_label("Key of Mistral").fill("half a k")
    await page.get_by_role("article", name="Groq").locator("details.facts summary").click()
    await mistral.get_by_label("Key of Mistral").focus()
    for source in said.sources:
        said.tell("source", msgspec.structs.replace(source, models=77))
    await expect(page.get_by_role("article", name="Groq")).to_contain_text("77 models")

    await expect(mistral.get_by_label("Key of Mistral")).to_be_focused()
    await expect(mistral.get_by_label("Key of Mistral")).to_have_value("half a k")
    await expect(page.get_by_role("article", name="Groq").get_by_text(re.compile("^Why it is free"))).to_be_visible()


# ── what it costs ──


async def test_ten_thousand_requests_make_no_long_page(show, said: Said):
    """Of a long history, and of what happens while the tab is open, so many rows are on the page and no more."""
    said.requests = [request(number) for number in range(10_000)]
    page = await show("requests")
    rows = page.locator(".requests .row")
    await expect(rows).to_have_count(50)
    session = await page.context.new_cdp_session(page)

    async def happen(first: int, last: int) -> float:
        for number in range(first, last):
            said.tell("request", request(number, id=f"req_new{number}", at=NOW + number))
        at = datetime.fromtimestamp(NOW + last - 1, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        await expect(rows.first.locator("time")).to_have_attribute("datetime", at, timeout=30_000)
        await session.send("HeapProfiler.collectGarbage")
        return float((await session.send("Runtime.getHeapUsage"))["usedSize"])

    before = await happen(0, 2000)
    after = await happen(2000, 10_000)

    await expect(rows).to_have_count(200)
    assert after - before < 2_000_000


async def test_an_hour_of_an_open_page_costs_sixty_small_questions(told, opened, said: Said):
    """
    Time is the browser's, put forward. What happens is told to the page; only the plots are asked for, once a minute, and only
    while somebody looks.
    """
    page = await opened(told, now=NOW)
    await settled(page)
    said.asked.clear()
    for number in range(1, 121):
        at = NOW + 30.0 * number
        await page.clock.set_fixed_time(at * 1000)
        said.tell("overview", msgspec.structs.replace(said.overview, now=at, live=number))
        await expect(page.locator(".tiles")).to_contain_text(f"being served{number}")

    paths = [path for _, path, _ in said.asked]
    assert set(paths) == {"series?hours=24"}
    assert len(paths) <= 60
    assert len(said.listeners) == 1


async def test_a_page_that_nobody_looks_at_lets_go_after_a_minute(told, opened, said: Said):
    page = await opened(told)
    await settled(page)
    await eventually(lambda: len(said.listeners) == 1)
    await page.clock.install()
    await page.evaluate(_HIDE, True)
    await page.clock.fast_forward(59_000)
    assert len(said.listeners) == 1
    await page.clock.fast_forward(2_000)
    await eventually(lambda: not said.listeners)
    await expect(page.locator("#standing")).to_contain_text("Paused")
    await page.evaluate(_HIDE, False)

    await eventually(lambda: len(said.listeners) == 1)
    await expect(page.locator("#standing")).to_contain_text("Live")


_HIDE = """hidden => {
  Object.defineProperty(document, "hidden", {get: () => hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


async def test_while_the_gateway_is_away_that_is_told_and_what_was_known_stays(show, said: Said, watch):
    watch.allowed += ["status of 500", "ERR_INCOMPLETE_CHUNKED_ENCODING"]
    page = await show("sources")
    await settled(page)
    said.broken = "stopping"
    said.hang_up()
    await expect(page.get_by_role("alert")).to_contain_text("The gateway does not answer")
    await expect(page.get_by_role("article", name="Groq")).to_be_visible()
    said.broken = None

    await expect(page.locator("#standing")).to_contain_text("Live", timeout=15_000)
    await expect(page.get_by_role("alert")).to_have_count(0)
