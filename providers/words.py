"""
What the sentences of errors mean that many providers share, since they run the same servers.

They are read only where neither a code nor the status says it: vLLM, SGLang, llama.cpp and what stands before them use one
status, 400, for nearly everything. Each pattern has the report that shows it.
"""

from __future__ import annotations

import re

from providers import failures as f

_TOO_LONG = re.compile(
    r"maximum context length"  # OpenAI, vLLM until 2026-03
    r"|context length is only \d|maximum input length of \d"  # vLLM since 2026-03 (vllm-project/vllm#36197)
    r"|(?:exceed|longer than|larger than|beyond|over)[^.]{0,60}(?:context|maximum (?:input|prompt) length)"  # llama.cpp, SGLang
    r"|context (?:window|length|size|limit)[^.]{0,40}exceed"  # LM Studio and others
    r"|prompt (?:is too long|exceeds max length)"  # Anthropic, Z.ai's 1261
    r"|current length is \d+ while limit is \d"  # Cerebras
    r"|input (?:tokens? |length |is )[^.]{0,30}(?:too long|exceed)"  # Cohere, text-generation-inference
    r"|too many (?:input )?tokens|reduce the length of the (?:messages|input|prompt)"
    r"|max_(?:completion_|new_|output_)?tokens\b[^.]{0,60}(?:got|received|was|is|:)\s*-\d"  # NIM: what its context leaves
    r"|`?inputs`? tokens \+ `?max_new_tokens`?",
    re.IGNORECASE,
)
_GONE = re.compile(
    r"has no provider supported"  # ModelScope (musistudio/claude-code-router#901)
    r"|\b(?:invalid|unknown|no such) model\b(?! (?:parameter|input|output|option))"  # Mistral's 1500 and others
    r"|\bmodel\b\W+\S{1,120}?\W+(?:does not exist|not found|was not found|is not (?:available|found|a valid))"
    r"|\bmodel\b[^.]{0,120}\b(?:has been|was|is) (?:deprecated|decommissioned|retired|discontinued|removed|archived)"
    r"|is not a valid model",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(
    r"\b(?:organi[sz]ation|account|project|workspace|team|user|api[ _-]?key|key|token)\b[^.]{0,40}\b"
    r"(?:restricted|suspended|deactivated|disabled|blocked|banned|terminated|revoked|expired)\b"
    r"|\b(?:invalid|incorrect|malformed)\b[^.]{0,12}\bapi[ _-]?key|\bapi[ _-]?key\b[^.]{0,20}\b(?:invalid|not valid)",
    re.IGNORECASE,
)
"""A shut account or a bad key, told with 400 or 403 (songquanpeng/one-api#1764, yym68686/uni-api#140)."""

_STATED = re.compile(
    r"(?:maximum context length|context (?:length|window|size))\s*(?:is|of|:)?\s*(?:only\s*)?\(?(\d[\d,]*)"
    r"|current length is \d+ while limit is (\d[\d,]*)",
    re.IGNORECASE,
)

_MEANINGS: tuple[tuple[frozenset[int], re.Pattern[str], type[f.ProviderFailure], bool], ...] = (
    (frozenset({400, 403}), _ACCOUNT, f.CredentialRejected, True),
    (frozenset({400, 413, 422, 500}), _TOO_LONG, f.ContextTooLong, False),
    (frozenset({400, 422}), _GONE, f.ModelGone, False),
)


def meaning_of(message: str, status: int) -> f.ProviderFailure | None:
    """The failure that *message* tells of; None: its words say nothing that is known."""
    for statuses, pattern, kind, account_wide in _MEANINGS:
        if status in statuses and pattern.search(message):
            return kind(message, status=status, account_wide=account_wide)
    return None


def stated_context(message: str) -> int | None:
    """The tokens that a model holds, as *message* states them; None: it states no number."""
    found = _STATED.search(message)
    return None if found is None else int((found[1] or found[2]).replace(",", "")[:9])
