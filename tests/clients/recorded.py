"""
Programs that cannot be installed here, as calls of our own: what each sends, in its order, and how strictly it reads.

Zed and Copilot are editors, Home Assistant and n8n servers with hundreds of packages. None of them was run: their calls follow
their public sources as they were in November 2026.

* Home Assistant: ``homeassistant/components/ollama/entity.py`` (github.com/home-assistant/core)
* Zed: ``crates/ollama/src/ollama.rs`` (github.com/zed-industries/zed); ids of calls by its pull request 42284
* Copilot: ``src/extension/byok/vscode-node/ollamaProvider.ts`` (github.com/microsoft/vscode-copilot-chat); of what it sends to
  ``/v1/chat/completions`` only the address is in there, and the fields are those that a program of its kind sends
* n8n: ``packages/@n8n/nodes-langchain/nodes/vendors/OpenAi/v2/actions/text/`` (github.com/n8n-io/n8n); its AI Agent chats
  through a library, whose fields are likewise ours

Each calls at an *origin*, and returns the file that the model wrote by its tool.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Literal

import httpx
import msgspec
import ollama
from msgspec import Struct

from tests.clients.model import TASK

_FILE = {
    "type": "object",
    "properties": {"file_path": {"type": "string"}, "content": {"type": "string"}},
    "required": ["file_path", "content"],
}
_ABOUT = {"name": "write_file", "description": "Write a file.", "parameters": _FILE}
_TOOL = {"type": "function", "function": _ABOUT}

Written = dict[str, str]
"""What the model wanted written: the path of the file, and its content."""


# ── Home Assistant ──


async def home_assistant(origin: str) -> Written:
    """Its Ollama integration: a client from an address alone, without any key; the list, then a chat with its tools."""
    async with ollama.AsyncClient(host=origin) as client:
        return await _assisted(client)


async def _assisted(client: ollama.AsyncClient) -> Written:
    listed = await client.list()
    assert "auto" in [one.model for one in listed.models]
    messages: list[Any] = [
        {"role": "system", "content": "You are a voice assistant."},
        {"role": "user", "content": TASK},
    ]
    options = {"num_ctx": 8192}
    written: Written = {}
    for _ in range(10):
        pieces = await client.chat(
            model="auto", messages=messages, tools=[_TOOL], stream=True, keep_alive=-1, options=options, think=False
        )
        text, calls, done = "", list[Any](), False
        async for piece in pieces:
            text += piece.message.content or ""
            calls += piece.message.tool_calls or []
            done = piece.done or False
        assert done
        messages.append({"role": "assistant", "content": text, "tool_calls": calls or None})
        if not calls:
            return written
        for call in calls:
            written = dict(call.function.arguments)
            messages.append({"role": "tool", "content": json.dumps({"data": {"success": True}, "error": None})})
    raise AssertionError("it called its tool for ever")


# ── Zed ──


class _Details(Struct):
    """Of a model, as Rust decodes it: nothing may be missing, or of another type."""

    format: str
    family: str
    families: list[str] | None
    parameter_size: str
    quantization_level: str


class _Listing(Struct):
    name: str
    modified_at: str
    size: int
    digest: str
    details: _Details


class _Tags(Struct):
    models: list[_Listing]


class _Show(Struct):
    capabilities: list[Literal["completion", "tools", "vision", "thinking", "insert", "embedding"]]
    model_info: dict[str, Any]


class _Function(Struct):
    index: int
    name: str
    arguments: dict[str, Any]


class _ToolCall(Struct):
    id: str
    function: _Function


class _Message(Struct):
    role: Literal["assistant"]
    content: str
    tool_calls: list[_ToolCall] | None = None
    thinking: str | None = None


class _Line(Struct):
    model: str
    created_at: str
    message: _Message
    done: bool
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None


async def zed(origin: str) -> Written:
    """The list and each model's abilities, decoded strictly, then lines of a chat; ``num_ctx`` is capped at 16384."""
    async with httpx.AsyncClient(base_url=origin, timeout=60) as client:
        tags = msgspec.json.decode((await client.get("/api/tags")).content, type=_Tags)
        assert tags.models
        for listed in tags.models:
            shown = await client.post("/api/show", json={"model": listed.name})
            found = msgspec.json.decode(shown.content, type=_Show)
            architecture = found.model_info["general.architecture"]
            assert isinstance(found.model_info[f"{architecture}.context_length"], int)
        messages: list[dict[str, Any]] = [{"role": "user", "content": TASK}]
        asked = {"model": "auto", "stream": True, "keep_alive": -1, "options": {"num_ctx": 16384, "stop": None},
                 "tools": [_TOOL], "think": None}  # fmt: skip
        written: Written = {}
        for _ in range(10):
            said = await client.post("/api/chat", json=asked | {"messages": messages})
            lines = [msgspec.json.decode(line, type=_Line) for line in said.text.splitlines()]
            assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
            calls = [call for line in lines for call in line.message.tool_calls or ()]
            text = "".join(line.message.content for line in lines)
            made = [msgspec.to_builtins(call) for call in calls]
            messages.append({"role": "assistant", "content": text, "tool_calls": made or None, "images": None})
            if not calls:
                return written
            for call in calls:
                written = call.function.arguments
                messages.append({"role": "tool", "tool_name": call.function.name, "content": "written"})
    raise AssertionError("it called its tool for ever")


