"""
Every provider's spelling of a model → one canonical name. Pure; what must be known is in ``config/names.toml``.

Two spellings are one model only if that is certain: what tells models apart (size, -instruct, -thinking, a date, a
quantisation) stays in the name.
"""

from __future__ import annotations

import math
import re
from fnmatch import fnmatchcase

from msgspec import Struct

_ROUTING = frozenset({"free", "latest", "cloud", "nitro", "floor", "exacto", "beta"})
"""What may follow a colon and says who serves the model or how, not which it is (OpenRouter's and Ollama's)."""

_SIZE = re.compile(r"(?:e|[0-9.]+x)?[0-9.]+[bm]")
_FAMILY_NUMBER = re.compile(r"^([a-z]{2,})-?(\d)")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)_(?=\d)")


class Names(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    What must be known of names, as ``config/names.toml`` says it.

    *same* is applied last, to the name as far as it is unified by then. At *latest_is_a_size*, a name without a size means
    one of several sizes, which only the list tells; *great* are models whose bare name never means that.
    """

    joined: tuple[str, ...] = ()
    makers: tuple[str, ...] = ()
    chat_means_bare: tuple[str, ...] = ()
    bare: dict[str, str] = {}
    same: dict[str, str] = {}
    latest_is_a_size: tuple[str, ...] = ()
    great: tuple[str, ...] = ()

    def listed(self, spelled: str, provider: str, parameters: float | None) -> str:
        """
        The name of a model that *provider* lists, with so many billion *parameters* as far as the list tells.

        A size that only the list tells becomes part of the name: it is another model than the bare name means elsewhere.
        """
        name, _, tag = spelled.partition(":")
        if provider not in self.latest_is_a_size or tag not in ("", "latest"):
            return self.canonical(spelled, provider)
        if any(_SIZE.fullmatch(piece) for piece in re.split(r"[-_/]", name.lower())):
            return self.canonical(name, provider)
        if parameters is None:
            return f"{self.canonical(name, provider)}-of-unknown-size"
        size = math.floor(parameters) if parameters >= 2 else round(parameters, 1)
        return self.canonical(f"{name}:{size:g}b", provider)

    def means_great(self, spelled: str) -> bool:
        """Whether the bare name *spelled* is known to mean a model of one size, wherever it is served."""
        name = self.canonical(spelled)
        return name in self.great or name in self.same.values()

    def canonical(self, spelled: str, provider: str = "") -> str:
        """The model's name, in lower case, without owner, provider's suffix and variant of serving."""
        path = spelled.strip().lower().replace(" ", "-")
        name, colon, tag = _BETWEEN_DIGITS.sub(".", path).replace("_", "-").rsplit("/", 1)[-1].partition(":")
        name = name.removesuffix("-cloud")
        for maker in self.makers:
            name = name.removeprefix(f"{maker}-")
        name = _FAMILY_NUMBER.sub(self._join, name)
        if provider != "huggingface":  # there, it names who serves
            tag = tag.removesuffix("-cloud")
            if tag and tag not in _ROUTING:
                name = f"{name}-{tag}"
        bare = _SIZE.fullmatch(tag) if colon else provider in self.chat_means_bare
        if bare:
            name = self._completed(name)
        return self.same.get(name, name)

    def _join(self, found: re.Match[str]) -> str:
        family, digit = found.groups()
        return f"{family}{digit}" if family in self.joined else f"{family}-{digit}"

    def _completed(self, name: str) -> str:
        """The bare *name* with what it leaves out."""
        for pattern, what in self.bare.items():
            if fnmatchcase(name, pattern) and _SIZE.fullmatch(name.rsplit("-", 1)[-1]):
                return f"{name}-{what}"
        return name
