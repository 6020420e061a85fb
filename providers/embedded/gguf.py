"""
What a file of weights says of itself, in its first bytes: that it is one, how long a context it was trained for, how much memory
that takes.

Source: the GGUF specification (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import IO, Any

from msgspec import Struct

_MAGIC = b"GGUF"
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _LIST = 8, 9
_MOST_KEYS, _LONGEST_KEY, _LONGEST_VALUE = 10_000, 1 << 16, 1 << 32
_BYTES_OF_A_VALUE = 2  # of the context, as llama.cpp keeps it
_QUANTIZED = re.compile(r"[-._](?:i?q\d\w*|b?f16|f32)$")


class Weights(Struct, frozen=True):
    """
    A model in a file: by *path*, called *model*. It was trained for *context* tokens (None: that is not told), each of which takes
    *bytes_a_token* of memory (0: not told).
    """

    path: Path
    model: str
    context: int | None
    bytes_a_token: int

    def memory(self, tokens: int) -> int:
        """Bytes that serving it with a context of so many *tokens* takes, at least."""
        return self.path.stat().st_size + tokens * self.bytes_a_token


def read(path: Path) -> Weights:
    """
    What the file at *path* says of itself.

    Raises ValueError for one that is none of weights, is cut off in its head, or is one of several; OSError.
    """
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise ValueError("it is no GGUF file")
        try:
            told = _head(file)
        except (struct.error, OverflowError, MemoryError, UnicodeDecodeError, RecursionError) as exc:
            raise ValueError("it is cut off, or broken") from exc
    kind = told.get("general.architecture")

    def number(name: str) -> int:
        found = told.get(name, 0)
        return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0

    if number("split.count") > 1:
        raise ValueError("it is one of several files that belong together: join them first (llama-gguf-split --merge)")
    heads = number(f"{kind}.attention.head_count")
    width = number(f"{kind}.attention.key_length") or (number(f"{kind}.embedding_length") // heads if heads else 0)
    each = number(f"{kind}.attention.head_count_kv") or heads
    numbers = 2 * number(f"{kind}.block_count") * each * width  # of keys and values
    return Weights(path, called(path), number(f"{kind}.context_length") or None, numbers * _BYTES_OF_A_VALUE)


def called(path: Path) -> str:
    """The name of the model in the file, without how its numbers are packed."""
    stem = re.sub(r"[^\w.-]+", "-", path.stem.lower())
    return _QUANTIZED.sub("", stem) or stem


def _head(file: IO[bytes]) -> dict[str, Any]:
    """The keys that hold one value each; lists are passed over."""
    (version,) = _unpacked(file, "<I")
    if not 2 <= version <= 3:
        raise ValueError(f"it is a GGUF file of version {version}, and 2 and 3 are known")
    _, keys = _unpacked(file, "<QQ")
    if keys > _MOST_KEYS:
        raise ValueError("it is cut off, or broken")
    told = {}
    for _ in range(keys):
        key = _text(file)
        (kind,) = _unpacked(file, "<I")
        told[key] = _value(file, kind)
    return told


def _value(file: IO[bytes], kind: int) -> Any:
    if kind in _NUMBERS:
        return _unpacked(file, _NUMBERS[kind])[0]
    if kind == _TEXT:
        (length,) = _unpacked(file, "<Q")
        return _passed(file, length) if length > _LONGEST_KEY else _exactly(file, length).decode(errors="replace")
    if kind != _LIST:
        raise ValueError("it is cut off, or broken")
    inner, length = _unpacked(file, "<IQ")
    if inner in _NUMBERS:
        return _passed(file, length * struct.calcsize(_NUMBERS[inner]))
    for _ in range(length):
        _value(file, inner)
    return None


def _text(file: IO[bytes]) -> str:
    (length,) = _unpacked(file, "<Q")
    if length > _LONGEST_KEY:
        raise ValueError("it is cut off, or broken")
    return _exactly(file, length).decode(errors="replace")


def _unpacked(file: IO[bytes], form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _exactly(file: IO[bytes], length: int) -> bytes:
    found = file.read(length)
    if len(found) < length:
        raise ValueError("it is cut off, or broken")
    return found


def _passed(file: IO[bytes], length: int) -> None:
    """Go on behind the next *length* bytes."""
    if length > _LONGEST_VALUE:
        raise ValueError("it is cut off, or broken")
    if length:
        file.seek(length - 1, 1)
        _exactly(file, 1)
