"""Of a batch every picture has its own figures, and the best one is the one that came out best."""

from dataclasses import replace

from infusenet.probe import ReferenceInfo, Rule, RunInfo, StepRecord, Trace
from infusenet.probe.batch import TOLD, best_of, figures_of, in_words, measured_in_words


def trace_of(*steps: tuple[float | None, ...], final: tuple[float | None, ...]) -> Trace:
    def record(step: int, values: tuple[float | None, ...]) -> StepRecord:
        none, seen = (None,) * len(values), tuple(value is not None for value in values)
        return StepRecord(step, None, values, seen, tuple("detected" if s else None for s in seen), none, none, none)

    return Trace(
        records=tuple(record(step, values) for step, values in enumerate(steps, start=1)),
        final=record(len(steps), final), batch=len(final), every=1, sigmas=(), reference=ReferenceInfo(1),
        strangers=None, ceiling=None, recognizer="rec.onnx", evaluation="after", status="complete", reason=None,
        warnings=(), seconds_in_loop=0.0, seconds_after=0.0, run=RunInfo(), rule=Rule("face 1"), detector="det.onnx",
    )  # fmt: skip


BATCH = trace_of((0.2, 0.6, None), (0.5, 0.4, None), final=(0.45, 0.3, None))


def test_each_picture_has_its_own_figures() -> None:
    one, two, three = figures_of(BATCH)
    assert (one.picture, one.peak, one.peak_step, one.final, one.drift) == (1, 0.5, 2, 0.45, 0.04999999999999999)
    assert (two.peak, two.peak_step, two.final) == (0.6, 1, 0.3)
    assert (three.peak, three.peak_step, three.final, three.drift) == (None, None, None, None), "undefined, never 0"


def test_the_best_picture_is_the_best_finished_one() -> None:
    best = best_of(figures_of(BATCH))
    assert best is not None and best.picture == 1, "not the one that once was better"
    unfinished = trace_of((0.5, 0.6), final=(None, None))
    best = best_of(figures_of(unfinished))
    assert best is not None and best.picture == 2, "by the peaks where no finished picture shows a face"
    assert in_words(unfinished)[0] == "Picture 2 of 2 was most like the person: 0.600 at step 1."
    assert best_of(figures_of(trace_of((None,), final=(None,)))) is None


def test_in_words() -> None:
    assert in_words(BATCH) == [
        "Picture 1 of 3 came out most like the person: 0.450.",
        "Picture 1: peak 0.500 at step 2, finished 0.450, drift 0.050.",
        "Picture 2: peak 0.600 at step 1, finished 0.300, drift 0.300.",
        "Picture 3: no face was seen.",
    ]
    assert in_words(trace_of((0.5,), final=(0.5,))) == []
    many = in_words(trace_of((0.5,) * 20, final=(0.5,) * 20))
    assert len(many) == TOLD + 2 and many[-1] == "The other 12 pictures are in the record."


def test_what_measured_is_named() -> None:
    assert measured_in_words(BATCH) == "Measured by rec.onnx, faces found by det.onnx; rule: face 1."
    old = replace(BATCH, rule=None, detector=None)
    assert measured_in_words(old) == "Measured by rec.onnx; rule: not recorded."
