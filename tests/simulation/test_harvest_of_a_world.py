"""The gateway in the world of ``make harvest``: a short piece of it, with what each run of the whole must keep."""

from __future__ import annotations

from tests.bench.harvest import OURS, one
from tests.bench.harvest_gateway import Gateway
from tests.world.run import Run, run
from tests.world.scenarios import SCENARIOS

MINUTES = 2.0


def piece(name: str, seed: int = 1) -> Run:
    scenario = SCENARIOS[name]
    return run(scenario, lambda: Gateway(resumes=scenario.resumes), OURS, seed, MINUTES)


def test_in_calm_nearly_all_are_answered_rightly_and_none_wrongly():
    found = one("calm", OURS, 1, MINUTES, None)

    assert found.asked > 50
    assert found.verdicts["right"] >= 0.9 * found.asked
    assert (found.wrong, found.avoidable) == (0, {})


def test_one_seed_gives_one_history():
    """Nothing of the gateway's own decides by the machine's time or luck."""

    def history() -> list[object]:
        return [(told.verdict, told.heard.over_at, told.heard.text) for told in piece("calm").told]

    assert history() == history()


def test_no_request_is_at_a_provider_when_all_callers_are_gone():
    for name in ("breaks", "machine"):
        assert all(call.over is not None for call in piece(name).calls)
