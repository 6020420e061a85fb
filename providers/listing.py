"""
Entries of a model list, read one by one: what cannot be read is left out, and one odd entry costs no other.

Lists are written by hand and by many hands; sizes come as text, lists as null, ids with a line end in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from providers import failures as f
from providers.dialect import Listed
from providers.observations import number_of
from providers.spec import ListPrices

_LONGEST_ID = 300
_MOST_TOKENS = 10**9
_FIRST_MODELS, _LAST_MODELS = 1_500_000_000, 4_000_000_000  # unix seconds


def read_entries(found: object, read: Callable[[dict[str, Any]], Listed | None]) -> tuple[tuple[Listed, ...], int]:
    """
    The entries of the list *found*, each by *read* (None leaves it out), and how many could not be read.

    Raises Unreachable if *found* is no list, or nothing in it can be read.
    """
    if not isinstance(found, list):
        raise f.Unreachable("the model list cannot be read: it is no list")
    listed, skipped = list[Listed](), 0
    for entry in found:
        try:
            model = read(entry)
        except (KeyError, TypeError, ValueError, AttributeError):
            skipped += 1
            continue
        if model is not None and not is_model_id(model.id):
            skipped += 1
        elif model is not None:
            listed.append(model)
    if skipped and skipped == len(found):
        raise f.Unreachable(f"the model list cannot be read: none of its {skipped} entries")
    return tuple(listed), skipped


def priced(model: Listed, entry: dict[str, Any], where: ListPrices) -> Listed:
    """*model* with the prices that its *entry* tells *where*. One that is missing, no number or negative is none."""
    told = dict(_leaves(entry))
    prompt, output = (number_of(str(told.get(path))) for path in (where.prompt, where.output))
    others = (told[path] for path in told.keys() - {where.prompt, where.output} if "pric" in path.lower())
    return msgspec.structs.replace(
        model,
        prompt_price=None if prompt is None else prompt * where.dollars,
        output_price=None if output is None else output * where.dollars,
        other_prices=any(map(_may_cost, others)),
    )


def _leaves(found: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value in *found* that holds no other, by its path."""
    if isinstance(found, dict | list):
        for name, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from _leaves(value, f"{path}.{name}".removeprefix("."))
    else:
        yield path, found


def _may_cost(price: object) -> bool:
    """Whether *price* is a number that is not zero, be it as text."""
    try:
        return not isinstance(price, bool) and float(str(price)) != 0
    except ValueError:
        return False


def is_model_id(value: object) -> bool:
    """Whether *value* can name a model: it goes into addresses, headers and logs, so every character is printable."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable() and value == value.strip()


def tokens_of(value: object) -> int | None:
    """A number of tokens, also where it is told as text (``"131072"``) or as ``131072.0``; None for anything else."""
    if (
        isinstance(value, str)
        and value.strip().isascii()
        and value.strip().isdigit()
        and len(value) <= len(str(_MOST_TOKENS))
    ):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= _MOST_TOKENS else None


def first_tokens_of(*values: object) -> int | None:
    """The first of *values* that is a number of tokens."""
    return next((tokens for tokens in map(tokens_of, values) if tokens is not None), None)


def day_of(seconds: object) -> str | None:
    """The day of a moment in unix seconds, as ``2026-05-21``; None for anything else, and for years without such models."""
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not _FIRST_MODELS <= seconds < _LAST_MODELS:
        return None
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def strings_of(value: object) -> tuple[str, ...]:
    """The texts in a list; none where there is no list."""
    found: Iterable[object] = value if isinstance(value, list) else ()
    return tuple(item for item in found if isinstance(item, str))


def object_of(value: object) -> dict[str, Any]:
    """*value* if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}
