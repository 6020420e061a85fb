"""
A plugin for the suite of Anthropic's package: its conftest imports two packages that record conversations with Anthropic's own
servers. None of the tests that are run here uses them, so that empty modules will do.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_MEMBERS = {
    "inline_snapshot": (),
    "http_snapshot": ("SnapshotSerializerOptions",),
    "http_snapshot.httpx": ("HttpxSyncSnapshotClient", "HttpxAsyncSnapshotClient"),
}

for _name, _members in _MEMBERS.items():
    sys.modules[_name] = ModuleType(_name)
    for _member in _members:
        setattr(sys.modules[_name], _member, object)


def pytest_addoption(parser: Any) -> None:
    """The option by which one of them is switched on, which the conftest asks for."""
    parser.addoption("--http-record", action="store_true")
