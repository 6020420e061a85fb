"""``GET connect``: how client programs are pointed at this gateway, under the address that it was asked at."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, Parameter

from gateway import shipped_config
from gateway.api.admin.views import ConnectView
from gateway.api.auth import Authenticator
from gateway.programs.program import Target, near, programs, view
from gateway.words import BadRequest

PROGRAMS = programs(shipped_config())

_KEY = "YOUR_KEY"
"""Where a client's key belongs: the gateway knows hashes alone."""


class NoSuchProgram(BadRequest):
    """The name is not that of a program that we know."""

    status = 404


@get("/connect")
async def connections(
    request: Request[Any, Any, Any],
    authenticator: NamedDependency[Authenticator],
    model: Annotated[str, Parameter(max_length=200)] = "auto",
) -> list[ConnectView]:
    """Every program, asking for *model*."""
    target = _target(request, authenticator, model)
    return [view(name, program, target) for name, program in PROGRAMS.items()]


@get("/connect/{program:str}")
async def connection(
    request: Request[Any, Any, Any],
    authenticator: NamedDependency[Authenticator],
    program: FromPath[str],
    model: Annotated[str, Parameter(max_length=200)] = "auto",
) -> ConnectView:
    """One of them."""
    if program not in PROGRAMS:
        raise NoSuchProgram(f"no program is called {program!r} here{near(program, PROGRAMS)}", param="program")
    return view(program, PROGRAMS[program], _target(request, authenticator, model))


def _target(request: Request[Any, Any, Any], authenticator: Authenticator, model: str) -> Target:
    origin = f"{request.url.scheme}://{request.url.netloc}"
    return Target(origin=origin, key="" if authenticator.open else _KEY, model=model)


HANDLERS = (connections, connection)
