"""Peak, drift, window and advice, on curves whose answers are plain to see."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infusenet.drift import Peak, analyse, drift_of, in_words, peak_of, recommended_steps, should_stop, window_of
from infusenet.probe import Baseline, ReferenceInfo, RunInfo, StepRecord, Trace

Curve = list[float | None]


def record(step: int, values: tuple[float | None, ...], alignment: Any = "detected") -> StepRecord:
    none = (None,) * len(values)
    kinds = tuple(None if value is None else alignment for value in values)
    return StepRecord(step, 1 / step, values, tuple(v is not None for v in values), kinds, none, none, none)


def trace_of(curve: Curve, final: float | None = None, **changes: Any) -> Trace:
    """A whole run with one picture; its finished picture scores as the last step unless told otherwise."""
    end = curve[-1] if final is None else final
    return replace(
        Trace(
            records=tuple(record(i, (value,)) for i, value in enumerate(curve, start=1)),
            final=record(len(curve), (end,)),
            batch=1,
            every=1,
            sigmas=tuple(1 - i / len(curve) for i in range(len(curve) + 1)),
            reference=ReferenceInfo(1),
            strangers=None,
            ceiling=None,
            recognizer="fake",
            evaluation="after",
            status="complete",
            reason=None,
            warnings=(),
            seconds_in_loop=0.0,
            seconds_after=0.0,
            run=RunInfo(),
        ),
        **changes,
    )


DRIFTING: Curve = [0.1, 0.3, 0.48, 0.5, 0.49, 0.46, 0.42, 0.4]
STEADY: Curve = [0.2, 0.49, 0.5, 0.5, 0.5, 0.49, 0.49, 0.49]
RISING: Curve = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5]


def test_a_drifting_face() -> None:
    figures = analyse(trace_of(DRIFTING))
    assert figures.peak == Peak(4, 0.5) and figures.final == 0.4
    assert figures.drift == pytest.approx(0.1)
    assert figures.formed == 3 and figures.window == (3, 5), "0.475 is 5 % below the peak"
    assert figures.recommended_steps == 4 == recommended_steps(trace_of(DRIFTING))
    assert figures.alignment == "detected"


def test_a_face_that_forms_early_and_holds() -> None:
    figures = analyse(trace_of(STEADY))
    assert (figures.formed, figures.window, figures.recommended_steps) == (2, (2, 8), 2)
    assert figures.peak == Peak(3, 0.5), "the first of equals"


def test_a_face_that_rises_to_the_end() -> None:
    figures = analyse(trace_of(RISING))
    assert (figures.peak, figures.drift, figures.formed, figures.recommended_steps) == (Peak(8, 0.5), 0.0, 8, None)


def test_drift_is_never_negative() -> None:
    assert drift_of(0.4, 0.5) == 0.0 and drift_of(0.5, 0.375) == 0.125
    assert drift_of(None, 0.5) is None and drift_of(0.5, None) is None
    figures = analyse(trace_of([0.1, 0.3], final=0.6))
    assert (figures.peak, figures.drift) == (Peak(2, 0.6), 0.0), "a finished picture can be the best"


def test_undefined_steps_are_passed_over() -> None:
    curve: Curve = [None, 0.48, None, 0.5, None, 0.49, 0.3]
    figures = analyse(trace_of(curve))
    assert (figures.peak, figures.formed, figures.window) == (Peak(4, 0.5), 2, (2, 6))
    assert peak_of([1, 2], [None, None]) is None


def test_no_identity_has_no_window() -> None:
    for curve in ([-0.1, -0.05, -0.2], [0.0, 0.0]):
        figures = analyse(trace_of(curve))
        assert figures.peak is not None and figures.window is None and figures.formed is None
        assert figures.recommended_steps is None
    nothing = analyse(trace_of([None, None]))
    assert (nothing.peak, nothing.final, nothing.drift, nothing.window) == (None, None, None, None)


def test_the_window_ends_where_the_level_is_left_even_if_it_is_reached_again() -> None:
    values: Curve = [0.5, 0.2, 0.5, 0.2, 0.49]
    assert window_of([1, 2, 3, 4, 5], values, Peak(1, 0.5)) == (1, 1)
    assert window_of([1, 5, 9, 13, 17], values, Peak(9, 0.5)) == (1, 9), "formed the first time it was reached"


def test_probing_every_few_steps_keeps_the_steps_own_numbers() -> None:
    trace = trace_of(DRIFTING)
    thinned = replace(trace, records=trace.records[::3] + trace.records[-1:], every=3)
    assert analyse(thinned).peak == Peak(4, 0.5)


def test_the_mean_of_a_batch_decides() -> None:
    columns = [(0.2, 0.6), (0.4, 0.5), (0.6, 0.1)]
    trace = trace_of([0.0] * 3)
    trace = replace(
        trace,
        batch=2,
        records=tuple(record(i, values) for i, values in enumerate(columns, start=1)),
        final=record(3, (0.5, 0.2)),
    )
    figures = analyse(trace)
    assert figures.peak == Peak(2, pytest.approx(0.45)) and figures.drift == pytest.approx(0.1)
    lost = replace(trace, final=record(3, (0.5, None)))
    assert analyse(lost).peak == Peak(3, 0.6) and analyse(lost).drift == pytest.approx(0.1)
    assert "picture 2 of the batch of 2" in in_words(lost)


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
def test_the_rule_of_stopping(values: Curve, settings: dict[str, Any], expected: int | None) -> None:
    assert should_stop(values, **settings) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"status": "interrupted"},
        {"sigmas": (1.0, 0.8, 0.6)},
        {"run": RunInfo(step_offset=4)},
        {"status": "stopped at peak"},
    ],
)
def test_part_of_a_run_suggests_no_step_count(change: dict[str, Any]) -> None:
    trace = trace_of(DRIFTING, **change)
    assert recommended_steps(trace) is None
    assert "separate run" not in in_words(trace)


def test_without_a_finished_picture_there_is_no_drift() -> None:
    trace = replace(trace_of(DRIFTING), final=None)
    assert (analyse(trace).drift, recommended_steps(trace)) == (None, None)
    assert "no drift can be stated" in in_words(trace) and "separate run" not in in_words(trace)


def said(trace: Trace) -> Callable[..., bool]:
    words = in_words(trace)
    return lambda *parts: all(part in words for part in parts)


def test_words_for_a_drifting_face() -> None:
    say = said(trace_of(DRIFTING, strangers=Baseline(0.02, 0.1, 30), ceiling=0.78))
    assert say("formed at step 3 of 8", "peaked at step 4 of 8", "0.500")
    assert say("down to 0.400", "drift of 0.100, 20 % of the peak")
    assert say("other people score 0.020 ± 0.100", "same person score 0.780")
    assert say("Stop at Peak", "prediction of step 4", "4 steps as a separate run", "not this one cut short")
    assert not say("end_percent")


def test_words_for_a_face_that_holds() -> None:
    say = said(trace_of(STEADY))
    assert say("within 5 % of the peak", "end_percent of 0.25", "after step 2", "2 steps as a separate run")
    assert not say("Stop at Peak")


def test_words_when_the_adapter_ended_before_the_drift() -> None:
    assert said(trace_of(DRIFTING, run=RunInfo(end=0.5)))("end_percent above 0.5", "off after step 4")
    assert not said(trace_of(DRIFTING, run=RunInfo(end=0.9)))("end_percent")


def test_words_for_no_identity() -> None:
    say = said(trace_of([0.05, 0.06, 0.04], strangers=Baseline(0.02, 0.1, 30)))
    assert say("cannot be told from a stranger's", "clearer, frontal reference")
    assert not say("separate run") and not say("Stop at Peak")


@pytest.mark.parametrize("curve", [[0.009, -0.02], [-0.09, -0.12]])
def test_a_loss_is_no_share_of_a_peak_near_zero(curve: Curve) -> None:
    words = in_words(trace_of(curve))
    assert "a drift of 0.0" in words and "% of the peak" not in words


def test_what_ends_at_its_peak_has_not_come_down_even_below_zero() -> None:
    assert "is down to" not in in_words(trace_of([-0.2, -0.1]))


def test_words_for_nothing_measured() -> None:
    assert said(trace_of([None, None]))("No face was found in any of the 2 probed")
    assert said(trace_of([None], status="failed", reason="step 1: out of memory"))("step 1: out of memory")


def test_words_for_a_partial_run() -> None:
    say = said(trace_of(DRIFTING[:5], final=None, status="interrupted", reason="cancelled"))
    assert say("run was interrupted: cancelled")
    stopped = said(replace(trace_of(DRIFTING), status="stopped at peak", final=record(4, (0.5,))))
    assert stopped("the picture is the prediction of step 4") and not stopped("Try next")


def test_words_carry_every_warning() -> None:
    trace = trace_of(DRIFTING, warnings=("mind this",), run=RunInfo(decoder="taef1", final_decoder="FLUX VAE"))
    assert said(trace)("mind this", "smaller decoder")
    carried = replace(trace, records=tuple(replace(r, alignment=("carried",)) for r in trace.records))
    assert said(carried)("an earlier step")


def test_a_finished_picture_without_a_face_does_not_hide_the_steps() -> None:
    trace = trace_of(STEADY)
    hidden = replace(trace, final=replace(record(8, (None,)), found=(False,)))
    figures = analyse(hidden)
    assert figures.peak == Peak(3, 0.5) and figures.final is None and figures.drift is None
    assert "The finished picture shows no face" in in_words(hidden)
    steps = tuple(record(i, (0.5, 0.4)) for i in range(1, 9))
    two = replace(trace, records=steps, batch=2, final=record(8, (None, 0.3)))
    assert two.counted == (1,), "one face there: it alone is counted"


def test_a_stopped_run_names_the_step_that_was_handed_on() -> None:
    stopped = trace_of([0.9, 0.5, 0.4], status="stopped at peak")
    words = in_words(replace(stopped, final=record(2, (0.5,))))
    assert "It peaked at step 1" in words and "the picture is the prediction of step 2" in words


def test_a_run_that_ended_before_its_first_step_says_so() -> None:
    words = in_words(replace(trace_of([0.5]), records=(), final=None, status="interrupted"))
    assert words.startswith("Nothing was measured: the run was interrupted before its first probed step.")


def test_noise_that_uni_pc_leaves_is_none() -> None:
    ended = trace_of(STEADY)
    assert "Try next" in in_words(replace(ended, sigmas=(*ended.sigmas[:-1], 0.001)))
    assert analyse(replace(ended, sigmas=(*ended.sigmas[:-1], 0.001))).recommended_steps == 2
    assert analyse(replace(ended, sigmas=(*ended.sigmas[:-1], 0.1))).recommended_steps is None


@pytest.mark.parametrize("sampler", ["dpm_fast", "dpm_adaptive"])
@pytest.mark.parametrize("curve", [STEADY, DRIFTING])
def test_callbacks_that_are_no_steps_give_no_advice_in_steps(sampler: str, curve: Curve) -> None:
    words = in_words(trace_of(curve, run=RunInfo(sampler=sampler, end=0.5)))
    assert "end_percent" not in words and "separate run" not in words
