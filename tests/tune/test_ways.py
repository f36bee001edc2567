"""Ways, their calls, and the pace fitted to pictures of them."""

import numpy as np
import pytest

from infusenet.backbones import BACKBONES
from infusenet.tune.pace import Pace, paces
from infusenet.tune.ways import Way, grid, reference_way, usual_ways


@pytest.mark.parametrize(
    ("refresh", "steps", "calls"),
    [("every step", 4, 4), ("every 2", 5, 3), ("every 4", 28, 7), ("1,3", 4, 2), ("2,3", 4, 3), ("1,9", 4, 1),
     ("adaptive", 8, 8)],
)  # fmt: skip
def test_how_often_infusenet_is_computed(refresh, steps, calls):
    assert Way("dev", steps, refresh=refresh).calls == (steps, calls)


def test_the_grid_has_each_way_once_and_nothing_computed_once():
    ways = grid("schnell", (2, 4), ("every step", "every 2", "every 1", "every 4"), (1.0, 1.5))
    assert len(ways) == len(set(ways)) == 2 * (1 + 2)
    assert all(way.calls[1] > 1 for way in ways)
    assert Way("dev", 1) in grid("dev", (1,), ("every step",), (1.0,))


def test_usual_ways_end_at_the_backbones_own():
    dev, schnell = (usual_ways("x", BACKBONES[name], ("every step",), (1.0,)) for name in ("flux-dev", "mini-schnell"))
    assert [(way.steps, way.schedule) for way in dev] == [
        (4, "exact"), (8, "exact"), (12, "exact"), (28, "exact"), (28, "2+4"), (28, "8+4")
    ]  # fmt: skip
    assert [(way.steps, way.schedule) for way in schnell] == [(2, "exact"), (4, "exact")]
    assert reference_way("dev", BACKBONES["mini-dev"]) == Way("dev", 28)


def test_two_rates_count_what_they_evaluate_and_never_repeat_the_exact_schedule():
    assert Way("dev", 28, schedule="2+4").calls == (6, 6)
    assert Way("dev", 28, refresh="every 4", schedule="8+4").calls == (12, 3)
    ways = grid("dev", (6, 28), ("every step", "every 6"), (1.0,), ("exact", "2+4"))
    assert [(way.steps, way.refresh, way.schedule) for way in ways] == [
        (6, "every step", "exact"), (28, "every step", "exact"), (28, "every 6", "exact"), (28, "every step", "2+4")
    ]  # fmt: skip


def test_names_tell_ways_apart():
    ways = grid("dev", (4, 8), ("every step", "every 2"), (1.0, 1.25))
    assert len({way.name for way in ways}) == len(ways)
    assert Way("dev", 1, 1.25, "every 2").name == "dev, 1 step, InfuseNet every 2, strength 1.25"


def test_a_pace_is_found_through_noise():
    true, rng = Pace(0.1, 0.02, 0.007), np.random.default_rng(0)
    ways = grid("dev", (4, 8, 28), ("every step", "every 2", "every 4"), (1.0, 1.5))
    timed = [(way, true.seconds(way) * float(rng.lognormal(0, 0.05))) for way in ways for _ in range(20)]
    found = paces(timed)["dev"]
    assert [found.seconds(way) for way in ways] == pytest.approx([true.seconds(way) for way in ways], rel=0.02)
    assert found.infusenet == pytest.approx(true.infusenet, abs=0.001)


def test_a_few_pictures_that_took_very_long_change_nothing():
    true, ways = Pace(0.1, 0.02, 0.007), grid("dev", (4, 8, 28), ("every step", "every 4"), (1.0,))
    timed = [(way, true.seconds(way) * (10 if turn == 0 else 1)) for way in ways for turn in range(5)]
    assert paces(timed)["dev"].seconds(ways[0]) == pytest.approx(true.seconds(ways[0]))


def test_each_backbone_has_its_pace_and_fewer_calls_never_take_longer():
    timed = [(Way("dev", 4), 1.0), (Way("dev", 8), 0.9), (Way("schnell", 4), 0.4), (Way("schnell", 2), 0.2)]
    found = paces(timed)
    assert found["dev"].seconds(Way("dev", 4)) <= found["dev"].seconds(Way("dev", 8))
    assert found["schnell"].seconds(Way("schnell", 2)) == pytest.approx(0.2)
