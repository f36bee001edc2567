"""The shipped workflows are what their generator writes; the forms for the browser are checked on a host."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "example_workflows"
NAMES = sorted(path.stem for path in (FOLDER / "api").glob("*.json"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    home = FOLDER / "generate"
    spec = importlib.util.spec_from_file_location(
        "workflows_generate", home / "__init__.py", submodule_search_locations=[str(home)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_template_is_shipped_in_both_forms_and_with_a_picture(generate) -> None:
    assert sorted(generate.TEMPLATES) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.jpg")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_api_form_is_the_generators_to_the_byte(generate, name) -> None:
    shipped = (FOLDER / "api" / f"{name}.json").read_bytes()
    assert shipped == (json.dumps(generate.TEMPLATES[name]().api(), indent=1) + "\n").encode()


def test_the_drawn_persons_are_those_of_their_seeds(tmp_path) -> None:
    code = (
        "import sys, pathlib; from example_workflows.generate.__main__ import draw_people;"
        "draw_people(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    shipped = sorted((FOLDER / "input").glob("*.png"))
    assert len(shipped) == 2
    for path in shipped:
        assert np.array_equal(*(np.asarray(Image.open(folder / path.name)) for folder in (path.parent, tmp_path)))


@pytest.mark.parametrize(("arguments", "words"), [(["nobody"], "no template nobody"), ([], "set COMFYUI_PATH")])
def test_the_command_says_what_it_lacks(arguments, words, monkeypatch) -> None:
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    command = [sys.executable, "-m", "example_workflows.generate", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert words in done.stderr


def test_it_is_no_part_of_what_is_shipped() -> None:
    assert "example_workflows/generate/" in (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines()
    assert not list((FOLDER / "generate").glob("*.json")), "which ComfyUI would take for workflows"
