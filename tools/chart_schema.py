"""
``make chart-schema``: what the chart's value ``config`` may hold, as the gateway's own settings say it, in ``values.schema.json``,
and in ``keys.txt`` the variables that ``secret.keys`` may hold.

So a mistyped key is refused by Helm itself, before anything is replaced.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from gateway.settings import Settings, load
from gateway.settings.values import OF_ENVIRONMENT

ROOT = Path(__file__).parents[1]
KEYS = ROOT / "charts" / "freeway" / "keys.txt"
SCHEMA = ROOT / "charts" / "freeway" / "values.schema.json"

OF_THE_CHART = {"server": ("host", "port", "drain"), "ledger": ("replicas",)}
"""What the chart sets itself; and whether the small model is on."""

_PREFIX = "gateway."


def schema() -> dict[str, Any]:
    """``values.schema.json`` as it should be."""
    own = msgspec.defstruct(
        "Config",
        [(one.name, one.type) for one in msgspec.structs.fields(Settings) if one.name not in OF_ENVIRONMENT],
    )
    (_,), parts = msgspec.json.schema_components([own], ref_template=f"#/$defs/{_PREFIX}{{name}}")
    top = parts.pop("Config")["properties"]
    # A file says what is to be otherwise than it was shipped: of a provider that may be one key.
    parts["ProviderSpec"].pop("required", None)
    for table, fields in OF_THE_CHART.items():
        parts[top[table]["$ref"].rpartition(_PREFIX)[2]]["properties"] |= dict.fromkeys(fields, False)
    config = {
        "$comment": "made of the gateway's settings by `make chart-schema`; what the chart sets itself is refused here",
        "type": "object",
        "additionalProperties": False,
        "properties": top | {"embedded": False},
    }
    found: dict[str, Any] = json.loads(SCHEMA.read_text("utf-8"))
    found["properties"]["config"] = _without_words(config)
    found["$defs"] = {name: one for name, one in found["$defs"].items() if not name.startswith(_PREFIX)} | {
        f"{_PREFIX}{name}": _without_words(one) for name, one in sorted(parts.items())
    }
    return found


def keys() -> str:
    """``keys.txt`` as it should be: the variables of every source, one a line."""
    found: set[str] = set()
    for spec in load(ROOT / "config", {}, Path("/nonexistent")).provider.values():
        found |= {spec.key_env or "", *spec.key_env_also, spec.base_url_env or "", *spec.base_url_needs.values()}
    return "".join(f"{name}\n" for name in sorted(found - {""}))


def _without_words(told: Any) -> Any:
    """*told* without what is for people and for editors: it is read by Helm alone, which packs it into every release."""
    if isinstance(told, dict):
        return {
            name: _without_words(value)
            for name, value in told.items()
            if name != "default" and not (name in ("title", "description") and isinstance(value, str))
        }
    return [_without_words(one) for one in told] if isinstance(told, list) else told


if __name__ == "__main__":
    KEYS.write_text(keys(), "utf-8")
    SCHEMA.write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", "utf-8")
