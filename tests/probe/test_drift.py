"""Peak, drift, window and words, on curves whose answers are plain to see."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infusenet.probe import Baseline, ReferenceInfo, Rule, RunInfo, StepRecord, Trace
from infusenet.probe.drift import Peak, above_lines, analyse, drift_of, in_words, peak_of, recommended_steps, window_of

Curve = list[float | None]


BLANK, OTHERS = Baseline(0.05, 0.02, 16), Baseline(0.02, 0.05, 30)


def record(step: int, values: tuple[float | None, ...], seen: bool = True) -> StepRecord:
    none = (None,) * len(values)
    kinds: Any = tuple(None if value is None else "detected" if seen else "back-filled" for value in values)
    found = tuple(value is not None and seen for value in values)
    return StepRecord(step, 1 / step, values, found, kinds, none, none, none)


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
            run=RunInfo(strength=1.0),
            rule=Rule("face 1"),
        ),
        **changes,
    )


DRIFTING: Curve = [0.1, 0.3, 0.48, 0.5, 0.49, 0.46, 0.42, 0.4]
STEADY: Curve = [0.2, 0.49, 0.5, 0.5, 0.5, 0.49, 0.49, 0.49]
RISING: Curve = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5]


def long_run(curve: Curve, steps: int = 28) -> Curve:
    """The curve stretched over a run of so many steps."""
    return [curve[place * len(curve) // steps] for place in range(steps)]


def test_a_drifting_face() -> None:
    figures = analyse(trace_of(DRIFTING, blank=BLANK))
    assert figures.peak == Peak(4, 0.5) and figures.final == 0.4
    assert figures.drift == pytest.approx(0.1)
    assert figures.formed == 3 and figures.window == (3, 5), "0.475 is 5 % below the peak"
    assert figures.recommended_steps is None, "a run of 8 steps is not cut"
    assert figures.alignment == "detected"


def test_a_long_run_that_drifts_suggests_its_peak_but_no_fewer_than_30_percent() -> None:
    assert recommended_steps(trace_of(long_run(DRIFTING))) == 12
    early = [0.5, *[0.4] * 27]
    assert analyse(trace_of(early)).peak == Peak(1, 0.5) and recommended_steps(trace_of(early)) == 9
    assert (
        recommended_steps(trace_of(long_run(STEADY))) is None and recommended_steps(trace_of(long_run(RISING))) is None
    )


def test_a_face_that_forms_early_and_holds() -> None:
    figures = analyse(trace_of(STEADY, blank=BLANK))
    assert (figures.formed, figures.window, figures.recommended_steps) == (2, (2, 8), None)
    assert figures.peak == Peak(3, 0.5), "the first of equals"


def test_a_face_that_rises_to_the_end() -> None:
    figures = analyse(trace_of(RISING, blank=BLANK))
    assert (figures.peak, figures.drift, figures.formed, figures.recommended_steps) == (Peak(8, 0.5), 0.0, 8, None)


def test_nothing_forms_below_a_line_or_without_one() -> None:
    high = Baseline(0.4, 0.06, 16)
    assert analyse(trace_of(STEADY)).formed is None, "no line is known"
    for lines in ({"blank": high}, {"strangers": high}, {"strangers": OTHERS, "blank": high}):
        trace = trace_of(STEADY, **lines)
        assert analyse(trace).formed is None and above_lines(trace, 0.5) is False
        assert "formed" not in in_words(trace) and analyse(trace).window == (2, 8)
    both = trace_of(STEADY, strangers=OTHERS, blank=BLANK)
    assert above_lines(both, 0.121) is True and above_lines(both, 0.119) is False, "0.02 + 2 x 0.05"
    assert above_lines(both, None) is None and above_lines(trace_of(STEADY), 0.5) is None
    assert above_lines(trace_of(STEADY, blank=Baseline(0.1, None, 1)), 0.5) is None, "a line without a deviation"


def test_unseen_steps_conclude_nothing() -> None:
    """The U: high values at a place where no face is seen, before a face is there."""
    trace = trace_of(long_run(RISING), strangers=OTHERS, blank=BLANK)
    hidden = tuple(record(r.step, (0.9,), seen=False) if r.step <= 10 else r for r in trace.records)
    figures = analyse(replace(trace, records=hidden))
    assert figures == analyse(replace(trace, records=trace.records[10:]))
    assert figures.peak == Peak(26, 0.5) and figures.formed is not None and figures.formed > 10
    nothing = replace(trace, records=tuple(record(r.step, (0.9,), seen=False) for r in trace.records), final=None)
    assert (analyse(nothing).peak, analyse(nothing).formed, recommended_steps(nothing)) == (None, None, None)
    assert "No face was seen with enough confidence in any of the 28" in in_words(nothing)
    assert "Try next" not in in_words(nothing)


def test_drift_is_never_negative() -> None:
    assert drift_of(0.4, 0.5) == 0.0 and drift_of(0.5, 0.375) == 0.125
    assert drift_of(None, 0.5) is None and drift_of(0.5, None) is None
    figures = analyse(trace_of([0.1, 0.3], final=0.6))
    assert (figures.peak, figures.drift) == (Peak(2, 0.6), 0.0), "a finished picture can be the best"


def test_undefined_steps_are_passed_over() -> None:
    curve: Curve = [None, 0.48, None, 0.5, None, 0.49, 0.3]
    figures = analyse(trace_of(curve, blank=BLANK))
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
    "change",
    [
        {"status": "interrupted"},
        {"sigmas": (1.0, 0.8, 0.6)},
        {"run": RunInfo(step_offset=4)},
        {"status": "stopped at peak"},
        {"sigmas": (0.7, 0.4, 0.0)},
        {"sigmas": (4.0, 1.0, 0.0)},
    ],
)
def test_part_of_a_run_suggests_no_step_count(change: dict[str, Any]) -> None:
    trace = trace_of(long_run(DRIFTING), **change)
    assert recommended_steps(trace_of(long_run(DRIFTING))) and recommended_steps(trace) is None
    assert "separate run" not in in_words(trace)


def test_without_a_finished_picture_there_is_no_drift() -> None:
    trace = replace(trace_of(DRIFTING), final=None)
    assert (analyse(trace).drift, recommended_steps(trace)) == (None, None)
    assert "the drift is unknown" in in_words(trace) and "separate run" not in in_words(trace)


def said(trace: Trace) -> Callable[..., bool]:
    words = in_words(trace)
    return lambda *parts: all(part in words for part in parts)


def test_words_for_a_drifting_face() -> None:
    say = said(trace_of(DRIFTING, strangers=OTHERS, blank=BLANK, ceiling=0.78))
    assert say("formed at step 3 of 8", "peaked at step 4 of 8", "0.500", "The curve is above both lines from step 2.")
    assert say("down to 0.400", "drift of 0.100, 20 % of the peak")
    assert say("other people score 0.020 ± 0.050", "without a face score 0.050 ± 0.020", "same person score 0.780")
    assert not say("end_percent"), "to rest the adapter is never advised"


def test_words_for_a_face_that_holds() -> None:
    say = said(trace_of(STEADY, blank=BLANK))
    assert say("within 5 % of the peak", "What other people score is unknown", "above the blank line from step 1")
    assert not say("end_percent") and not say("saves time") and not say("Stop at Identity Peak")


def test_words_for_no_identity() -> None:
    say = said(trace_of([0.05, 0.06, 0.04], strangers=Baseline(0.02, 0.1, 30)))
    assert say("cannot be told from a stranger's", "never above other people")
    assert not say("separate run") and not say("reference picture"), "a clearer one was not shown to help"


def test_a_published_line_is_shown_as_what_it_is() -> None:
    say = said(trace_of(STEADY, recognizer="sface.onnx 0123456789ab (CPU)", published_line=0.363))
    assert say("The authors of sface.onnx count two faces as the same person at 0.363 or more.")
    assert not say("published", "above")


def test_old_traces_say_which_rule_they_are_of() -> None:
    assert said(trace_of(STEADY, rule=None))("by an old version, which did not record its rule")
    assert not said(trace_of(STEADY))("did not record its rule")


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
    short = trace_of(DRIFTING[:6], run=RunInfo(steps=8), status="stopped at peak")
    stopped = said(replace(short, final=record(4, (0.5,))))
    assert stopped("the picture is the prediction of step 4") and not stopped("Try next")


def test_words_for_a_run_that_was_finished_and_its_best_kept() -> None:
    kept = replace(trace_of(DRIFTING), status="stopped at peak", final=record(5, (0.49,)))
    assert said(kept)("The run was finished, and the prediction of step 5 was kept") and not said(kept)("Try next")


def test_words_for_a_run_that_was_cut_short() -> None:
    trace = trace_of(long_run(RISING)[:16], run=RunInfo(steps=28), status="stopped at peak", stopped_after=12)
    say = said(trace)
    assert say("It peaked at step 15 of 16") and say(
        "cut short after step 12 of 28, and 4 larger steps removed the remaining noise. Its similarity is 0.300."
    )
    assert not say("Try next") and not say("the drift is unknown")


def test_words_carry_every_warning() -> None:
    trace = trace_of(DRIFTING, warnings=("mind this",), run=RunInfo(decoder="taef1", final_decoder="FLUX VAE"))
    assert said(trace)("mind this", "smaller decoder")


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
    stopped = trace_of([0.9, 0.5, 0.4], status="stopped at peak", run=RunInfo(steps=8))
    words = in_words(replace(stopped, final=record(2, (0.5,))))
    assert "It peaked at step 1" in words and "the picture is the prediction of step 2" in words


def test_a_run_that_ended_before_its_first_step_says_so() -> None:
    words = in_words(replace(trace_of([0.5]), records=(), final=None, status="interrupted"))
    assert words.startswith("Nothing was measured because the run was interrupted before its first probed step.")


def test_noise_that_uni_pc_leaves_is_none() -> None:
    ended = trace_of(long_run(DRIFTING))
    assert recommended_steps(replace(ended, sigmas=(*ended.sigmas[:-1], 0.001))) == 12
    assert recommended_steps(replace(ended, sigmas=(*ended.sigmas[:-1], 0.1))) is None


@pytest.mark.parametrize("sampler", ["dpm_fast", "dpm_adaptive"])
def test_callbacks_that_are_no_steps_give_no_advice_in_steps(sampler: str) -> None:
    words = in_words(trace_of(long_run(DRIFTING), run=RunInfo(sampler=sampler, strength=1.0)))
    assert "separate run" not in words and "Stop at Identity Peak" not in words


def test_a_refine_pass_in_which_a_person_hardly_acts_says_why() -> None:
    levels = tuple(0.5 * (1 - i / 8) for i in range(9))
    trace = trace_of([0.02] * 8, strangers=OTHERS, blank=BLANK, sigmas=levels)
    assert "the less an identity can change the face" in in_words(trace)
    told = [
        replace(trace, sigmas=tuple(2 * level for level in levels)),  # from pure noise
        replace(trace, run=RunInfo()),  # no adapter
        replace(trace, run=RunInfo(strength=1.0, step_offset=3)),  # a slice of a whole run
        trace_of([0.5] * 8, strangers=OTHERS, blank=BLANK, sigmas=levels),  # it acts
        replace(trace, strangers=None, blank=None),  # whether it acts is not known
    ]
    assert not any("the less an identity" in in_words(one) for one in told)
