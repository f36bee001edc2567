"""When a run may be cut short, and what is kept of it."""

from typing import Any

import pytest

from infusenet.probe.stopping import best_kept, has_levelled, is_on_course, saves, should_stop, stop_step

Curve = list[float | None]


@pytest.mark.parametrize(
    ("values", "settings", "expected"),
    [
        ([0.1, 0.5, 0.4, 0.4], {}, 1),
        ([0.1, 0.5, 0.4], {}, None),
        ([0.1, 0.5, 0.495, 0.495], {}, None),
        ([0.1, 0.5, 0.495, 0.4, 0.4], {}, 1),
        ([0.1, 0.5, 0.4, 0.495], {}, None),
        ([0.5, 0.4], {"patience": 1}, 0),
        ([0.5, 0.4], {"patience": 1, "min_steps": 3}, None),
        ([0.5, None, 0.4, None, 0.4], {}, 0),
        ([None, None, None], {}, None),
        ([], {}, None),
        ([0.5, 0.4, 0.4], {"tolerance": 0.2}, None),
        ([0.5, 0.4, 0.4, 0.6], {}, None),
    ],
)
def test_the_first_rule(values: Curve, settings: dict[str, Any], expected: int | None) -> None:
    assert should_stop(values, **settings) == expected


def test_the_step_is_a_share_of_the_run_rounded_up() -> None:
    assert [stop_step(steps) for steps in (1, 2, 4, 5, 20, 28, 50)] == [1, 1, 2, 2, 8, 12, 20]
    assert stop_step(28, 0.0) == 1 and stop_step(28, 1.0) == 28 and stop_step(10, 0.3) == 3, "no rounding error"


def test_a_tail_that_saves_nothing_is_none() -> None:
    assert saves(28, 12, 4) and not saves(4, 2, 2) and not saves(4, 2, 4) and saves(4, 2, 1)


@pytest.mark.parametrize(
    ("values", "bar", "expected"),
    [
        ([0.5], 0.2, True),
        ([0.5], None, True),
        ([0.2], 0.2, False),
        ([None], None, False),
        ([0.5, None], 0.2, False),
        ([0.5, 0.1], 0.2, False),
        ([], 0.2, False),
    ],
)
def test_the_guard(values: Curve, bar: float | None, expected: bool) -> None:
    assert is_on_course(values, bar) is expected


def test_what_is_kept_is_seen_and_sharp() -> None:
    values: Curve = [0.9, 0.6, None, 0.5, 0.4]
    assert best_kept(values, [1.0, 9.5, 9.9, 10.0, 10.0], 10.0) == 1, "the first one is soft, the third not seen"
    assert best_kept([0.5, 0.5], [10.0, 10.0], 10.0) == 1, "the last of equals"
    assert best_kept([0.5], [None], 10.0) is None and best_kept([0.5], [10.0], None) is None
    assert best_kept([None], [10.0], 10.0) is None and best_kept([], [], 10.0) is None


def test_a_curve_that_levels() -> None:
    rising: Curve = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert not has_levelled(rising, least=2) and has_levelled([0.5, 0.5, 0.5, 0.5], least=2)
    assert not has_levelled([0.5, 0.5, 0.5, 0.5], least=5), "too early"
    assert not has_levelled([0.5, 0.5, None, 0.5], least=2), "three seen values are too few"
    assert has_levelled([0.5, 0.6, None, 0.4, 0.3], least=2) and has_levelled(rising, least=2, slope=0.1 + 1e-9)
