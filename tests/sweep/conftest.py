"""A small specification that tests change, and a sweep's plan without any model."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infusenet.sweep.jobs import expand
from infusenet.sweep.people import find_people
from infusenet.sweep.plan import Plan
from infusenet.sweep.spec import read_spec

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


def plan_from(path: Path) -> Plan:
    """The plan of a specification on made-up weights."""
    spec = read_spec(path)
    people = find_people(spec.people)
    rows = expand(spec, people, {"dev": "mini-dev x", "schnell": "mini-schnell x"})
    return Plan(spec, tuple(people), (), tuple(rows), "infusenet sweep small.toml")


@pytest.fixture
def plan_of() -> Callable[[Path], Plan]:
    """`plan_of(path)`: as `plan_from`."""
    return plan_from
