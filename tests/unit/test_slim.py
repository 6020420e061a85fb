"""A compiled module from which the image's build cut what nobody loads still does what it did."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.slim import slim, slimmed

LOOP = "import asyncio, uvloop; uvloop.run(asyncio.sleep(0, 'ran')); print(uvloop.__file__)"


@pytest.mark.skipif(sys.platform != "linux", reason="the image's modules are Linux'")
def test_a_slim_module_is_small_and_works(tmp_path: Path):
    spec = find_spec("uvloop")
    assert spec is not None
    assert spec.origin is not None
    copy = Path(shutil.copytree(Path(spec.origin).parent, tmp_path / "uvloop"))
    ((module, saved),) = slim(copy)

    assert saved > module.stat().st_size
    assert list(slim(copy)) == []
    done = subprocess.run(
        [sys.executable, "-c", LOOP], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout


@given(st.binary(min_size=50, max_size=300), st.booleans())
def test_what_is_no_module_stays_as_it_is_or_gets_no_longer(content: bytes, begun: bool):
    module = (b"\x7fELF\x02\x01" if begun else b"") + content
    assert len(slimmed(module)) <= len(module)
    if not begun and not content.startswith(b"\x7fELF"):
        assert slimmed(module) == module
