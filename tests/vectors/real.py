"""
Real vectors go through: a gateway as people start it before hosts of a real model. ``make test-vectors`` runs it, for the model is
in an environment of its own; `test_` is missing in its name so that nothing else does.
"""

from __future__ import annotations

import operator
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from providers.embeddings import numbers
from tests.acceptance.process import born, serving

PYTHON = Path(__file__).parents[2] / ".venvs" / "vectors" / "bin" / "python"
HOST = Path(__file__).parent / "host.py"
MODEL = "all-minilm-l6-v2"
ALONE = {"OPENBLAS_NUM_THREADS": "1"}
"""Three hosts that all want every processor wait for one another."""

KINDS = {"exact": (), "half": ("--half",), "other": ("--layers", "5")}
"""Two hosts of the same weights, and one that has others under their name."""

ALIKE = [
    ("The weather is lovely today.", "It's so sunny outside!", 0.6660),
    ("The weather is lovely today.", "He drove to the stadium.", 0.1046),
    ("It's so sunny outside!", "He drove to the stadium.", 0.1411),
]
"""Cosines of this model, as Sentence Transformers' documentation prints them (its quickstart, 2026-11)."""

NOTES = {
    "How do I get my money back?": "Refunds are paid within two weeks of the return.",
    "The cat will not eat": "A kitten that refuses its food should see a vet.",
    "train to the mountains": "The railway climbs to the glacier in an hour.",
    "what to cook with aubergines": "Slice the eggplant, salt it, and fry it in oil.",
}

PROVIDER = """
[provider.{name}]
title = "{name}"
base_url = "http://127.0.0.1:{port}/v1"
docs = "https://www.sbert.net"
keyless = true
free = {{ kind = "local" }}
operation.embed = {{ at = "/embeddings", most = 32 }}
[[provider.{name}.models]]
ids = ["*"]
operations = ["embed"]
context = 256
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of a gateway before all three hosts."""
    home = tmp_path_factory.mktemp("gateway")
    own = home / "own.toml"
    with ExitStack() as stack:
        text = ""
        for name, options in KINDS.items():
            command = [str(PYTHON), str(HOST), *options]
            host = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ALONE))
            stack.callback(host.kill)
            assert host.stdout is not None
            text += PROVIDER.format(name=name, port=int(host.stdout.readline()))
        own.write_text(text)
        more = {"FREEWAY_CONFIG": str(own), "OLLAMA_HOST": "http://127.0.0.1:9"}
        origin, _, _ = stack.enter_context(serving(home, born, **more))
        yield origin


def ask(origin: str, texts: list[str], **more: Any) -> httpx.Response:
    answer = httpx.post(f"{origin}/v1/embeddings", json={"model": MODEL, "input": texts, **more}, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer


def vectors(answer: httpx.Response) -> list[list[float]]:
    return [one["embedding"] for one in answer.json()["data"]]


def cosine(one: list[float], other: list[float]) -> float:
    """Of vectors of length 1."""
    return sum(map(operator.mul, one, other))


@pytest.mark.parametrize("host", ["exact", "half"])
def test_vectors_are_those_that_the_model_is_known_for(gateway: str, host: str):
    for one, other, told in ALIKE:
        found = vectors(ask(gateway, [f"{one} " if host == "half" else one, other], provider={"only": [host]}))

        assert len(found[0]) == 384
        assert cosine(*found) == pytest.approx(told, abs=1e-3)


def test_bytes_and_numbers_are_the_same_vector(gateway: str):
    (plain,) = vectors(ask(gateway, ["Grüezi"], encoding_format="float"))
    (coded,) = vectors(ask(gateway, ["Grüezi"], encoding_format="base64"))

    assert numbers(b64decode(coded)) == pytest.approx(plain, abs=1e-9)  # type: ignore[arg-type]


def test_what_one_host_indexed_is_found_with_the_other(gateway: str):
    notes = [*NOTES.values()]
    index = vectors(ask(gateway, notes, provider={"only": ["exact"]}))
    queries = ask(gateway, [*NOTES], provider={"only": ["half"]})
    found = [max(range(len(notes)), key=lambda at: cosine(query, index[at])) for query in vectors(queries)]

    assert queries.headers["x-freeway-provider"] == "half"
    assert [notes[at] for at in found] == notes


def test_other_weights_under_the_same_name_are_found_out_and_not_mixed_in(gateway: str):
    ask(gateway, ["so that the space is known"], provider={"only": ["exact"]})

    answers = [ask(gateway, [f"text {number}"], provider={"order": ["other"]}) for number in range(3)]

    assert "other" not in {one.headers["x-freeway-provider"] for one in answers}
