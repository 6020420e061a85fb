"""``freeway clients`` with every word that it has."""

from __future__ import annotations

import json
from pathlib import Path

from tests.acceptance.process import run


def test_every_word_of_a_client_is_kept_as_it_was_given(tmp_path: Path):
    words = [
        "--limit",
        "20/minute",
        "--limit",
        "200000 tokens/day",
        "--wait",
        "600",
        "--max-wait",
        "3600",
        "--no-train",
    ]
    more = ["--expires", "2027-06-30", "--share", "0.5", "--model", "gpt-*", "--provider", "groq", "--priority", "low"]
    made = run("clients", "add", "alice", *words, *more, home=tmp_path)
    assert made.returncode == 0, made.stderr
    changed = run("clients", "limit", "alice", "3/minute", "--json", home=tmp_path)
    assert [one["limit"] for one in json.loads(changed.stdout)["limits"]] == ["3/minute"], changed.stderr

    shown = run("clients", "list", "--json", home=tmp_path).stdout
    (client,) = json.loads(shown[shown.index("[") :])
    limits = [one if isinstance(one, str) else one["limit"] for one in client["limits"]]

    assert (client["name"], limits, client["wait"], client["max_wait"]) == ("alice", ["3/minute"], 600, 3600)
    assert (client["no_train"], client["share"], client["priority"]) == (True, 0.5, "low")
    assert (client["models"], client["providers"]) == (["gpt-*"], ["groq"])
    assert client["expires"] == 1_814_400_000  # the end of that day in UTC
    assert "fw-" not in shown
