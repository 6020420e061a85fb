"""Hard stops: who may know whom is in pyproject.toml; here is how long things may get."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gateway.request.outcome import CONSEQUENCES
from providers import failures

ROOT = Path(__file__).parents[1]
FILES = [p for top in ("gateway", "providers") for p in sorted((ROOT / top).rglob("*.py"))]
SHORTER = {"gateway/request/pipeline.py": 250}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_file_and_no_function_grows_without_bound(path):
    text = path.read_text()

    assert len(text.splitlines()) <= SHORTER.get(path.relative_to(ROOT).as_posix(), 400)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name} is long"


def test_every_failure_has_a_consequence():
    assert set(CONSEQUENCES) == set(failures.ProviderFailure.__subclasses__())


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    assert failures.__doc__ is not None
    named = {line.split()[1] for line in failures.__doc__.splitlines() if line.strip().startswith("x ")}

    assert named == {cls.__name__ for cls in failures.ProviderFailure.__subclasses__()}


def test_configuration_can_name_every_failure_that_an_error_answer_can_mean():
    assert set(failures.BY_NAME.values()) == set(CONSEQUENCES) - {
        failures.Interrupted,
        failures.OtherWeights,
        failures.Superseded,
    }
