"""Reference, strangers, and the choice among several faces."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from infusenet.errors import FaceError
from infusenet.probe import Reference
from infusenet.probe.faces import FaceReader, likeliest, pixels
from infusenet.probe.gallery import Gallery


def test_several_references_are_fused(recognizer: Any, lab: SimpleNamespace) -> None:
    reference = Reference.from_pictures(recognizer, [lab.picture(0.2), lab.picture(0.6)], source="two photos")
    middle = math.pi / 2 * (51 + 153) / 2 / 255
    assert reference.embedding.tolist() == pytest.approx([math.cos(middle), math.sin(middle)], abs=1e-5)
    assert (reference.info.pictures, reference.info.source, len(reference.crops)) == (2, "two photos", 2)


def test_a_reference_without_a_face_is_named(recognizer: Any, lab: SimpleNamespace) -> None:
    with pytest.raises(FaceError, match=r"reference picture 2 of 2 \(48x48 pixels\)"):
        Reference.from_pictures(recognizer, [lab.picture(), lab.picture(face=False, size=48)])
    with pytest.raises(FaceError, match="got none"):
        Reference.from_pictures(recognizer, [])


def test_an_embedding_that_is_not_finite_is_an_error(lab: SimpleNamespace) -> None:
    class Degenerate(lab.FakeRecognizer):
        def embed(self, crops: np.ndarray) -> np.ndarray:
            return np.full((len(crops), 2), np.nan, np.float32)

    with pytest.raises(FaceError, match="no usable embedding"):
        Reference.from_pictures(Degenerate(), [lab.picture()])


def test_an_embedding_that_is_not_finite_is_undefined_in_a_step(
    recognizer: Any, reference: Reference, lab: SimpleNamespace
) -> None:
    recognizer.embed = lambda crops: np.full((len(crops), 2), np.nan, np.float32)
    (reading,) = FaceReader(recognizer, reference).read(lab.decode(lab.latents(lab.looks(0.5))), [0])
    assert reading.found and reading.similarity is None and reading.crop is not None


def test_strangers(recognizer: Any, reference: Reference, lab: SimpleNamespace) -> None:
    pictures = [lab.picture(angle) for angle in (1 / 3, 2 / 3)] + [lab.picture(face=False)]
    baseline = reference.baseline(recognizer, pictures)
    values = [math.cos(math.pi / 6), math.cos(math.pi / 3)]
    assert baseline is not None and baseline.count == 2
    assert baseline.mean == pytest.approx(np.mean(values)) and baseline.std == pytest.approx(np.std(values, ddof=1))
    alone = reference.baseline(recognizer, pictures[:1])
    assert alone is not None and alone.std is None
    assert reference.baseline(recognizer, pictures[2:]) is None and reference.baseline(recognizer, []) is None


def face(lab: SimpleNamespace, size: float, score: float, kps: float = 1.0) -> Any:
    return lab.FakeFace((0.0, 0.0, size, size), np.full((5, 2), kps), score)


def test_the_largest_sure_face_is_read_else_the_surest(lab: SimpleNamespace) -> None:
    small, large, smudge, faint = (face(lab, *at) for at in ((10, 0.9), (20, 0.6), (90, 0.35), (30, 0.4)))
    assert likeliest([small, large, smudge]) is large
    assert likeliest([faint, smudge]) is faint
    assert likeliest([]) is None
    assert likeliest([face(lab, 50, 0.9, math.nan), small]) is small, "degenerate landmarks are no face"


def test_a_detector_that_can_be_told_is_told_to_look_for_blurred_faces(
    reference: Reference, lab: SimpleNamespace
) -> None:
    asked: list[dict[str, Any]] = []

    class Tunable(lab.FakeRecognizer):
        def detect(self, rgb: np.ndarray, *, threshold: float = 0.5, small_first: bool = False) -> list[Any]:
            asked.append({"threshold": threshold, "small_first": small_first})
            return super().detect(rgb)

    FaceReader(Tunable(), reference).read(torch.ones(1, 3, 8, 8), [0])
    assert asked == [{"threshold": 0.3, "small_first": True}]


def test_a_reader_can_go_back_to_what_it_knew(recognizer: Any, reference: Reference, lab: SimpleNamespace) -> None:
    reader = FaceReader(recognizer, reference)
    shown, hidden = lab.decode(lab.latents(lab.looks(0.5))), torch.zeros(1, 3, 8, 8)
    before = reader.remembered()
    reader.read(shown, [0])
    after = reader.remembered()
    reader.restore(before)
    assert not reader.can_back_fill(0) and reader.read(hidden, [0])[0].alignment is None
    reader.read(shown, [1])
    reader.restore(after)
    assert reader.read(hidden, [0])[0].alignment == "carried" and not reader.can_back_fill(1)
    assert before.first == {}, "what was remembered is a copy"


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
