"""Photos that lie on their side, with a detector whose scores are known."""

import numpy as np
import pytest

from infusenet.faces import Upright, upright
from infusenet.faces.align import TEMPLATE
from infusenet.faces.detect import Face
from infusenet.faces.turns import roll

PICTURE = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


def face(score: float, degrees: float = 0.0) -> Face:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (np.asarray(TEMPLATE) - 56) @ turn.T + 56
    return Face(np.array([0, 0, 9, 9], np.float32), points.astype(np.float32), score)


class Scores:
    """Answers by how often the picture was turned."""

    def __init__(self, *answers: list[Face], sure: float = 0.85) -> None:
        self.answers, self.sure, self.asked = answers, sure, 0

    def detect(self, rgb: np.ndarray) -> list[Face]:
        self.asked += 1
        return next(self.answers[n] for n in range(4) if np.array_equal(rgb, np.rot90(PICTURE, n)))


@pytest.mark.parametrize("degrees", [-75, 0, 20, 90, 170])
def test_the_roll_of_a_face(degrees: float) -> None:
    assert abs(roll(face(0.9, degrees))) == pytest.approx(abs(degrees), abs=1e-3)


def test_a_sure_upright_face_is_left_alone() -> None:
    detector = Scores([face(0.9)], [face(1.0)], [], [])
    found = upright(detector, PICTURE)
    assert found.picture is PICTURE and (found.turned, found.notice, detector.asked) == (0, None, 1)


@pytest.mark.parametrize("first", [[], [face(0.6)], [face(0.9, 90)]])
def test_missing_unsure_and_tilted_faces_are_tried_in_four_turns(first: list[Face]) -> None:
    found = upright(Scores(first, [face(0.7)], [face(0.8)], [face(0.95)]), PICTURE)
    assert found.turned == 270
    assert np.array_equal(found.picture, np.rot90(PICTURE, 3))
    assert found.notice == "was turned by 270 degrees (counter-clockwise)"
    assert [round(one.score, 2) for one in found.faces] == [0.95]


def test_near_equality_leaves_a_photo_as_it_is() -> None:
    found = upright(Scores([face(0.7)], [face(0.715)], [], []), PICTURE)
    assert found.turned == 0 and found.picture is PICTURE
    assert upright(Scores([face(0.7)], [face(0.73)], [], []), PICTURE).turned == 90


def test_no_face_in_any_turn() -> None:
    assert upright(Scores([], [], [], []), PICTURE) == Upright(PICTURE, [], 0)
