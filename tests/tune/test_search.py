"""The search with made-up pictures: what it finds, says and writes, and that it goes on where it was stopped."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from infusenet.errors import SettingsError
from infusenet.sweep.jobs import Job
from infusenet.sweep.results import picture_path, read_results
from infusenet.tune.recipe import Recipe
from infusenet.tune.report import write
from infusenet.tune.request import TuneRequest, in_turn, parted, rounds_of
from infusenet.tune.search import search
from infusenet.tune.standing import Target
from infusenet.tune.ways import Way

from .conftest import true_cost, true_quality

HELD_OUT = {f"drawn:{number}" for number in range(1, 12, 2)}
SECOND = {"second_similarity_with": "judge.onnx"}


class Camera:
    """Does jobs by known quality.

    Attributes:
        done: jobs, in order.
        stop_after: KeyboardInterrupt at so many.
        change: (job, values) -> values, for what a test wants otherwise.
    """

    def __init__(self, folder: Path, stop_after: int | None = None, change: Callable[..., Any] | None = None) -> None:
        self.folder, self.stop_after, self.change, self.done = folder, stop_after, change, list[Job]()

    def __call__(self, rank: Any, device: str) -> Callable[[Job], dict[str, Any]]:
        return self.do

    def do(self, job: Job) -> dict[str, Any]:
        """Values of a picture, the same whenever it is made."""
        if self.stop_after is not None and len(self.done) >= self.stop_after:
            raise KeyboardInterrupt
        self.done.append(job)
        way = Way(job.role, job.steps, job.strength, job.refresh, job.schedule)
        rng, truth = np.random.default_rng([*job.id.encode()]), true_quality(way)
        values = {
            "similarity": truth["identity"] + rng.normal(0, 0.03),
            "second_similarity": truth["identity"] - 0.1 + rng.normal(0, 0.03),
            "prompt_fit": truth["prompt"],
            "sharpness": truth["sharpness"],
        }
        seconds = true_cost(way) * float(rng.lognormal(0, 0.02))
        same = {"seconds": seconds, "cpu_seconds": seconds, "alone": True, "device": "cpu", "recognizer": "first.onnx"}
        path = picture_path(self.folder, job)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)
        made = {**values, **same, **SECOND, "contrast": 0.2, "rule": "face 1"}
        return made if self.change is None else self.change(job, made)


def asked(out: Path, **changes: Any) -> TuneRequest:
    """A small search."""
    given: dict[str, Any] = {"drawn": 12, "steps": (4, 8), "strengths": (1.0, 1.25), "quiet": True, "device": "cpu"}
    return TuneRequest(out, **{**given, **changes})


def test_it_finds_the_fastest_way_and_verifies_it_on_others(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    found = search(asked(tmp_path), camera)
    assert found.race.chosen == Way("dev", 4, 1.25, "every 2")
    searched = {job.identity for job in camera.done if job.identity not in HELD_OUT}
    assert len(searched) == 6 and {job.identity for job in camera.done} - searched == HELD_OUT
    first_held_out = next(number for number, job in enumerate(camera.done) if job.identity in HELD_OUT)
    late = camera.done[first_held_out:]
    assert {job.identity for job in late} == HELD_OUT
    assert {(job.steps, job.strength, job.refresh) for job in late} == {(28, 1.0, "every step"), (4, 1.25, "every 2")}
    assert not {job.prompt for job in late} & {job.prompt for job in camera.done[:first_held_out]}
    verified = found.verified
    assert verified is not None and verified.verdict == "held up" and verified.judge == "judge.onnx"
    share = (true_quality(found.race.chosen)["identity"] - 0.1) / (true_quality(Way("dev", 28))["identity"] - 0.1)
    assert verified.standing.identity == pytest.approx(share, abs=0.04)
    assert found.limits == []


def test_a_persons_ways_share_the_noise_and_take_turns(tmp_path: Path) -> None:
    camera = Camera(tmp_path)
    search(asked(tmp_path), camera)
    for job in camera.done:
        assert {other.seed for other in camera.done if other.identity == job.identity} == {job.seed}
    first = [job for job in camera.done if job.role == "dev"][:6]
    assert len({(job.identity, job.prompt) for job in first}) == 1 and len({job.steps for job in first}) == 3


def test_stopped_anywhere_it_goes_on_to_the_same_recipe(tmp_path: Path) -> None:
    whole = Camera(tmp_path / "whole")
    write(search(asked(tmp_path / "whole"), whole))
    broken, done = tmp_path / "broken", 0
    for stop in (1, 40, len(whole.done) - 41 - 5):  # in the first round, and among those held out
        camera = Camera(broken, stop_after=stop)
        with pytest.raises(KeyboardInterrupt):
            search(asked(broken), camera)
        done += len(camera.done)
        assert not (broken / "recipe.json").exists()
    camera = Camera(broken)
    write(search(asked(broken), camera))
    assert done + len(camera.done) == len(whole.done), "each picture is made once"
    assert (broken / "recipe.json").read_bytes() == (tmp_path / "whole" / "recipe.json").read_bytes()
    assert (broken / "ways.csv").read_bytes() == (tmp_path / "whole" / "ways.csv").read_bytes()
    again = Camera(broken)
    write(search(asked(broken), again))
    assert again.done == []


def test_pictures_of_an_exhaustive_search_change_nothing(tmp_path: Path) -> None:
    request = asked(tmp_path)
    every = search(replace(request, exhaustive=True), Camera(tmp_path))
    assert {entry.standing.pairs for entry in every.race.entries} == {6 * 4}
    camera = Camera(tmp_path / "fresh")
    assert search(request, Camera(tmp_path)).race == search(replace(request, out=tmp_path / "fresh"), camera).race


def test_its_files(tmp_path: Path) -> None:
    request = asked(tmp_path, target=Target(identity=0.99))
    told = write(search(request, Camera(tmp_path)))
    recipe = Recipe.load(tmp_path / "recipe.json")
    assert (recipe.family, recipe.variant, recipe.steps, recipe.refresh) == ("flux", "dev", 4, "every 2")
    assert recipe.found["target"]["identity"] == 0.99 and recipe.found["held_out"]["verdict"] == "held up"
    assert "cores" in recipe.found["seconds"]["machine"]
    with (tmp_path / "ways.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["way"] for row in rows] == [way.name for way in request.ways]
    assert [row["fate"] for row in rows].count("chosen") == 1
    page = (tmp_path / "tune.html").read_text(encoding="utf-8")
    assert "held-out" in page and "Seconds against likeness" in page and page.count("data:image/png") == 2
    assert told.splitlines()[0].startswith("dev, 4 steps, InfuseNet every 2, strength 1.25: ")
    assert (tmp_path / "pareto.png").read_bytes()[:4] == b"\x89PNG"
    assert len(read_results(tmp_path).points) > 0, "infusenet report reads it as a sweep"


def test_a_way_that_does_not_hold_up_is_told(tmp_path: Path) -> None:
    def worse(job: Job, made: dict[str, Any]) -> dict[str, Any]:
        lost = 0.2 if job.identity in HELD_OUT and job.steps != 28 else 0.0
        return {**made, "second_similarity": made["second_similarity"] - lost}

    found = search(asked(tmp_path), Camera(tmp_path, change=worse))
    assert found.verified is not None and found.verified.verdict == "did not hold up"
    assert "did not hold up" in write(found)
    assert json.loads((tmp_path / "recipe.json").read_text())["found"]["held_out"]["verdict"] == "did not hold up"


def test_where_nothing_meets_the_target_there_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("an older one")
    told = write(search(asked(tmp_path, target=Target(identity=1.9)), Camera(tmp_path)))
    assert told.startswith("None of the ways meets the target: the nearest, ") and "misses likeness" in told
    assert not (tmp_path / "recipe.json").exists()
    assert "Use it" not in (tmp_path / "tune.html").read_text(encoding="utf-8")


def test_a_failed_picture_is_made_again_and_counts_as_none(tmp_path: Path) -> None:
    def fails(job: Job, made: dict[str, Any]) -> dict[str, Any]:
        if job.steps == 4:
            raise RuntimeError("out of luck")
        return made

    found = search(asked(tmp_path), Camera(tmp_path, change=fails))
    assert found.race.chosen is not None and found.race.chosen.steps != 4
    lost = next(entry.standing for entry in found.race.entries if entry.way.steps == 4)
    assert lost.loses_faces and lost.shares == {}
    assert search(asked(tmp_path), Camera(tmp_path)).race.chosen == Way("dev", 4, 1.25, "every 2")


@pytest.mark.parametrize("held_out", [False, True])
def test_where_all_pictures_of_something_fail_it_says_so(tmp_path: Path, held_out: bool) -> None:
    def fails(job: Job, made: dict[str, Any]) -> dict[str, Any]:
        if (job.identity in HELD_OUT and job.steps == 4) if held_out else job.role == "schnell":
            raise RuntimeError("out of luck")
        return made

    what = "dev, 4 steps, InfuseNet every 2, strength 1.25" if held_out else "schnell"
    with pytest.raises(SettingsError, match=f"No picture of {what} could be made"):
        search(asked(tmp_path), Camera(tmp_path, change=fails))


def test_without_any_face_it_says_so(tmp_path: Path) -> None:
    camera = Camera(tmp_path, change=lambda job, made: {**made, "similarity": None})
    with pytest.raises(SettingsError, match="None of 12 pictures of dev, 28 steps shows a face"):
        search(asked(tmp_path), camera)


def test_what_nothing_measured_is_not_judged_and_told(tmp_path: Path) -> None:
    camera = Camera(tmp_path, change=lambda job, made: {**made, "prompt_fit": None, "second_similarity": None})
    found = search(asked(tmp_path), camera)
    assert found.unmeasured == ("prompt",) and "--clip DIR" in " ".join(found.limits)
    assert found.verified is not None and found.verified.judge == "first.onnx"


@pytest.mark.parametrize(
    ("drawn", "prompts", "words"),
    [
        (1, 3, "nobody is held out"),
        (2, 3, "1 person is too few to verify on"),
        (10, 3, "5 people are too few to search on"),
        (12, 1, "With one prompt"),
    ],
)
def test_too_few_people_or_prompts_are_told(tmp_path: Path, drawn: int, prompts: int, words: str) -> None:
    scenes = ("a portrait of a person", "a person at the beach", "a sketch of a person")[:prompts]
    found = search(asked(tmp_path, drawn=drawn, prompts=scenes), Camera(tmp_path))
    assert any(words in sentence for sentence in found.limits)


def test_people_and_prompts_are_parted() -> None:
    assert parted("abcdef", 2) == (tuple("ace"), tuple("bdf"))
    assert parted("abcdefg", 3) == (tuple("abdeg"), tuple("cf"))
    assert parted("ab", 3) == (("a",), ("b",))
    assert parted("a", 2) == (("a",), ("a",))


def test_each_beginning_has_all_people_and_all_prompts() -> None:
    pairs = in_turn(range(6), ("x", "y", "z"))
    assert len(set(pairs)) == 18
    assert {who for who, _ in pairs[:6]} == set(range(6)) and {prompt for _, prompt in pairs[:6]} == {"x", "y", "z"}


@pytest.mark.parametrize(
    ("pictures", "rounds"), [(48, [12, 24, 48]), (12, [12]), (23, [23]), (60, [15, 30, 60]), (1, [1])]
)
def test_rounds_double(pictures: int, rounds: list[int]) -> None:
    assert rounds_of(pictures) == rounds


@pytest.mark.parametrize("changes", [{"roles": ()}, {"strengths": ()}, {"drawn": 0}])
def test_nothing_to_search_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        asked(tmp_path, **changes)
