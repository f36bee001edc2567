"""The levels of several people, against cosines that are worked out from the recognizer's own embeddings."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from infusenet import miniature
from infusenet.faces import FaceRecognizer
from infusenet.measures import FaceMeasure
from infusenet.measures.levels import levels
from infusenet.miniature.people import drawn_again, drawn_reference, drawn_strangers

BLANK = np.full((128, 128, 3), 127, np.uint8)


@pytest.fixture(scope="module")
def measure() -> FaceMeasure:
    return FaceMeasure(FaceRecognizer.from_pack(miniature.FACE_PACK))


def row(measure: FaceMeasure, picture: Any) -> Any:
    vector = measure.reference([picture]).embedding.double().numpy()
    return vector / np.linalg.norm(vector)


def test_drawn_people_have_strangers_and_another_scene(measure: FaceMeasure) -> None:
    people = [([drawn_reference(number)], [drawn_again(number)]) for number in range(4)]
    found = levels(measure, people, drawn_strangers())
    references = [row(measure, drawn_reference(number)) for number in range(4)]
    strangers = np.stack([row(measure, picture) for picture in drawn_strangers()])
    own = [references[number] @ row(measure, drawn_again(number)) for number in range(4)]
    assert found["impostor"] is not None and found["genuine"] is not None and found["blank"] is not None
    assert found["impostor"].mean == pytest.approx(np.mean([strangers @ one for one in references]), abs=1e-5)
    assert found["impostor"].count == 64
    assert found["genuine"].mean == pytest.approx(np.mean(own), abs=1e-5)
    assert (found["genuine"].count, found["blank"].count) == (4, 64)
    assert found["genuine"].mean > found["impostor"].mean + 0.3


def test_photographed_people_are_strangers_to_each_other(measure: FaceMeasure) -> None:
    shots = [[drawn_reference(number), drawn_again(number)] for number in range(6)]
    found = levels(measure, [(pictures, ()) for pictures in shots])
    rows = [[row(measure, picture) for picture in pictures] for pictures in shots]
    fused = [measure.reference(pictures).embedding.double().numpy() for pictures in shots]
    others = [[mine @ other for n, two in enumerate(rows) if n != k for other in two] for k, mine in enumerate(fused)]
    assert found["impostor"] is not None and found["genuine"] is not None
    assert found["impostor"].mean == pytest.approx(np.mean(others), abs=1e-5)
    assert found["impostor"].count == 60
    assert found["impostor"].std == pytest.approx(max(np.std(each, ddof=1) for each in others), abs=1e-5)
    assert found["genuine"].mean == pytest.approx(np.mean([a @ b for two in rows for a, b in combinations(two, 2)]))
    assert found["genuine"].count == 6


def test_what_is_not_known_is_none(measure: FaceMeasure) -> None:
    few = levels(measure, [([drawn_reference(number)], ()) for number in range(5)])
    assert few["impostor"] is few["genuine"] is None and few["blank"] is not None
    once = [([drawn_reference(0), drawn_again(0)], ()), ([drawn_reference(1)], [BLANK])]
    assert levels(measure, once)["genuine"] is None
    assert levels(measure, [([BLANK], ())]) == levels(measure, []) == dict.fromkeys(("impostor", "blank", "genuine"))


def test_whose_reference_shows_no_face_is_left_out(measure: FaceMeasure) -> None:
    people = [([drawn_reference(number)], [drawn_again(number)]) for number in range(2)]
    assert levels(measure, [*people, ([BLANK], [drawn_again(2)])], drawn_strangers()) == levels(
        measure, people, drawn_strangers()
    )
