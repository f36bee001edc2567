"""The demo: its people, its measurements, and the whole of it as a user runs it; then what the README says to type."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from infusenet.demo.run import GENUINE, IMPOSTORS, PROBED, defined, drawn_subjects, user_subjects
from infusenet.files import png
from infusenet.miniature.captions import NINE

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def subjects():
    return drawn_subjects(0)


def test_people_are_pictures_of_one_person_and_of_others(subjects):
    assert len(subjects.genuine) == GENUINE
    assert len(subjects.impostors) == IMPOSTORS
    for picture in (subjects.reference, *subjects.genuine, *subjects.impostors):
        assert picture.shape == (128, 128, 3)
        assert picture.dtype == np.uint8


@pytest.mark.exact
def test_the_same_seed_draws_the_same_people(subjects):
    again, other = drawn_subjects(0), drawn_subjects(1)
    assert np.array_equal(subjects.reference, again.reference)
    assert all(map(np.array_equal, subjects.impostors, again.impostors))
    assert not np.array_equal(subjects.reference, other.reference)


def test_a_users_face_has_strangers_but_no_true_pictures(subjects, tmp_path):
    from infusenet.files import save_picture

    mine = user_subjects(save_picture(subjects.genuine[0], tmp_path / "me.png"), 0)
    assert np.array_equal(mine.reference, subjects.genuine[0])
    assert mine.genuine == ()
    assert len(mine.impostors) == IMPOSTORS


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
    import torch

    from infusenet.probe import Reference, ReferenceInfo

    pictures = [np.zeros([8, 8, 3], np.uint8) for _ in range(4)]
    pictures[1][:] = (9, 0, 0)
    pictures[2][:] = (0, 7, 0)
    pictures[3][:] = (5, 5, 0)
    reference = Reference(torch.tensor([1.0, 0.0, 0.0]), (), ReferenceInfo(1, None))
    found = reference.similarities(Recognizer(), pictures)
    assert found[0] is None
    assert found[1:] == pytest.approx([1.0, 0.0, 0.5**0.5])
    assert reference.similarities(Recognizer(), pictures[:1]) == [None]
    assert defined(found) == found[1:]


def test_png_keeps_every_pixel():
    import io

    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, [5, 7, 3], np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)


class _Page(HTMLParser):
    """Collects what a page would load, and whether its tags are closed in order."""

    def __init__(self):
        super().__init__()
        self.links, self.open, self.images = [], [], 0

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.images += tag == "img"
        self.links += [values[key] for key in ("src", "href", "srcset", "data") if values.get(key)]
        if tag not in ("meta", "img", "br", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def demo(command, tmp_path_factory):
    """The demo, run once as a user runs it."""
    out = tmp_path_factory.mktemp("demo") / "out"
    done = command("demo", "--out", out, "--quiet")
    assert done.returncode == 0, done.stderr
    return out, done


class TestDemo:
    """The main job, on the miniature."""

    def test_it_says_little_and_where_to_look(self, demo):
        out, done = demo
        assert str(out / "report.html") in done.stdout
        assert "mini-schnell" in done.stdout
        assert done.stderr == ""

    def test_everything_is_there(self, demo):
        names = {path.name for path in demo[0].iterdir()}
        wanted = {"reference.png", "drift.png", "trace.json", "report.html", "summary.json"}
        assert wanted | {"faces-mini-dev.png", "faces-mini-schnell.png"} <= names
        for backbone in ("mini-dev", "mini-schnell"):
            assert sum(name.startswith(f"{backbone}-") for name in names) == 9
        assert not [name for name in names if name.startswith(".")]

    def test_summary(self, demo):
        summary = json.loads((demo[0] / "summary.json").read_text(encoding="utf-8"))
        for name, steps in (("mini-dev", 28), ("mini-schnell", 4)):
            figures = summary["backbones"][name]
            assert figures["steps"] == steps
            assert 0 < figures["seconds"] < 60
            values = [value for value in figures["similarities"] if value is not None]
            assert figures["faces_found"] == len(values)
            assert figures["similarity"] == pytest.approx(sum(values) / len(values), abs=1e-3)
        assert abs(summary["stranger_similarity"]) < 0.2
        assert "rec_mini.onnx" in summary["recognizer"]
        assert {"infusenet", "torch", "diffusers", "python"} <= set(summary["versions"])

    def test_the_person_is_there(self, demo):
        summary = json.loads((demo[0] / "summary.json").read_text(encoding="utf-8"))
        floor = summary["stranger_similarity"] + 3 * summary["stranger_std"] / 9**0.5
        for figures in summary["backbones"].values():
            assert figures["faces_found"] >= 8
            assert figures["similarity"] > floor

    def test_traces(self, demo):
        from infusenet import Trace

        for name, backbone, steps in (("trace.json", "mini-dev", 28), ("trace-mini-schnell.json", "mini-schnell", 4)):
            trace = Trace.load(demo[0] / name)
            assert trace.run.backbone == backbone
            assert len(trace.records) == steps
            assert trace.status == "complete"
            assert trace.final is not None

    def test_page_holds_all_it_shows(self, demo):
        page = _Page()
        page.feed((demo[0] / "report.html").read_text(encoding="utf-8"))
        assert page.open == []
        assert page.images == 1 + 18 + 2 + 2
        assert page.links
        assert all(link.startswith("data:image/png;base64,") for link in page.links)

    def test_pictures_tell_how_they_were_made(self, demo):
        from PIL import Image

        with Image.open(demo[0] / "mini-dev-1.png") as picture:
            told = picture.text
        assert told["AI-generated"] == "true"
        parameters = json.loads(told["parameters"])
        assert parameters["steps"] == 28
        assert parameters["backbone"] == "mini-dev"
        assert parameters["seed"] == 0
        assert parameters["models"]["infusenet"] == "InfuseNetModel"

    def test_no_embedding_is_written(self, demo):
        for path in demo[0].iterdir():
            if path.suffix == ".json":
                assert "embedding" not in path.read_text(encoding="utf-8")


class TestReadme:
    """What the README says to type."""

    TEXT = (ROOT / "README.md").read_text(encoding="utf-8")

    def test_python_session_runs_and_is_ten_lines(self, demo, tmp_path):
        (session,) = re.findall(r"```python\n(.*?)```", self.TEXT, re.DOTALL)
        assert len([line for line in session.splitlines() if line.strip()]) <= 10
        (tmp_path / "out").mkdir()
        shutil.copy(demo[0] / "reference.png", tmp_path / "out")
        done = subprocess.run(
            [sys.executable, "-c", session],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "beach.png").is_file()

    def test_commands_are_those_of_the_package(self):
        assert 'pip install -e ".[standalone]" && infusenet demo --out out' in self.TEXT
        assert 'pip install -e ".[standalone,test]" && pytest' in self.TEXT
        for script in re.findall(r"^(?:bash|python) ([^-\s]\S*)", self.TEXT, re.MULTILINE):
            assert (ROOT / script).is_file(), script
