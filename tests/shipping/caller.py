"""
Run inside a container, as a load balancer's side of many callers: argv names the gateways, SIGTERM ends it.

Each call goes to the next gateway, and to another only if that one refused the connection or is draining (503): what a
gateway has taken is never asked twice. Prints what came of all calls as one JSON object; of those answered, when.
"""

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from typing import Any

import httpx

CALLERS = 6
GATEWAYS = sys.argv[1:]
HEADERS = {"authorization": f"Bearer {os.environ['FREEWAY_API_KEY']}"}
turn = itertools.count()
calls: dict[str, Any] = {"answered": [], "elsewhere": 0, "wrong": [], "lost": []}


async def call(client: httpx.AsyncClient, nonce: str) -> None:
    """Ask once, of the first gateway that takes it within half a minute."""
    ask = {"model": "auto", "messages": [{"role": "user", "content": nonce}]}
    refusals = []
    until = time.monotonic() + 30
    while time.monotonic() < until:
        gateway = GATEWAYS[next(turn) % len(GATEWAYS)]
        try:
            reply = await client.post(f"http://{gateway}:8000/v1/chat/completions", json=ask)
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            reply = None
            refusals.append(f"{gateway}: {exc!r}")
        except httpx.TransportError as exc:
            calls["lost"].append({"gateway": gateway, "at": time.time(), "why": repr(exc)})
            return
        if reply is None or reply.status_code == 503:
            calls["elsewhere"] += 1
            refusals += [f"{gateway}: {reply.text[:900]}"] if reply is not None else []
            await asyncio.sleep(0.3)
            continue
        if reply.status_code != 200:
            calls["lost"].append({"gateway": gateway, "at": time.time(), "why": reply.text[:500]})
        elif reply.json()["choices"][0]["message"]["content"] != f"You said: {nonce}":
            calls["wrong"].append([nonce, reply.text[:500]])
        else:
            calls["answered"].append(time.time())
        return
    calls["lost"].append({"gateway": "all", "at": time.time(), "why": refusals})


async def caller(client: httpx.AsyncClient, number: int, over: asyncio.Event) -> None:
    """Ask, rest, ask again, until it is *over*."""
    for each in itertools.count():
        if over.is_set():
            return
        await call(client, f"caller {number} asks {each}")
        await asyncio.sleep(0.3)


async def main() -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    # A connection for each call: one that was kept may be closed by a gateway that leaves, just when it is used again.
    limits = httpx.Limits(max_keepalive_connections=0)
    timeout = httpx.Timeout(25, connect=1)
    async with httpx.AsyncClient(headers=HEADERS, limits=limits, timeout=timeout) as client:
        await asyncio.gather(*(caller(client, number, over) for number in range(CALLERS)))
    sys.stdout.write(json.dumps(calls))


asyncio.run(main())
