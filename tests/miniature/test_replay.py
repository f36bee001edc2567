"""The replay: a small sample of every kind of advice and of stopping, through the released files; its arithmetic."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infusenet.miniature.replay import __main__ as command
from infusenet.miniature.replay import compare, follow, lab, page, runs, stops


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = lab.Lab(runs.VALIDATION, 3, tmp_path_factory.mktemp("replay"))
    yield made
    made.close()


SAMPLE = (
    follow.Base(runs.Setting(), ("keep", "stop", "steps")),
    follow.Base(runs.Setting(strength=0.5), ("strength",)),
    follow.Base(runs.Setting(end=0.5), ("end",)),
)


def test_every_kind_of_advice_does_no_harm(few: Any) -> None:
    rows = follow.table(few, SAMPLE)
    assert {one["kind"] for one in rows} == set(follow.KINDS)
    for one in rows:
        row = one["row"]
        assert row.runs >= 1, one
        assert row.gain > 0 and row.sharpness > 0.85, one


def test_a_run_that_is_cut_short_is_the_run_up_to_there(few: Any) -> None:
    course, steps = few.course(stops.DEV), few.steps(stops.DEV)
    made = few.tails(stops.DEV, course, [12] * 3, 4)
    row = compare.pair("", made, steps.at(27), 16)
    assert row.gain > -0.01 and row.sharpness > 0.9 and row.evaluations == 16
    whole = few.tails(stops.DEV, course, [24, 25, 28], 4)
    assert np.allclose(whole.judged, steps.at(27).judged, atol=1e-3), "nothing would be saved: they are finished"


def readings(likeness: list[float], sharpness: float = 1.0) -> runs.Readings:
    values = np.array(likeness)
    return runs.Readings(np.isfinite(values), np.ones_like(values), values, values, np.full_like(values, sharpness))


def test_a_pair_is_compared_run_by_run() -> None:
    row = compare.pair(
        "x", readings([0.5, 0.6, 0.7, float("nan")], 0.9), readings([0.4, 0.5, 0.6, 0.1]), [10, 20, 20, 30]
    )
    assert row.gain == pytest.approx(0.1) and row.faceless == 1, "a picture without a face is in no mean"
    assert row.worse == 0.25 and row.evaluations == 20 and row.sharpness == pytest.approx(0.9)
    assert row.low is not None and not row.helps, "to lose the face is to be worse"
    spread = compare.pair("x", readings([0.5, 0.2, 0.7]), readings([0.4, 0.5, 0.6]), 1)
    assert spread.low is not None and spread.low < 0 < spread.high and not spread.helps  # type: ignore[operator]
    assert compare.pair("x", readings([0.5, 0.61, 0.7]), readings([0.4, 0.5, 0.6]), 1).helps
    assert compare.half_width(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == pytest.approx(2.776 * 1.5811 / 5**0.5, rel=0.01)
    assert compare.pair("x", readings([]), readings([]), 0).gain is None


def test_rules_on_curves_that_are_plain_to_see() -> None:
    values = [0.1, 0.3, 0.5, 0.4, 0.3, 0.2, 0.2, 0.2]
    assert stops.today(values) == stops.Ending(5, 3, 5) and stops.finish_best(values).kept == 3
    assert stops.finish_sharp(values, [0.1, 0.1, 0.1, 0.95, 1, 1, 1, 1]).kept == 4
    assert stops.levelled([0.1, 0.1, 0.1, 0.1, 0.1]) == stops.Ending(4, 4, 4)
    assert stops.guarded(values, 0.2, 2) == stops.Ending(2, None, 1)
    assert stops.guarded([0.1] * 8, 0.2, 2) == stops.Ending(8, None, 6), "it is finished"
    assert stops.guarded([None, None, None, 0.3, 0.3], 0.2, 2) == stops.Ending(4, None, 3)


def test_people_prompts_and_noises_are_not_shared() -> None:
    one, other = runs.DESIGN, runs.VALIDATION
    assert not set(one.prompts) & set(other.prompts)
    noises = [{crowd.noise_seed(k) + 500 * n for k in range(crowd.count) for n in range(2)} for crowd in (one, other)]
    assert not noises[0] & noises[1] and len({one.seed, other.seed, runs.STRANGERS}) == 3


def test_the_page_and_the_record(tmp_path: Path) -> None:
    row = compare.pair("a <rule>", readings([0.5, 0.6, 0.7]), readings([0.4, 0.5, 0.6]), 16, 1)
    record = command.as_plain(
        {
            "crowd": "validation",
            "runs": 3,
            "seconds_of": {"step": 0.1, "look": 0.1},
            "stopping": {
                "rules": [row],
                "schnell": [row],
                "paired": [{"name": "c - e", "gain": 0.0, "low": -0.1, "high": 0.1}],
                "guard": {"delayed": 0, "never_stopped": 0},
            },
            "advice": [{"kind": "end", "of": "mini-dev 28", "row": row}],
            "rejected": [compare.pair("nobody", readings([]), readings([]), 0)],
            "by_others": row,
        }
    )
    text = page.page(json.loads(json.dumps(record, allow_nan=False)))
    assert "a &lt;rule&gt;" in text and "no run asked for it" in text and "+0.100" in text
    assert page.share_of_time(record["stopping"]["rules"][0], {"step": 1.0, "look": 2.0}) == pytest.approx(18 / 28)
    assert command.as_csv([row]).splitlines()[0].startswith("name,runs,gain,low,high,worse,evaluations")
