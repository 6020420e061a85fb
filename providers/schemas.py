"""Whether a value is what a JSON schema asks for, as far down as it pays to look: its type, and what it requires. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,),
}  # fmt: skip


def keeps_schema(found: object, schema: dict[str, Any]) -> bool:
    """Whether *found* has the outermost type of *schema*, with what that requires. No deeper."""
    kind = schema.get("type")
    if kind == "array":
        return isinstance(found, list)
    if kind != "object":
        return True
    required = schema.get("required")
    return isinstance(found, dict) and (not isinstance(required, list) or all(name in found for name in required))


def lacking(arguments: dict[str, Any], parameters: dict[str, Any] | None) -> list[str]:
    """What *parameters* require, and *arguments* do not have."""
    required = (parameters or {}).get("required")
    return [name for name in required if name not in arguments] if isinstance(required, list) else []


def arguments_from(written: dict[str, Any], parameters: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments that were *written* as texts between tags, each as the type that *parameters* have for it."""
    properties = (parameters or {}).get("properties")
    properties = properties if isinstance(properties, dict) else {}
    return {name: _typed(value, properties.get(name)) for name, value in written.items()}


def _typed(value: Any, schema: object) -> Any:
    kind = schema.get("type") if isinstance(schema, dict) else None
    kinds = (
        [kind]
        if isinstance(kind, str)
        else [one for one in kind if isinstance(one, str)]
        if isinstance(kind, list)
        else []
    )
    if not isinstance(value, str) or not kinds or "string" in kinds:
        return value
    try:
        found = msgspec.json.decode(value.strip())
    except (msgspec.DecodeError, RecursionError):
        found = {"true": True, "false": False, "none": None}.get(value.strip().lower(), value)
    wanted = tuple(one for kind in kinds for one in _TYPES.get(kind, ()))
    return found if isinstance(found, wanted) or found is None else value
