"""Advice: given in the runs that it was tried on, and in no others. That it helps is tests/miniature/test_replay.py."""

from dataclasses import replace
from typing import Any

import pytest

from infusenet.probe import Baseline, RunInfo, StepRecord, Trace
from infusenet.probe.advice import advise, why_none

from .test_drift import BLANK, DRIFTING, OTHERS, RISING, long_run, record, trace_of

WEAK = [value and value / 2 for value in long_run(RISING)]


def run_of(**changes: Any) -> RunInfo:
    return replace(RunInfo(steps=28, sampler="euler", strength=1.0, start=0.0, end=1.0), **changes)


def kinds(trace: Trace) -> dict[str, dict[str, Any]]:
    return {one.kind: one.change for one in advise(trace)}


def test_a_drifting_long_run() -> None:
    trace = trace_of(long_run(DRIFTING), strangers=Baseline(-0.5, 0.05, 30), blank=BLANK, run=run_of())
    assert kinds(trace) == {"stop": {"step": 12, "tail": 4}, "steps": {"steps": 12}}
    words = " ".join(one.words for one in advise(trace))
    assert "Stop at Identity Peak" in words and "run it again with 12 steps" in words
    assert kinds(replace(trace, records=trace.records[::4], every=4)).keys() == {"stop", "steps"}


def test_a_prediction_worth_keeping_is_sharp() -> None:
    def crisp(r: StepRecord, sharpness: float) -> StepRecord:
        return replace(r, sharpness=(sharpness,))

    trace = trace_of(long_run(DRIFTING), run=run_of())
    sharp = replace(trace, records=tuple(crisp(r, 0.5 if r.step < 14 else 1.0) for r in trace.records))
    assert kinds(sharp)["keep"] == {"step": 14}, "the first of the peak, step 12, is soft"
    soft = replace(trace, records=tuple(crisp(r, 1.0 if r.step == 28 else 0.5) for r in trace.records))
    assert "keep" not in kinds(soft) and "keep" not in kinds(trace), "nor where sharpness was not measured"


def test_a_weak_likeness_asks_for_strength() -> None:
    trace = trace_of(WEAK, strangers=OTHERS, blank=BLANK, run=run_of())
    assert kinds(trace) == {"strength": {"strength": 1.5}}
    assert "set strength in Apply InfuseNet Identity to 1.5 instead of 1" in advise(trace)[0].words
    assert kinds(replace(trace, run=run_of(strength=1.5))) == {}, "more was not tried"
    assert kinds(replace(trace, strangers=None)) == {}, "how weak is not known"
    strong = trace_of([0.9] * 28, strangers=OTHERS, run=run_of())
    assert kinds(strong) == {} and kinds(replace(strong, run=run_of(strength=0.5))) == {"strength": {"strength": 1.0}}


def test_an_adapter_that_ends_early_asks_for_the_end() -> None:
    trace = trace_of(long_run(RISING), run=run_of(end=0.75))
    assert kinds(trace) == {"end": {"end": 1.0}}
    assert "set end_percent in Apply InfuseNet Identity to 1" in advise(trace)[0].words
    assert kinds(replace(trace, run=run_of(end=0.75, start=0.2))) == {}, "a window in the middle is meant so"


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"run": run_of(strength=None)}, "Apply InfuseNet Identity took no part"),
        ({"run": run_of(step_offset=4)}, "several samplers share this run"),
        ({"sigmas": (1.0, 0.5, 0.2)}, "several samplers share this run"),
        ({"sigmas": (0.6, 0.3, 0.0)}, "refine pass"),
        ({"status": "interrupted"}, "did not finish"),
        ({"status": "stopped at peak"}, None),
    ],
)
def test_other_runs_get_none_and_are_told_why(change: dict[str, Any], because: str | None) -> None:
    trace = replace(trace_of(long_run(DRIFTING), strangers=OTHERS, run=run_of(end=0.5)), **change)
    assert advise(trace) == () and (because is None or because in " ".join(why_none(trace)))


def test_a_sampler_at_its_own_pace_and_a_short_run_get_no_advice_in_steps() -> None:
    for run, curve in ((run_of(sampler="dpm_adaptive"), long_run(DRIFTING)), (run_of(steps=8), DRIFTING)):
        assert not {"stop", "steps", "keep"} & kinds(trace_of(curve, run=run)).keys()


def test_a_batch_keeps_no_single_step() -> None:
    trace = trace_of(long_run(DRIFTING), run=run_of())
    steps = tuple(replace(record(r.step, r.similarity * 2), sharpness=(1.0, 1.0)) for r in trace.records)
    batch = replace(trace, batch=2, records=steps, final=steps[-1])
    assert kinds(batch).keys() == {"stop", "steps"}
