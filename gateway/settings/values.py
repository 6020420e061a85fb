"""Everything that can be set, as values. What they are read from is ``reading``'s."""

from __future__ import annotations

from hashlib import blake2b, sha256
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from gateway.catalog.names import Names
from gateway.settings.clients import PRIORITIES as PRIORITIES
from gateway.settings.clients import Client as Client
from providers.addresses import listening_address
from providers.spec import Operation, ProviderSpec

EMBEDDED = "embedded"
"""The provider that is the small model on this machine."""


AUTO = "auto"
"""The name that stands for every model."""

Hedge = Literal["off", "plentiful", "always"]
"""Which second source may be asked, too: none, one whose quota would not be missed, any."""


SET_A_KEY = "set a free key: freeway setup"
"""The one thing to do where there is no key."""

SHORTEST_KEY = 16
"""Characters of a key where others can reach the gateway: fewer can be guessed."""

CAPABILITIES = (
    *("tools", "vision", "audio", "video_url", "file", "image_url", "json_object", "json_schema", "reasoning"),
    *("stream", "logprobs", "n", "fill_in_the_middle"),
)
"""What a request may need of a model: the names that ``needs`` and ``capabilities`` take."""


class Mistake(Struct, frozen=True):
    """*where* (``config.toml:12``, ``environment``) is *what* wrong with *key*, and the *remedy*."""

    where: str
    key: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        told = f"{self.where}: {self.key}: {self.what}" if self.key else f"{self.where}: {self.what}"
        return f"{told} — {self.remedy}" if self.remedy else told


class BadSettings(ValueError):
    """Says which file or variable, which key, and what was expected: of all *mistakes* where several were looked for."""

    def __init__(self, *mistakes: Mistake | str) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


class Secret(str):
    """Text that shows itself as ***."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Size = Annotated[str, Meta(pattern=r"^[0-9]+ ?([KMG]i?)?B$")]


class _Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the settings: unknown keys are refused."""


class Server(_Part, frozen=True):
    """Where the gateway listens and what it takes."""

    host: str = "127.0.0.1"  # the address to listen on; on any but this machine's own a client key is required
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000  # 0: any that is free
    max_body: Count = 20 * 1024 * 1024  # bytes of a request
    max_upload: Count = 100 * 1024 * 1024  # bytes of a recording
    keep_alive: Seconds = 10.0  # silence after which a stream gets a comment line
    drain: Seconds = 30.0  # how long unfinished answers may go on after SIGTERM
    origins: tuple[str, ...] = ()  # of web pages that may call; none: any with a client key, this machine's without
    ollama: str = ""  # a second address to listen on, host:port, for programs that know Ollama's alone; none: ""
    ollama_networks: tuple[str, ...] = ()  # from these programs need no key for /api/…, nor for the address above
    path_keys: bool = False  # whether a client's key may come in the path, as /k/KEY/v1/…
    fetch_images: bool = (
        False  # whether images that are named by an address are fetched for sources that take bytes alone
    )
    max_connections: Count = 8192  # of callers at once; fewer where the system allows fewer open files
    max_connections_per_address: Count = 4096  # of these from one address, which may be a proxy's

    def ollama_address(self) -> tuple[str, int]:
        """Host and port of *ollama*. Raises ValueError if they are none."""
        return listening_address(self.ollama)


class Requests(_Part, frozen=True):
    """How far one request may go."""

    max_attempts: Count = 5  # sources that are asked before a request is given up
    max_wait: Seconds = 30.0  # seconds that a request waits for capacity, unless its caller says otherwise
    max_waiting: Count = 1000  # requests that may wait at once
    output_tokens: Count = 1024  # reserved for an answer whose length the caller did not bound
    substitute: bool = False  # the nearest model serves where the one asked for is gone, unless the caller objects
    resume: bool = False  # another source continues a streamed answer that broke, unless the caller objects
    hedge: Hedge = "plentiful"  # who is asked, too, when a source says nothing for too long
    chores: tuple[str, ...] = ()  # words by which the small extra requests of chat programs are known


class ResponsesSettings(_Part, frozen=True):
    """What is kept of the answers of ``/v1/responses``, and of those of ``/v1/chat/completions`` that ask for it."""

    store: bool = (
        True  # each for a day after its last use, 64 MB at most, so that it can be read or continued by its id
    )


class CacheSettings(_Part, frozen=True):
    """What was made once and need not be made again."""

    embeddings: Size | Literal[False] = "256MiB"  # of vectors on this machine at most; false: none are kept
    shared: Size | Literal[False] = False  # the same in Redis, for all gateways; false: each keeps its own alone


class CatalogSettings(_Part, frozen=True):
    """How the model lists are kept."""

    refresh: Seconds = 1800.0  # seconds between two looks at a provider's list
    proof: Seconds = 7200.0  # seconds that a free proof from a list holds
    probes: Annotated[int, Meta(ge=0)] = (
        5  # requests a day to each account, out of leftover quota, to find out what its models can do; 5 at most
    )
    webhook: str = ""  # an address that hears of every change
    database: str = "https://models.dev/api.json"  # facts of models, read once a day; empty: those of the installation


