"""
What a whole answer has to be for its caller to have asked for it, beyond what its provider sees to (providers/refine.py): that it
is all there, and that calls have what their tools require. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.request.bounds import holds_together
from gateway.request.engine import Slot
from gateway.request.tried import Attempt
from providers.chat import ChatRequest, Choice, Whole
from providers.client import Made
from providers.dialect import Request
from providers.failures import NoAnswer
from providers.schemas import lacking


def verify(slot: Slot, found: Made, before: Iterable[Attempt]) -> None:
    """
    See whether *found*, a whole answer of *slot*, is what was asked for, after the attempts *before*.

    Raises NoAnswer if our bound cut it where a part is of no use, or, once for a request, if a call lacks what its tool
    requires: a caller can tell its model what is missing.
    """
    sent = slot.request
    if not isinstance(found, Whole) or not isinstance(sent, Request):
        return
    for choice in found.completion.choices:
        if choice.finish_reason != "length":
            if not any(isinstance(one.failure, NoAnswer) and one.failure.misfits for one in before):
                _verify_calls(sent.view, choice)
        elif sent.bounded_by_us and (holds_together(slot.call) or choice.message.tool_calls):
            raise NoAnswer(f"longer than the {sent.output_tokens} tokens that it has room for").by_our_bound()


def _verify_calls(view: ChatRequest, choice: Choice) -> None:
    tools = {function.name: function for function in view.functions()}
    for call in choice.message.tool_calls or ():
        tool = tools.get(call.function.name)
        lacks = lacking(msgspec.json.decode(call.function.arguments, type=dict), tool.parameters) if tool else []
        if lacks:
            raise NoAnswer(f"a call of {call.function.name} lacks what the tool requires").misfitting()
