"""The demo's people and measurements; the whole run is in test_cli.py."""

import numpy as np
import pytest

from infusenet.demo import PROBED, REDRAWN, STRANGERS, defined, draw_people, png, similarities
from infusenet.miniature.captions import NINE


@pytest.fixture(scope="module")
def people():
    return draw_people(0)


def test_people_are_pictures_of_one_person_and_of_others(people):
    assert len(people.redrawn) == REDRAWN
    assert len(people.strangers) == STRANGERS
    for picture in (people.reference, *people.redrawn, *people.strangers):
        assert picture.shape == (128, 128, 3)
        assert picture.dtype == np.uint8


def test_the_same_seed_draws_the_same_people(people):
    again, other = draw_people(0), draw_people(1)
    assert np.array_equal(people.reference, again.reference)
    assert all(map(np.array_equal, people.strangers, again.strangers))
    assert not np.array_equal(people.reference, other.reference)


def test_the_probed_prompt_is_one_of_those_shown():
    assert NINE[PROBED].level == "detailed"


class Recognizer:
    """Finds a face in pictures that are not black; a picture's embedding is its first pixel."""

    def detect(self, rgb):
        from types import SimpleNamespace

        boxes = [[0, 0, 4, 4], [0, 0, 8, 8]] if rgb.any() else []
        return [
            SimpleNamespace(bbox=np.array(box), kps=np.full([5, 2], box[2], np.float32), score=0.9) for box in boxes
        ]

    def crop(self, rgb, kps):
        assert kps[0, 0] == 8  # the larger face
        return rgb

    def embed(self, crops):
        first = np.asarray(crops)[:, 0, 0].astype(np.float32)
        return first / np.linalg.norm(first, axis=1, keepdims=True)


def test_similarities_are_cosines_and_undefined_without_a_face():
    from types import SimpleNamespace

    import torch

    pictures = [np.zeros([8, 8, 3], np.uint8) for _ in range(4)]
    pictures[1][:] = (9, 0, 0)
    pictures[2][:] = (0, 7, 0)
    pictures[3][:] = (5, 5, 0)
    reference = SimpleNamespace(embedding=torch.tensor([1.0, 0.0, 0.0]))
    found = similarities(Recognizer(), reference, pictures)
    assert found[0] is None
    assert found[1:] == pytest.approx([1.0, 0.0, 0.5**0.5])
    assert similarities(Recognizer(), reference, pictures[:1]) == [None]
    assert defined(found) == found[1:]


def test_png_keeps_every_pixel():
    import io

    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, [5, 7, 3], np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)