class LedgerSettings(_Part, frozen=True):
    """How quotas are shared."""

    replicas: Count = 1  # gateways that share the store at least, for one that starts while the store is away


class Embedded(_Part, frozen=True):
    """The small model on this machine. ``auto``: only if there is no other source."""

    enabled: Literal["auto", "on", "off"] = "auto"  # whether it serves
    weights: str = ""  # a GGUF file of one's own, by its path; "": those that come with Freeway


class Virtual(_Part, frozen=True):
    """A name that stands for many models: those that fit, ranked by what is preferred."""

    needs: tuple[str, ...] = ()  # capabilities
    models: tuple[str, ...] = ()  # patterns of canonical names; none: all
    context: int = 0  # tokens at least
    prefer: Literal["balance", "quality", "speed"] = "balance"  # what ranks them
    no_train: bool = False  # nothing goes to a source that trains on prompts, or may


class ModelQuality(_Part, frozen=True):
    """How good models are, between 0 and 1. The first row with a pattern that fits the canonical name counts."""

    models: tuple[str, ...]  # patterns of canonical names
    quality: Annotated[float, Meta(ge=0, le=1)]  # 0: useless, 1: the best there is
    paid: tuple[float, float] | None = None  # dollars for a million tokens in and out, where it is paid for
    source: str = ""  # who says so, and when


class NotFree(_Part, frozen=True):
    """A source that is taken for free and is not, and *why*. *names* are those that programs have for it, *keys* variables."""

    title: str
    names: tuple[str, ...]
    why: str
    source: str
    keys: tuple[str, ...] = ()


OF_ENVIRONMENT = (
    *("keys", "useless_keys", "state_dir", "client_key", "admin_key", "redis_url", "redis_namespace", "hint"),
)
"""Fields of the settings that only variables set, and no file of tables."""


class Settings(_Part, frozen=True):
    """Everything that can be set. ``config/`` holds the defaults and their reasons."""

    server: Server = Server()
    requests: Requests = Requests()
    responses: ResponsesSettings = ResponsesSettings()
    cache: CacheSettings = CacheSettings()
    catalog: CatalogSettings = CatalogSettings()
    ledger: LedgerSettings = LedgerSettings()
    embedded: Embedded = Embedded()
    client: tuple[Client, ...] = ()
    alias: dict[str, str | tuple[str, ...]] = {}
    pattern: dict[str, str] = {}  # names by pattern, the first that fits: for what is neither served nor known
    virtual: dict[str, Virtual] = {}
    model: tuple[ModelQuality, ...] = ()
    names: Names = Names()
    not_free: tuple[NotFree, ...] = ()
    provider: dict[str, ProviderSpec] = {}
    # From the environment alone:
    keys: dict[str, str] = {}  # provider → credential
    useless_keys: tuple[str, ...] = ()  # variables that are set and hold keys of what is not free
    state_dir: Path = Path()
    client_key: str | None = None
    admin_key: str | None = None
    redis_url: str | None = None
    redis_namespace: str = "freeway"
    hint: str = SET_A_KEY  # what to do where no source has a key, as it is done in this place

    def accounts(self) -> dict[str, str]:
        """
        The fingerprint of each provider's credential, by the provider's name: a name for the account that says nothing of
        the key. Where none is needed, the gateways of one namespace are the account.
        """
        return {name: _fingerprint(self.keys.get(name, f"{self.redis_namespace} {name}")) for name in self.provider}

    def clients(self) -> tuple[Client, ...]:
        """Those that are declared: of the file, and the one of ``FREEWAY_API_KEY``."""
        if not self.client_key:
            return self.client
        return (*self.client, Client(name="default", key_sha256=sha256(self.client_key.encode()).hexdigest()))

    def offering(self) -> dict[Operation, list[str]]:
        """The titles of the providers that could be asked for each operation beside chat, were they configured."""
        found: dict[Operation, list[str]] = {}
        for spec in self.provider.values():
            for operation in spec.operation:
                found.setdefault(operation, []).append(spec.title)
        return found

    def active(self) -> dict[str, ProviderSpec]:
        """The providers that can be asked: those with a key, those that need none, the embedded model if it is on."""
        return {
            name: spec
            for name, spec in self.provider.items()
            if name in self.keys or (spec.keyless and (name != EMBEDDED or self.embedded.enabled == "on"))
            if spec.enabled and "{" not in spec.base_url  # its address is complete
        }

    def secrets(self) -> list[str]:
        """All that must never be seen."""
        store = [self.redis_url, urlsplit(self.redis_url).password] if self.redis_url else []
        return [secret for secret in (*self.keys.values(), self.client_key, self.admin_key, *store) if secret]


def _fingerprint(credential: str) -> str:
    """A salted hash: the same for all gateways that have *credential*, and of no use to find out what it is."""
    return blake2b(credential.encode(), digest_size=10, salt=b"freeway account").hexdigest()
