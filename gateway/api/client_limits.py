"""A request and its client's own limits: taken once it is understood, ended with it, and told apart from any source's quota."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gateway.quota.clients import Allowance, Allowances, Over
from gateway.settings.clients import Client
from gateway.wording import duration
from gateway.words import Call, GatewayError
from providers.chat import Usage


class OverLimit(GatewayError):
    """The client has used up a limit of its own, at this gateway. *headers* say what is left of each."""

    status, type, code = 429, "rate_limit_error", "rate_limit_exceeded"

    def __init__(self, client: Client, over: Over) -> None:
        wait = over.opens_in
        if over.uncounted:
            message = (
                f"the store that counts for all gateways is away, and this one's part of {client.name!r}'s own limit of "
                f"{over.limit} is used up"
            )
        else:
            message = (
                f"client {client.name!r} has used up its own limit of {over.limit} at this gateway; there is room again in "
                f"{duration(wait)}. No source's quota is in the way: `freeway clients limit` changes the limit"
            )
        super().__init__(message, retry_after=wait)
        self.headers = over.headers


class NeverFits(GatewayError):
    """The request alone is larger than a limit of its client."""

    status, type, code = 400, "invalid_request_error", "unsupported"

    def __init__(self, client: Client, over: Over, tokens: int) -> None:
        super().__init__(
            f"the request has about {tokens} tokens, and client {client.name!r} has a limit of {over.limit} at this gateway, "
            f"which never holds it: send less, or have the limit raised"
        )


async def take(allowances: Allowances, client: Client, call: Call) -> Allowance | None:
    """What *call* takes of the limits of *client*; None: it has none. Raises OverLimit or NeverFits."""
    if not client.limits:
        return None
    try:
        return await allowances.take(client, call.prompt_tokens, call.output_tokens, call.least_tokens)
    except Over as over:
        if over.opens_in == math.inf:
            raise NeverFits(client, over, call.least_tokens) from over
        raise OverLimit(client, over) from over


def end(allowance: Allowance | None, usage: Usage | None, *, failed: bool) -> None:
    """The request is over; *failed*: before any answer began, so that it is not counted."""
    if allowance is None:
        return
    if failed:
        allowance.give_back()
    elif usage is None:
        allowance.keep()
    else:
        allowance.settle(usage.prompt_tokens, usage.completion_tokens)


def headers_of(error: GatewayError) -> Mapping[str, str]:
    """What *error* says of the client's own limits."""
    return error.headers if isinstance(error, OverLimit) else {}
