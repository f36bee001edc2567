"""What a metric says where it has no value."""

import numpy as np
import pytest

from infusenet.metrics import METRICS, Metric, Subject, Undefined, sharpness
from infusenet.metrics.base import as_tensor

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)


def test_a_resource_that_is_absent_is_named_with_its_reason() -> None:
    metric = METRICS["face_sharpness"]
    assert metric.reading(Subject(PICTURE)) == (None, "there is no face")
    assert metric.reading(Subject(PICTURE, {"face": None}, {"face": "nobody is there"})) == (None, "nobody is there")
    assert metric(Subject(PICTURE)) is None


def test_a_function_may_say_why_there_is_no_value() -> None:
    def run(subject: Subject) -> float:
        raise Undefined("it is too dark")

    metric = Metric("light", "light", "lumen", None, "how light", run)
    assert metric.reading(Subject(PICTURE)) == (None, "it is too dark")
    assert metric(Subject(PICTURE)) is None


def test_a_face_is_as_sharp_as_the_same_picture() -> None:
    value, reason = METRICS["face_sharpness"].reading(Subject(PICTURE * 0, {"face": PICTURE}))
    assert value == pytest.approx(sharpness(as_tensor(PICTURE)).item()) and reason is None


def test_functions_of_a_picture_are_given_it() -> None:
    subject = Subject(PICTURE, {"second": lambda picture: picture.mean(), "prompt_fit": lambda picture: picture.max()})
    assert METRICS["second_similarity"](subject) == pytest.approx(PICTURE.mean())
    assert METRICS["prompt_fit"](subject) == PICTURE.max()


def test_the_lpips_of_faces_is_of_the_aligned_ones() -> None:
    class Distance:
        def parameters(self):  # type: ignore[no-untyped-def]
            return iter(as_tensor(PICTURE))

        def __call__(self, a, b):  # type: ignore[no-untyped-def]
            return (a - b).abs().mean((1, 2, 3), keepdim=True)

    face = np.full((32, 32, 3), 255, np.uint8)
    subject = Subject(PICTURE, {"lpips": Distance(), "face": face, "reference_face": face // 255 * 0})
    assert METRICS["face_lpips"](subject) == pytest.approx(2)
