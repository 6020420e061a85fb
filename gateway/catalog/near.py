"""What a caller may have meant who asked for a name that is not served, or for a model that is gone. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from difflib import SequenceMatcher

from gateway.catalog.learned import Learned
from gateway.catalog.substitutes import Profile, by_nearness
from gateway.words import Deployment, UnknownModel

MOST = 3
"""Names that are told."""

_COMPARED = 200
"""Names that are compared letter by letter: of ten thousand models that would take a fifth of a second."""

_ALIKE = 0.6
_LETTERS = re.compile(r"[a-z]{3,}")


def near(asked: str, names: Iterable[str], most: int = MOST) -> list[str]:
    """Those of *names* that are most like *asked*, the likest first; none if none is."""
    wanted = _bare(asked)
    words = sorted(_LETTERS.findall(wanted), key=len, reverse=True)
    alike = [name for name in names if any(word in name.lower() for word in words)]
    if len(alike) > _COMPARED:
        alike = sorted(
            alike, key=lambda name: (-sum(word in name.lower() for word in words), abs(len(name) - len(asked)))
        )[:_COMPARED]
    alike = alike or [name for name in names if name[:2].lower() == wanted[:2]][:_COMPARED]
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    scored: list[tuple[float, str]] = []
    for name in alike:
        matcher.set_seq1(_bare(name))
        ratio = matcher.ratio() + (0.2 if _bare(name).startswith(wanted) or wanted.startswith(_bare(name)) else 0.0)
        if ratio >= _ALIKE:
            scored.append((-ratio, name))
    return [name for _, name in sorted(scored)[:most]]


def _bare(name: str) -> str:
    """*name* without what stands before its last slash, in small letters."""
    return name.lower().rpartition("/")[2][:100]


def unknown(asked: str, models: Collection[str], providers: Iterable[str] = ()) -> UnknownModel:
    """What to say of the name *asked*, where *models* are served and *providers* known."""
    owner, slash, rest = asked.partition("/")
    found = near(asked, models)
    if slash and not found and (close := near(owner, providers, 1)):
        found = [f"{close[0]}/{rest}"]
    meant = f"did you mean {listed(found)}? " if found else ""
    return UnknownModel(
        f"no free source serves a model called {asked!r}; {meant}GET /v1/models lists what is served, and 'auto' takes whatever fits",
        param="model",
    )


def gone(asked: str, profile: Profile | None, present: Iterable[Profile], because: str = "") -> UnknownModel:
    """What to say of a model that is there no more: what is like it, of those that are *present*."""
    found = [one.model for one in by_nearness(profile, present)[:MOST]] if profile is not None else []
    since = (
        f" since {datetime.fromtimestamp(profile.since, UTC):%Y-%m-%d}" if profile is not None and profile.since else ""
    )
    why = f" ({because})" if because else ""
    nearest = f"what comes nearest to it is {listed(found)}" if found else "'auto' takes whatever fits"
    more = "; the header 'x-freeway-substitute: true' has the nearest model answer in its place" if found else ""
    return UnknownModel(f"the model {asked!r} is gone{since}{why}: {nearest}{more}", param="model")


def all_gone(
    excluded: Iterable[Deployment], here: Iterable[Deployment], learned: Learned, now: float
) -> UnknownModel | None:
    """What to say if all those *excluded* serve one model, and said that it is gone; *here* is all that there is. None if not."""
    out = [(d, learned.withdrawn(d, now)) for d in excluded]
    if len({d.model for d, _ in out}) != 1 or not all(one is not None and one.gone for _, one in out):
        return None
    model, because = out[0][0].model, next(one.because for _, one in out if one is not None)
    return gone(model, Profile.of(d for d, _ in out), [one for one in profiles(here) if one.model != model], because)


def profiles(deployments: Iterable[Deployment]) -> list[Profile]:
    """Of every model that chats."""
    found: dict[str, list[Deployment]] = {}
    for d in deployments:
        if "chat" in d.operations and not d.last_resort:
            found.setdefault(d.model, []).append(d)
    return [Profile.of(served) for served in found.values()]


def listed(names: Collection[str]) -> str:
    """``a, b or c``"""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
