"""The one rule: references, other people, the blank line, and which face of a picture is read."""

import gc
import math
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from infusenet.errors import FaceError, SettingsError
from infusenet.measures import Reference, Rule, comparable, measure_of
from infusenet.measures.blank import blank_crops
from infusenet.measures.faces import FaceMeasure, pixels
from infusenet.probe import ProbeRecorder, Trace
from infusenet.probe.gallery import Gallery


def test_several_references_are_fused(recognizer: Any, lab: SimpleNamespace) -> None:
    reference = Reference.from_pictures(recognizer, [lab.picture(0.2), lab.picture(0.6)], source="two photos")
    middle = math.pi / 2 * (51 + 153) / 2 / 255
    assert reference.embedding.tolist() == pytest.approx([math.cos(middle), math.sin(middle)], abs=1e-5)
    assert (reference.info.pictures, reference.info.source, len(reference.crops)) == (2, "two photos", 2)


def test_a_reference_without_a_face_is_named(recognizer: Any, lab: SimpleNamespace) -> None:
    with pytest.raises(FaceError, match=r"reference picture 2 of 2 \(48x48 pixels\)"):
        Reference.from_pictures(recognizer, [lab.picture(), lab.picture(face=False, size=48)])
    with pytest.raises(FaceError, match="there is none"):
        Reference.from_pictures(recognizer, [])


def test_an_embedding_that_is_not_finite_is_an_error(lab: SimpleNamespace) -> None:
    class Degenerate(lab.FakeRecognizer):
        def embed(self, crops: np.ndarray) -> np.ndarray:
            return np.full((len(crops), 2), np.nan, np.float32)

    with pytest.raises(FaceError, match="cannot be encoded"):
        Reference.from_pictures(Degenerate(), [lab.picture()])


def test_an_embedding_that_is_not_finite_is_undefined_in_a_step(
    recognizer: Any, reference: Reference, lab: SimpleNamespace
) -> None:
    recognizer.embed = lambda crops: np.full((len(crops), 2), np.nan, np.float32)
    (reading,) = measure_of(recognizer).read([lab.picture(0.5)], reference)
    assert reading.seen and reading.similarity is None and reading.crop is not None


def test_other_people_are_unknown_below_five(recognizer: Any, reference: Reference, lab: SimpleNamespace) -> None:
    pictures = [lab.picture(angle) for angle in (1 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3)]
    baseline = reference.baseline(recognizer, [*pictures, lab.picture(face=False)])
    values = [math.cos(math.pi / 6), math.cos(math.pi / 3)] * 2 + [math.cos(math.pi / 6)]
    assert baseline is not None and baseline.count == 5, "the picture without a face does not count"
    assert baseline.mean == pytest.approx(np.mean(values)) and baseline.std == pytest.approx(np.std(values, ddof=1))
    assert reference.baseline(recognizer, pictures[:4]) is None and reference.baseline(recognizer, []) is None


def test_the_blank_line_is_of_sixteen_fixed_crops(recognizer: Any, reference: Reference) -> None:
    crops = blank_crops()
    assert len(crops) == 16 and all(crop.shape == (112, 112, 3) and crop.dtype == np.uint8 for crop in crops)
    assert all((one == other).all() for one, other in zip(crops, blank_crops(), strict=True)), "always the same"
    greens = [crop[0, 0, 1] / 255 * math.pi / 2 for crop in crops]  # what the stand-in reads
    assert reference.blank is not None and reference.blank.count == 16
    assert reference.blank.mean == pytest.approx(np.mean(np.cos(greens)), abs=1e-6)
    assert reference.blank.std == pytest.approx(np.std(np.cos(greens), ddof=1), abs=1e-6)


def face(lab: SimpleNamespace, size: float, score: float, kps: float = 1.0) -> Any:
    return lab.FakeFace((0.0, 0.0, size, size), np.full((5, 2), kps), score)


class Sees:
    """A recognizer that sees given faces at given detector sizes."""

    name, confident, faint = "sees", 0.5, 0.3

    def __init__(self, faces: dict[int, list[Any]]) -> None:
        self.faces, self.sizes, self.asked = faces, tuple(faces), []

    def detect(self, rgb: np.ndarray, *, threshold: float = 0.5, sizes: Any = None) -> list[Any]:
        self.asked.append((threshold, *sizes))
        return [face for face in self.faces[sizes[0]] if face.score >= threshold]

    def crop(self, rgb: np.ndarray, kps: np.ndarray) -> np.ndarray:
        return np.full((112, 112, 3), int(kps[0, 0]), np.uint8)

    def embed(self, crops: np.ndarray) -> np.ndarray:
        return np.stack([crops[:, 0, 0, 0], np.full(len(crops), 10)], 1).astype(np.float32)


