"""`infusenet generate --probe --measure`: the run is looked at with another measure than faces."""

from pathlib import Path

import numpy as np
from PIL import Image

from infusenet.probe import Trace


def order(tmp_path: Path, *more: object) -> list[object]:
    face = Path(__file__).parents[2] / "example_workflows" / "input" / "infusenet_reference.png"
    given = ["--backbone", "mini-schnell", "--face", face, "--prompt", "a portrait", "--out", tmp_path / "a.png"]
    return ["generate", *given, "--quiet", *more]


def test_a_run_is_followed_by_clip_and_by_its_prompt(command, tmp_path, clip_folder):
    pictures = []
    for measure, name in (("clip-image", "clip-image 1"), ("clip-text", "clip-text 1")):
        done = command(*order(tmp_path, "--probe", "--measure", measure, "--measure-model", clip_folder))
        assert done.returncode == 0, done.stderr
        trace = Trace.load(tmp_path / "a.trace.json")
        assert trace.rule.name == name and None not in trace.means and trace.detector is None
        assert "no face" not in done.stdout.lower() and "Try next" not in done.stdout
        pictures.append(np.asarray(Image.open(tmp_path / "a.png")))
    assert np.array_equal(*pictures)


def test_what_does_not_fit_together_is_said_in_a_line(command, tmp_path, clip_folder):
    for more, words in (
        (("--measure", "clip-image", "--measure-model", clip_folder), "Add --probe"),
        (("--probe", "--measure", "clip-image"), "Add --measure-model DIR"),
        (("--probe", "--measure", "taste"), "Known: face, clip-image, dino, clip-text"),
        (("--adapter", "magic"), "Known: infusenet"),
    ):
        done = command(*order(tmp_path, *more))
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "a.png").exists()
