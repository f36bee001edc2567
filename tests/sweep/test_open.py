"""What anyone may add to a sweep from outside: a metric, an axis, a measure, an adapter, a backbone."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infusenet import loading, miniature
from infusenet.adapters import ADAPTERS
from infusenet.axes import AXES
from infusenet.backbones import BACKBONES
from infusenet.errors import SettingsError
from infusenet.measures import MEASURES, MeasureSpec
from infusenet.metrics import METRICS
from infusenet.sweep.request import SweepRequest, make_plan, sweep
from infusenet.sweep.runner import Models
from infusenet.sweep.spec import read_spec

Write = Callable[..., Path]
MODELS = Models(given={"face_pack": miniature.FACE_PACK})

_at = importlib.util.spec_from_file_location("toys", Path(__file__).parents[1] / "test_seams.py")
assert _at is not None and _at.loader is not None
toys: Any = importlib.util.module_from_spec(_at)
_at.loader.exec_module(toys)

SPEC = """
title = "Toys"
metrics = ["redness"]
measure = "edges"
[people]
drawn = 2
[prompts]
portrait = "a portrait"
[[methods]]
label = "constant"
backbone = "schnell"
adapter = "constant"
steps = 1
half = [0.5, 1]
[[methods]]
label = "ramp"
backbone = "ramp"
adapter = "brightness"
steps = 2
[[figures]]
kind = "curve"
title = "Along the axis"
x = "half"
values = ["similarity", "redness"]
methods = ["constant"]
[[figures]]
kind = "table"
title = "Redness"
values = ["redness"]
"""


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


def test_all_of_them_have_their_jobs_columns_figures_and_page(added: None, tmp_path: Path) -> None:
    spec, out = tmp_path / "toys.toml", tmp_path / "out"
    spec.write_text(SPEC)
    summary = sweep(SweepRequest(str(spec), out, models=MODELS, quiet=True, device="cpu"))
    assert "6 of 6 pictures made, 0 failed, 0 missing." in summary, summary
    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["half"]) for row in rows[::2]] == [
        ("constant", "0.5"),
        ("constant", "1.0"),
        ("ramp", ""),
    ]
    assert all(0 <= float(row["redness"]) <= 1 and -1 <= float(row["similarity"]) <= 1 for row in rows)
    assert {row["rule"] for row in rows} == {"edges 1 (size 32)"}
    assert {row["recognizer"] for row in rows} == {"edge agreement"}
    with (out / "columns.csv").open(newline="") as file:
        meanings = {row["column"]: row["meaning"] for row in csv.DictReader(file)}
    assert meanings["redness"] == toys.TOY_METRIC.help
    assert meanings["half"] == toys.TOY_AXIS.label
    page = (out / "report.html").read_text()
    for text in ("Along the axis", "Redness", "edge agreement", "constant, acting share 0.5", "without a likeness"):
        assert (text in page) == (text != "without a likeness"), text
    with (out / "figures" / "01-along-the-axis.csv").open(newline="") as file:
        curve = list(csv.DictReader(file))
    assert [(row["acting share"], row["value"]) for row in curve] == [
        ("0.5", "similarity"), ("1.0", "similarity"), ("0.5", "redness"), ("1.0", "redness"),
    ]  # fmt: skip
    assert "0 failed" in sweep(SweepRequest(str(spec), out, models=MODELS, quiet=True, device="cpu"))


def test_what_is_not_default_makes_other_jobs(added: None, write: Write) -> None:
    plain = make_plan(read_spec(write()), Models(), "x")
    asked = write(("steps = [1, 2]", "steps = [1, 2]\nhalf = [0.5, 1]"))
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
    with pytest.raises(SettingsError, match="made for ramps, not for flux"):
        make_plan(spec, Models(), "x")