PICTURE = np.zeros((64, 64, 3), np.uint8)


def test_the_largest_confident_face_is_read_else_the_surest(lab: SimpleNamespace) -> None:
    small, large, smudge, faint = (face(lab, *at) for at in ((10, 0.9), (20, 0.6), (90, 0.35), (30, 0.4)))

    def look(*faces: Any) -> Any:
        return FaceMeasure(Sees({64: list(faces)})).look(PICTURE)

    assert look(small, large, smudge).face is large and look(small, large, smudge).seen
    assert look(faint, smudge).face is faint and not look(faint, smudge).seen
    assert look().face is None
    assert look(face(lab, 50, 0.9, math.nan), small).face is small, "degenerate landmarks are no face"


def test_the_largest_detector_size_with_a_confident_face_decides(lab: SimpleNamespace) -> None:
    coarse, fine, faint = face(lab, 20, 0.9, 3.0), face(lab, 20, 0.8, 5.0), face(lab, 20, 0.4, 7.0)
    both = Sees({160: [coarse], 640: [fine]})
    assert FaceMeasure(both).look(PICTURE).face is fine and both.asked == [(0.3, 640)]
    blurred = Sees({160: [coarse], 640: [faint]})
    assert FaceMeasure(blurred).look(PICTURE).face is coarse and blurred.asked == [(0.3, 640), (0.3, 160)]
    assert not FaceMeasure(Sees({160: [faint], 640: []})).look(PICTURE).seen


def test_an_unsure_face_has_one_answer_everywhere(lab: SimpleNamespace) -> None:
    person = Reference.from_pictures(Sees({64: [face(lab, 20, 0.9, 30.0)]}), [PICTURE])
    unsure = Sees({64: [face(lab, 20, 0.4, 30.0)]})
    assert person.similarities(unsure, [PICTURE]) == [None]
    assert person.baseline(unsure, [PICTURE] * 6) is None
    with pytest.raises(FaceError, match="the most certain one has a confidence of 0.40, and 0.5 is needed"):
        Reference.from_pictures(unsure, [PICTURE])
    recorder = ProbeRecorder(unsure, person, lambda latents: latents)
    recorder.start([1.0, 0.0])
    recorder.on_step(1, 1.0, torch.zeros(1, 3, 64, 64))
    trace = recorder.finish([PICTURE])
    (step,), final = trace.records, trace.final
    assert final is not None and (final.found, final.similarity, final.score) == ((False,), (None,), (0.4,))
    assert step.found == (False,) and step.alignment == ("back-filled",), "the surest place serves the eye"
    assert step.similarity[0] is not None and trace.means == (None,) and trace.best is None


def test_back_filling_is_from_the_surest_face(lab: SimpleNamespace) -> None:
    recognizer = Sees({64: []})
    person = Reference.from_pictures(Sees({64: [face(lab, 20, 0.9, 30.0)]}), [PICTURE])
    reader = FaceMeasure(recognizer).reader([person])
    for score, place in ((0.45, 50.0), (0.4, 20.0)):
        recognizer.faces[64] = [face(lab, 20, score, place)]
        reader.read([PICTURE], [0])
    assert reader.back_fill([PICTURE], [0])[0].place[0, 0] * 64 == pytest.approx(50), "the surest, not the last"
    recognizer.faces[64] = [face(lab, 20, 0.9, 10.0)]
    reader.read([PICTURE], [0])
    (filled,) = reader.back_fill([PICTURE], [0])
    assert filled.place[0, 0] * 64 == pytest.approx(10) and not filled.seen
    recognizer.faces[64] = [face(lab, 20, 0.8, 40.0)]
    reader.read([PICTURE], [0])
    assert reader.back_fill([PICTURE], [0])[0].place[0, 0] * 64 == pytest.approx(10), "the surest of the confident"
    assert not reader.can_back_fill(1)


