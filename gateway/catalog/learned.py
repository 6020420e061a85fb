"""
What was learned of deployments and accounts by asking them: who is out, and who can or cannot do what.

A provider's list is not entitlement, so this is kept: across restarts, and for all gateways of one store. All of it ends
by itself, for providers change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.events import Changed, Event
from gateway.quota.nouns import LONGEST_REASON
from gateway.state.store import StateStore
from gateway.words import Deployment

LEARNED_FOR = 7 * 86_400.0
"""Seconds for which it is believed that a deployment can do something, or cannot."""

BEGINS_IN_THOUGHT = "begins in thought"
"""What the answers of a deployment do that only close a thought."""

LEAST_CONTEXT = 1024
"""Tokens. No model that chats holds fewer: what states less is a slip, or no statement."""

_OUT, _ABLE, _CONTEXTS = "withdrawn", "abilities", "contexts"

_ALL = frozenset({"stream"})
_TOGETHER = "+"  # between the names of what a deployment does not take in one request
_SHARED = re.compile(r"(.+)@([^@/]+)")  # a name, and the fingerprint of the credential that it is out for

OfKey = Literal["key", "model"]
"""What a provider refuses to a key: everything, or one model."""


class Withdrawal(Struct, frozen=True):
    """
    A deployment or an account is out until a moment (unix seconds). *gone*: its model is there no more; *credit*: of the account
    only what its credit pays is out. *refused*: it is the key that is out, and with another one it is not.
    """

    until: float
    because: str
    gone: bool = False
    credit: bool = False
    refused: OfKey | None = None


class Ability(Struct, frozen=True):
    """Whether a deployment *has* a capability, as far as is known until a moment (unix seconds)."""

    has: bool
    until: float


class Context(Struct, frozen=True):
    """The *tokens* that a deployment holds, by what it said, as far as is known until a moment (unix seconds)."""

    tokens: int
    until: float


class Learned:
    """
    Withdrawals and abilities, by name. Lookups are plain dictionaries: every request makes some. Moments are arguments.

    *accounts* are the fingerprints of the credentials, by account: an account, and what was refused to its key, is out for
    those gateways that have the same.
    """

    def __init__(self, state: StateStore, accounts: Mapping[str, str] = MappingProxyType({})) -> None:
        self._state, self._accounts = state, accounts
        self._out: dict[str, Withdrawal] = {}
        self._out_elsewhere: dict[str, Withdrawal] = {}  # by another credential than ours, under their shared names
        self._able: dict[str, dict[str, Ability]] = {}
        self._contexts: dict[str, Context] = {}
        self.revision = 0  # changes with what is known of abilities
        state.watch(_OUT, Withdrawal, self._hear_out)
        state.watch(_ABLE, dict[str, Ability], self._hear_able)
        state.watch(_CONTEXTS, Context, self._hear_contexts)

    # ── who is out ──

    def belong(self, accounts: Mapping[str, str]) -> None:
        """From now on the credentials have these fingerprints: what was refused to others is not refused to them."""
        known = {self._shared(name, out): out for name, out in self._out.items()} | self._out_elsewhere
        self._accounts = accounts
        self._hear_out(known)

    def withdraw(
        self,
        name: str,
        until: float,
        because: str,
        *,
        gone: bool = False,
        credit: bool = False,
        refused: OfKey | None = None,
    ) -> None:
        """Take out the deployment, or all of the account, or all that the account's *credit* pays, that goes by *name*."""
        withdrawal = Withdrawal(until, because[:LONGEST_REASON], gone, credit, refused)
        self._out[name] = withdrawal
        self._state.set(_OUT, self._shared(name, withdrawal), withdrawal)

    def readmit(self, name: str) -> bool:
        """Let *name* in again; whether it was out."""
        withdrawal = self._out.pop(name, None)
        if withdrawal is not None:
            self._state.set(_OUT, self._shared(name, withdrawal), None)
        return withdrawal is not None

    def accept(self, account: str, now: float, tell: Callable[[Event], None]) -> None:
        """The key of *account* was taken by its provider: if it had been refused before, that is over."""
        if not self._out:
            return
        mine = (account, *(name for name in self._out if name.startswith(f"{account}/")))
        refused = [name for name in mine if name in self._out and self._out[name].refused == "key"]
        for name in refused:
            self.readmit(name)
        if refused:
            tell(Changed("readmitted", account, "its key is taken again", now))

    def withdrawn(self, deployment: Deployment, now: float) -> Withdrawal | None:
        """Why *deployment* is out, if it is."""
        if not self._out:
            return None
        for name in (deployment.provider.name, deployment.name):
            withdrawal = self._out.get(name)
            if withdrawal is None or now >= withdrawal.until:
                continue
            if not withdrawal.credit or deployment.proof.kind == "credit":
                return withdrawal
        return None

    def out(self, now: float) -> dict[str, Withdrawal]:
        """All that are out, by name."""
        return {name: found for name, found in self._out.items() if now < found.until}

    # ── who can do what ──

    def learn(self, deployment: str, capability: str, now: float, *, has: bool) -> None:
        """*deployment* turned out to have *capability*, or to lack it."""
        known = self._able.setdefault(deployment, {})
        known[capability] = Ability(has, now + LEARNED_FOR)
        self._state.set(_ABLE, deployment, known)
        self.revision += 1

    def learn_together(self, deployment: str, needs: AbstractSet[str], now: float) -> None:
        """*deployment* turned out not to take a request that has all of *needs*."""
        self.learn(deployment, _TOGETHER.join(sorted(needs)), now, has=False)

    def clash(self, deployment: str, needs: AbstractSet[str], now: float) -> tuple[str, ...]:
        """Those of *needs* that *deployment* was found not to take together; none: it may take them all."""
        for together, ability in self._able.get(deployment, {}).items():
            if _TOGETHER in together and not ability.has and now < ability.until:
                clashing = together.split(_TOGETHER)
                if needs >= set(clashing):
                    return tuple(clashing)
        return ()

    def known(self, deployment: str, capability: str, now: float) -> bool | None:
        """Whether *deployment* was found to have *capability*; None: that was not found out lately."""
        ability = self._able.get(deployment, {}).get(capability)
        return ability.has if ability is not None and now < ability.until else None

    def capabilities(self, deployment: Deployment, now: float) -> frozenset[str]:
        """What *deployment* can do, as far as is known. All can stream unless it was found out otherwise."""
        known = self._able.get(deployment.name)
        if not known:
            return deployment.capabilities | _ALL
        fresh = {capability: ability.has for capability, ability in known.items() if now < ability.until}
        lost = {capability for capability, has in fresh.items() if not has}
        return (deployment.capabilities | _ALL | fresh.keys()) - lost

    def shorten(self, deployment: str, tokens: int, now: float) -> None:
        """*deployment* said that it holds no more than so many *tokens*."""
        self._contexts[deployment] = Context(tokens, now + LEARNED_FOR)
        self._state.set(_CONTEXTS, deployment, self._contexts[deployment])
        self.revision += 1

    def context(self, deployment: Deployment, now: float) -> int | None:
        """The tokens that *deployment* holds: what it said itself, where that is less than what is known of it."""
        said = self._contexts.get(deployment.name)
        if said is None or now >= said.until:
            return deployment.context
        return min(said.tokens, deployment.context or said.tokens)

    def applied(self, deployment: Deployment, now: float) -> Deployment:
        """*deployment* with the context that it told itself, and as its answers were seen to begin."""
        context, target = self.context(deployment, now), deployment.target
        if self.known(deployment.name, BEGINS_IN_THOUGHT, now) and not target.opens_in_reasoning:
            target = msgspec.structs.replace(target, opens_in_reasoning=True)
        if context == deployment.context and target is deployment.target:
            return deployment
        return msgspec.structs.replace(deployment, context=context, target=target)

    def sweep(self, now: float) -> None:
        """Forget what has ended."""
        for name in [name for name, found in self._out.items() if found.until <= now]:
            self.readmit(name)
        for name in [name for name, found in self._out_elsewhere.items() if found.until <= now]:
            self._state.set(_OUT, name, None)
            del self._out_elsewhere[name]
        for name in [name for name, said in self._contexts.items() if said.until <= now]:
            del self._contexts[name]
            self._state.set(_CONTEXTS, name, None)
        for name, known in list(self._able.items()):
            fresh = {capability: ability for capability, ability in known.items() if now < ability.until}
            if fresh != known:
                self._able[name] = fresh
                self._state.set(_ABLE, name, fresh or None)
                self.revision += 1

    # ── what others learned ──

    def _hear_out(self, heard: dict[str, Withdrawal]) -> None:
        self._out, self._out_elsewhere = {}, {}
        for shared, withdrawal in heard.items():
            found = _SHARED.fullmatch(shared)
            fingerprint = self._fingerprint(found[1], withdrawal) if found else None
            if found is None or fingerprint is None:
                self._out[shared] = withdrawal
            elif found[2] == fingerprint:
                self._out[found[1]] = withdrawal
            else:
                self._out_elsewhere[shared] = withdrawal

    def _fingerprint(self, name: str, withdrawal: Withdrawal) -> str | None:
        """That of the credential which *name* is out for; None: it is out for every one."""
        account = name.partition("/")[0] if withdrawal.refused else name
        return self._accounts.get(account)

    def _shared(self, name: str, withdrawal: Withdrawal) -> str:
        """What gateways with the same credential call *name* among themselves."""
        fingerprint = self._fingerprint(name, withdrawal)
        return name if fingerprint is None else f"{name}@{fingerprint}"

    def _hear_contexts(self, heard: dict[str, Context]) -> None:
        self._contexts = heard
        self.revision += 1

    def _hear_able(self, heard: dict[str, dict[str, Ability]]) -> None:
        self._able = heard
        self.revision += 1
