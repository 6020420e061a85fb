"""
A real Chromium before the page. Every page that a test opens is watched: it may reach no other host, log no error and break
no rule of its policy, whatever the test is about.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvicorn
from playwright.async_api import Browser, Page, async_playwright

from providers.simulator.server import listening
from tests.page.fake import NOW, Said, application, ordinary

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

KINDS = ("desktop light", "desktop dark", "phone light", "phone dark")
TABS = ("today", "sources", "requests", "models", "changes", "clients", "playground", "connect", "setup")

Open = Callable[..., Any]


def context(kind: str) -> dict[str, Any]:
    """How a browser of *kind* is set up."""
    phone, dark = "phone" in kind, "dark" in kind
    return {
        "viewport": {"width": 390, "height": 844} if phone else {"width": 1280, "height": 860},
        "has_touch": phone,
        "color_scheme": "dark" if dark else "light",
        "timezone_id": "UTC",
    }


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip("there is no Chromium: install Debian's package chromium, or name one in CHROMIUM")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        await chromium.close()


class Watch:
    """What a page did that it may not do. *allowed*: parts of errors that a test provokes."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.allowed: list[str] = []

    def over(self, page: Page, origin: str) -> None:
        def asked(request: Any) -> None:
            if not request.url.startswith(origin):
                self.seen.append(f"asked {request.url}")

        def told(message: Any) -> None:
            if message.type in ("error", "warning"):
                self.seen.append(f"{message.type}: {message.text}")

        page.on("request", asked)
        page.on("console", told)
        page.on("pageerror", lambda error: self.seen.append(f"raised {error}"))
        page.on("dialog", lambda dialog: self.seen.append(f"showed a dialog: {dialog.message}"))

    def faults(self) -> list[str]:
        return [one for one in self.seen if not any(part in one for part in self.allowed)]


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def opened(browser: Browser, watch: Watch) -> AsyncIterator[Open]:
    """``await opened(origin, kind, tab)`` is a watched page at *origin*."""
    async with AsyncExitStack() as stack:

        async def open_page(
            origin: str, kind: str = "desktop light", tab: str = "today", *, now: float | None = None
        ) -> Page:
            made = await browser.new_context(**context(kind), base_url=origin)
            stack.push_async_callback(made.close)
            page = await made.new_page()
            page.set_default_timeout(15_000)
            if now is not None:
                await page.clock.set_fixed_time(now * 1000)
            watch.over(page, origin)
            await page.goto(f"{origin}/#{tab}")
            return page

        yield open_page
    assert watch.faults() == []


@pytest.fixture
async def said() -> Said:
    return ordinary()


@pytest.fixture
async def told(said: Said) -> AsyncIterator[str]:
    """The origin of the page before an admin API that says what *said* holds."""
    server = uvicorn.Config(
        application(said), lifespan="on", ws="none", log_level="warning", timeout_graceful_shutdown=1
    )
    async with listening(server) as origin:
        yield origin


@pytest.fixture
async def show(told: str, opened: Open) -> Open:
    """``await show(tab, kind)`` is the page before the fake, at its moment."""

    async def page(tab: str = "today", kind: str = "desktop light") -> Page:
        return await opened(told, kind, tab, now=NOW)

    return page
