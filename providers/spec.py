"""
One provider as data: everything about it that needs no code.

The files are ``config/providers/<name>.toml``; unknown keys are refused, so that a typing error is not a silent
default. Every number in them has its source beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Meta, Struct

Certainty = Literal["yes", "no", "unknown"]


class Quota(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    One bucket that a request debits.

    *limit* is written as ``20/minute`` (an amount and a period; ``2/in-flight`` for what may run at once;
    ``unlimited/minute`` for models that a later row does not hold for).
    *unit* says what is counted: ``requests``; ``prompt`` tokens; ``tokens`` (prompt and output, the output reserved
    when the request is admitted); ``dollars``; ``neurons``; ``audio-seconds``. *scope* says who shares the bucket: the whole
    ``account`` or each ``model``. *window*: ``rolling``, ``clock`` (aligned to the period), ``refill``
    (a bucket that fills continuously), ``calendar`` (days or months of the zone *resets*). *models* are patterns of
    the provider's model ids; with none the row holds for all models that no earlier row of the same unit and period
    names. *counts_refused*: refused requests are counted too; *counts_failed*: those that failed are. *keeps_output*: an answer shorter than what was reserved
    for it gives nothing back.
    """

    limit: str
    scope: Literal["account", "model"] = "model"
    unit: Literal["requests", "prompt", "tokens", "dollars", "neurons", "audio-seconds"] = "requests"
    window: Literal["rolling", "clock", "refill", "calendar"] = "rolling"
    resets: str = "UTC"
    models: tuple[str, ...] = ()
    counts_refused: bool = False
    counts_failed: bool = False
    keeps_output: bool = False
    assumed: bool = False  # the limit of models of which none is known: a higher one proves nothing
    source: str = ""


