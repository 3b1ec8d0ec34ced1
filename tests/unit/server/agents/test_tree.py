"""Trees of processes: when a sweep is over."""

from __future__ import annotations

from clawdforge.server.agents.tree import Sweep


def test_only_what_two_looks_do_not_see_is_not_there() -> None:
    sweep = Sweep(17, "mark", 1)
    for alive, over in (([], False), ([17], False), ([], False), ([], True)):
        sweep.saw(alive)
        assert sweep.over is over
    assert sweep.left == []


def test_a_sweep_whose_time_is_up_says_what_it_leaves() -> None:
    sweep = Sweep(17, "mark", 1, within_s=0)
    sweep.saw([17])
    assert (sweep.over, sweep.left) == (True, [17])


def test_a_look_that_could_not_be_taken_counts_for_nothing_but_time() -> None:
    sweep = Sweep(17, "mark", 1)
    for _ in range(5):
        sweep.saw_nothing()
    assert (sweep.over, sweep.left) == (False, [17])
    sweep._began -= 10
    sweep.saw_nothing()
    assert sweep.over
