"""
What a simulated model answers: deterministic, and telling whether the request arrived whole.

It echoes the last user's words, tells the size and the hash of an image, repeats a tool's result, and satisfies the
schemas that it is given.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import msgspec
from msgspec import Struct, field


class Turn(Struct):
    """One message, whichever spelling it came in."""

    role: str
    text: str = ""
    images: list[bytes] = []
    is_result: bool = False


class View(Struct, kw_only=True):
    """A request, as every provider's other half understands it. *tools* maps names to parameter schemas."""

    model: str
    turns: list[Turn]
    tools: dict[str, dict[str, Any]] = {}
    tool_choice: str = "auto"  # auto, none, required, or a tool's name
    schema: dict[str, Any] | None = None
    json_mode: bool = False
    max_tokens: int | None = None
    reasons: bool = False

    @property
    def images_sent(self) -> bool:
        return any(turn.images for turn in self.turns)


class Saying(Struct):
    """What the model says."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cut: bool = False  # by max_tokens


def tokens(text: str) -> int:
    """Four bytes a token."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / 4)


def prompt_tokens(view: View) -> int:
    """Of all that was sent."""
    count = sum(tokens(turn.text) + 258 * len(turn.images) for turn in view.turns)
    return count + sum(tokens(name) + tokens(msgspec.json.encode(s).decode()) for name, s in view.tools.items())


def output_tokens(saying: Saying) -> int:
    """Of all that was said, thoughts and calls too."""
    calls = sum(tokens(name) + tokens(msgspec.json.encode(args).decode()) for name, args in saying.calls)
    return tokens(saying.text) + tokens(saying.reasoning) + calls


HAZARDS = {"kill": ("S1", "violence"), "steal": ("S2", "illicit"), "nude": ("S12", "sexual"), "lawyer": ("S6", "")}
"""Words that a simulated guard stumbles over: Llama Guard's hazard, and OpenAI's category of it."""


def hazards_in(text: str) -> list[tuple[str, str]]:
    """Those of *text*."""
    return [hazard for word, hazard in HAZARDS.items() if word in text.lower()]


def _judge(view: View) -> Saying:
    """As a guard answers: Llama Guard in lines, another by the policy that it was told."""
    found = hazards_in(view.turns[-1].text)
    if "llama-guard" in view.model:
        return Saying("\n\nunsafe\n" + ",".join(code for code, _ in found) if found else "\n\nsafe")
    named = [name for _, name in found if name]
    return Saying(msgspec.json.encode({"violation": int(bool(named)), "categories": named}).decode())


def think(view: View) -> Saying:
    """The default brain."""
    saying = _judge(view) if "guard" in view.model else _say(view)
    if view.reasons and not saying.calls:
        saying.reasoning = f"The user wrote {len(view.turns)} messages."
    return _bounded(saying, view.max_tokens)


def _say(view: View) -> Saying:
    last = view.turns[-1] if view.turns else Turn("user")
    if last.is_result:
        results = [turn.text for turn in view.turns if turn.is_result]
        return Saying(f"The tool said: {results[-1]}")
    if view.tools and view.tool_choice != "none" and "no tool" not in last.text:
        name = view.tool_choice if view.tool_choice in view.tools else next(iter(view.tools))
        times = 2 if "both" in last.text else 1
        return Saying(calls=[(name, instance(view.tools[name])) for _ in range(times)])
    if view.schema is not None:
        return Saying(msgspec.json.encode(instance(view.schema)).decode())
    if view.json_mode:
        return Saying(msgspec.json.encode({"answer": last.text}).decode())
    images = [image for turn in view.turns for image in turn.images]
    if images:
        digest = hashlib.sha256(images[-1]).hexdigest()[:12]
        return Saying(f"I see an image of {len(images[-1])} bytes, sha256 {digest}")
    return Saying(f"You said: {last.text}")


def _bounded(saying: Saying, limit: int | None) -> Saying:
    """No more than *limit* tokens; thoughts come first and may use up all of them."""
    if limit is None or output_tokens(saying) <= limit or saying.calls:
        return saying
    room = limit * 4
    reasoning = saying.reasoning.encode()[:room].decode(errors="ignore")
    text = saying.text.encode()[: max(0, room - len(saying.reasoning.encode()))].decode(errors="ignore")
    return Saying(text, reasoning, [], cut=True)


def vector_of(text: str, dimensions: int) -> list[float]:
    """A direction for *text*: the same text, the same vector, of length 1."""
    bits = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    numbers = [int.from_bytes(bits[i : i + 2], "big") - 32_768 for i in range(0, len(bits), 2)]
    length = math.hypot(*numbers) or 1.0
    return [round(number / length, 8) for number in numbers]


_SCALARS: dict[str, Any] = {"boolean": True, "null": None}


def instance(schema: Any) -> Any:
    """The smallest value that satisfies *schema*, as far as it is used for arguments and answers."""
    if not isinstance(schema, dict):  # true, or nonsense that a real provider may let pass
        return "text"
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return instance(schema[key][0])
    if "enum" in schema or "const" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    match (kind[0] if isinstance(kind, list) else kind).lower():  # Google writes OBJECT
        case "object":
            properties: dict[str, Any] = schema.get("properties", {})
            return {name: instance(properties.get(name, {})) for name in schema.get("required", properties)}
        case "array":
            return [instance(schema.get("items", {})) for _ in range(schema.get("minItems", 1))]
        case "integer" | "number":
            return schema.get("minimum", 1)
        case other:
            return _SCALARS.get(other, str(schema.get("description") or "text")[:40])
