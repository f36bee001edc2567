"""Shares of a reference way's quality, against a resampling of people."""

import numpy as np
import pytest

from infusenet.errors import SettingsError
from infusenet.tune.standing import Share, Standing, Target, share_of


def values(people, prompts, scale, seed):
    """By person and prompt, a person's own level in all of them."""
    noise = np.random.default_rng(seed)
    levels = np.random.default_rng(99).normal(0.6, 0.08, people)
    return {
        (who, prompt): float(scale * levels[who] + noise.normal(0, 0.04))
        for who in range(people)
        for prompt in range(prompts)
    }


def test_a_share_is_a_ratio_of_means_with_the_spread_over_people():
    ours, theirs = values(40, 3, 0.9, 1), values(40, 3, 1.0, 2)
    share = share_of(ours, theirs)
    assert share.mean == pytest.approx(sum(ours.values()) / sum(theirs.values()))
    assert (share.people, share.pictures) == (40, 120)
    rng = np.random.default_rng(0)
    mine, other = (np.array([[side[who, k] for k in range(3)] for who in range(40)]).sum(1) for side in (ours, theirs))
    drawn = rng.integers(0, 40, (4000, 40))
    ratios = mine[drawn].sum(1) / other[drawn].sum(1)
    assert share.low == pytest.approx(np.quantile(ratios, 0.025), abs=0.004)
    assert share.high == pytest.approx(np.quantile(ratios, 0.975), abs=0.004)


def test_only_pairs_that_both_have_count():
    theirs = {("a", 1): 0.5, ("b", 1): 0.5, ("c", 1): None}
    share = share_of({("a", 1): 0.4, ("b", 1): None, ("c", 1): 0.9}, theirs)
    assert (share.mean, share.low, share.pictures) == (pytest.approx(0.8), None, 1)
    assert share_of({("a", 1): 0.4}, {("a", 1): None}) is None
    assert share_of({("a", 1): 0.4}, {("a", 1): -0.1}) is None


def test_the_reference_is_exactly_itself():
    theirs = values(12, 2, 1.0, 5)
    share = share_of(theirs, theirs)
    assert (share.mean, share.low, share.high) == (1, pytest.approx(1), pytest.approx(1))


def standing(mean, half, lost=0):
    return Standing({"identity": Share(mean, mean - half, mean + half, 12, 50)}, 1.0, lost, 50)


@pytest.mark.parametrize(
    ("mean", "half", "misses", "with_margin", "surely"),
    [(1.0, 0.01, [], [], False), (0.985, 0.02, [], ["identity"], False),
     (0.97, 0.02, ["identity"], ["identity"], False),
     (0.96, 0.01, ["identity"], ["identity"], True)],
)  # fmt: skip
def test_what_is_sure(mean, half, misses, with_margin, surely):
    one, target = standing(mean, half), Target(identity=0.98)
    assert (one.misses(target), one.misses(target, 0.5), one.surely_misses(target)) == (misses, with_margin, surely)
    assert one.shortfall(target) == pytest.approx(max(1 - mean / 0.98, 0))
    assert one.shortfall(target, 1.0) == pytest.approx(max(1 - (mean - half) / 0.98, 0))


def test_a_chance_is_that_of_more_pictures_and_never_quite_sure():
    assert Share(0.98, 0.93, 1.03, 12, 48).chance(0.98) == pytest.approx(0.5)
    assert Share(1.0, 0.96, 1.04, 12, 48).chance(0.98) == pytest.approx(0.841, abs=0.001)  # one error above
    assert Share(1.0, 1.0, 1.0, 12, 12).chance(0.95) < 0.9 < Share(1.0, 1.0, 1.0, 12, 48).chance(0.95)
    assert Share(1.0, None, None, 3, 3).chance(0.98) > Share(0.9, None, None, 3, 3).chance(0.98)
    both = {"identity": Share(0.98, 0.93, 1.03, 12, 48), "sharpness": Share(0.85, 0.8, 0.9, 12, 48)}
    assert Standing(both, 1.0, 0, 48).chance(Target()) == pytest.approx(0.25)
    assert Standing(both, 1.0, 9, 48).chance(Target()) == 0


def test_without_an_interval_nothing_is_sure():
    one = Standing({"identity": Share(0.5, None, None, 3, 3)}, 1.0, 0, 3)
    assert not one.surely_misses(Target()) and one.shortfall(Target(), 1.0) == one.shortfall(Target())
    assert one.misses(Target()) == ["identity"]


def test_a_way_that_loses_faces_misses():
    assert standing(1.5, 0.01, lost=2).misses(Target()) == ["faces"]
    assert standing(1.5, 0.01, lost=2).shortfall(Target(), 1.0) == 1
    assert standing(1.5, 0.01, lost=1).misses(Target()) == []


@pytest.mark.parametrize("share", [-0.1, 2.5, float("nan")])
def test_a_target_that_cannot_be_meant_is_refused(share):
    with pytest.raises(SettingsError, match="0 to 200 %"):
        Target(sharpness=share)
