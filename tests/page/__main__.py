"""
``python -m tests.page pictures [FOLDER]`` takes a picture of each tab, on a desktop and a phone, light and dark.
``python -m tests.page figures [SECONDS]`` measures what the page costs: bytes, the first paint, tabs with a long history, and what
a page that is left open costs a real gateway.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from playwright.async_api import Browser, Page, async_playwright

from gateway.dashboard import page_files
from providers.simulator.server import listening, serve
from providers.simulator.world import World
from tests.acceptance.process import serving
from tests.page.conftest import CHROMIUM, FLAGS, KINDS, TABS, context
from tests.page.fake import NOW, Said, application, ordinary, request

_LOADS = 9
_PAINTED = """new Promise(done => {
  const look = () => {
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    paint ? done(paint.startTime) : setTimeout(look, 5);
  };
  look();
})"""
_DRAWN = "[...document.querySelectorAll('.requests .row')].length"


@asynccontextmanager
async def _fake(said: Said) -> AsyncIterator[str]:
    settings = uvicorn.Config(application(said), lifespan="on", ws="none", log_level="critical")
    async with listening(settings) as origin:
        yield origin


@asynccontextmanager
async def _chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


async def _opened(browser: Browser, address: str, kind: str = "desktop light", *, now: float | None = None) -> Page:
    page = await (await browser.new_context(**context(kind))).new_page()
    if now is not None:
        await page.clock.set_fixed_time(now * 1000)
    await page.goto(address)
    return page


async def pictures(folder: Path) -> None:
    """Every tab in every kind, as PNG files in *folder*."""
    async with _fake(ordinary()) as origin, _chromium() as browser:
        for kind in KINDS:
            page = await _opened(browser, f"{origin}/#today", kind, now=NOW)
            for tab in TABS:
                await page.locator(f'#tabs a[href="#{tab}"]').click()
                await page.locator(".tab").wait_for()
                await page.wait_for_timeout(400)
                if tab == "requests":
                    await page.locator(".row", has_text="2 attempts").locator("button").first.click()
                if tab == "playground":
                    await page.get_by_label("Question").fill("Why is the sky blue?")
                    await page.get_by_role("button", name="Ask").click()
                await page.wait_for_timeout(200)
                await page.screenshot(path=folder / f"{tab}-{kind.replace(' ', '-')}.png")
    print(f"{len(KINDS) * len(TABS)} pictures in {folder}")


async def figures(seconds: float) -> None:
    """What the page costs; *seconds* long it is left open."""
    print(f"files                                {sum(len(one.body) for one in page_files().values()):>9} bytes")
    async with _chromium() as browser:
        await _paints(browser)
        await _long_history(browser)
        await _left_open(browser, seconds)


async def _paints(browser: Browser) -> None:
    taken = []
    async with _fake(ordinary()) as origin:
        for _ in range(_LOADS):
            page = await _opened(browser, origin)
            taken.append(float(await page.evaluate(_PAINTED)))
            await page.context.close()
    print(
        f"first paint, of {_LOADS} loads              {statistics.median(taken):>9.0f} ms (least {min(taken):.0f}, most {max(taken):.0f})"
    )


async def _long_history(browser: Browser) -> None:
    said = ordinary()
    said.requests = [request(number) for number in range(10_000)]
    async with _fake(said) as origin:
        page = await _opened(browser, f"{origin}/#today", now=NOW)
        await page.locator(".tiles").wait_for()
        began = time.perf_counter()
        await page.locator('#tabs a[href="#requests"]').click()
        await page.locator(".requests .row").first.wait_for()
        print(
            f"requests, of 10 000                  {(time.perf_counter() - began) * 1000:>9.0f} ms, {await page.evaluate(_DRAWN)} rows"
        )
        await page.context.close()


async def _left_open(browser: Browser, seconds: float) -> None:
    """A gateway in a process of its own, a request every two seconds, with the page closed and then open."""
    world = World(names=["groq", "nvidia"])
    with tempfile.TemporaryDirectory() as home:
        async with serve(world) as others:
            variables: dict[str, Any] = world.environment(others)
            with serving(Path(home), **variables) as (origin, process, _log):
                without = await _cost(process.pid, origin, seconds)
                page = await _opened(browser, origin)
                await page.locator(".tiles").wait_for()
                with_page = await _cost(process.pid, origin, seconds)
                await page.context.close()
    print(
        f"a page left open for {seconds:.0f} s             {with_page[0] - without[0]:>9.2f} % of a processor ({without[0]:.2f} % without, {with_page[0]:.2f} % with)"
    )
    print(f"memory meanwhile                     {with_page[1] / 1e6:>+9.2f} MB ({without[1] / 1e6:+.2f} MB without)")


async def _cost(pid: int, origin: str, seconds: float) -> tuple[float, float]:
    """Of process *pid*: per cent of a processor, and how many bytes it grew by."""
    async with httpx.AsyncClient(base_url=origin, timeout=30) as client:
        await _traffic(client, 6)
        began, used, size = time.monotonic(), _processor(pid), _resident(pid)
        await _traffic(client, seconds)
        passed = time.monotonic() - began
        return (_processor(pid) - used) / passed * 100, _resident(pid) - size


async def _traffic(client: httpx.AsyncClient, seconds: float) -> None:
    ends = time.monotonic() + seconds
    body: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    while time.monotonic() < ends:
        await client.post("/v1/chat/completions", json=body)
        await asyncio.sleep(2)


def _processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> float:
    return float(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pictures", *folder]:
            into = Path(*folder or [".pictures"])
            into.mkdir(parents=True, exist_ok=True)
            asyncio.run(pictures(into))
        case ["figures", *length]:
            asyncio.run(figures(float(*length or ["60"])))
        case _:
            sys.exit(__doc__)
