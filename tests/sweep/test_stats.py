"""Statistics against values worked out by hand, by another road, and by simulation of what they promise."""

import math
import statistics

import numpy as np
import pytest

from infusenet.sweep.report import stats
from infusenet.sweep.report.stats import (
    cross_fitted,
    direction_of,
    drift_of,
    fitted_time,
    in_halves,
    paired,
    parted,
    summarise,
    under_flat_truth,
)

SIMULATED = 3000


def test_known_values() -> None:
    found = summarise([1.0, 2.0, None, 6.0], ["a", "b", "c", "d"])
    assert (found.n, found.missing, found.people, found.mean) == (3, 1, 3, 3.0)
    assert found.std == pytest.approx(statistics.stdev([1, 2, 6]))
    assert found.low is None, "three people are too few for an interval"


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_is_undefined_and_counted(values: list[None]) -> None:
    found = summarise(values, ["a"] * len(values))
    assert (found.n, found.missing) == (0, len(values))
    assert [found.mean, found.std, found.low, found.high] == [None] * 4


def test_of_one_picture_a_person_it_is_students_interval() -> None:
    values = [0.1, 0.4, 0.2, 0.5, 0.3, 0.9]
    found = summarise(values, range(6))
    half = 2.5706 * statistics.stdev(values) / math.sqrt(6)  # t of 5 degrees of freedom, from a printed table
    assert found.low == pytest.approx(statistics.mean(values) - half, abs=1e-4)
    assert found.high == pytest.approx(statistics.mean(values) + half, abs=1e-4)


def test_pictures_of_one_person_are_no_independent_samples() -> None:
    people = np.random.default_rng(2).normal(0.5, 0.1, 40).tolist()
    once = summarise(people, range(40))
    often = summarise([value for value in people for _ in range(5)], [who for who in range(40) for _ in range(5)])
    assert once.low is not None and often.low is not None
    assert often.low == pytest.approx(once.low)
    assert often.high == pytest.approx(once.high)


def normal(rng: np.random.Generator, people: int) -> tuple[np.ndarray, float]:
    return 0.5 + rng.normal(0, 0.1, (people, 1)) + rng.normal(0, 0.06, (people, 5)), 0.5


def skewed(rng: np.random.Generator, people: int) -> tuple[np.ndarray, float]:
    """As cosines are: most are high, some people are hard."""
    return 1 - rng.gamma(4, 0.09, (people, 1)) + rng.normal(0, 0.06, (people, 3)), 1 - 0.36


@pytest.mark.parametrize("people", [6, 12, 28])
@pytest.mark.parametrize("truth", [normal, skewed])
def test_an_interval_covers_what_it_says(people: int, truth) -> None:
    rng, covered = np.random.default_rng(people), 0
    who = [person for person in range(people) for _ in range(truth(rng, people)[0].shape[1])]
    for _ in range(SIMULATED):
        values, mean = truth(rng, people)
        found = summarise(values.ravel().tolist(), who)
        covered += bool(found.low <= mean <= found.high)
    assert 0.92 <= covered / SIMULATED <= 0.97


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


