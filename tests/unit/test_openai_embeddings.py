"""An embeddings request names one model and no other, and is passed on as it was spelled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.auth import ANYBODY
from gateway.api.openai_embeddings import Embeddings
from gateway.api.options import options_of
from gateway.settings import Requests
from gateway.words import BadRequest, Call
from providers.chat import encode


def parsed(**body: Any) -> Call:
    options = options_of([], Requests(), ANYBODY, "me", "r", 0.0)
    return Embeddings().parse(encode({"model": "bge-m3", "input": "hi"} | body), options)


@pytest.mark.parametrize("said", ["a", ["a"], ["a", "b"], [1, 2], [[1, 2], [3]]])
def test_every_spelling_of_the_input_is_taken_and_passed_on_as_it_is(said):
    call = parsed(input=said, dimensions=256, encoding_format="base64", zzz=1)

    wants, request = call.wants, call.request
    assert (wants.models, wants.operation) == (("bge-m3",), "embed")
    assert json.loads(bytes(request.fields["input"])) == said
    assert request.fields.keys() == {"model", "input", "dimensions", "encoding_format", "zzz"}
    assert call.prompt_tokens == request.prompt_tokens >= 1
    assert not call.streams


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "auto:fast"}, "model"),
        ({"models": ["a", "b"]}, "models"),
        ({"model": None}, "model"),
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": None}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"provider": {"only": 1}}, "provider.only"),
    ],
)
def test_what_may_mean_several_models_or_nothing_is_refused_by_its_name(body, param):
    with pytest.raises(BadRequest) as caught:
        parsed(**body)

    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")
