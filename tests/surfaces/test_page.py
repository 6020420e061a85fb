"""The files of the page, as they are sent."""

from __future__ import annotations

import re

import httpx
import pytest

from gateway.dashboard import page_files

FORBIDDEN = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "new Function",
    'setAttribute("style"',
)


@pytest.fixture
async def client(start):
    demo = await start(("groq",))
    async with httpx.AsyncClient(base_url=demo.base_url) as client:
        yield client


async def test_a_browser_gets_the_page_and_a_program_what_an_ollama_says(client):
    page = await client.get("/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    program = await client.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert program.text == "Ollama is running"
    assert page.headers["vary"] == program.headers["vary"] == "accept"


async def test_every_file_comes_with_a_policy_that_lets_nothing_else_in(client):
    for name in page_files():
        headers = (await client.get(f"/page/{name}")).headers

        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


async def test_a_copy_that_is_still_the_same_is_not_sent_again(client):
    first = await client.get("/page/page.js")
    again = await client.get("/page/page.js", headers={"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "..%2F__init__.py", "%2e%2e/__init__.py"])
async def test_nothing_but_the_page_is_sent(client, name):
    assert (await client.get(f"/page/{name}")).status_code == 404


def test_all_of_it_is_small():
    assert sum(len(file.body) for file in page_files().values()) < 150_000


def test_no_file_names_another_host_or_makes_markup_of_text():
    for name, file in page_files().items():
        text = file.body.decode()
        addresses = set(re.findall(r"https?://[^\s\"'`)]*", text)) - {"http://www.w3.org/2000/svg"}

        assert not addresses, name
        assert not [word for word in FORBIDDEN if word in text], name
        assert not re.search(r"\son\w+=|<style|style=", text) or not name.endswith(".html"), name
