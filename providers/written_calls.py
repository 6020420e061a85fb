# ruff: noqa: RUF001 - the marks of DeepSeek are what they are
"""
Calls of tools that a model wrote as text, because its server did not read them: each spelling, read. Pure.

Spellings are those of the models' own chat templates: Hermes and Qwen, Qwen3-Coder, GLM, MiniMax, DeepSeek, Kimi, Mistral,
Llama, Harmony (gpt-oss), Gemma 4, FunctionGemma, and JSON as such, fenced or bare.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from providers.chat import encode
from providers.repair import read_json


class Written(Struct):
    """A call as it was written. *arguments*: None if they cannot be read. *texts*: they are texts, whatever they mean."""

    name: str
    arguments: dict[str, Any] | None
    texts: bool = False


OPENINGS = {
    "<tool_call>": "</tool_call>",
    "<tool_calls>": "</tool_calls>",
    "<function_call>": "</function_call>",
    "<function_calls>": "</function_calls>",
    "<function=": "</function>",
    "<invoke name=": "</invoke>",
    "<minimax:tool_call>": "</minimax:tool_call>",
    "<｜DSML｜function_calls>": "</｜DSML｜function_calls>",
    "<｜DSML｜tool_calls>": "</｜DSML｜tool_calls>",
    "<｜tool▁calls▁begin｜>": "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>": "<｜tool▁call▁end｜>",
    "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",
    "<|tool_call_begin|>": "<|tool_call_end|>",
    "<|tool_call>": "<tool_call|>",
    "<start_function_call>": "<end_function_call>",
    "<|channel|>commentary to=": "<|call|>",
    "<|start|>assistant<|channel|>commentary to=": "<|call|>",
    "<|start|>assistant to=": "<|call|>",
    "[TOOL_REQUEST]": "[END_TOOL_REQUEST]",
    "[TOOL_CALLS]": "",
    "<|python_tag|>": "",
    "```": "\n```",
}  # fmt: skip
"""What a call begins with, and what ends it; empty: only the answer's end does."""

