"""Where a provider is, and whether it is asked: its file, and what the environment says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from providers.addresses import is_near, ollama_address
from providers.spec import DataPolicy, ProviderSpec, address, hub_of

_YES = frozenset({"1", "true", "yes", "on"})


def located(spec: ProviderSpec, environ: Mapping[str, str]) -> ProviderSpec:
    """*spec* with the address that the environment gives it, on where the environment agrees to what needs no key. Raises ValueError."""
    override = environ.get(spec.base_url_env, "").strip() if spec.base_url_env else ""
    url = override or address(spec, environ) or spec.base_url
    if spec.dialect == "ollama":
        try:
            url = ollama_address(url)
        except ValueError as exc:
            raise ValueError(f"{spec.base_url_env}: {exc}") from exc
    elif override and not re.match(r"https?://[^/]+", url):
        raise ValueError(f"{spec.base_url_env}: expected an address like {spec.base_url}, got {override!r}")
    hub = hub_of(spec, override, environ)
    enabled = spec.enabled or (spec.keyless and environ.get("FREEWAY_KEYLESS", "").strip().lower() in _YES)
    return _as_far_as_local(msgspec.structs.replace(spec, base_url=url.rstrip("/"), hub=hub, enabled=enabled))


def _as_far_as_local(spec: ProviderSpec) -> ProviderSpec:
    """
    *spec*, whose ``local`` is believed only of this machine or network: elsewhere it is not known what a model costs, or what
    becomes of prompts, unless a file of one's own says so with another ``free.kind``.
    """
    if spec.free.kind != "local" or is_near(urlsplit(spec.base_url).hostname or ""):
        return spec
    free = msgspec.structs.replace(spec.free, kind="prices", because="")
    return msgspec.structs.replace(spec, free=free, data_policy=DataPolicy(note="not on this machine or network"))