def test_each_picture_of_a_batch_can_have_a_person_of_its_own(recognizer: Any, lab: SimpleNamespace) -> None:
    people = [Reference.from_pictures(recognizer, [lab.picture(angle)]) for angle in (0.0, 1.0)]
    recorder = ProbeRecorder(recognizer, people, lambda latents: latents)
    recorder.start([1.0, 0.0])
    recorder.on_step(1, 1.0, torch.stack([torch.from_numpy(lab.picture(a)).permute(2, 0, 1) / 255 for a in (0.0, 1.0)]))
    trace = recorder.finish([lab.picture(0.0), lab.picture(0.0)])
    assert trace.records[0].similarity == pytest.approx((1.0, 1.0), abs=1e-5)
    assert trace.final is not None and trace.final.similarity == pytest.approx((1.0, 0.0), abs=1e-5)
    assert trace.of_item(1).final is not None and trace.of_item(1).final.similarity == pytest.approx((0.0,), abs=1e-5)
    assert "one person per picture" in (trace.reference.source or "")


def test_the_rule_is_named_and_other_rules_are_refused(recognizer: Any, make: Any, lab: SimpleNamespace) -> None:
    recorder = make()
    recorder.start([1.0, 0.0])
    recorder.on_step(1, 1.0, lab.latents(lab.looks(0.5)))
    trace = recorder.finish([lab.picture()])
    assert trace.rule == measure_of(recognizer).rule and "confident from 0.5" in str(trace.rule)
    assert Trace.from_json(trace.to_json()) == trace
    comparable([trace.rule, trace.rule], "Two runs")
    with pytest.raises(SettingsError, match=r"Two runs were measured by different rules.*an unrecorded rule"):
        comparable([trace.rule, None], "Two runs")
    with pytest.raises(SettingsError, match=r"other \(a b\)"):
        comparable([trace.rule, Rule("other", {"a": "b"})], "Two runs")


def test_a_reader_can_go_back_to_what_it_knew(recognizer: Any, reference: Reference, lab: SimpleNamespace) -> None:
    reader = measure_of(recognizer).reader([reference])
    shown, hidden = [lab.picture(0.5)], [PICTURE]
    before = reader.remembered()
    reader.read(shown, [0])
    after = reader.remembered()
    reader.restore(before)
    assert not reader.can_back_fill(0) and reader.read(hidden, [0])[0].alignment is None
    reader.read(shown, [1])
    reader.restore(after)
    assert reader.read(hidden, [0])[0].alignment == "carried" and not reader.can_back_fill(1)
    assert before.surest == {}, "what was remembered is a copy"


def test_pixels_are_rounded_and_clamped() -> None:
    values = torch.tensor([-0.5, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 7.0]).expand(1, 3, 1, 6)
    (array,) = pixels(values)
    assert array is not None and array.dtype == np.uint8
    assert array[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]


def test_the_gallery_thins_out_evenly() -> None:
    gallery = Gallery(limit=8)
    for step in range(1, 101):
        gallery.put(step, (np.zeros((1, 1, 3), np.uint8),) * 2)
    gaps = {b - a for a, b in zip(gallery.steps, gallery.steps[1:], strict=False)}
    assert gallery.steps[0] == 1 and len(gallery.steps) <= 4 and len(gaps) == 1
    gallery.put(1, (None, None))
    assert gallery.get(1) == (None, None) and gallery.get(2) == ()


def test_a_step_without_a_seen_face_is_for_the_eye_alone(make: Any, lab: SimpleNamespace) -> None:
    recorder = make()
    recorder.start([1.0, 0.75, 0.5, 0.0])
    for step, one in enumerate((lab.looks(0.9, face=False), lab.looks(0.4), lab.looks(0.6)), 1):
        recorder.on_step(step, 1 / step, lab.latents(one))
    trace = recorder.finish([lab.picture(angle=0.59)])
    hollow = trace.records[0]
    assert (hollow.found, hollow.alignment) == ((False,), ("back-filled",))
    assert hollow.similarity[0] == pytest.approx(0.9, abs=0.01) and trace.unseen_mean(hollow) == hollow.similarity[0]
    assert trace.means[0] is None and trace.best is trace.records[2] and trace.unseen_mean(trace.records[1]) is None


def test_a_measure_belongs_to_its_recognizer_and_goes_with_it(lab: SimpleNamespace) -> None:
    recognizer = lab.FakeRecognizer()
    measure = measure_of(recognizer)
    assert measure_of(recognizer) is measure
    twin = lab.FakeRecognizer()
    vars(twin).update(vars(recognizer))
    assert measure_of(twin).recognizer is twin, "what was copied with it is another's"
    gone = weakref.ref(recognizer)
    del recognizer, measure, twin
    gc.collect()
    assert gone() is None
