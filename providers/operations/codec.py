"""
How an operation other than chat is spelled: what is asked, and how the answer is read. Pure, and without a state.

Which spelling a provider has, and at which address, is configuration: ``[operation.embed]`` in its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from providers.chat import encode
from providers.dialect import HttpRequest, HttpResponse, Target


class Codec(Protocol):
    """One spelling of one operation; *request* and what is read are the operation's neutral forms."""

    def build(self, target: Target, request: Any, url: str, headers: Mapping[str, str]) -> HttpRequest:
        """
        The HTTP request to *url* that asks *target* for *request*.

        Raises a ProviderFailure for what cannot be said in this spelling.
        """

    def read(self, target: Target, request: Any, response: HttpResponse) -> Any:
        """
        What was made. Raises a ProviderFailure if it is not what was asked for, and whatever ``msgspec`` raises if it cannot
        be read: the body may be an error then.
        """


def post(url: str, headers: Mapping[str, str], body: Any) -> HttpRequest:
    """A request with *body* as JSON."""
    return HttpRequest("POST", url, dict(headers), encode(body))
