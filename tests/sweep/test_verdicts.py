"""What is said of a claim: on made-up tables whose truth is known."""

from typing import Any

import pandas as pd
import pytest

from infusenet.sweep.figure_spec import Claim, FigureSpec
from infusenet.sweep.report.table import Tables
from infusenet.sweep.report.verdicts import ORDER, WORDS, Verdict, in_order, verdicts
from infusenet.sweep.spec import read_spec
from infusenet.sweep.toml import SpecError

EMPTY = pd.DataFrame()


def told(claim: dict[str, Any], gains: list[float | None], *, column: str = "similarity", **settings: Any) -> Verdict:
    """The verdict on "b is above a" where b's value is a's and these gains, a person each."""
    rows = []
    for person, gain in enumerate(gains):
        same = {"person": f"p{person}", "prompt": "x", "seed": 0, "status": "done", "alone": True, **settings}
        rows.append({**same, "method": "a", column: 0.5 + person / 50})
        rows.append({**same, "method": "b", column: None if gain is None else 0.5 + person / 50 + gain})
    frame = pd.DataFrame(rows).astype({"method": object, column: "float64", "alone": "boolean"})
    both = {"says": "b is above a", "of": {"method": "b"}, "than": {"method": "a"}}
    figure = FigureSpec(kind="table", title="t", values=[column], claims=[{**both, **claim}])
    (verdict,) = verdicts(figure, Tables(frame, EMPTY, EMPTY))
    return verdict


UP = [0.10, 0.11, 0.09, 0.10, 0.12, 0.08, 0.10]
EITHER = [0.10, -0.08, 0.05, -0.02, 0.09, -0.05, 0.03]
DOWN = [-gain for gain in UP]


@pytest.mark.parametrize(
    "gains, claim, status",
    [
        (UP, {"paper": 0.1}, "agrees"),
        (UP, {"paper": 0.028}, "size"),
        ([0.0] * 7, {"sign": 1}, "undecided"),
        (DOWN, {"paper": 0.028}, "contradicts"),
        (EITHER, {"paper": 0.028}, "same"),
        (EITHER, {"paper": -0.028}, "opposite"),
        (UP, {"sign": 1}, "agrees"),
        (UP, {"sign": -1}, "contradicts"),
        (UP[:5], {"sign": 1}, "few"),
        ([None] * 7, {"sign": 1}, "unmeasured"),
        (UP, {"margin": 0.2}, "agrees"),
        (UP, {"margin": 0.05}, "contradicts"),
        (UP, {"margin": 0.1}, "undecided"),
        (DOWN, {"margin": 0.05}, "contradicts"),
        (DOWN, {"most": 0.05}, "agrees"),
        (UP, {"most": 0.05}, "contradicts"),
        (EITHER, {"most": 0.01}, "undecided"),
    ],
)
def test_every_verdict(gains: list[float | None], claim: dict[str, Any], status: str) -> None:
    verdict = told(claim, gains)
    assert verdict.status == status
    assert verdict.line.endswith(WORDS[verdict.status])


def test_the_line_tells_both_figures_and_the_interval() -> None:
    verdict = told({"paper": 0.028}, DOWN)
    assert verdict.line == "Paper +0.028; here −0.100 [−0.112, −0.088] (7 people): contradicts"


def test_a_ratio_is_paired_and_disturbed_seconds_do_not_count() -> None:
    times = {"column": "seconds"}
    verdict = told({"paper": 1.2, "ratio": True}, UP, **times)
    assert verdict.mean is not None and 1.1 < verdict.mean < 1.25
    assert verdict.line.startswith("Paper ×1.20; here ×1.1")
    assert verdict.status == "agrees"
    assert told({"paper": 0.9, "ratio": True}, UP, **times).status == "contradicts"
    assert told({"paper": 1.2, "ratio": True}, UP, **times, alone=False).status == "unmeasured"


