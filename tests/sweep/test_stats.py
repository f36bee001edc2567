"""Statistics against values worked out by hand and by another road."""

import math
import statistics

import numpy as np
import pytest

from infusenet.sweep.report.stats import drift_over, paired, summarise


def test_known_values() -> None:
    found = summarise([1.0, 2.0, None, 6.0], ["a", "b", "c", "d"])
    assert (found.n, found.missing, found.people, found.mean) == (3, 1, 3, 3.0)
    assert found.std == pytest.approx(statistics.stdev([1, 2, 6]))
    assert found.low is not None and found.high is not None
    assert 1 <= found.low < 3 < found.high <= 6


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_is_undefined_and_counted(values: list[None]) -> None:
    found = summarise(values, ["a"] * len(values))
    assert (found.n, found.missing) == (0, len(values))
    assert [found.mean, found.std, found.low, found.high] == [None] * 4


def test_one_person_has_no_interval() -> None:
    found = summarise([1.0, 3.0], ["a", "a"])
    assert (found.mean, found.low, found.high, found.people) == (2.0, None, None, 1)
    assert found.std == pytest.approx(math.sqrt(2))


def test_the_interval_is_near_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 400)
    found = summarise(values.tolist(), range(400))
    assert found.mean is not None and found.low is not None and found.high is not None
    half = 1.96 * values.std(ddof=1) / 20
    assert found.low == pytest.approx(found.mean - half, abs=0.1 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.1 * half)


def test_pictures_of_one_person_are_no_independent_samples() -> None:
    people = np.random.default_rng(2).normal(0.5, 0.1, 40).tolist()
    once = summarise(people, range(40))
    often = summarise([value for value in people for _ in range(5)], [who for who in range(40) for _ in range(5)])
    assert once.low is not None and often.low is not None
    assert often.low == pytest.approx(once.low)
    assert often.high == pytest.approx(once.high)


def test_it_is_the_same_every_time() -> None:
    assert summarise([1.0, 2.0, 5.0], "abc") == summarise([1.0, 2.0, 5.0], "abc")


def test_pairs_share_person_prompt_and_seed() -> None:
    ours = {("a", "x", 0): 2.0, ("a", "y", 0): None, ("b", "x", 0): 5.0, ("c", "x", 0): 9.0}
    theirs = {("b", "x", 0): 1.0, ("a", "x", 0): 1.0, ("a", "y", 0): 1.0}
    found = paired(ours, theirs)
    assert (found.n, found.missing, found.people, found.mean) == (2, 2, 2, 2.5)


def test_a_paired_difference_is_surer_than_two_means() -> None:
    level = np.random.default_rng(3).normal(0, 1, 30)
    ours = {(str(i),): float(v) + 0.1 for i, v in enumerate(level)}
    theirs = {(str(i),): float(v) for i, v in enumerate(level)}
    found = paired(ours, theirs)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)


def test_drift_is_from_the_peak_of_the_mean() -> None:
    curves = {"a": [0.1, 0.7, 0.5], "b": [0.3, 0.5, 0.5], "c": [0.9, None, 0.1]}
    found = drift_over(curves, [1, 4, 28])
    assert found is not None
    assert (found.peak_at, found.final_at, found.people) == (4, 28, 2)
    assert found.early == (4, 4)  # 0.5 is more than 5 % below 0.6
    assert [found.peak, found.final, found.drift] == pytest.approx([0.6, 0.5, 0.1])
    assert found.low == pytest.approx(0.0)  # b alone
    assert found.high == pytest.approx(0.2)  # a alone
    assert drift_over({"c": [None, 1.0]}, [1, 2]) is None
    flat = drift_over({"a": [0.1, 0.58, 0.6, 0.59, 0.5]}, [1, 2, 4, 8, 28])
    assert flat is not None
    assert flat.early == (2, 8)
    below = drift_over({"a": [-0.2, -0.1]}, [1, 2])
    assert below is not None
    assert below.early is None  # no identity to speak of
    alone = drift_over({"a": [0.2, 0.3]}, [1, 2])
    assert alone is not None
    assert (alone.drift, alone.low, alone.high) == (0.0, None, None)
