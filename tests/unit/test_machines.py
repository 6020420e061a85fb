"""What a machine of one's own works on."""

from __future__ import annotations

from gateway.routing.latency import Pace, Point
from gateway.routing.machines import LOADING, Machines

NOW = 1_795_440_000.0
PACE = Pace(NOW).with_point(Point(0.0, 1.0), NOW).with_point(Point(100.0, 2.0), NOW)


def test_a_model_that_is_not_loaded_costs_its_loading():
    machines = Machines()
    assert machines.loading("ollama/a") == 0.0  # what is loaded is not known

    machines.sent("ollama/a", "1")

    assert machines.loading("ollama/a") == 0.0
    assert machines.loading("ollama/b") == LOADING
    assert machines.loading("elsewhere/b") == 0.0


def test_the_time_that_an_answer_waited_for_the_one_before_says_nothing_of_its_model():
    machines = Machines()
    machines.sent("ollama/a", "1")
    machines.ended("ollama/a", "1", NOW)
    machines.sent("ollama/a", "2")
    machines.sent("ollama/a", "3")
    machines.ended("ollama/a", "2", NOW + 5.0)

    points = [Point(0.0, 6.0), Point(10.0, 7.0)]

    assert machines.worked("ollama/a", "3", NOW, points, None) == [Point(0.0, 1.0), Point(10.0, 2.0)]


def test_an_answer_that_found_another_model_loaded_tells_how_long_loading_takes_and_no_pace():
    machines = Machines()
    machines.sent("ollama/a", "1")
    machines.ended("ollama/a", "1", NOW)
    machines.sent("ollama/b", "2")

    assert machines.worked("ollama/b", "2", NOW, [Point(0.0, 31.0)], PACE) == []
    assert LOADING < machines.loading("ollama/a") < 31.0


def test_of_the_first_answer_it_is_not_known_whether_its_model_had_to_be_loaded():
    machines = Machines()
    machines.sent("ollama/a", "1")

    assert machines.worked("ollama/a", "1", NOW, [Point(0.0, 9.0)], PACE) == []
    assert machines.loading("ollama/b") == LOADING


def test_one_that_leaves_while_another_is_worked_on_loads_nothing():
    machines = Machines()
    machines.sent("ollama/a", "1")
    machines.sent("ollama/b", "2")
    machines.ended("ollama/b", "2", NOW)

    assert machines.loaded("ollama/b") == "ollama/a"
    assert machines.loading("ollama/a") == 0.0
