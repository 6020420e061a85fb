"""The gateways that share a Redis: each says that it lives, hears of the others, of what they give back and had debited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.quota.debited import Debited
from gateway.quota.degraded import ALIVE, PART_FOR
from gateway.quota.exchange import Heartbeat, StoreFailure
from gateway.quota.redis_script import Client, Patience, Script, within
from gateway.state.redis_client import FAILURES, ready

HEARTBEAT_PATIENCE = 1.0
"""Seconds that what no request waits for may take."""

_CONNECT_PATIENCE = 3.0
"""Seconds for making connections: three round trips and, with TLS, two more, of a Redis that may be far. No request waits."""

_GIVEN_UP = ALIVE + PART_FOR
"""Seconds after its last heartbeat for which a replica that did not sign off is told as missing."""

_LISTEN_AGAIN = 1.0
"""Seconds after which a process that has lost the line on which it hears of others tries again."""

_HEARTBEAT = Path(__file__).with_name("heartbeat.lua").read_text("utf-8")
_SIGN_OFF = "return redis.call('ZREM', KEYS[1], ARGV[1])"
_REPLICAS = "freeway:{replicas}:heard"
_DEBITED = "freeway:*:process:*:debited"


class RedisPeers:
    """
    *name* is that of this process as a store, *channel* where it is told that something was given back. *accounts* are the
    fingerprints of the credentials: those that use one of them, too, are its peers.
    """

    def __init__(self, client: Client, name: str, channel: str, accounts: Mapping[str, str]) -> None:
        self._client, self._name, self._channel = client, name, channel
        self.belong(accounts)
        self._heartbeat, self._sign_off = Script(_HEARTBEAT), Script(_SIGN_OFF)

    def belong(self, accounts: Mapping[str, str]) -> None:
        """From now on the credentials have these fingerprints."""
        self._ours = ",".join(sorted(set(accounts.values())))

    async def heartbeat(self, name: str, now: float | None) -> Heartbeat:
        """Say that *name* lives, at *now* or by the clock of Redis, with connections made; and hear of the others."""
        await within(Patience(_CONNECT_PATIENCE), ready(self._client))
        args = (self._member(name), _GIVEN_UP, -1.0 if now is None else now)
        heard = await self._heartbeat.call(self._client, Patience(HEARTBEAT_PATIENCE), [_REPLICAS], *args)
        ago = {peer: float(seconds) for member, seconds in heard if (peer := self._sharing(member)) is not None}
        peers = sorted(member for member, seconds in ago.items() if seconds < ALIVE)
        missing = tuple((member, seconds) for member, seconds in ago.items() if seconds >= ALIVE)
        return Heartbeat(peers.index(name), tuple(peers), missing)

    async def sign_off(self, name: str) -> None:
        """Say that *name* ends."""
        await self._sign_off.call(self._client, Patience(HEARTBEAT_PATIENCE), [_REPLICAS], self._member(name))

    async def listen(self, freed: Callable[[], None]) -> None:
        """Call *freed* whenever another process has given back something that was wanted. Ends when it is cancelled."""
        while True:
            try:
                await self._listen(freed)
            except FAILURES:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError from None  # of the two, redis-py told that the connection failed
                await asyncio.sleep(_LISTEN_AGAIN)

    async def _listen(self, freed: Callable[[], None]) -> None:
        own = self._name.encode()
        async with self._client.pubsub() as heard:
            await heard.subscribe(self._channel)
            async for message in heard.listen():
                if message["type"] == "message" and not message["data"].endswith(own):
                    freed()

    def _member(self, name: str) -> str:
        """How *name* and the accounts that it uses are told to the others."""
        return f"{name} {self._ours}"

    def _sharing(self, member: bytes) -> str | None:
        """The name of a process that uses an account of ours; None: it does not."""
        name, _, accounts = member.decode(errors="replace").partition(" ")
        return name if accounts == self._ours or set(accounts.split(",")) & set(self._ours.split(",")) else None


async def debited(client: Any, namespace: str) -> dict[str, Debited]:
    """By run, how many calls of gateways of *namespace* the ledger counts, and who lives. Raises StoreFailure."""
    calls: dict[str, int] = {}
    try:
        now, _ = await client.time()
        heard = await client.zrangebyscore(_REPLICAS, now - ALIVE, "+inf")
        async for key in client.scan_iter(match=_DEBITED, count=1000):
            said, _, channel = (await client.get(key) or b"").partition(b" ")
            if channel == f"{namespace}:freed".encode() and said.isdigit():
                run = key.decode(errors="replace").split(":")[-2]
                calls[run] = calls.get(run, 0) + int(said)
    except FAILURES as exc:
        raise StoreFailure(f"{type(exc).__name__}: {exc}") from exc
    alive = {member.decode(errors="replace").partition("-")[0] for member in heard}
    return {run: Debited(count, lives=run in alive) for run, count in calls.items()}