def test_a_difference_of_differences() -> None:
    """Two prompts, two step counts: the fall is 0.3 in one prompt and 0.1 in the other, of every person."""
    falls = {("style", 4): 0.9, ("style", 28): 0.6, ("plain", 4): 0.8, ("plain", 28): 0.7}
    rows = [
        {"method": "dev", "person": who, "prompt": prompt, "seed": 0, "steps": steps, "similarity": value + who / 100}
        for who in range(6)
        for (prompt, steps), value in falls.items()
    ]
    frame = pd.DataFrame(rows).astype({"method": object, "prompt": object})
    sides = {"of": {"prompt": "style", "steps": 4}, "than": {"prompt": "style", "steps": 28}}
    claim = {"says": "x", **sides, "against": {"prompt": "plain"}, "paper": 0.084}
    (verdict,) = verdicts(FigureSpec(kind="table", title="t", claims=[claim]), Tables(frame, EMPTY, EMPTY))
    assert verdict.mean == pytest.approx(0.2)
    assert verdict.status == "size"


def test_a_claim_is_about_the_prompts_that_its_figure_shows() -> None:
    rows = [
        {"method": method, "person": who, "prompt": prompt, "seed": 0, "similarity": value + who / 100}
        for (method, prompt), value in {("a", "x"): 0.5, ("b", "x"): 0.3, ("a", "y"): 0.1, ("b", "y"): 0.3}.items()
        for who in range(6)
    ]
    frame = pd.DataFrame(rows).astype({"method": object, "prompt": object})
    claim = {"says": "x", "of": {"method": "a"}, "than": {"method": "b"}, "sign": 1}
    for shown, gain in ({}, 0.0), ({"prompts": ["x"]}, 0.2), ({"prompts": ["y"]}, -0.2):
        figure = FigureSpec(kind="table", title="t", claims=[claim], **shown)
        assert verdicts(figure, Tables(frame, EMPTY, EMPTY))[0].mean == pytest.approx(gain)


def test_the_last_step_of_a_run() -> None:
    rows = [
        {"method": "dev", "person": who, "prompt": "x", "seed": 0, "steps": 3, "step": step, "similarity": step / 10}
        for who in range(6)
        for step in (1, 2, 3)
    ]
    claim = {"says": "x", "of": {"step": -1}, "than": {"step": 1}, "sign": 1}
    figure = FigureSpec(kind="trajectory", title="t", claims=[claim])
    (verdict,) = verdicts(figure, Tables(EMPTY, pd.DataFrame(rows).astype({"method": object}), EMPTY))
    assert verdict.mean == pytest.approx(0.2)


def test_what_contradicts_stands_first() -> None:
    found = [told({"sign": 1}, gains) for gains in (UP, EITHER, DOWN)]
    assert [verdict.status for verdict in in_order(found)] == ["contradicts", "same", "agrees"]
    assert set(ORDER) == set(WORDS)


def test_a_column_that_is_not_there_is_not_measured() -> None:
    figure = FigureSpec(
        kind="table", title="t", claims=[{"says": "x", "of": {}, "than": {}, "sign": 1, "value": "lpips"}]
    )
    frame = pd.DataFrame({"person": ["a"], "prompt": ["p"], "seed": [0]})
    (verdict,) = verdicts(figure, Tables(frame, EMPTY, EMPTY))
    assert (verdict.status, verdict.mean) == ("unmeasured", None)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ('of = {method = "dev"}\nthan = {}', "a paper's figure, a sign"),
        ("of = {colour = 1}\nthan = {}\nsign = 1", "settings from method, prompt"),
        ('of = {}\nthan = {}\nsign = 1\nvalue = "beauty"', "one of similarity"),
        ("of = {}\nthan = {}\nsign = 1\nbound = 3", "unknown key"),
    ],
)
def test_a_wrong_claim_is_a_line_with_its_place(write: Any, wrong: str, words: str) -> None:
    claim = f'[[figures]]\nkind = "table"\ntitle = "t"\n[[figures.claims]]\nsays = "x"\n{wrong}\n[quick]'
    with pytest.raises(SpecError, match="figures\\[0\\].claims\\[0\\]") as error:
        read_spec(write(("[quick]", claim)))
    assert words in str(error.value)


def test_a_claim_survives_its_record() -> None:
    claim = Claim(says="x", of={"method": "a", "steps": 4}, than={"method": "b"}, paper=0.5)
    figure = FigureSpec(kind="table", title="t", claims=[claim])
    again = FigureSpec.model_validate(figure.model_dump(mode="json", exclude_defaults=True))
    assert again.claims[0] == claim
