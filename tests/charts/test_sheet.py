"""The faces sheet: the right face in the right place."""

from dataclasses import replace

import numpy as np
import pytest

from infusenet.charts import face_grid, faces_sheet
from infusenet.probe import Gallery, ReferenceInfo, RunInfo, StepRecord, Trace
from infusenet.probe.gallery import Seen


def flat(value: int) -> np.ndarray:
    return np.full((112, 112, 3), (value, 0, 255 - value), np.uint8)


def record(step: int, *values: float | None) -> StepRecord:
    none = (None,) * len(values)
    kinds = tuple(None if value is None else "detected" for value in values)
    return StepRecord(step, 1 / step, values, tuple(v is not None for v in values), kinds, none, none, none)


def trace_of(*records: StepRecord) -> Trace:
    return Trace(
        records=records, final=replace(records[-1], sigma=0.0), batch=records[0].batch, every=1, sigmas=(),
        reference=ReferenceInfo(1), strangers=None, ceiling=None, recognizer="fake", evaluation="after",
        status="complete", reason=None, warnings=(), seconds_in_loop=0.0, seconds_after=0.0, run=RunInfo(),
    )  # fmt: skip


def tile(sheet: np.ndarray, place: int, columns: int, top: int = 10) -> np.ndarray:
    y, x = top + place // columns * (112 + 34 + 14), 10 + place % columns * 122
    return sheet[y : y + 112, x : x + 112]


def test_every_face_is_where_its_label_says() -> None:
    sheet = face_grid([flat(0), flat(100), flat(200)], ["a", "b", "c"], columns=2)
    for place, value in enumerate((0, 100, 200)):
        assert (tile(sheet, place, 2) == flat(value)).all()
    assert (tile(sheet, 3, 2) == 255).all(), "an empty place stays empty"


def test_a_missing_face_is_shown_as_missing_and_the_marked_one_framed() -> None:
    sheet = face_grid([None, flat(9)], ["a", "b"])
    framed = face_grid([None, flat(9)], ["a", "b"], marked=1)
    assert 0 < (tile(sheet, 0, 8) != 255).any(axis=2).mean() < 0.2, "a frame and two words"
    assert (tile(framed, 1, 8) == flat(9)).all() and (framed != sheet).any()


def test_other_sizes_are_fitted() -> None:
    assert (tile(face_grid([flat(7)[:56, :56]], ["a"]), 0, 1) == flat(7)).all()


def test_a_sheet_of_a_run() -> None:
    gallery = Gallery()
    for step in (1, 2, 3):
        gallery.put(step, (flat(step), None if step == 1 else flat(50 + step)))
    gallery.finished = Seen((flat(99), flat(98)))
    trace = trace_of(record(1, 0.1, None), record(2, 0.5, 0.4), record(3, 0.3, 0.3))
    sheet = faces_sheet(trace, gallery)
    half = sheet.shape[0] // 2
    for place, value in enumerate((1, 2, 3, 99)):
        assert (tile(sheet, place, 8, 33) == flat(value)).all()
    for place, value in enumerate((52, 53, 98), start=1):
        assert (tile(sheet[half:], place, 8, 33) == flat(value)).all()


def test_long_runs_are_shortened_but_keep_first_best_and_last() -> None:
    gallery = Gallery(limit=1000)
    for step in range(1, 201):
        gallery.put(step, (flat(step),))
    gallery.finished = Seen((flat(255),))
    sheet = faces_sheet(trace_of(*(record(i, 0.9 if i == 38 else 0.1) for i in range(1, 201))), gallery)
    seen = [int(tile(sheet, place, 8)[56, 56, 0]) for place in range(33)]
    assert seen[0] == 1 and seen[31] == 200 and seen[32] == 255 and 38 in seen
    assert seen == sorted(set(seen))


def test_nothing_to_show_is_an_empty_sheet() -> None:
    assert faces_sheet(trace_of(record(1, None)), Gallery()).min() == 255


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="one label per face"):
        face_grid([None], [])
    with pytest.raises(ValueError, match="theme"):
        face_grid([], [], theme="pink")
