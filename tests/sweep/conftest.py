"""A small specification that tests change, and a sweep's plan without any model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from infusenet.sweep.jobs import SweepPlan, expand
from infusenet.sweep.people import find_people
from infusenet.sweep.results import picture_path
from infusenet.sweep.spec import read_spec

WEIGHTS = {("dev", "infusenet"): "mini-dev x", ("schnell", "infusenet"): "mini-schnell x"}

SMALL = """
title = "Small"
[people]
drawn = 2
[prompts]
portrait = "a portrait of a person"
beach = "a photo of a person at the beach"
[[methods]]
label = "dev"
backbone = "dev"
steps = [1, 2]
[[methods]]
label = "schnell"
backbone = "schnell"
steps = 1
[quick]
people = 1
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write((old, new), ...)`: the small specification in a file, with words replaced."""

    def made(*changes: tuple[str, str]) -> Path:
        text = SMALL
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "small.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return made


def plan_from(path: Path) -> SweepPlan:
    """The plan of a specification on made-up weights."""
    spec = read_spec(path)
    people = find_people(spec.people)
    return SweepPlan(spec, tuple(people), (), tuple(expand(spec, people, WEIGHTS)), "infusenet sweep small.toml")


@pytest.fixture
def plan_of() -> Callable[[Path], SweepPlan]:
    """`plan_of(path)`: as `plan_from`."""
    return plan_from


def save_tiny_picture(folder: Path, job: Any) -> None:
    """A job's picture as small as it may be."""
    path = picture_path(folder, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)
