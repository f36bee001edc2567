"""The commands around a recipe: tune makes it, generate and sweep apply it, on the miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infusenet.cli import main, parser
from infusenet.cli.tune import request_of
from infusenet.miniature.people import drawn_reference
from infusenet.tune.recipe import Recipe

RECIPE = Recipe("schnell", "flux", "schnell", 2, 1.5, "1")


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """The file of a recipe for schnell."""
    RECIPE.save(tmp_path / "recipe.json")
    return str(tmp_path / "recipe.json")


def generate(tmp_path: Path, *further: str, backbone: str = "mini-schnell") -> tuple[int, Path]:
    """Its exit code, and where its picture went."""
    face, out = tmp_path / "face.png", tmp_path / "out" / f"{len(list(tmp_path.glob('out/*')))}.png"
    Image.fromarray(drawn_reference(3)).save(face)
    words = ["generate", "--backbone", backbone, "--face", str(face), "--prompt", "a portrait", "--out", str(out)]
    return main([*words, "--device", "cpu", "--quiet", *further]), out


def test_generate_applies_a_recipe_and_what_is_given_wins(tmp_path: Path, recipe: str) -> None:
    def pixels(path: Path) -> np.ndarray:
        return np.array(Image.open(path))

    made, by_hand, changed, by_hand_too = (
        generate(tmp_path, *further)[1]
        for further in (
            ("--recipe", recipe),
            ("--steps", "2", "--strength", "1.5", "--refresh", "1"),
            ("--recipe", recipe, "--strength", "1"),
            ("--steps", "2", "--refresh", "1"),
        )
    )
    assert np.array_equal(pixels(made), pixels(by_hand)) and np.array_equal(pixels(changed), pixels(by_hand_too))
    assert not np.array_equal(pixels(made), pixels(changed))


def test_generate_refuses_a_recipe_for_another_backbone(tmp_path: Path, recipe: str, capsys) -> None:
    from infusenet import miniature

    for backbone in ("mini-dev", str(miniature.BACKBONES["mini-dev"])):  # by name at once, by path once it is known
        code, out = generate(tmp_path, "--recipe", recipe, backbone=backbone)
        told = capsys.readouterr().err
        assert code == 2 and not out.exists()
        assert "made for flux schnell, but this backbone is flux dev" in told and told.count("\n") == 1


def test_a_sweep_has_the_recipe_as_one_more_method(tmp_path: Path, recipe: str, capsys) -> None:
    spec = tmp_path / "one.toml"
    spec.write_text('title = "One"\n[people]\ndrawn = 1\n[prompts]\na = "a portrait"\n'
                    '[[methods]]\nlabel = "schnell 2"\nbackbone = "schnell"\nsteps = 2\n'
                    '[[figures]]\nkind = "table"\ntitle = "Likeness"\n')  # fmt: skip
    out = tmp_path / "out"
    assert main(["sweep", str(spec), "--out", str(out), "--recipe", recipe, "--quiet", "--device", "cpu"]) == 0
    table = (out / "table.csv").read_text()
    assert "\nrecipe,drawn-01," in table and ",1.5," in table
    assert "--recipe recipe.json" in (out / "sweep.json").read_text()


def test_tune_asks_for_what_its_arguments_say(tmp_path: Path) -> None:
    words = "tune --out o --among schnell --identity 95 --prompt-following 90 --sharpness 80 --steps 2 4 --strengths 1"
    request = request_of(parser().parse_args([*words.split(), "--refresh", "every step", "1,3", "--drawn", "8"]))
    assert request.roles == ("schnell",) and request.target.each == {"identity": 0.95, "prompt": 0.9, "sharpness": 0.8}
    assert [way.name for way in request.ways] == [
        "schnell, 4 steps", "schnell, 2 steps", "schnell, 2 steps, InfuseNet 1,3", "schnell, 4 steps, InfuseNet 1,3",
    ]  # fmt: skip
    assert request.drawn == 8 and request.command.startswith("infusenet tune --among schnell --identity 95")
    usual = request_of(parser().parse_args(["tune", "--out", "o"]))
    assert len(usual.ways) == 40 and usual.ways[0] == usual.reference and usual.reference.name == "dev, 28 steps"


@pytest.mark.parametrize(
    ("words", "told"),
    [("--identity 300", "0 to 200 %"), ("--drawn 0", "1 person or more"), ("--people x --drawn 3", "not both"),
     ("--refresh never", "Expected refresh"), ("--among nothing", "Unknown backbone"),
     ("--steps 0", "whole number of steps"), ("--strengths 7", "strengths of 0..3")],
)  # fmt: skip
def test_what_cannot_be_searched_is_one_line(tmp_path: Path, words: str, told: str, capsys) -> None:
    assert main(["tune", "--out", str(tmp_path / "o"), *words.split()]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_tune_on_the_miniature_ends_with_files_that_generate_takes(tmp_path: Path, capsys) -> None:
    out = tmp_path / "tune"
    words = ["--among", "schnell", "--steps", "1", "2", "--strengths", "1", "--refresh", "every step", "--drawn", "2"]
    code = main(["tune", "--out", str(out), *words, "--prompts", "a portrait", "--quiet", "--device", "cpu"])
    told = capsys.readouterr().out
    assert code == 0 and "too few to search on" in told and (out / "tune.html").exists()
    assert Recipe.load(out / "recipe.json").variant == "schnell"
    assert generate(tmp_path, "--recipe", str(out / "recipe.json"))[0] == 0
    lines = (out / "ways.csv").read_text().splitlines()
    assert len(lines) == 1 + 3
