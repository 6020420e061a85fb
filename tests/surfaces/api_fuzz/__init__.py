"""
Every method of every path, asked what its own description allows and what it does not: ``python -m tests.surfaces.api_fuzz``.

schemathesis makes the requests from ``/openapi.json`` and compares the answers with it: no 5xx that it does not name, no status,
media type or body outside it. The gateway stands before simulated providers and waits for no quota, so that an answer comes at
once. Names of models are mostly ``auto``, or nearly all would be unknown.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import HypothesisException
from msgspec import Struct
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks

from gateway.cli import shipped_config
from gateway.commands.demo import SIX, opened
from providers.simulator.world import World

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
_NAMED = 4  # of every five requests so many name a model that is there


class Found(Struct):
    """How often each status was the answer, and what went wrong."""

    statuses: Counter[int]
    failures: list[str]


async def run(examples: int, seed: int, only: str = "") -> Found:
    """Make so many *examples* for each method of each path that has *only* in it, always the same for the same *seed*."""
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.toml"
        own.write_text("[requests]\nmax_wait = 0.0\n")
        environ = {"FREEWAY_CONFIG": str(own)}
        async with opened(shipped_config(), Path(folder) / "state", World(names=SIX), environ=environ) as demo:
            return await asyncio.to_thread(_asked, demo.base_url, examples, seed, only)


def _asked(base_url: str, examples: int, seed: int, only: str) -> Found:
    found = Found(Counter(), [])
    schema = schemathesis.openapi.from_url(f"{base_url}/openapi.json")
    for offered in schema.get_all_operations():
        operation: Any = offered.ok()  # type: ignore[union-attr]  # a document of ours has no operation that is wrong
        if only in operation.path and not operation.definition.raw.get(
            "x-endless"
        ):  # tests/surfaces/test_admin_live.py
            varies = bool(operation.body or operation.path_parameters)
            _ask(operation, GenerationMode.POSITIVE, examples if varies else 1, seed, found)
            # A name in the path is never wrong: without a body and a key there is nothing that could be.
            if varies and (operation.body or operation.definition.raw["security"] != [{}]):
                _ask(operation, GenerationMode.NEGATIVE, examples, seed, found)
    return found


def _ask(operation: Any, mode: GenerationMode, examples: int, seed: int, found: Found) -> None:
    cases, asked = operation.as_strategy(generation_mode=mode), 0

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )
    @hypothesis.given(case=cases)
    def ask(case: Case) -> None:
        nonlocal asked
        asked += 1
        if asked % (_NAMED + 1):
            _name_a_model(case)
        response = case.call(timeout=30)
        found.statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    try:
        ask()
    except (Failure, FailureGroup, requests.RequestException, HypothesisException) as exc:
        found.failures.append(f"{operation.method.upper()} {operation.path} ({mode.value}): {exc}")


def _name_a_model(case: Case) -> None:
    if isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = "auto"
    if "model" in (case.path_parameters or {}):
        case.path_parameters["model"] = "auto"
