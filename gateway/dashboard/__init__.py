"""
The page at ``/`` and its files, served from memory. It decides nothing: the browser asks ``/admin/v1``, which says who may.

There is no secret in the files, so they need no key. All of the page comes from here and nothing of it from elsewhere: the
policy forbids anything else, inline code and styles, and markup made of text (Trusted Types).
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from litestar import HttpMethod, Request, Response, Router, route
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from msgspec import Struct

PATH = "/page/{name:str}"
START = "index.html"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""https://www.w3.org/TR/CSP3/"""

_HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_READ = [HttpMethod.GET, HttpMethod.HEAD]


class File(Struct, frozen=True):
    """A file of the page, with the tag by which a browser asks whether its copy is still the same."""

    body: bytes
    media: str
    tag: str


@cache
def page_files() -> dict[str, File]:
    """All of them, by name."""
    found = {}
    for entry in files(__name__).joinpath("static").iterdir():
        media = _TYPES[entry.name.rpartition(".")[2]]
        body = entry.read_bytes()
        found[entry.name] = File(body, media, f'"{sha256(body).hexdigest()[:20]}"')
    return found


@route("/", http_method=_READ)
async def root(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The page for people, who come with a browser. Programs that look for an Ollama hear what it says."""
    if "text/html" in request.headers.get("accept", ""):
        response = _sent(page_files()[START], request)
    else:
        response = Response(b"Ollama is running", media_type="text/plain")
    response.headers["vary"] = "accept"
    return response


@route(PATH, http_method=_READ)
async def page(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """A file of the page."""
    found = page_files().get(name)
    if found is None:
        raise NotFoundException
    return _sent(found, request)


def _sent(file: File, request: Request[Any, Any, Any]) -> Response[bytes]:
    headers = {**_HEADERS, "etag": file.tag}
    if request.headers.get("if-none-match") == file.tag:
        return Response(b"", status_code=304, headers=headers)
    return Response(file.body, media_type=file.media, headers=headers)


def router() -> Router:
    """The routes."""
    return Router("/", route_handlers=[root, page])
