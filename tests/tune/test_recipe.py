"""A recipe's file: what goes in comes out, and what cannot be meant is refused in words."""

import json

import pytest

from infusenet.backbones import BACKBONES
from infusenet.errors import SettingsError
from infusenet.sweep.spec import Method
from infusenet.tune.recipe import FORMAT, Recipe

RECIPE = Recipe("dev", "flux", "dev", 8, 1.25, "every 2", "2+4", {"seconds": {"way": 0.3}})


def test_it_is_read_back_as_it_was(tmp_path):
    RECIPE.save(tmp_path / "recipe.json")
    assert Recipe.load(tmp_path / "recipe.json") == RECIPE
    assert json.loads(RECIPE.to_json())["format"] == FORMAT


def test_what_a_later_version_adds_is_left_out():
    assert Recipe.from_json(json.dumps({**json.loads(RECIPE.to_json()), "colour": "red"})) == RECIPE


@pytest.mark.parametrize(
    "changes",
    [{"steps": 0}, {"steps": 2.5}, {"steps": True}, {"strength": -1}, {"strength": None}, {"strength": float("nan")},
     {"refresh": "sometimes"}, {"schedule": "4+"},
     {"refresh": 3}, {"family": None}, {"found": []}, {"format": "other"}],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(changes):
    with pytest.raises(SettingsError):
        Recipe.from_json(json.dumps({**json.loads(RECIPE.to_json()), **changes}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, json.dumps({"format": FORMAT})])
def test_what_is_no_recipe_is_refused(text):
    with pytest.raises(SettingsError, match="recipe"):
        Recipe.from_json(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError, match="nowhere.json cannot be read"):
        Recipe.load(tmp_path / "nowhere.json")
    (tmp_path / "picture.json").write_bytes(b"\x89PNG")
    with pytest.raises(SettingsError, match="picture.json: This is not a recipe"):
        Recipe.load(tmp_path / "picture.json")


def test_another_backbone_is_refused_in_words():
    RECIPE.check("flux", BACKBONES["flux-dev"].variant)
    with pytest.raises(SettingsError, match="made for flux dev, but this backbone is flux schnell"):
        RECIPE.check("flux", "schnell")


def test_a_sweep_takes_it_as_a_method():
    method = Method.model_validate(RECIPE.method())
    assert (method.backbone, method.refresh, method.schedule) == ("dev", "every 2", "2+4")
    assert method.axes == {"steps": (8,), "strength": (1.25,)}
