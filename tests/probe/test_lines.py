"""What a likeness is judged by: the lines, and the first step above all that are known."""

from dataclasses import replace
from typing import Any

import pytest

from infusenet.measures.lines import bar_of, published_name
from infusenet.probe import Baseline, ReferenceInfo, Rule, RunInfo, StepRecord, Trace
from infusenet.probe.lines import above_in_words, first_above, lines_of

OTHERS, BLANK = Baseline(0.1, 0.05, 16), Baseline(0.2, 0.1, 16)


def trace_of(*values: float, seen: tuple[bool, ...] | None = None, **changes: Any) -> Trace:
    none = (None,)
    records = tuple(
        StepRecord(step, None, (value,), (seen is None or seen[step - 1],), ("detected",), none, none, none)
        for step, value in enumerate(values, start=1)
    )
    trace = Trace(
        records=records, final=records[-1], batch=1, every=1, sigmas=(), reference=ReferenceInfo(1), strangers=OTHERS,
        ceiling=None, recognizer="rec.onnx 0123456789ab (CPU)", evaluation="after", status="complete", reason=None,
        warnings=(), seconds_in_loop=0.0, seconds_after=0.0, run=RunInfo(), rule=Rule("face 1"), blank=BLANK,
    )  # fmt: skip
    return replace(trace, **changes)


def test_above_means_above_every_known_line_by_two_deviations() -> None:
    assert bar_of(OTHERS, BLANK) == pytest.approx(0.4) and bar_of(OTHERS, None) == pytest.approx(0.2)
    assert bar_of(None, None) is None and bar_of(Baseline(0.1, None, 1), None) is None
    assert first_above(trace_of(0.3, 0.39, 0.41, 0.5)) == 3
    assert first_above(trace_of(0.3, 0.39, strangers=None)) is None
    assert first_above(trace_of(0.3, 0.39, blank=None)) == 1


def test_unseen_steps_are_never_above() -> None:
    assert first_above(trace_of(0.9, 0.9, 0.5, seen=(False, False, True))) == 3
    assert first_above(trace_of(0.9, seen=(False,))) is None


def test_it_is_said_in_words_what_it_is_above_of() -> None:
    assert above_in_words(trace_of(0.1, 0.6)) == "above both lines from step 2"
    assert above_in_words(trace_of(0.1, 0.2)) == "never above both lines"
    assert above_in_words(trace_of(0.6, strangers=None)) == "above the blank line from step 1"
    assert above_in_words(trace_of(0.6, blank=None)) == "above other people from step 1"
    assert above_in_words(trace_of(0.6, blank=None, strangers=None)) is None
    assert above_in_words(trace_of(0.6, seen=(False,))) is None


def test_every_line_has_its_name() -> None:
    trace = trace_of(0.1, published_line=0.363, recognizer="face_recognition_sface_2021dec.onnx 01 (CPU)", ceiling=0.7)
    assert [line.text for line in lines_of(trace)] == [
        "other people 0.10",
        "no face (blank) 0.20",
        "SFace's same-person line 0.363",
        "same person, other pictures 0.70",
    ]
    assert published_name("mine.onnx 01 (CPU)") == "mine's same-person line"
    assert lines_of(trace_of(0.1, strangers=None, blank=None)) == ()


def test_several_references_share_a_line() -> None:
    pooled = Baseline.pooled([OTHERS, BLANK])
    assert pooled is not None and (pooled.mean, pooled.std, pooled.count) == (pytest.approx(0.15), 0.1, 32)
    assert Baseline.pooled([OTHERS]) == OTHERS
    assert Baseline.pooled([OTHERS, None]) is None and Baseline.pooled([]) is None
