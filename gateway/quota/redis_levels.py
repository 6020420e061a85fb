"""How buckets are called in Redis, what the scripts are told of them, and how the values of their levels are read."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import blake2s

import msgspec
from msgspec import Raw, Struct

from gateway.quota.buckets import WHEN_FREED, Bucket, Level
from gateway.quota.calendars import calendar_window
from gateway.quota.operations import Operation, Restore

FORMAT = 4
"""Of a level's value, as in redis.lua. One of another format is set aside: two versions never count side by side."""

_Rule = tuple[str, float, float, tuple[float, ...], str, float, float]


class Asked(Struct, frozen=True):
    """The key of *bucket*, and its rule, which holds from *since* to *until*."""

    bucket: Bucket
    key: str
    rule: _Rule
    since: float = 0.0
    until: float = float("inf")


class Names:
    """
    Buckets and their keys. *accounts* are the fingerprints of the credentials by account: levels are kept under them, so that
    gateways with the same credential count together.
    """

    def __init__(self, accounts: Mapping[str, str]) -> None:
        self._accounts = accounts
        self._asked: dict[str, Asked] = {}
        self._called: dict[str, dict[str, Bucket]] = {}

    def belong(self, accounts: Mapping[str, str]) -> None:
        """From now on the credentials have these fingerprints: levels are those of others."""
        self._accounts = accounts
        self._asked.clear()

    def asked(self, bucket: Bucket, now: float) -> Asked:
        """How the script is asked for *bucket*."""
        found = self._asked.get(bucket.key)
        if found is None or found.bucket is not bucket or not found.since <= now < found.until:
            found = self._asked[bucket.key] = _asked(bucket, self._key(bucket), now)
            self._called.setdefault(found.key, {})[bucket.key] = bucket
        return found

    def called(self, key: str) -> Iterable[Bucket]:
        """The buckets that were asked for whose level is at *key*: several, if their accounts have the same credential."""
        return self._called.get(key, {}).values()

    def tag(self, bucket: Bucket) -> str:
        """Whose levels lie on one node of a cluster: those of one credential."""
        return self._accounts.get(bucket.account, bucket.account)

    def _key(self, bucket: Bucket) -> str:
        """Where the level of *bucket* is: it says nothing of a provider whose account's credential is known."""
        if bucket.account not in self._accounts:
            return f"freeway:{{{bucket.account}}}:{bucket.key}"
        return f"freeway:{{{self.tag(bucket)}}}:{bucket.key.removeprefix(bucket.account + '/')}"


def _asked(bucket: Bucket, key: str, now: float) -> Asked:
    """*bucket* as the script wants it: a calendar with the windows around *now*, whatever time it is in Redis."""
    if bucket.calendar is None:
        return Asked(bucket, key, (bucket.window, bucket.period, bucket.limit, (), kind_of(bucket), bucket.edge, 0.0))
    start, end = calendar_window(bucket.calendar, bucket.zone, now)
    before, _ = calendar_window(bucket.calendar, bucket.zone, start - 1.0)
    _, after = calendar_window(bucket.calendar, bucket.zone, end)
    rule = (bucket.window, bucket.period, bucket.limit, (before, start, end, after), kind_of(bucket), bucket.edge, 0.0)
    return Asked(bucket, key, rule, start, end)


def kind_of(bucket: Bucket) -> str:
    """By what a level of *bucket* is counted: days of two zones, which begin at different moments, are of two kinds."""
    return bucket.window if bucket.calendar is None else f"{bucket.calendar} {bucket.zone}"


