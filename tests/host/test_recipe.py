"""Load Recipe: from the input folder, the output folder or a text to the settings of other nodes, on a real host."""

import json

import pytest


@pytest.fixture
def recipe(pack):
    """A recipe for dev, as the library writes it."""
    found = {
        "reference": "dev, 28 steps",
        "seconds": {"way": 0.2, "reference": 1.0, "machine": "a card"},
        "held_out": {"verdict": "held up"},
    }
    return pack.module("infusenet.tune.recipe").Recipe("dev", "flux", "dev", 8, 1.25, "every 2", "2+4", found)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The host's input and output folders, empty."""
    import folder_paths

    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path


def test_a_file_of_either_folder_becomes_settings(pack, run, mini, recipe, files):
    model, *_ = mini("mini-dev")
    (files / "output" / "tune").mkdir()
    recipe.save(files / "input" / "recipe.json")
    recipe.save(files / "output" / "tune" / "my recipe.json")
    names = ["recipe.json", "tune/my recipe.json [output]"]
    assert pack.module("nodes.paths").recipes() == names
    for name in names:
        *settings, about = run("LoadRecipe", model=model, recipe=name, text="")
        assert settings == [8, 2, 4, 1.25, "every 2"]
        assert about.splitlines()[1:] == [
            "5.0 times as fast as dev, 28 steps, on a card.",
            "On held-out people it held up.",
        ]


def test_the_text_is_used_where_no_file_is_chosen(run, mini, recipe):
    model, *_ = mini("mini-dev")
    assert run("LoadRecipe", model=model, recipe="none", text=recipe.to_json())[:5] == (8, 2, 4, 1.25, "every 2")


def test_another_variant_is_refused_in_words(pack, run, mini, recipe):
    model, *_ = mini("mini-schnell")
    with pytest.raises(
        pack.module("infusenet.errors").SettingsError, match="made for flux dev, but this backbone is flux schnell"
    ):
        run("LoadRecipe", model=model, recipe="none", text=recipe.to_json())


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("none", "  ", "Choose a recipe"),
        ("none", "{}", "This is not a recipe"),
        ("gone.json", "", "was not found"),
        ("../secret recipe.json", "", "was not found"),
        ("../secret recipe.json [output]", "", "was not found"),
        ("/etc/passwd", "", "was not found"),
    ],
)
def test_what_is_no_recipe_is_refused(pack, run, mini, recipe, files, name, text, words):
    recipe.save(files / "secret recipe.json")
    model, *_ = mini("mini-dev")
    with pytest.raises(pack.module("infusenet.errors").SettingsError, match=words):
        run("LoadRecipe", model=model, recipe=name, text=text)


def test_a_file_that_was_replaced_is_read_again(pack, recipe, files):
    node = pack.nodes["LoadRecipe"]
    recipe.save(files / "input" / "recipe.json")
    before = node.fingerprint_inputs(recipe="recipe.json")
    assert node.fingerprint_inputs(recipe="recipe.json", text="") == before
    (files / "input" / "recipe.json").write_text(json.dumps({"format": "another"}))
    assert node.fingerprint_inputs(recipe="recipe.json") != before
    assert node.fingerprint_inputs(recipe="none") is not None


def test_its_outputs_fit_the_nodes_they_are_for(pack):
    given = {output.display_name: output.get_io_type() for output in pack.nodes["LoadRecipe"].define_schema().outputs}
    for node, names in {"Sigmas": ["steps", "keep", "last_steps"], "Apply": ["strength", "refresh"]}.items():
        taken = {entry.id: entry.get_io_type() for entry in pack.nodes[node].define_schema().inputs}
        assert [taken.get(name) for name in names] == [given[name] for name in names]


def test_a_recipe_without_notes_is_told_all_the_same(pack):
    recipe = pack.module("infusenet.tune.recipe").Recipe(
        "dev", "flux", "dev", 1, found={"seconds": {"way": "x"}, "held_out": 3}
    )
    assert pack.module("nodes.flux.recipe").in_words(recipe) == "dev, 1 step, strength 1, InfuseNet every step."


def test_a_schedule_that_no_node_sets_is_refused(pack, run, mini):
    model, *_ = mini("mini-dev")
    recipe = pack.module("infusenet.tune.recipe").Recipe("dev", "flux", "dev", 8)
    assert run("LoadRecipe", model=model, recipe="none", text=recipe.to_json())[:3] == (8, 0, 0)
    text = recipe.to_json().replace('"exact"', '"adaptive"')
    with pytest.raises(pack.module("infusenet.errors").SettingsError, match="No node sets the schedule adaptive"):
        run("LoadRecipe", model=model, recipe="none", text=text)
