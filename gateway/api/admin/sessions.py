"""
Who is signed in: a token that the admin key signs, so that every replica with the key takes it, also after a restart.

Another admin key ends all sessions. One that was signed out is remembered until it would have ended by itself.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import scrypt

from gateway.state.store import StateStore

LASTS = 7 * 86_400
"""Seconds that a session lasts."""

_SIGNED_OUT = "signed out"
_LONGEST = 200  # characters of a token that are looked at


class Sessions:
    """
    The sessions that *key* signs. What signs is derived from it by scrypt, so that a token is of little use to find the key
    out; *state* tells replicas which were signed out.
    """

    def __init__(self, key: str, state: StateStore) -> None:
        self._secret = scrypt(key.encode(), salt=b"freeway session", n=2**14, r=8, p=1)
        self._state = state
        self._signed_out: dict[str, float] = {}
        state.watch(_SIGNED_OUT, float, self._hear)

    def begin(self, now: float) -> str:
        """A token for a session that begins *now*."""
        told = f"{int(now) + LASTS}.{secrets.token_urlsafe(16)}"
        return f"{told}.{self._signature(told)}"

    def valid(self, token: str, now: float) -> bool:
        """Whether *token* is of a session that is not over."""
        told, _, signature = token[:_LONGEST].rpartition(".")
        if not hmac.compare_digest(self._signature(told).encode(), signature.encode()):
            return False
        until, _, name = told.partition(".")  # ours: it is signed
        return now < float(until) and name not in self._signed_out

    def end(self, token: str, now: float) -> None:
        """*token* is good for nothing any more."""
        if not self.valid(token, now):
            return
        until, name, _ = token.split(".")
        self._signed_out[name] = float(until)
        self._state.set(_SIGNED_OUT, name, float(until))
        for old in [old for old, ended in self._signed_out.items() if ended <= now]:
            del self._signed_out[old]
            self._state.set(_SIGNED_OUT, old, None)

    def _signature(self, told: str) -> str:
        return hmac.digest(self._secret, told.encode(), "sha256").hex()

    def _hear(self, heard: dict[str, float]) -> None:
        self._signed_out = heard
