"""What programs spell otherwise means the same; what nobody knows is refused by its path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.openai import chat_fields
from gateway.request.call import capabilities_of
from gateway.words import BadRequest

PDF = "data:application/pdf;base64,JVBERi0="
PNG = "data:image/png;base64,iVBORw0K"
SPEC = {"name": "look", "parameters": {"type": "object", "properties": {}}}


def read(**body: Any) -> dict[str, Any]:
    """The fields of the request as they are sent on."""
    _, fields = chat_fields(json.dumps({"messages": [{"role": "user", "content": "hi"}], **body}).encode())
    return {name: json.loads(bytes(value)) for name, value in fields.items()}


def content(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    (message,) = read(messages=[{"role": "user", "content": list(parts)}])["messages"]
    found: list[dict[str, Any]] = message["content"]
    return found


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"type": "input_text", "text": "a"}, {"type": "text", "text": "a"}),
        ({"type": "input_image", "image_url": PNG}, {"type": "image_url", "image_url": {"url": PNG}}),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}},
            {"type": "image_url", "image_url": {"url": PNG}},
        ),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
        ),
    ],
)
def test_parts_of_other_apis_are_what_they_mean(sent, meant):
    assert content(sent) == [meant]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
        {"type": "video_url", "video_url": {"url": "https://a.example/b.mp4"}},
    ],
)
def test_what_some_source_takes_arrives_as_it_was_sent_and_is_asked_of_the_source(part):
    view, _ = chat_fields(json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode())

    assert content(part) == [part]
    assert part["type"] in capabilities_of(view)


@pytest.mark.parametrize("kind", ["stream", "hologram", "tools", "", "image"])
def test_content_of_an_unknown_kind_is_refused_by_its_path(kind):
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": kind}]},
    ]

    with pytest.raises(BadRequest) as refused:
        read(messages=messages)

    assert refused.value.param == "messages[1].content[1].type"


def test_bytes_that_are_no_text_are_refused_wherever_they_are():
    """They were met where something was to be spelled anew, and lay in a field that nobody reads."""
    with pytest.raises(BadRequest, match="not JSON"):
        chat_fields(b'{"messages": [{"role": "user", "content": "a"}], "functions": [{"name": "f"}], "x": "\xff"}')


def test_flat_tools_are_tools():
    assert read(tools=[{"type": "function", **SPEC}])["tools"] == [{"type": "function", "function": SPEC}]


@pytest.mark.parametrize(
    ("choice", "meant"), [("auto", "auto"), ({"name": "look"}, {"type": "function", "function": {"name": "look"}})]
)
def test_functions_are_tools(choice, meant):
    sent = read(functions=[SPEC], function_call=choice)

    assert sent["tools"] == [{"type": "function", "function": SPEC}]
    assert sent["tool_choice"] == meant
    assert not {"functions", "function_call"} & sent.keys()
