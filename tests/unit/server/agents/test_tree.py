"""Trees of processes: whom a look names, when a sweep is over."""

from __future__ import annotations

from clawdforge.server.agents.proc import ProcessStat
from clawdforge.server.agents.tree import Sweep

SOMEBODY = ProcessStat(pid=17, parent=1, group=17, session=17, started=1, zombie=False)


def test_only_what_two_looks_do_not_see_is_not_there() -> None:
    sweep = Sweep(17, "mark")
    for alive, over in (([], False), ([SOMEBODY], False), ([], False), ([], True)):
        sweep.saw(alive, unclear=False)
        assert sweep.over is over
    assert sweep.left == []


def test_one_that_shows_no_environment_yet_is_given_a_moment() -> None:
    sweep = Sweep(17, "mark")
    for _ in range(5):
        sweep.saw([], unclear=True)
    assert not sweep.over
    sweep._began -= 2
    sweep.saw([], unclear=True)
    sweep.saw([], unclear=True)
    assert sweep.over


def test_a_sweep_whose_time_is_up_says_what_it_leaves() -> None:
    sweep = Sweep(17, "mark", within_s=0)
    sweep.saw([SOMEBODY], unclear=False)
    assert (sweep.over, sweep.left) == (True, [17])


def test_a_look_that_could_not_be_taken_counts_for_nothing_but_time() -> None:
    sweep = Sweep(17, "mark")
    for _ in range(5):
        sweep.saw_nothing()
    assert (sweep.over, sweep.left) == (False, [17])
    sweep._began -= 10
    sweep.saw_nothing()
    assert sweep.over
