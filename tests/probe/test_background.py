"""The background recorder: never late for the sampler, and in the end as if it had not been in a hurry."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from infusenet.probe import ProbeRecorder, Reference
from infusenet.probe.background import BackgroundRecorder

STEPS = 12
FACES = [0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1]  # whether a step shows a face


def run(
    recorder: ProbeRecorder,
    lab: SimpleNamespace,
    *,
    after_the_first: Callable[[], object] = bool,
    at_the_end: Callable[[], object] = bool,
) -> Any:
    recorder.start([1 - i / STEPS for i in range(STEPS + 1)])
    for step, face in enumerate(FACES, start=1):
        latents = lab.latents((float(face), step / STEPS, step / STEPS / 2))
        assert recorder.on_step(step, 1 - (step - 1) / STEPS, latents) is None
        if step == 1:
            after_the_first()
    at_the_end()
    return recorder.finish(lab.decode(lab.latents((1.0, 0.5, 0.5))))


def seen(trace: Any) -> list[Any]:
    return [(r.step, r.sigma, r.similarity, r.found, r.alignment, r.score) for r in [*trace.records, trace.final]]


@pytest.mark.parametrize("slow", [False, True])
def test_it_gives_what_an_evaluation_after_the_run_gives(
    recognizer: Any, reference: Reference, lab: SimpleNamespace, slow: bool
) -> None:
    want = run(ProbeRecorder(recognizer, reference, lab.decode, when="after"), lab)
    busy, hold = threading.Event(), threading.Event()
    together = set()

    def decode(latents: Any) -> Any:
        together.add(len(latents))
        if slow and threading.current_thread().name == "infusenet-probe":
            busy.set()
            assert hold.wait(10)  # everything else is taken, and dropped, in the meantime
        return lab.decode(latents)

    def until_busy() -> None:
        assert not slow or busy.wait(10)

    background = BackgroundRecorder(recognizer, reference, decode, when="live")
    got = run(background, lab, after_the_first=until_busy, at_the_end=hold.set)
    assert seen(got) == seen(want) and got.evaluation == "live" and got.status == "complete"
    assert busy.is_set() == slow
    assert together == {1}, "steps in one batch differ in the last bits from the same steps apart: timing would show"
    assert not [thread for thread in threading.enumerate() if thread.name == "infusenet-probe"]


def test_a_decoder_that_fails_in_the_thread_is_told(
    recognizer: Any, reference: Reference, lab: SimpleNamespace
) -> None:
    failed = threading.Event()

    def decode(latents: Any) -> Any:
        if threading.current_thread().name == "infusenet-probe":
            failed.set()
            raise RuntimeError("no memory")
        return lab.decode(latents)

    recorder = BackgroundRecorder(recognizer, reference, decode, when="live")
    recorder.start([1.0, 0.0])
    recorder.on_step(1, 1.0, lab.latents((1.0, 0.2, 0.5)))
    assert failed.wait(10)
    trace = recorder.finish()
    assert trace.status == "complete" and trace.records[0].similarity[0] is not None
    assert any("no memory" in warning for warning in trace.warnings)


def test_close_ends_the_thread(recognizer: Any, reference: Reference, lab: SimpleNamespace) -> None:
    recorder = BackgroundRecorder(recognizer, reference, lab.decode, when="live")
    recorder.start([1.0, 0.5, 0.0])
    recorder.on_step(1, 1.0, lab.latents((1.0, 0.2, 0.5)))
    recorder.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "infusenet-probe"]


def test_a_step_that_is_told_twice_counts_as_told_last(
    recognizer: Any, reference: Reference, lab: SimpleNamespace
) -> None:
    """As by samplers that go back; whether the thread was at the first telling or not."""
    busy, hold = threading.Event(), threading.Event()

    def decode(latents: Any) -> Any:
        if threading.current_thread().name == "infusenet-probe" and not busy.is_set():
            busy.set()
            assert hold.wait(10)
        return lab.decode(latents)

    def told(recorder: ProbeRecorder) -> Any:
        recorder.start([1 - i / 6 for i in range(7)])
        for number, step in enumerate((1, 1, 2, 3, 4, 5, 6)):
            recorder.on_step(step, 0.5, lab.latents((1.0, number / 10, 0.5 - number / 20)))
            if number == 0 and isinstance(recorder, BackgroundRecorder):
                assert busy.wait(10)
        hold.set()
        return recorder.finish(lab.decode(lab.latents((1.0, 0.5, 0.5))))

    want = told(ProbeRecorder(recognizer, reference, lab.decode, when="after"))
    hold.clear()
    assert seen(told(BackgroundRecorder(recognizer, reference, decode, when="live"))) == seen(want)
