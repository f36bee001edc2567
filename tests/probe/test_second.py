"""Two networks on one run: they agree, they disagree, or nobody can know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infusenet.measures import Baseline
from infusenet.probe import ReferenceInfo, RunInfo, StepRecord, Trace, second

OTHERS = Baseline(0.1, 0.05, 20)


def traced(name: str, *values: float | None, strangers: Baseline | None = OTHERS) -> Trace:
    """A run whose finished picture is as its last step."""
    none = (None,)
    records = tuple(
        StepRecord(
            i, 1 - i / 10, (value,), (value is not None,), (None if value is None else "detected",), none, none, none
        )
        for i, value in enumerate(values, start=1)
    )
    return Trace(
        records=records, final=replace(records[-1], sigma=0.0), batch=1, every=1, sigmas=(), reference=ReferenceInfo(1),
        strangers=strangers, ceiling=None, recognizer=name, evaluation="after", status="complete", reason=None,
        warnings=(), seconds_in_loop=0.0, seconds_after=0.0, run=RunInfo(),
    )  # fmt: skip


@pytest.mark.parametrize(
    "values, agree, words",
    [
        ((0.3, 0.6), True, "The two agree: for both, the end of the run is above their lines."),
        (
            (0.3, 0.1),
            False,
            "The two disagree: the end of the run is above the lines of one.onnx, but not above those of two.onnx.",
        ),
    ],
)
def test_the_ends_are_compared_each_with_its_own_lines(values: tuple[float, ...], agree: bool, words: str) -> None:
    one, two = traced("one.onnx (cpu)", 0.2, 0.5), traced("two.onnx (cpu)", *values)
    assert second.figures_of(one, two)["agree"] is agree
    told = second.in_words(one, two)
    assert words in told[-1] and told[0].startswith("two.onnx, the second recognizer, measured a peak of")
    assert f"finished picture at {values[-1]:.3f}" in told[0]


def test_both_below_their_lines_agree_too() -> None:
    low = traced("one.onnx", 0.1, 0.15), traced("two.onnx", 0.0, 0.1)
    assert second.in_words(*low)[-1] == "The two agree: for both, the end of the run is not above their lines."


def test_a_network_without_lines_cannot_agree() -> None:
    one, two = traced("one.onnx", 0.5), traced("two.onnx", 0.6, strangers=None)
    assert second.figures_of(one, two)["agree"] is None
    assert "not known: two.onnx could not judge" in second.in_words(one, two)[-1]


def test_nothing_measured_is_said() -> None:
    one, two = traced("one.onnx", 0.5), traced("two.onnx", None)
    assert second.in_words(one, two) == ["two.onnx, the second recognizer, measured nothing in this run."]
    assert second.figures_of(one, two)["peak"] is None
