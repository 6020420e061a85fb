"""
A plugin for the package's own suite, which it was written without: it calls ``responses.create()`` with no input at all,
for it runs against a mock that answers anything. Such a call gets an input; what it is then answered is checked as before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from openai.resources.responses import AsyncResponses, Responses


def _completed(create: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(create)
    def completed(self: Any, **fields: Any) -> Any:
        return create(self, **({"input": "hello there"} | fields))

    return completed


for kind in (Responses, AsyncResponses):
    kind.create = _completed(kind.create)  # type: ignore[method-assign]