class Places:
    """The buckets of one call, *asked* once for each of their *keys*, and numbered from one on, as Lua counts."""

    def __init__(self, asking: Callable[[Bucket], Asked]) -> None:
        self._asking = asking
        self.asked: list[Asked] = []
        self.keys: dict[str, int] = {}
        self._found: dict[str, int] = {}

    def of(self, bucket: Bucket) -> int:
        """The number of *bucket*."""
        found = self._found.get(bucket.key)
        if found is None:
            found = self._found[bucket.key] = self._add(bucket)
        return found

    def _add(self, bucket: Bucket) -> int:
        asking = self._asking(bucket)
        found = self.keys.get(asking.key)
        if found is None:
            self.asked.append(asking)
            found = self.keys[asking.key] = len(self.asked)
        return found


class _Told(Struct, array_like=True):
    """A level as it is told to the script: as ``Level``, its slots in one list."""

    used: float
    since: float
    slots: list[float]
    leases: list[tuple[str, float]]
    open: int
    last: float
    closed_until: float
    closed_because: str
    limit: float
    limit_until: float
    limit_by: str
    said_by: str
    said_at: float


class _Restore(Struct, array_like=True, tag="restore"):
    known: _Told


class _Stored(_Told, array_like=True):
    """A level as it is stored: the slots of a rolling window in one text, of which *used* is the sum."""

    slots: Raw  # type: ignore[assignment]


_LENGTHS = {0xD9: 2, 0xDA: 3, 0xDB: 5}
"""By how many bytes a text of MessagePack begins that tell its length, by the first of them; else it is that one."""

_decode = msgspec.msgpack.Decoder(tuple[int, str, _Stored]).decode
_decode_slots = msgspec.msgpack.Decoder(list[float]).decode
_PAIR = struct.Struct("<dd")
_fields = msgspec.structs.astuple


def unwrapped(value: Raw) -> bytes:
    """The bytes of a string of Lua, which MessagePack calls a text, whatever is in it: without what says how long it is."""
    packed = bytes(value)
    return packed[_LENGTHS.get(packed[0], 1) :]


def level_in(value: bytes, bucket: Bucket) -> Level | None:
    """
    The level of *bucket* whose *value* is stored; None if only the script can tell: the value is no level of this format, or
    was counted by a window of another kind.
    """
    try:
        version, kind, stored = _decode(value)
        if version != FORMAT or kind != kind_of(bucket) or math.isnan(stored.used):
            return None
        used, since, packed, *rest = _fields(stored)
        if kind == "rolling":
            return Level(0.0, since, [*_PAIR.iter_unpack(unwrapped(packed))], *rest)
        slots = _decode_slots(packed)
        return Level(used, since, [*zip(slots[::2], slots[1::2], strict=True)], *rest)
    except (msgspec.DecodeError, ValueError, struct.error):
        return None


def as_told(operation: Operation) -> Operation | _Restore:
    """*operation* as the script reads it."""
    if not isinstance(operation, Restore):
        return operation
    used, since, slots, *rest = _fields(operation.known)
    return _Restore(_Told(used, since, [number for slot in slots for number in slot], *rest))


def process_key(tag: str, name: str) -> str:
    """Where the last call of the process *name* and its answer are."""
    return f"freeway:{{{tag}}}:process:{name}"


@lru_cache(maxsize=4096)
def fingerprint(client: str) -> str:
    """How a client is called in Redis, where no names are."""
    return blake2s(client.encode(), digest_size=6).hexdigest() if client else ""


def calls_key(tag: str) -> str:
    """Where the count of a tag's calls is."""
    return f"freeway:{{{tag}}}:calls"


def changed_key(tag: str) -> str:
    """Where it is noted which call changed a level last."""
    return f"freeway:{{{tag}}}:changed"


def batched(keys: list[str], size: int) -> list[list[str]]:
    """*keys*, so many at a time."""
    return [keys[first : first + size] for first in range(0, len(keys), size)]


_NEVER, _FREED = -1.0, -2.0


def opens_at(opens_in: float, now: float) -> float:
    """The moment at which a bucket opens that refused *now*, as redis.lua tells it."""
    if opens_in == _NEVER:
        return math.inf
    return WHEN_FREED if opens_in == _FREED else now + opens_in
