"""Pictures in order of likeness: by the one rule, undefined never a number, the words and the JSON true."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from infusenet.charts import scores_sheet
from infusenet.measures import Baseline, Reading, Rule
from infusenet.measures.scores import Scores

VALUES = (0.3, None, 0.7, 0.7, -0.1)


def scores_of(*values: float | None, **changes: object) -> Scores:
    crop = np.full((112, 112, 3), (200, 0, 0), np.uint8)  # BGR: blue
    known = Reading(True, 0.0, "detected", 0.4, None, crop)
    readings = tuple(Reading(False, score=0.4) if v is None else replace(known, similarity=v) for v in values)
    made = Scores(readings, "rec.onnx", "det.onnx", Rule("face 1"), Baseline(0.1, 0.05, 16), Baseline(0.2, 0.1, 16))
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_most_alike_first_and_those_without_a_face_last() -> None:
    scores = scores_of(*VALUES)
    assert scores.order == (2, 3, 0, 4, 1) and scores.best == 2
    assert scores.sorted[:4] == [0.7, 0.7, 0.3, -0.1] and math.isnan(scores.sorted[4])
    assert scores_of(None, None).order == (0, 1) and scores_of(None).best is None and scores_of().best is None


def test_above_means_above_every_known_line_by_two_deviations() -> None:
    scores = scores_of(0.41, 0.39, 0.15, None)
    assert [scores.under(place) for place in range(4)] == [None, "no face (blank)", "no face (blank)", None]
    assert scores_of(0.15, blank=None).under(0) == "other people"
    assert scores_of(0.0, blank=None, impostor=None).under(0) is None


def test_in_words() -> None:
    assert scores_of(*VALUES).in_words().splitlines() == [
        "Most alike: picture 3: 0.700.",
        "picture 3: 0.700",
        "picture 4: 0.700",
        "picture 1: 0.300 (cannot be told apart from: no face (blank))",
        "picture 5: -0.100 (cannot be told apart from: no face (blank))",
        "picture 2: no face was found with enough confidence (the most certain one has a confidence of 0.40)",
        "For comparison: other people 0.10, no face (blank) 0.20.",
        "Measured by rec.onnx, faces found by det.onnx; rule: face 1.",
    ]
    assert "... and 3 more" in scores_of(*VALUES).in_words(2)
    alone = scores_of(0.5, impostor=None, published_line=0.363).in_words()
    assert alone.startswith(
        "Most alike: picture 1: 0.500.\nFor comparison: no face (blank) 0.20, rec's same-person line"
    )
    assert "other people: unknown" in alone
    assert scores_of(None).in_words().startswith("No face was found in any of 1 pictures.\npicture 1: no face was")


def test_json_says_how_it_was_measured_and_null_where_undefined() -> None:
    told = json.loads(scores_of(*VALUES, impostor=None).to_json())
    assert [entry["index"] for entry in told["pictures"]] == [2, 3, 0, 4, 1]
    assert told["pictures"][4]["similarity"] is None and "no face" in told["pictures"][4]["reason"]
    assert told["impostor"] is None and told["blank"] == {"mean": 0.2, "std": 0.1, "count": 16}
    assert told["rule"] == {"name": "face 1", "parameters": {}, "subject": "face"} and told["detector"] == "det.onnx"


@pytest.mark.parametrize("faces", [False, True])
def test_the_sheet_has_every_picture_in_its_place(faces: bool) -> None:
    pictures = [np.full((192, 192, 3), (20 + 40 * place, 0, 0), np.uint8) for place in range(5)]
    sheet = scores_sheet(scores_of(*VALUES), pictures, faces=faces)
    top, down = 10 + 17 + 6, 192 + 34 + 14
    for at, place in enumerate((2, 3, 0, 4, 1)):
        y, x = top + at // 3 * down, 10 + at % 3 * 202
        shown = sheet[y + 96 - 40, x + 96]
        want = (0, 0, 200) if VALUES[place] is not None else (255, 255, 255)
        assert tuple(shown) == (want if faces else (20 + 40 * place, 0, 0))
    assert scores_sheet(scores_of(None), pictures[:1], faces=faces).shape[1] == 212
