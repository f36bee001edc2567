"""What is added to a sweep from outside makes jobs of its own. A sweep of toys of all kinds: `tests/test_seams.py`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infusenet import loading
from infusenet.adapters import ADAPTERS
from infusenet.axes import AXES
from infusenet.backbones import BACKBONES
from infusenet.errors import SettingsError
from infusenet.measures import MEASURES, MeasureSpec
from infusenet.metrics import METRICS
from infusenet.sweep.request import make_plan
from infusenet.sweep.runner import Models
from infusenet.sweep.spec import read_spec

Write = Callable[..., Path]

_at = importlib.util.spec_from_file_location("toys", Path(__file__).parents[1] / "test_seams.py")
assert _at is not None and _at.loader is not None
toys: Any = importlib.util.module_from_spec(_at)
_at.loader.exec_module(toys)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """A toy in each table."""
    for table, toy in (
        (ADAPTERS, toys.TOY_ADAPTER), (ADAPTERS, toys.RAMP_ADAPTER), (BACKBONES, toys.TOY_BACKBONE),
        (METRICS, toys.TOY_METRIC), (AXES, toys.TOY_AXIS),
        (MEASURES, MeasureSpec("edges", "edge agreement", False, "pictures", lambda folder, device: toys.Edges())),
    ):  # fmt: skip
        monkeypatch.setitem(table, toy.name, toy)
    monkeypatch.setitem(loading.LOADERS, "ramps", lambda name, **_: toys.RampPipeline(BACKBONES[name]))


def test_what_is_not_default_makes_other_jobs(added: None, write: Write) -> None:
    plain = make_plan(read_spec(write()), Models(), "x")
    asked = write(("steps = [1, 2]", "steps = [1, 2]\npush = [0.5, 1]"))
    further = make_plan(read_spec(asked), Models(), "x")
    dev = [point.job.id for point in plain.points if point.method == "dev"]
    assert not {point.job.id for point in further.points if point.method == "dev"} & {*dev}
    assert [point.job.id for point in further.points if point.method == "schnell"] == [
        point.job.id for point in plain.points if point.method == "schnell"
    ]
    measured = make_plan(read_spec(write(('title = "Small"', 'title = "Small"\nmeasure = "edges"'))), Models(), "x")
    assert not {job.id for job in measured.jobs} & {job.id for job in plain.jobs}


def test_a_measure_that_needs_weights_is_asked_for_them(write: Write, tmp_path: Path) -> None:
    spec = read_spec(write(('title = "Small"', 'title = "Small"\nmeasure = "dino"')))
    with pytest.raises(SettingsError, match="--measure-model DIR"):
        make_plan(spec, Models(), "x")
    (tmp_path / "weights.bin").write_bytes(b"1")
    name, content = make_plan(spec, Models(measure=tmp_path), "x").jobs[0].measure.split()
    assert (name, len(content)) == ("dino", 16)


def test_an_adapter_that_does_not_fit_is_told(added: None, write: Write) -> None:
    spec = read_spec(write(("steps = 1\n", 'steps = 1\nadapter = "brightness"\n')))
    with pytest.raises(SettingsError, match="works with ramps, not with flux"):
        make_plan(spec, Models(), "x")
