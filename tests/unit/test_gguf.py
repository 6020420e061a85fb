"""What a file of weights says of itself is read, and nothing that a file holds can do more than be refused."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.embedded import gguf

LLAMA = {
    "general.architecture": "llama", "llama.context_length": 2048, "llama.block_count": 30, "llama.embedding_length": 576,
    "llama.attention.head_count": 9, "llama.attention.head_count_kv": 3,
}  # fmt: skip


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value(found: Any) -> bytes:
    if isinstance(found, str):
        return struct.pack("<I", 8) + text(found)
    if isinstance(found, list):
        inner = b"".join(value(one)[4:] for one in found)
        return (
            struct.pack("<I", 9)
            + struct.pack("<I", 8 if found and isinstance(found[0], str) else 4)
            + struct.pack("<Q", len(found))
            + inner
        )
    return struct.pack("<II", 4, found)


def made(keys: dict[str, Any], version: int = 3) -> bytes:
    """A file of weights that says *keys* of itself, and has no weights."""
    head = b"GGUF" + struct.pack("<IQQ", version, 0, len(keys))
    return head + b"".join(text(name) + value(found) for name, found in keys.items())


def read(folder: Path, content: bytes, name: str = "m.gguf") -> gguf.Weights:
    path = folder / name
    path.write_bytes(content)
    return gguf.read(path)


def test_it_says_how_long_a_context_it_was_trained_for_and_what_that_takes(tmp_path: Path):
    listed = {"tokenizer.ggml.tokens": ["a", "bc", ""], "tokenizer.ggml.token_type": [1, 2, 3]}
    found = read(tmp_path, made({**listed, **LLAMA}))

    assert found.context == 2048
    # As llama.cpp keeps it: keys and values of 30 layers, 3 heads of 64 numbers, two bytes each.
    assert found.bytes_a_token == 2 * 30 * 3 * 64 * 2
    assert found.memory(100) == found.path.stat().st_size + 100 * found.bytes_a_token


def test_what_it_does_not_say_is_not_known(tmp_path: Path):
    assert read(tmp_path, made({"general.architecture": "new"})).context is None
    assert read(tmp_path, made({})).bytes_a_token == 0


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Qwen2.5-1.5B-Instruct-Q4_K_M.gguf", "qwen2.5-1.5b-instruct"),
        ("qwen2.5-0.5b-instruct-q4_k_m.gguf", "qwen2.5-0.5b-instruct"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("gemma-3-1b-it-BF16.gguf", "gemma-3-1b-it"),
        ("Mixtral-IQ3_XXS.gguf", "mixtral"),
        ("my model (2).gguf", "my-model-2-"),
        ("Q8_0.gguf", "q8_0"),
    ],
)
def test_a_model_is_called_by_its_file_without_how_its_numbers_are_packed(tmp_path: Path, name: str, model: str):
    assert read(tmp_path, made(LLAMA), name).model == model


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no GGUF file"),
        (b"<!DOCTYPE html>", "no GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "no GGUF file"),
        (b"GGUF", "cut off"),
        (made(LLAMA)[:60], "cut off"),
        (made(LLAMA, version=9), "version 9"),
        (made({"general.architecture": "llama", "split.count": 3}), "several files"),
    ],
)
def test_what_is_none_or_not_whole_is_told(tmp_path: Path, content: bytes, told: str):
    with pytest.raises(ValueError, match=told):
        read(tmp_path, content)


@given(st.integers(0, 400), st.binary(max_size=80))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, kept: int, tail: bytes):
    folder = tmp_path_factory.getbasetemp()
    for content in (made(LLAMA)[:kept] + tail, b"GGUF" + tail, b"GGUF" + struct.pack("<IQQ", 3, 0, 3) + tail):
        with suppress(ValueError):
            assert read(folder, content).bytes_a_token >= 0
