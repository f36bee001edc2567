"""What the recorder writes down, against runs whose every similarity is known."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from infusenet.errors import FaceError, SettingsError
from infusenet.probe import Baseline, RunInfo, StepRecord, Trace
from infusenet.probe.records import same_network

SIGMAS = [1.0, 0.75, 0.5, 0.25, 0.0]
CURVE = [0.2, 0.6, 0.9, 0.7]  # similarity at each step
EIGHT_BITS = 0.007  # of 255 levels over a right angle


def feed(recorder: Any, steps: list[torch.Tensor], sigmas: list[float] = SIGMAS) -> list[StepRecord | None]:
    recorder.start(sigmas)
    return [recorder.on_step(i + 1, sigmas[i], denoised) for i, denoised in enumerate(steps)]


@pytest.fixture
def steps(lab: SimpleNamespace) -> list[torch.Tensor]:
    return [lab.latents(lab.looks(value)) for value in CURVE]


@pytest.mark.exact
@pytest.mark.parametrize("when", ["live", "after"])
def test_every_step_is_measured(make: Any, lab: SimpleNamespace, steps: list[torch.Tensor], when: str) -> None:
    recorder = make(when=when)
    feed(recorder, steps)
    trace = recorder.finish(latents=steps[-1])
    assert [record.step for record in trace.records] == [1, 2, 3, 4]
    assert [record.sigma for record in trace.records] == SIGMAS[:4]
    assert [record.similarity[0] for record in trace.records] == pytest.approx(CURVE, abs=EIGHT_BITS)
    assert {record.alignment for record in trace.records} == {("detected",)}
    assert {record.found for record in trace.records} == {(True,)}
    assert {record.score for record in trace.records} == {(1.0,)}
    assert trace.final is not None and trace.final.similarity == trace.records[-1].similarity
    assert (trace.final.step, trace.final.sigma) == (4, 0.0)
    assert (trace.status, trace.evaluation, trace.batch, trace.steps) == ("complete", when, 1, 4)
    assert trace.recognizer == "fake" and trace.warnings == ()
    assert trace.run.versions["torch"] == torch.__version__


def test_live_hands_over_each_record_at_once(make: Any, steps: list[torch.Tensor]) -> None:
    heard: list[StepRecord] = []
    recorder = make(when="live", on_record=heard.append)
    returned = feed(recorder, steps)
    assert [record.step for record in heard] == [1, 2, 3, 4]
    assert returned == heard == list(recorder.records)


def test_after_looks_at_nothing_during_sampling(make: Any, lab: SimpleNamespace, steps: list[torch.Tensor]) -> None:
    decoded: list[int] = []
    heard: list[StepRecord] = []
    recorder = make(decode=lambda x: decoded.append(len(x)) or lab.decode(x), on_record=heard.append)
    assert feed(recorder, steps) == [None] * 4
    assert decoded == [] and heard == []
    recorder.finish()
    assert decoded == [4], "one batch of pictures, not one at a time"
    assert [record.step for record in heard] == [1, 2, 3, 4]


@pytest.mark.exact
def test_live_equals_after_in_a_batch_with_missed_faces(make: Any, lab: SimpleNamespace) -> None:
    seen = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
    steps = [
        lab.latents(*(lab.looks(0.1 * i + 0.2 * item, bool(face), 0.1 * i) for item, face in enumerate(faces)))
        for i, faces in enumerate(seen, start=1)
    ]
    traces = []
    for when in ("live", "after"):
        recorder = make(when=when, batch_size=2)
        feed(recorder, steps, [1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
        traces.append(recorder.finish(latents=steps[-1]))
    for one, other in zip(traces[0].records, traces[1].records, strict=True):
        assert one.columns() == other.columns()
    assert [record.alignment for record in traces[0].records] == [
        ("back-filled", "back-filled", None),
        ("detected", "back-filled", None),
        ("carried", "detected", None),
        ("detected", "detected", None),
        ("carried", "carried", None),
    ]
    assert [record.similarity[2] for record in traces[0].records] == [None] * 5
    assert traces[0].records[0].similarity[:2] == pytest.approx((0.1, 0.3), abs=EIGHT_BITS)
    assert traces[0].records[0].found == (False, False, False)


def test_landmarks_come_from_the_nearest_detection_before_else_from_the_first_after(
    make: Any, lab: SimpleNamespace, recognizer: Any
) -> None:
    places = [(False, 0.0), (True, 0.2), (False, 0.0), (True, 0.6), (False, 0.0)]
    steps = [lab.latents(lab.looks(0.5, face, place)) for face, place in places]
    recorder = make(batch_size=1)
    recognizer.crops_at.clear()
    feed(recorder, steps, [1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
    recorder.finish()
    x = [round(at[0] / 32, 1) for at in recognizer.crops_at]
    assert x == [0.2, 0.2, 0.6, 0.6, 0.2], "steps 2, 3, 4, 5, then step 1 back-filled"


def test_pose_landmarks_serve_until_a_face_is_found(make: Any, lab: SimpleNamespace, recognizer: Any) -> None:
    recorder = make(fallback_kps=np.full((5, 2), [0.75, 0.25]))
    recognizer.crops_at.clear()
    feed(recorder, [lab.latents(lab.looks(0.5, False)), lab.latents(lab.looks(0.5, True, 0.2))])
    trace = recorder.finish()
    assert [record.alignment for record in trace.records] == [("carried",), ("detected",)]
    assert recognizer.crops_at[0] == (24.0, 8.0)


def test_a_finished_picture_without_a_face_has_no_similarity(make: Any, lab: SimpleNamespace) -> None:
    recorder = make()
    feed(recorder, [lab.latents(lab.looks(0.5, True, 0.5019608))])
    trace = recorder.finish([lab.picture(angle=0.5, face=False, size=64)])
    assert trace.final is not None and (trace.final.found, trace.final.similarity) == ((False,), (None,))
    assert trace.records[0].similarity[0] == pytest.approx(0.5, abs=EIGHT_BITS)


def test_a_face_only_in_the_final_picture_fills_all_steps(make: Any, lab: SimpleNamespace) -> None:
    recorder = make()
    feed(recorder, [lab.latents(lab.looks(value, False)) for value in CURVE])
    trace = recorder.finish([lab.picture(angle=0.2)])
    assert [record.alignment for record in trace.records] == [("back-filled",)] * 4
    assert [record.similarity[0] for record in trace.records] == pytest.approx(CURVE, abs=EIGHT_BITS)


def test_no_face_anywhere_is_undefined_not_zero(make: Any, lab: SimpleNamespace) -> None:
    recorder = make()
    feed(recorder, [lab.latents(lab.looks(value, False)) for value in CURVE])
    trace = recorder.finish([lab.picture(face=False)])
    assert trace.status == "complete"
    for record in (*trace.records, trace.final):
        assert record is not None
        assert (record.similarity, record.alignment, record.found, record.score) == (
            (None,),
            (None,),
            (False,),
            (None,),
        )
    assert trace.means == (None,) * 4 and trace.best is None and recorder.best is None
    assert "null" in trace.to_json() and "NaN" not in trace.to_json()


def test_predictions_that_are_not_finite_are_undefined(make: Any, lab: SimpleNamespace, steps: list[Any]) -> None:
    steps[1] = torch.full_like(steps[1], math.nan)
    recorder = make()
    feed(recorder, steps)
    trace = recorder.finish()
    assert [record.similarity[0] is None for record in trace.records] == [False, True, False, False]
    assert trace.records[1].sharpness == (None,) and trace.records[0].sharpness[0] is not None


def test_every_third_step_and_always_the_last(make: Any, lab: SimpleNamespace) -> None:
    recorder = make(every=3)
    feed(recorder, [lab.latents(lab.looks(0.5))] * 9, [1 - i / 9 for i in range(10)])
    assert [record.step for record in recorder.finish().records] == [1, 4, 7, 9]


@pytest.mark.parametrize("when", ["live", "after"])
def test_the_best_step_s_latents_are_kept_exactly(make: Any, lab: SimpleNamespace, when: str) -> None:
    steps = [lab.latents(lab.looks(value)).to(torch.bfloat16) for value in CURVE]
    expected = steps[2].clone()
    recorder = make(when=when)
    recorder.start(SIGMAS)
    for i, denoised in enumerate(steps):
        recorder.on_step(i + 1, SIGMAS[i], denoised)
        denoised.zero_()  # a sampler may reuse its memory
    recorder.finish()
    assert recorder.best is not None and recorder.best.step == 3
    assert recorder.best.latents.dtype == torch.bfloat16 and torch.equal(recorder.best.latents, expected)


def test_latents_are_not_kept_unless_asked(make: Any, steps: list[torch.Tensor]) -> None:
    recorder = make(keep_latents="none")
    feed(recorder, steps)
    assert recorder.finish().best is not None
    assert recorder.best is None


def test_the_prediction_is_never_written_to_even_by_a_bad_decoder(
    make: Any, lab: SimpleNamespace, steps: list[torch.Tensor]
) -> None:
    before = [step.clone() for step in steps]
    for when in ("live", "after"):
        recorder = make(when=when, decode=lambda x: lab.decode(x.mul_(0.5)))
        feed(recorder, steps)
        recorder.finish()
    assert all(torch.equal(step, kept) for step, kept in zip(steps, before, strict=True))


def test_no_random_number_is_drawn(make: Any, steps: list[torch.Tensor]) -> None:
    state = torch.get_rng_state()
    for when in ("live", "after"):
        recorder = make(when=when)
        feed(recorder, steps)
        recorder.finish()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_second_run_starts_clean(make: Any, lab: SimpleNamespace, steps: list[torch.Tensor]) -> None:
    recorder = make()
    feed(recorder, steps)
    first = recorder.finish()
    feed(recorder, [lab.latents(lab.looks(0.5, False), lab.looks(0.5))], [1.0, 0.0])
    second = recorder.finish()
    assert len(first.records) == 4 and len(second.records) == 1 and second.batch == 2
    assert second.records[0].alignment == (None, "detected"), "the first run's landmarks are forgotten"


def test_an_abandoned_run_leaves_nothing_behind(make: Any, steps: list[torch.Tensor], tmp_path: Any) -> None:
    recorder = make(capacity=0, folder=tmp_path)
    feed(recorder, steps)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 4
    recorder.start(SIGMAS)
    assert list(tmp_path.iterdir()) == [] and recorder.records == ()


def test_an_interrupted_run_gives_what_was_seen(make: Any, steps: list[torch.Tensor]) -> None:
    recorder = make()
    feed(recorder, steps[:3])
    trace = recorder.finish(status="interrupted", reason="stopped by the user")
    assert (trace.status, trace.reason, trace.final) == ("interrupted", "stopped by the user", None)
    assert [record.step for record in trace.records] == [1, 2, 3]
    assert trace.records[2].similarity[0] == pytest.approx(0.9, abs=EIGHT_BITS)


@pytest.mark.exact
def test_stopped_at_peak_says_which_step_the_picture_is(make: Any, steps: list[torch.Tensor]) -> None:
    recorder = make(when="live")
    feed(recorder, steps)
    trace = recorder.finish(latents=steps[2], status="stopped at peak", final_step=3)
    assert trace.status == "stopped at peak" and trace.final is not None
    assert (trace.final.step, trace.final.sigma) == (3, 0.5)
    assert trace.final.similarity == trace.records[2].similarity


class Broken(Exception):
    pass


def fail(*_: Any) -> Any:
    raise Broken("no luck")


@pytest.mark.parametrize("when", ["live", "after"])
def test_a_failing_decoder_never_reaches_the_sampler(make: Any, steps: list[torch.Tensor], when: str) -> None:
    recorder = make(when=when, decode=fail)
    assert feed(recorder, steps) == [None] * 4
    trace = recorder.finish(latents=steps[-1])
    assert trace.status == "failed" and "Broken: no luck" in (trace.reason or "")
    assert [record.similarity for record in trace.records] == [(None,)] * 4
    assert [record.found for record in trace.records] == [(None,)] * 4, "not looked at is not the same as not found"
    assert Trace.from_json(trace.to_json()) == trace


def test_what_fails_live_is_measured_afterwards(make: Any, lab: SimpleNamespace, steps: list[torch.Tensor]) -> None:
    calls: list[int] = []

    def short_of_memory(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return fail() if len(calls) == 2 else lab.decode(x)

    recorder = make(when="live", decode=short_of_memory, keep_latents="none")
    returned = feed(recorder, steps)
    assert [record is not None for record in returned] == [True, False, False, False]
    trace = recorder.finish()
    assert trace.status == "complete" and "failed at step 2 (no luck)" in trace.warnings[0]
    assert [record.similarity[0] for record in trace.records] == pytest.approx(CURVE, abs=EIGHT_BITS)


def test_a_failing_listener_is_told_no_more(make: Any, steps: list[torch.Tensor]) -> None:
    recorder = make(when="live", on_record=fail)
    feed(recorder, steps)
    trace = recorder.finish()
    assert trace.status == "complete" and "listener failed at step 1" in trace.warnings[0]
    assert None not in trace.means


def test_interrupts_pass_through(make: Any, steps: list[torch.Tensor]) -> None:
    def interrupt(_: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    recorder = make(when="live", decode=interrupt)
    with pytest.raises(KeyboardInterrupt):
        feed(recorder, steps)


def test_wrong_latents_are_reported_and_the_rest_measured(make: Any, steps: list[torch.Tensor]) -> None:
    recorder = make()
    feed(recorder, [steps[0], steps[1].repeat(2, 1, 1, 1), steps[2]])
    trace = recorder.finish()
    assert trace.status == "failed" and "step 2" in (trace.reason or "") and "[2, 3, 4, 4]" in (trace.reason or "")
    assert [record.step for record in trace.records] == [1, 3]
    assert None not in trace.means


def test_an_unknown_sigma_stays_unknown(make: Any, steps: list[torch.Tensor]) -> None:
    recorder = make()
    recorder.start()
    recorder.on_step(1, None, steps[0])
    recorder.on_step(2, math.nan, steps[1])
    recorder.on_step(3, torch.tensor(0.5), steps[2])
    trace = recorder.finish()
    assert [record.sigma for record in trace.records] == [None, None, 0.5]
    assert trace.sigmas == () and trace.steps == 3


def test_measuring_with_the_conditioning_network_is_called_circular(make: Any, steps: list[torch.Tensor]) -> None:
    recorder = make()
    for conditioning, expected in (("fake", True), ("fake (CUDA)", True), ("another", False), (None, False)):
        recorder.start(SIGMAS, run=RunInfo(conditioning_recognizer=conditioning))
        recorder.on_step(1, 1.0, steps[0])
        assert any("looks better than it is" in text for text in recorder.finish().warnings) is expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("glintr100.onnx", "glintr100.onnx 4ab1d6435d63 (CPUExecutionProvider)", True),
        ("glintr100.onnx 4ab1d6435d63 (CPU)", "copy of it.onnx 4ab1d6435d63 (CUDA)", True),
        ("glintr100.onnx 4ab1d6435d63", "glintr100.onnx 0123456789ab", False),
        ("glintr100 (1).onnx 4ab1d6435d63 (CPU)", "glintr100 (1).onnx", True),
        ("w600k_r50.onnx", "glintr100.onnx", False),
    ],
)
def test_networks_are_told_by_digest_else_by_file(one: str, other: str, same: bool) -> None:
    assert same_network(one, other) is same and same_network(other, one) is same


def test_steps_without_a_start_are_an_error(make: Any, steps: list[torch.Tensor]) -> None:
    recorder = make()
    for call in (recorder.finish, lambda: recorder.on_step(1, 1.0, steps[0])):
        with pytest.raises(SettingsError, match="start"):
            call()


@pytest.mark.parametrize("bad", [{"when": "never"}, {"every": 0}, {"batch_size": 0}, {"keep_latents": "some"}])
def test_settings_are_checked(make: Any, bad: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="Expected"):
        make(**bad)


def test_a_long_run_stays_small(make: Any, lab: SimpleNamespace, tmp_path: Any) -> None:
    capacity, step = 50_000, lab.latents(*[lab.looks(0.5)] * 8)
    recorder = make(capacity=capacity, folder=tmp_path)
    recorder.start([1 - i / 1000 for i in range(1001)])
    for i in range(1000):
        recorder.on_step(i + 1, 1 - i / 1000, step)
    store = recorder._session.store
    assert store.bytes_in_memory <= capacity
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1000 - capacity // (8 * 3 * 16 * 4)
    trace = recorder.finish(latents=step)
    assert len(trace.records) == 1000 and None not in trace.means
    faces = sum(len(recorder.gallery.get(step)) for step in recorder.gallery.steps)
    assert 256 <= faces <= 512 and recorder.gallery.steps[0] == 1
    assert list(tmp_path.iterdir()) == [], "temporary files are gone"


def test_facts_of_the_run_reach_the_trace(make: Any, steps: list[torch.Tensor]) -> None:
    recorder = make(strangers=Baseline(0.02, 0.1, 30), ceiling=0.78)
    recorder.start(SIGMAS, height=32, width=48, run=RunInfo(backbone="mini-schnell", seed=7, prompt="a knight"))
    recorder.on_step(1, 1.0, steps[0])
    trace = recorder.finish()
    assert (trace.run.height, trace.run.width, trace.run.seed, trace.run.prompt) == (32, 48, 7, "a knight")
    assert trace.strangers == Baseline(0.02, 0.1, 30) and trace.ceiling == 0.78
    assert trace.reference.pictures == 1


def test_the_gallery_shows_colours_the_right_way_round(make: Any, lab: SimpleNamespace, recognizer: Any) -> None:
    recognizer.crop = lambda rgb, kps: np.full((112, 112, 3), (1, 2, 3), np.uint8)  # blue, green, red
    recorder = make()
    feed(recorder, [lab.latents(lab.looks(0.5, False), lab.looks(0.5)), lab.latents(lab.looks(0.5), lab.looks(0.5))])
    recorder.finish([lab.picture(), lab.picture()])
    faces = [face for step in (1, 2) for face in recorder.gallery.get(step)] + list(recorder.gallery.final)
    assert [face[0, 0].tolist() for face in faces] == [[3, 2, 1]] * 6


def test_landmarks_that_span_no_face_are_undefined(make: Any, steps: list[torch.Tensor], recognizer: Any) -> None:
    def degenerate(rgb: np.ndarray, kps: np.ndarray) -> np.ndarray:
        raise FaceError("degenerate landmarks")

    recorder, recognizer.crop = make(), degenerate
    feed(recorder, steps)
    trace = recorder.finish()
    assert trace.status == "complete" and trace.means == (None,) * 4
