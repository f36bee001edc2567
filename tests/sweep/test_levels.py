"""levels.json: written once, made anew for other people, unknown where it is missing or damaged."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infusenet.measures import Baseline
from infusenet.miniature.people import drawn_again, drawn_reference
from infusenet.sweep.jobs import SweepPlan
from infusenet.sweep.levels import UNKNOWN, read_levels, save_levels
from infusenet.sweep.request import make_plan
from infusenet.sweep.results import read_results, save_plan
from infusenet.sweep.runner import Models
from infusenet.sweep.spec import read_spec

Write = Callable[..., Path]
NAMES = ["impostor", "blank", "genuine"]


def plan_of(spec: Path, people: Path | None = None) -> SweepPlan:
    return make_plan(read_spec(spec, people=people), Models(), "")


def test_a_sweep_of_drawn_people_knows_all_levels(write: Write, tmp_path: Path) -> None:
    plan = plan_of(write(('title = "Small"', 'title = "Small"\nmetrics = ["second_similarity"]')))
    save_plan(tmp_path, plan)
    assert read_results(tmp_path).levels == UNKNOWN
    save_levels(plan, Models(), tmp_path, "cpu")
    found = read_results(tmp_path).levels
    assert list(found) == [*NAMES, *(f"second_{name}" for name in NAMES)]
    assert all(isinstance(line, Baseline) for line in found.values())
    for first in ("", "second_"):
        genuine, impostor = found[f"{first}genuine"], found[f"{first}impostor"]
        assert genuine is not None and impostor is not None and genuine.mean > impostor.mean
    assert found["genuine"] != found["second_genuine"]


def test_it_is_written_once_and_anew_for_other_people(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "levels.json"
    save_levels(plan_of(write()), Models(), tmp_path, "cpu")
    path.write_text(json.dumps({**json.loads(path.read_text()), "blank": None}))
    save_levels(plan_of(write()), Models(), tmp_path, "cpu")
    assert read_levels(tmp_path)["blank"] is None
    save_levels(plan_of(write(("drawn = 2", "drawn = 3"))), Models(), tmp_path, "cpu")
    found = read_levels(tmp_path)
    assert found["blank"] is not None and found["blank"].count == 48
    assert found["second_blank"] is None  # not asked for
    assert list(tmp_path.glob("*.part")) == []


def test_people_of_a_folder(write: Write, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(3):
        (photos / f"{number}").mkdir(parents=True)
        for name, picture in (("a", drawn_reference(number)), ("b", drawn_again(number))):
            Image.fromarray(picture).save(photos / f"{number}" / f"{name}.png")
    save_levels(plan_of(write(), photos), Models(), tmp_path, "cpu")
    found = read_levels(tmp_path)
    assert found["impostor"] is None  # two others are too few
    assert found["genuine"] is not None and found["genuine"].count == 3


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"impostor": 3}', '{"blank": {"mean": NaN, "std": 0.1, "count": 3}}', "[" * 100_000]
)
def test_a_damaged_file_is_unknown(tmp_path: Path, text: str) -> None:
    (tmp_path / "levels.json").write_text(text)
    assert read_levels(tmp_path) == UNKNOWN


def test_a_drawn_person_in_another_scene_is_another_picture() -> None:
    assert not np.array_equal(drawn_again(0), drawn_reference(0))
    assert np.array_equal(drawn_again(0), drawn_again(0)) and drawn_again(0).shape == (128, 128, 3)