# ── Copilot ──


async def copilot(origin: str) -> Written:
    """Copilot in VS Code with an Ollama: version, list and abilities without a key, then chats at ``/v1``."""
    async with httpx.AsyncClient(base_url=origin, timeout=60) as client:
        version = (await client.get("/api/version")).json()["version"]
        assert tuple(map(int, version.split(".")[:3])) >= (0, 6, 4)
        chosen = ""
        for listed in (await client.get("/api/tags")).json()["models"]:
            shown = (await client.post("/api/show", json={"model": listed["model"]})).json()
            architecture = shown["model_info"]["general.architecture"]
            assert shown["model_info"]["general.basename"]
            assert shown["model_info"][f"{architecture}.context_length"] > 4096
            if listed["model"] == "auto" and "tools" in shown["capabilities"]:
                chosen = listed["model"]
        asked = {"model": chosen, "stream": True, "tools": [_TOOL], "temperature": 0.1, "top_p": 1, "n": 1,
                 "max_tokens": 4096, "stream_options": {"include_usage": True}}  # fmt: skip
        return await _in_chat(client, asked, {})


async def _in_chat(client: httpx.AsyncClient, asked: dict[str, Any], headers: dict[str, str]) -> Written:
    """Chat completions, streamed, until no tool is called any more."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You are a programmer."},
                                      {"role": "user", "content": [{"type": "text", "text": TASK}]}]  # fmt: skip
    written: Written = {}
    for _ in range(10):
        body = asked | {"messages": messages}
        async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            text, calls = await _put_together(answer.aiter_lines())
        made = {"tool_calls": list(calls.values())} if calls else {}
        messages.append({"role": "assistant", "content": text, **made})
        if not calls:
            return written
        for call in calls.values():
            written = json.loads(call["function"]["arguments"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": "written"})
    raise AssertionError("it called its tool for ever")


async def chat_with_tools(base: str, key: str, name: str) -> Written:
    """What a program does that was told *base*, *key* and the model's *name*, and speaks chat completions."""
    async with httpx.AsyncClient(base_url=base.removesuffix("/v1"), timeout=60) as client:
        asked = {"model": name, "stream": True, "tools": [_TOOL], "stream_options": {"include_usage": True}}
        return await _in_chat(client, asked, {"authorization": f"Bearer {key}"})


async def _put_together(lines: AsyncIterator[str]) -> tuple[str, dict[int, dict[str, Any]]]:
    text, calls, last, usage = "", dict[int, dict[str, Any]](), "", None
    async for line in lines:
        if not line.startswith("data: ") or line == "data: [DONE]":
            last = line or last
            continue
        chunk = json.loads(line.removeprefix("data: "))
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            for piece in choice["delta"].get("tool_calls") or ():
                call = calls.setdefault(
                    piece["index"],
                    {"id": piece.get("id"), "type": "function", "function": {"name": "", "arguments": ""}},
                )
                for part in ("name", "arguments"):
                    call["function"][part] += piece["function"].get(part) or ""
    assert last == "data: [DONE]"
    assert usage
    return text, calls


# ── n8n ──


async def n8n(origin: str) -> Written:
    """
    Its OpenAI node, which speaks Responses with ``gpt-5-mini``: the models to choose from, then a message with tools, whose
    thoughts, calls and results it sends back with all that was before, though it has each response kept. Its AI Agent node chats
    with the same model.
    """
    headers = {"authorization": "Bearer any", "user-agent": "n8n", "x-stainless-lang": "js"}
    async with httpx.AsyncClient(base_url=origin, timeout=60, headers=headers) as client:
        assert (await client.get("/v1/models")).json()["data"]
        items: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "input_text", "text": TASK}]}]
        tool = {"type": "function", **_ABOUT, "strict": False}
        asked = {
            "model": "gpt-5-mini",
            "tools": [tool],
            "parallel_tool_calls": True,
            "store": True,
            "background": False,
        }
        written: Written = {}
        for _ in range(10):
            answer = await client.post("/v1/responses", json=asked | {"input": items})
            assert answer.status_code == 200, answer.text
            found = answer.json()
            assert found["status"] == "completed"
            calls = [item for item in found["output"] if item["type"] == "function_call"]
            if not calls:
                break
            items += [item for item in found["output"] if item["type"] in ("function_call", "reasoning")]
            for call in calls:
                written = json.loads(call["arguments"])
                items.append({"type": "function_call_output", "call_id": call["call_id"], "output": "written"})
        chatted = {"model": "gpt-5-mini", "stream": True, "tools": [_TOOL], "stream_options": {"include_usage": True}}
        assert await _in_chat(client, chatted, headers) == written
        return written


RECORDED: dict[str, Callable[[str], Coroutine[Any, Any, Written]]] = {
    "Home Assistant": home_assistant,
    "Zed": zed,
    "Copilot": copilot,
    "n8n": n8n,
}
