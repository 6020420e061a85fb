"""What ``freeway usage`` shows."""

from __future__ import annotations

import pytest

from gateway.commands.usage import table
from gateway.observe.use import UseRow

ROWS = [
    UseRow(
        name="nvidia/llama-3.3-nemotron-super-49b-v1.5-of-a-long-name",
        requests=1_234_567, failed=12, prompt_tokens=9_876_543_210, output_tokens=123_456_789, saved=12345.678,
    ),
    UseRow(name="", requests=1, failed=1),
]  # fmt: skip


@pytest.mark.parametrize("width", [60, 100, 200])
def test_no_number_is_cut_and_a_row_is_a_line(width):
    lines = table("model", ROWS, width)

    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 1 + len(ROWS)
    for number in ("1,234,567", "12", "9,876,543,210", "123,456,789", "12,345.68"):
        assert number in lines[1].split()
    assert len(lines[0]) <= max(width, 12 + 2 + 9 + 2 + 6 + 2 + 13 + 2 + 11 + 2 + 9)
    assert "(none" in lines[2]