class Free(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    Why the provider costs nothing: its model list carries ``prices``, the account is on a free ``plan`` or
    ``trial``, a monthly ``credit`` pays, or it runs on hardware of our own (``local``).

    *terms* are conditions that a person should know of. *higher_limits_cost*: an answer that tells of a higher limit
    than configuration has comes from a plan that is paid for.

    *sure* is how far that is known of the account itself: ``proven`` by what is read, ``promised`` by the provider's pages, or
    ``unknowable``. *signs* tell of a paid plan and are read, *faith* is what nothing tells; both are for people.
    """

    kind: Literal["prices", "plan", "trial", "credit", "local"]
    models: tuple[str, ...] = ()  # patterns of the ids that are free; none: all of them
    except_: tuple[str, ...] = msgspec.field(default=(), name="except")
    because: str = ""
    source: str = ""
    terms: str = ""
    higher_limits_cost: bool = False
    sure: Literal["proven", "promised", "unknowable"] = "promised"
    signs: str = ""
    faith: str = ""


class DataPolicy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    What happens to prompts: whether they train models, are kept after the answer, or get into logs; and the *region*
    that they are processed in. Unknown counts as yes. *source* says who says so, and as of when.
    """

    trains: Certainty = "unknown"
    retains: Certainty = "unknown"
    logs: Certainty = "unknown"
    region: str = "unknown"
    note: str = ""
    source: str = ""


class ErrorSign(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    What one of the provider's error answers means. All given marks must fit: *status*, *code* (compared with every
    code or type in the body, as text) and *text* (contained in the message, case ignored). *unit* and *window* name the
    bucket of a refused rate; of one that is busy, the unit ``in-flight`` says that its places are taken.
    """

    means: str
    status: int | None = None
    code: str | None = None
    text: str | None = None
    retry_in: float | None = None
    unit: str | None = None
    window: str | None = None
    capability: str | None = None
    account_wide: bool = False


class LimitHeader(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    Headers that tell of one bucket: which, say *unit*, *window* and, where two differ only by that, *scope*. *resets*
    holds a duration (``2m59.56s``, ``12.5``).
    """

    unit: str
    window: str
    scope: Literal["account", "model"] | None = None
    limit: str | None = None
    remaining: str | None = None
    resets: str | None = None


Operation = Literal["chat", "embed", "rerank", "transcribe", "speak", "image", "moderate"]
"""What a model is asked to do."""


class ListPrices(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    Where an entry of the provider's list holds its prices, as paths (``pricing.prompt``). *dollars* is what a price of 1 means
    for one token. Whatever else is called a price there, and is not zero, is one more.
    """

    prompt: str
    output: str
    dollars: float = 1.0
    source: str = ""


class OperationSpelling(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    How a provider is asked for another operation than chat. *style* names the spelling (``providers.operations``), *at* is
    the address, below ``base_url`` or beside it (``../``), with ``{model}`` where the model belongs. *hosts* are the provider's own
    that are asked in place of that of ``base_url``; whatever stands in for the provider stands in for these, too.

    *most* is how many items (texts to embed or to judge, documents to rank, bytes of a recording) one request takes;
    *counts_items*: each of them counts as a request. *beside* are the tokens of a request beside what its caller sends: of a
    prompt around that, and at most of the answer. *means* says what a source's categories of moderation are in OpenAI's. *voices*
    are the names of voices that a caller may say and which of its own each is; the first is taken where none is named.
    """

    style: str = "openai"
    at: str
    hosts: dict[str, str] = {}
    most: int | None = None
    counts_items: bool = False
    beside: tuple[int, int] = (0, 0)
    means: dict[str, tuple[str, ...]] = {}
    voices: dict[str, str] = {}
    source: str = ""


class ModelFact(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    What the provider's list does not say about the models whose id matches one of *ids*. First match wins.

    *drop* are fields that these models do not take, beyond those of their provider. *apart* are pairs of capabilities that
    one request may not need both of. *neurons* are those for a million tokens of the prompt, and of the answer; *dollars* the
    same, where a credit pays and the list tells no price.
    *streams_tools_with* are fields without which a stream holds calls of tools back until they are whole.
    """

    ids: tuple[str, ...]
    operations: tuple[Operation, ...] | None = None  # []: none that is served here
    capabilities: tuple[str, ...] | None = None
    context: int | None = None
    max_output: int | None = None
    data_policy: DataPolicy | None = None  # where it is another than the provider's
    opens_in_reasoning: bool = False  # its answers begin inside a thought that only a closing tag ends
    drop: tuple[str, ...] = ()
    apart: tuple[tuple[str, str], ...] = ()
    neurons: tuple[float, float] | None = None
    dollars: tuple[float, float] | None = None
    neurons_each: float = 0.0  # for an answer, such as a picture
    neurons_a_minute: float = 0.0  # of sound
    streams_tools_with: dict[str, Any] = {}
    source: str = ""


_NOTHING_MORE = ModelFact(ids=())


class Reasoning(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    How the models whose id matches one of *ids* are told how much to reason. First match wins.

    *efforts* are the values of ``reasoning_effort`` that they take, of which the nearest is sent; none: the field is left
    out. *on* and *off* are fields that are sent as well: *off* for the efforts ``none`` and ``minimal``, *on* for others,
    and with *always* where the caller says nothing, too. *replays*: they want their earlier reasoning back.
    """

    ids: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    on: dict[str, Any] = {}
    off: dict[str, Any] = {}
    always: bool = False
    replays: bool = False
    source: str = ""


class Timeouts(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    Seconds: to connect, to the first token of an answer, and between two pieces of it.

    *per_token* is what each token of an answer in one piece may take on top, since its head comes last. A tenth of a
    second is slower than any hosted free source was seen to be (OpenRouter's slowest free endpoints took 80 to 144 s
    for long answers, 2026-09).
    """

    connect: float = 5.0
    head: float = 90.0
    silence: float = 60.0
    per_token: float = 0.1

    def whole(self, tokens: int) -> float:
        """Seconds within which an answer of *tokens* comes in one piece."""
        return self.head + tokens * self.per_token


class ProviderSpec(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """A provider. Defaults are the conservative side; a file opts in."""

    title: str
    base_url: str
    free: Free
    docs: str
    dialect: str = "openai"
    key_env: str | None = None  # None: needs no key
    key_env_also: tuple[str, ...] = ()  # names that other programs have for the same key; the first that is set counts
    base_url_env: str | None = None
    hub: str = ""  # where the account itself is looked up, if that is another address
    hub_env: str | None = None
    base_url_needs: dict[str, str] = {}  # what stands in braces in base_url, and the variable that holds it
    keyless: bool = False
    enabled: bool = True  # false: not asked, whatever key there is, until a person says so
    get_a_key: str = ""
    data_policy: DataPolicy = DataPolicy()
    credit: Annotated[float, Meta(ge=0)] | None = None  # dollars a month that may be used of an account that can pay
    enforces_no_train: bool = False  # a single request that says so goes only where nothing trains, whatever the policy
    quota: tuple[Quota, ...] = ()
    counted_as: dict[str, str] = {}  # patterns of ids that share the buckets of another model, and which
    rename: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    prompt_cache: float = (
        0.0  # seconds for which the beginning of a long prompt is kept: the next turn is better off here
    )
    defaults: dict[str, Any] = {}  # fields to be sent where the caller left them out, under their new names
    ranges: dict[str, tuple[float, float]] = {}  # the least and the most of a numeric field
    most_stops: int = 0  # stop sequences that a request may have, as a list; 0: any number, in either form
    json_in_words: bool = False  # that JSON is wanted has to be said in the prompt, too
    reasoning: tuple[Reasoning, ...] = ()
    call_ids: str = ""  # the pattern of the ids that calls of tools may have; empty: any
    system_anywhere: bool = False  # system messages may stand anywhere; else they go first, as one
    headers: dict[str, str] = {}
    capabilities: tuple[str, ...] = ()  # of every chat model here, unless its list or a fact says otherwise
    list_prices: ListPrices | None = None  # None: its list tells none, or its dialect knows them
    listed_at: str = "/models"  # "": there is no list in this shape, the static models are all
    key_prefixes: tuple[str, ...] = ()  # how its keys begin, where they can be told from those of others
    list_proves_key: bool = False  # whether the list is refused to whoever has no right key
    static_models: tuple[str, ...] = ()  # for providers whose list leaves out the models that are free
    errors: tuple[ErrorSign, ...] = ()
    limit_headers: tuple[LimitHeader, ...] = ()
    models: tuple[ModelFact, ...] = ()
    operation: dict[Operation, OperationSpelling] = {}  # those beside chat
    timeouts: Timeouts = Timeouts()
    database: str = ""  # what the models database calls this provider, if not by our name
    name: str = ""

    def fact(self, model: str) -> ModelFact:
        """What is known here of *model*, by its id; an empty fact where no row names it."""
        found = self._facts.get(model)
        if found is None:
            rows = (row for row in self.models if any(fnmatchcase(model, pattern) for pattern in row.ids))
            found = self._facts[model] = next(rows, _NOTHING_MORE)
        return found

    def dropped(self, model: str) -> tuple[str, ...]:
        """The fields of a request that *model* does not take."""
        return (*self.drop, *self.fact(model).drop)

    def how_to_have(self) -> str:
        """What a person does to have it asked, in words."""
        if not self.enabled:
            allowed = f"[provider.{self.name}] enabled = true"
            return f"prompts go there once {'FREEWAY_KEYLESS=1 or ' if self.keyless else ''}{allowed} allows it"
        return f"set {self.key_env}" if self.key_env else "it cannot be reached"

    @cached_property
    def _facts(self) -> dict[str, ModelFact]:
        return {}


def address(spec: ProviderSpec, environ: Mapping[str, str]) -> str | None:
    """The provider's address with what it needs filled in from *environ*; None if something of it is missing."""
    if not spec.base_url_needs:
        return spec.base_url
    needs = {name: environ.get(variable, "").strip() for name, variable in spec.base_url_needs.items()}
    if not all(needs.values()):
        return None
    return spec.base_url.format_map({name: quote(value, safe="") for name, value in needs.items()})


def hub_of(spec: ProviderSpec, override: str, environ: Mapping[str, str]) -> str:
    """
    Where the account of *spec* is asked about itself: as *environ* says, else beside the *override* of its address.

    Raises ``ValueError`` for an address that is none.
    """
    told = environ.get(spec.hub_env, "").strip() if spec.hub_env else ""
    if told and not re.match(r"https?://[^/]+", told):
        raise ValueError(f"{spec.hub_env}: expected an address like {spec.hub}, got {told!r}")
    beside = "{0.scheme}://{0.netloc}".format(urlsplit(override)) if override and spec.hub else ""
    return (told or beside or spec.hub).rstrip("/")


def load(folder: Path) -> dict[str, ProviderSpec]:
    """
    Read every ``<name>.toml`` in *folder*.

    Raises ``ValueError`` naming the file, the key and what was expected.
    """
    specs = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            spec = msgspec.toml.decode(path.read_bytes(), type=ProviderSpec)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise ValueError(f"{path}: {exc}") from exc
        specs[path.stem] = msgspec.structs.replace(spec, name=path.stem)
    return specs
