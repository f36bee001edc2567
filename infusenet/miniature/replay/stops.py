"""Rules of stopping early, each replayed on the same runs, against simply finishing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...measures.lines import bar_of
from ...probe.stopping import SHARE, TAIL, best_kept, has_levelled, is_on_course, saves, should_stop, stop_step
from .compare import Row, half_width, pair
from .lab import Lab
from .runs import Course, Readings, Setting

DEV = Setting()
SCHNELL = Setting("mini-schnell", 4)


@dataclass(frozen=True)
class Ending:
    """How a rule ends one run.

    Attributes:
        stop: steps completed when it stopped; all of them when it did not.
        kept: the step whose prediction is handed on; None = the run's own end, or the tail's.
        looks: predictions looked at.
    """

    stop: int
    kept: int | None
    looks: int


Values = Sequence[float | None]


def finish_best(values: Values) -> Ending:
    """(a) Finish, keep the most alike seen step, however soft."""
    best = max((value for value in values if value is not None), default=None)
    return Ending(len(values), None if best is None else list(values).index(best) + 1, len(values))


def finish_sharp(values: Values, sharpness: Sequence[float]) -> Ending:
    """(a) Finish, keep the most alike seen step that is sharp enough."""
    place = best_kept(values, sharpness, sharpness[-1])
    return Ending(len(values), None if place is None else place + 1, len(values))


def today(values: Values) -> Ending:
    """(d) The first rule: two steps in a row below the best."""
    for step in range(1, len(values)):
        place = should_stop(values[:step], patience=2, min_steps=2, tolerance=0.01)
        if place is not None:
            return Ending(step, place + 1, step)
    return Ending(len(values), None, len(values))


def levelled(values: Values) -> Ending:
    """(b) A quarter of the run, then a line through four seen steps that does not rise: that prediction."""
    least = stop_step(len(values), 0.25)
    for step in range(1, len(values)):
        if has_levelled(values[:step], least=least):
            return Ending(step, step, step)
    return Ending(len(values), None, len(values))


def guarded(values: Values, bar: float | None, step: int) -> Ending:
    """(e) A fixed step, and later ones while no face is seen there above the lines."""
    for now in range(step, len(values)):
        if is_on_course([values[now - 1]], bar):
            return Ending(now, None, now - step + 1)
    return Ending(len(values), None, len(values) - step)


def table(lab: Lab) -> dict[str, Any]:
    """All rules on mini-dev 28, the comparison of (c) with (e), and mini-schnell 4."""
    course = lab.course(DEV)
    steps = lab.steps(DEV, course)
    old = steps.at(steps.seen.shape[1] - 1)
    runs = [_values(steps, k) for k in range(len(lab.who))]
    bars = [bar_of(other, blank) for other, blank in zip(lab.strangers, lab.blanks, strict=True)]
    total = DEV.steps

    def kept(name: str, endings: Sequence[Ending]) -> Row:
        """The prediction handed on as it is."""
        places = [(total if one.kept is None else one.kept) - 1 for one in endings]
        return pair(name, steps.at(places), old, [one.stop for one in endings], [one.looks for one in endings])

    def cut(name: str, endings: Sequence[Ending], more: int = TAIL) -> tuple[Row, Readings]:
        """A tail after the stop."""
        stops = [one.stop for one in endings]
        made = lab.tails(DEV, course, stops, more)
        cost = [stop + more if saves(total, stop, more) else total for stop in stops]
        return pair(name, made, old, cost, [one.looks for one in endings]), made

    def fixed(step: int, more: int = TAIL) -> tuple[Row, Readings]:
        return cut(f"(e) step {step} of {total}, then {more}", [Ending(step, None, 0)] * len(runs), more)

    flat = [levelled(values) for values in runs]
    first = [today(values) for values in runs]
    c, c_made = cut("(c) as (b), then 4", flat)
    c2, c2_made = cut("(c) as (d), then 4", first)
    same, same_made = fixed(round(c.evaluations) - TAIL)
    same2, same2_made = fixed(round(c2.evaluations) - TAIL)
    step = stop_step(total, SHARE)
    plain, plain_made = fixed(step)
    watched = [guarded(values, bar, step) for values, bar in zip(runs, bars, strict=True)]
    guard, _ = cut(f"(e) step {step} of {total}, then 4, guarded", watched)
    rows = [
        kept("(a) finish, keep the best", [finish_best(values) for values in runs]),
        kept(
            "(a) finish, keep the best that is sharp",
            [finish_sharp(values, steps.sharpness[k].tolist()) for k, values in enumerate(runs)],
        ),
        kept("(b) levelled", flat),
        kept("(d) the first rule", first),
        c,
        c2,
        plain,
        guard,
        fixed(8)[0],
        fixed(10)[0],
        fixed(step, 3)[0],
        fixed(step, 2)[0],
    ]
    rows += [row for row in (same, same2) if row.name not in {known.name for known in rows}]
    equal = [
        _difference(f"{c.name} minus {same.name}", c_made, same_made),
        _difference(f"{c2.name} minus {same2.name}", c2_made, same2_made),
        _difference(f"{c.name} minus {plain.name}", c_made, plain_made),
    ]
    return {
        "rules": rows,
        "paired": equal,
        "schnell": _schnell(lab),
        "guard": {
            "delayed": int(
                sum(one.stop > step for one in (guarded(v, b, step) for v, b in zip(runs, bars, strict=True)))
            ),
            "never_stopped": int(sum(guarded(v, b, step).stop == total for v, b in zip(runs, bars, strict=True))),
        },
        "seen": steps.seen.mean(0).round(3).tolist(),
        "likeness": [_mean(values) for values in steps.likeness.T],
        "relative_sharpness": np.round(steps.sharpness.mean(0) / old.sharpness.mean(), 3).tolist(),
    }


def _schnell(lab: Lab) -> list[Row]:
    """A run of four steps, cut short."""
    course: Course = lab.course(SCHNELL)
    steps = lab.steps(SCHNELL, course)
    old, runs = steps.at(SCHNELL.steps - 1), [_values(steps, k) for k in range(len(lab.who))]
    first = [today(values) for values in runs]
    places = [(SCHNELL.steps if one.kept is None else one.kept) - 1 for one in first]
    cost = [one.stop for one in first]
    rows = [pair("(d) the first rule", steps.at(places), old, cost, cost)]
    for stop, more in ((1, 1), (1, 2), (2, 1)):
        made = lab.tails(SCHNELL, course, [stop] * len(runs), more)
        rows.append(pair(f"(e) step {stop} of 4, then {more}", made, old, stop + more, 0))
    return rows


def _values(steps: Readings, k: int) -> list[float | None]:
    """What the probe saw in one run: similarity by the recognizer that chooses, None where no face is seen."""
    return [float(v) if seen else None for v, seen in zip(steps.chosen[k], steps.seen[k], strict=True)]


def _difference(name: str, one: Readings, other: Readings) -> dict[str, Any]:
    difference = one.likeness - other.likeness
    difference = difference[np.isfinite(difference)]
    gain, half = float(difference.mean()), half_width(difference)
    low, high = (None, None) if half is None else (gain - half, gain + half)
    return {"name": name, "gain": gain, "low": low, "high": high}


def _mean(values: Any) -> float | None:
    """Mean where a face is seen; None where none is."""
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 4) if len(known) else None