class TestDrift:
    def test_the_fixed_contrast_and_the_peak(self) -> None:
        curves = {"a": {0: [0.1, 0.7, 0.5]}, "b": {0: [0.3, 0.5, 0.5]}, "c": {0: [0.9, None, 0.1]}}
        found = drift_of(curves, [1, 4, 28], 4)
        assert found is not None
        assert (found.early_at, found.final_at, found.peak_at, found.people, found.halves) == (4, 28, 4, 2, 1)
        assert [found.fixed.mean, found.peak, found.final, found.found] == pytest.approx([0.1, 0.6, 0.5, 0.1])
        assert drift_of({"c": {0: [None, 1.0]}}, [1, 2], 1) is None

    def test_noises_in_turn_are_of_either_half(self) -> None:
        halves, names = in_halves({"a": {7: [1.0, 2.0], 8: [3.0, 4.0], 9: [5.0, 6.0]}, "b": {7: [1.0, 1.0]}})
        assert names == ["a"], "b has nothing in the second half"
        assert halves.tolist() == [[[3.0, 4.0], [3.0, 4.0]]]

    def test_others_choose_the_peak(self) -> None:
        first = [[[5.0, 0, 0], [0, 5.0, 0]], [[0, 5.0, 0], [0, 0, 1.0]]]  # [people, halves, places]
        # person 0, half 0: person 1 in half 1 is highest at the end: 0; half 1: at place 1: 5 - 0
        # person 1, half 0: person 0 in half 1 at place 1: 5 - 0; half 1: at place 0: 0 - 1
        assert cross_fitted(np.array(first)).mean == pytest.approx((0 + 5 + 5 - 1) / 4)

    @pytest.mark.parametrize("people, noises", [(10, 5), (28, 5), (7, 2), (10, 1)])
    @pytest.mark.parametrize("peculiar, noise", [(0.0, 0.08), (0.03, 0.08), (0.06, 0.03)])
    def test_of_a_flat_truth_it_says_nothing(self, people: int, noises: int, peculiar: float, noise: float) -> None:
        """A person's level, what is peculiar to them at each place, and noise: as measured, and with more of either."""
        rng, fixed, crossed = np.random.default_rng(1), 0, 0
        runs = 1000
        for _ in range(runs):
            level = rng.normal(0.5, 0.1, (people, 1, 1)) + rng.normal(0, peculiar, (people, 1, 8))
            values = level + rng.normal(0, noise, (people, noises, 8))
            curves = {who: dict(enumerate(own.tolist())) for who, own in enumerate(values)}
            halves, _ = in_halves(curves)
            crossed += cross_fitted(halves).is_sure
            own = halves.mean(1)
            fixed += summarise((own[:, 2] - own[:, -1]).tolist(), range(people)).is_sure
        # 7 in 100 is the promise; of 1000 runs chance alone makes .07 read up to .086 in 95 of 100
        assert fixed / runs <= 0.086
        assert crossed / runs <= 0.086

    def test_a_peak_by_noise_alone_is_told(self) -> None:
        rng = np.random.default_rng(4)
        curves = rng.normal(0.5, 0.1, (12, 1)) + rng.normal(0, 0.05, (12, 8))
        found = under_flat_truth(curves)
        assert found is not None
        truth = np.array([
            (mean := rng.normal(0, 0.05, (12, 8)).mean(0)).max() - mean[-1] for _ in range(stats.RESAMPLES)
        ])  # fmt: skip
        assert found.mean() == pytest.approx(truth.mean(), rel=0.25)
        assert np.array_equal(found, under_flat_truth(curves)), "the same every time"
        assert under_flat_truth(curves[:1]) is None


class TestSpread:
    def test_many_noises_point_where_direction_says(self) -> None:
        """Unit vectors around a mean direction, in many dimensions: cosines of any two, and to a reference."""
        rng = np.random.default_rng(5)
        centre = rng.normal(0, 1, 256)
        pictures = centre / np.linalg.norm(centre) + rng.normal(0, 0.05, (400, 256))
        pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
        reference = centre + rng.normal(0, 1, 256)
        reference /= np.linalg.norm(reference)
        cosines = pictures @ pictures.T
        agreement = (cosines.sum() - 400) / (400 * 399)
        mean = pictures.mean(0)
        truth = float(mean @ reference / np.linalg.norm(mean))
        assert direction_of(float((pictures @ reference).mean()), float(agreement)) == pytest.approx(truth, abs=1e-3)

    @pytest.mark.parametrize("undefined", [(None, 0.5), (0.5, None), (0.5, 0.0), (0.5, -0.1)])
    def test_it_may_be_undefined(self, undefined) -> None:
        assert direction_of(*undefined) is None

    def test_the_parts_add_up(self) -> None:
        (d1, c1), (d0, c0) = (0.7, 0.4), (0.75, 0.6)
        by_direction, by_dispersion = parted((d1, c1), (d0, c0))
        assert by_direction + by_dispersion == pytest.approx(d1 * math.sqrt(c1) - d0 * math.sqrt(c0))
        assert parted((d0, c1), (d0, c0))[0] == 0
        assert parted((d1, c0), (d0, c0))[1] == 0


def test_time_is_fixed_and_each() -> None:
    fixed, each = fitted_time([1, 4, 28], [0.5 + 0.1 * n for n in (1, 4, 28)]) or (0, 0)
    assert [fixed, each] == pytest.approx([0.5, 0.1])
    assert fitted_time([4, 4], [1.0, 2.0]) is None