_D = "(?:｜DSML｜)?"
_INVOKE = re.compile(rf'<{_D}invoke name="?([^">]+)"?>(.*?)(?:</{_D}invoke>|\Z)', re.DOTALL)
_INVOKED = re.compile(rf'<{_D}parameter name="([^"]+)"([^>]*)>(.*?)</{_D}parameter>', re.DOTALL)
_FUNCTION = re.compile(r"<function=\"?([^\">\s]+)\"?\s*>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>]+)>\n?(.*?)\n?(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
_GLM = re.compile(r"<tool_call>\s*([^\s<{]+)\s*((?:<arg_key>.*?</arg_value>\s*)*)(?:</tool_call>|\Z)", re.DOTALL)
_GLM_ARGUMENT = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_KIMI = re.compile(
    r"<\|tool_call_begin\|>\s*(\S+?)(?::\d+)?\s*<\|tool_call_argument_begin\|>(.*?)(?:<\|tool_call_end\|>|\Z)",
    re.DOTALL,
)
_DEEPSEEK = re.compile(
    r"<｜tool▁call▁begin｜>(?:function<｜tool▁sep｜>)?\s*([^\s<]+?)(?:<｜tool▁sep｜>|\s)(.*?)(?:<｜tool▁call▁end｜>|\Z)",
    re.DOTALL,
)
_HARMONY = re.compile(r" to=([^\s<]+)[^{]*?<\|message\|>(.*?)(?:<\|call\|>|\Z)", re.DOTALL)
_GEMMA = re.compile(r"call:([\w.:/-]+?)\s*(\{.*?\})\s*(?=<tool_call\|>|<end_function_call>|\Z)", re.DOTALL)
_GEMMA_QUOTE = re.compile(r"<\|\"\|>|<escape>")
_MISTRAL = re.compile(r"\s*([\w.:/-]+)\s*(?:\[CALL_ID\]\S+?)?\[ARGS\](.*?)(?=\[TOOL_CALLS\]|\Z)", re.DOTALL)
_NAMED_JSON = re.compile(r"\s*([\w.:/-]+)\s*(\{.*\})\s*\Z", re.DOTALL)
_WRAPPING = re.compile(
    r"</?(?:tool_calls?|function_calls?|minimax:tool_call)>|\[(?:END_)?TOOL_(?:CALLS|REQUEST)(?:_END)?\]|<\|python_tag\|>|```\w*|<\|eom_id\|>"
)

_NAMES = ("name", "tool_name", "tool", "function_name", "recipient_name")
_ARGUMENTS = ("arguments", "parameters", "args", "input", "tool_input", "kwargs")
_BESIDE = frozenset({*_NAMES, *_ARGUMENTS, "id", "type", "function", "call_id"})


def calls_in(block: str) -> list[Written]:
    """The calls in *block*, from its opening mark to its closing one; none if it is in no spelling that is known."""
    for read in _SPELLINGS:
        found = list(read(block))
        if found:
            return found
    return []


def of_json(found: object) -> Iterator[Written]:
    """The calls that a JSON value is, or a list of them; nothing of it if it has more than a call has."""
    if isinstance(found, list):
        for one in found:
            yield from of_json(one)
        return
    if not isinstance(found, dict):
        return
    if isinstance(found.get("tool_calls"), list) and len(found) == 1:
        yield from of_json(found["tool_calls"])
        return
    if isinstance(found.get("function"), dict) and found.keys() <= _BESIDE:
        yield from of_json(found["function"])
        return
    name = next((found[key] for key in _NAMES if isinstance(found.get(key), str)), found.get("function"))
    if not isinstance(name, str) or not found.keys() <= _BESIDE:
        return
    given: object = next((found[key] for key in _ARGUMENTS if key in found), {})
    yield Written(name, _object(given))


def _object(given: object) -> dict[str, Any] | None:
    if isinstance(given, str):
        given = read_json(given)[0] if given.strip() else {}
    return {} if given is None else given if isinstance(given, dict) else None


def _json_arguments(text: str) -> dict[str, Any] | None:
    text = _WRAPPING.sub("", text).strip()
    return _object(read_json(text)[0]) if text else {}


def _invoked(block: str) -> Iterator[Written]:
    for name, inner in _INVOKE.findall(block):
        told = _INVOKED.findall(inner)
        if not told and inner.strip():
            yield Written(name, _json_arguments(inner))
            continue
        values = {key: read_json(value)[0] if 'string="false"' in more else value for key, more, value in told}
        yield Written(name, values, texts=True)


def _functions(block: str) -> Iterator[Written]:
    for name, inner in _FUNCTION.findall(block):
        told = dict(_PARAMETER.findall(inner))
        if told or not inner.strip():
            yield Written(name, told, texts=True)
        else:
            yield Written(name, _json_arguments(inner))


def _glm(block: str) -> Iterator[Written]:
    for name, inner in _GLM.findall(block):
        yield Written(name, dict(_GLM_ARGUMENT.findall(inner)), texts=True)


def _named(pattern: re.Pattern[str]) -> Callable[[str], Iterator[Written]]:
    def read(block: str) -> Iterator[Written]:
        for name, arguments in pattern.findall(block):
            yield Written(name, _json_arguments(arguments))

    return read


def _gemma(block: str) -> Iterator[Written]:
    """Gemma's own notation: keys without quotes, and texts between marks that no text has in it."""
    for name, inner in _GEMMA.findall(block):
        parts = _GEMMA_QUOTE.split(inner)
        parts[1::2] = [encode(part).decode() for part in parts[1::2]]
        yield Written(name, _json_arguments("".join(parts)))


def _mistral(block: str) -> Iterator[Written]:
    if block.startswith("[TOOL_CALLS]"):
        for part in block.split("[TOOL_CALLS]"):
            for name, arguments in _MISTRAL.findall(part) or _NAMED_JSON.findall(part):
                yield Written(name, _json_arguments(arguments))


def _plain_json(block: str) -> Iterator[Written]:
    """JSON within whatever marks; several calls may stand one after another."""
    texts = [text for text in _WRAPPING.split(block) if text.strip()]
    if "<|python_tag|>" in block or len(texts) == 1:
        texts = [part for text in texts for part in re.split(r"(?<=\})\s*;\s*(?=\{)", text)]
    for text in texts:
        named = _NAMED_JSON.match(text)
        if named is not None:
            yield Written(named[1], _json_arguments(named[2]))
        else:
            yield from of_json(read_json(text)[0])


_SPELLINGS = (
    _invoked,
    _functions,
    _named(_KIMI),
    _named(_DEEPSEEK),
    _named(_HARMONY),
    _gemma,
    _mistral,
    _plain_json,
    _glm,
)
