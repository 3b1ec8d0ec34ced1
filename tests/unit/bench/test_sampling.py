"""The arithmetic of the benchmark's numbers."""

from __future__ import annotations

from bench.rows import Reading
from bench.sampling import Samples, combined, interleaved, middle, percentile, quartiles, ratio


def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed() -> None:
    hundred = [float(value) for value in range(100, 0, -1)]
    assert [percentile(hundred, share) for share in (0.01, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert [percentile([7.0], share) for share in (0.0, 0.5, 1.0)] == [7, 7, 7]
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2


def test_candidates_run_in_turns_and_the_first_rounds_do_not_count() -> None:
    ran: list[str] = []
    samples = interleaved({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, rounds=3, warm_up=2)
    assert ran == ["a", "b"] * 5
    assert {name: len(each.values) for name, each in samples.items()} == {"a": 3, "b": 3}


def test_a_sum_of_percentiles_has_the_spread_of_five_parts_of_the_run() -> None:
    turn = Samples((10.0, 10.0, 11.0, 11.0, 12.0, 12.0, 13.0, 13.0, 14.0, 14.0))
    commit = Samples((1.0,) * 10)
    assert combined({"turn": turn, "commit": commit}, {"turn": 1, "commit": -2}, 0.5) == Reading(10, 8, 12)


def test_samples_that_do_not_divide_by_five_leave_the_last_out_of_the_spread_only() -> None:
    samples = Samples((1.0, 2.0, 3.0, 4.0, 5.0, 100.0))
    assert combined({"only": samples}, {"only": 1}, 1.0) == Reading(100, 1, 5)


def test_a_ratio_is_of_all_slices_and_its_spread_of_each() -> None:
    loud = [Samples((2.0, 2.0)), Samples((9.0, 9.0))]
    quiet = [Samples((1.0, 1.0)), Samples((3.0, 3.0))]
    assert ratio(loud, quiet, 1.0) == Reading(3, 2, 3)
    assert ratio(loud, quiet, 0.5) == Reading(2, 2, 3)


def test_few_measurements_show_their_ends_and_many_their_quartiles() -> None:
    assert middle([3.0, 1.0, 2.0]) == Reading(2, 1, 3)
    assert quartiles([float(value) for value in range(1, 101)]) == Reading(50, 25, 75)
