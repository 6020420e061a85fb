"""What a request needs is read off it, and never too little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request.call import TOKENS_PER_IMAGE
from gateway.words import Call
from tests.calls import call

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}


def needs(**body) -> Call:
    return call(default_output=1000, **body)


@pytest.mark.parametrize(
    ("body", "capability"),
    [
        ({"tools": [TOOL]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "json_object"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}}, "json_schema"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "vision"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "A"}}]}]}, "audio"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "video_url"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 2}, "n"),
    ],
)
def test_what_is_asked_for_is_required(body, capability):
    assert needs(**body).wants.capabilities == {capability}


@pytest.mark.parametrize(
    "body", [{}, {"tools": []}, {"response_format": {"type": "text"}}, {"n": 1}, {"logprobs": False}]
)
def test_what_is_not_asked_for_is_not_required(body):
    assert needs(**body).wants.capabilities == frozenset()


@pytest.mark.parametrize(
    ("body", "parameters"),
    [
        ({"stop": ["."], "seed": 1}, {"stop", "seed"}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tool_choice"}),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}, {"tool_choice"}),
        ({"tools": [TOOL], "tool_choice": "auto"}, set()),
        ({"tool_choice": "required"}, set()),
        ({"tools": [TOOL], "parallel_tool_calls": False}, {"parallel_tool_calls"}),
        ({"reasoning_effort": "high"}, {"reasoning_effort"}),
        ({"reasoning_effort": "none"}, set()),
        ({"stop": None, "temperature": 0.5, "metadata": {}}, {"temperature"}),
    ],
)
def test_what_can_be_done_without_is_a_parameter_and_no_capability(body, parameters):
    found = needs(**body).wants

    assert found.parameters == parameters
    assert found.capabilities <= {"tools"}


def test_an_image_counts_as_an_image_and_not_as_its_bytes():
    assert (
        TOKENS_PER_IMAGE <= needs(messages=[{"role": "user", "content": [IMAGE]}]).prompt_tokens < 2 * TOKENS_PER_IMAGE
    )


@pytest.mark.parametrize(("body", "tokens"), [({}, 1000), ({"max_tokens": 5}, 5), ({"max_completion_tokens": 7}, 7)])
def test_the_callers_bound_is_what_is_reserved(body, tokens):
    assert needs(**body).output_tokens == tokens


@given(st.text(max_size=2000))
def test_the_estimate_is_never_below_four_bytes_a_token(text):
    assert needs(messages=[{"role": "user", "content": text}]).prompt_tokens >= len(text.encode()) / 4
