"""A trace survives the disk unchanged, and nothing else is taken for one."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infusenet.errors import InfuseNetError
from infusenet.probe import Baseline, ReferenceInfo, RunInfo, StepRecord, Trace, TraceError


def record(step: int, *similarity: float | None, sigma: float | None = 0.5) -> StepRecord:
    found = tuple(value is not None for value in similarity)
    return StepRecord(
        step=step,
        sigma=sigma,
        similarity=similarity,
        found=found,
        alignment=tuple("detected" if there else None for there in found),
        score=tuple(0.9 if there else None for there in found),
        sharpness=(0.001,) * len(similarity),
        contrast=(0.25,) * len(similarity),
        seconds=0.01,
    )


@pytest.fixture
def trace() -> Trace:
    return Trace(
        records=(record(1, 0.25, None), record(2, 0.5, 0.75), record(3, 0.5, 0.25, sigma=None)),
        final=record(3, 0.5, 0.25, sigma=0.0),
        batch=2,
        every=1,
        sigmas=(1.0, 0.75, 0.5, 0.0),
        reference=ReferenceInfo(2, "photos"),
        strangers=Baseline(0.0, 0.125, 30),
        ceiling=None,
        recognizer="glintr100",
        evaluation="after",
        status="complete",
        reason=None,
        warnings=("look out",),
        seconds_in_loop=0.5,
        seconds_after=1.5,
        run=RunInfo(
            backbone="mini-dev", steps=3, seed=2**53 + 1, prompt='ein "Ritter" ☂ \ud83d', versions={"torch": "2"}
        ),
    )


def test_json_there_and_back(trace: Trace) -> None:
    assert Trace.from_json(trace.to_json()) == trace


def test_undefined_is_null(trace: Trace) -> None:
    data = json.loads(trace.to_json())
    assert data["records"][0]["similarity"] == [0.25, None]
    assert data["records"][2]["sigma"] is None and data["ceiling"] is None
    assert data["format"] == "infusenet-trace" and data["version"] == 1
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(trace, ceiling=float("nan")).to_json()


def test_no_embedding_is_written(trace: Trace) -> None:
    assert "embedding" not in trace.to_json()


@pytest.mark.parametrize("version", [2, 0, "1", 1.0, True, None])
def test_another_version_is_refused(trace: Trace, version: Any) -> None:
    data = {**json.loads(trace.to_json()), "version": version}
    with pytest.raises(TraceError, match=r"Expected a trace of version 1, got version .*run the probe again"):
        Trace.from_json(json.dumps(data))


def change(data: dict[str, Any], path: str, value: Any) -> None:
    *way, last = path.split(".")
    for key in way:
        data = data[int(key)] if isinstance(data, list) else data[key]
    if value is KeyError:
        del data[last]
    else:
        data[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("records", KeyError),
        ("surplus", 1),
        ("batch", "2"),
        ("batch", True),
        ("batch", 3),
        ("status", "fine"),
        ("records.0.similarity", 0.25),
        ("records.0.similarity", [0.25]),
        ("records.0.similarity", [0.25, "0"]),
        ("records.0.alignment", ["guessed", None]),
        ("records.0.step", 2),
        ("records.0.step", 0),
        ("records.1.found", [1, 0]),
        ("reference", None),
        ("run.seed", 1.5),
        ("run.versions", {"torch": 2}),
        ("final.sigma", KeyError),
    ],
)
def test_what_does_not_fit_is_refused(trace: Trace, path: str, value: Any) -> None:
    data = json.loads(trace.to_json())
    change(data, path, value)
    with pytest.raises(TraceError, match="The trace is damaged"):
        Trace.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"format": "other"}'])
def test_other_files_are_refused(text: str) -> None:
    with pytest.raises(TraceError, match="Expected a trace"):
        Trace.from_json(text)


def test_not_a_number_is_no_json(trace: Trace) -> None:
    with pytest.raises(TraceError, match="NaN is not a JSON value"):
        Trace.from_json(trace.to_json().replace("0.25", "NaN", 1))


def test_files_appear_whole(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "a trace.json"
    trace.save(path)
    assert Trace.load(path) == trace
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(trace, ceiling=float("inf")).save(path)
    assert Trace.load(path) == trace, "the earlier file survives a failed write"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a trace.json"]
    with pytest.raises(InfuseNetError, match="Cannot read the trace"):
        Trace.load(tmp_path / "missing.json")
    with pytest.raises(OSError, match="missing"):
        trace.save(tmp_path / "missing" / "trace.json")


def test_csv_has_a_row_a_step_and_item(trace: Trace) -> None:
    rows = list(csv.DictReader(io.StringIO(trace.to_csv())))
    assert [(row["picture"], row["step"], row["item"]) for row in rows] == [
        ("prediction", "1", "1"),
        ("prediction", "1", "2"),
        ("prediction", "2", "1"),
        ("prediction", "2", "2"),
        ("prediction", "3", "1"),
        ("prediction", "3", "2"),
        ("final", "3", "1"),
        ("final", "3", "2"),
    ]
    assert [row["similarity"] for row in rows[:4]] == ["0.25", "", "0.5", "0.75"]
    assert (rows[1]["found"], rows[1]["alignment"], rows[0]["found"]) == ("false", "", "true")
    assert rows[4]["sigma"] == "" and rows[0]["sigma"] == "0.5"


def test_means_are_over_one_set_of_items(trace: Trace) -> None:
    assert trace.counted == (0, 1)
    assert trace.means == (None, 0.625, 0.375), "step 1 lacks an item, so it has no comparable mean"
    assert trace.best is not None and trace.best.step == 2


def test_an_item_without_a_face_in_the_final_picture_is_not_counted(trace: Trace) -> None:
    lost = replace(trace, final=record(3, 0.5, None))
    assert lost.counted == (0,) and lost.means == (0.25, 0.5, 0.5)
    assert lost.best is not None and lost.best.step == 2, "the first of equals"


def test_records_are_checked() -> None:
    with pytest.raises(ValueError, match="step 0"):
        record(0, 0.5)
    with pytest.raises(ValueError, match="one value per batch item"):
        replace(record(1, 0.5), score=(0.5, 0.5))


def test_a_trace_from_before_rules_were_recorded_is_read(trace: Trace) -> None:
    data = json.loads(trace.to_json())
    for key in ("rule", "detector", "blank", "published_line"):
        data.pop(key)
    data["reference"].pop("turned")
    old = Trace.from_json(json.dumps(data))
    assert old == trace and old.rule is None
    faint = replace(old.records[0], found=(True,) * old.batch, score=(0.4,) * old.batch)
    assert not old.sees(faint, 0), "such traces noted faces from .3 on"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format":' * 100_000])
def test_endless_nesting_is_no_trace(text: str) -> None:
    with pytest.raises(TraceError, match="not JSON"):
        Trace.from_json(text)


def test_a_number_that_no_float_holds_is_refused(trace: Trace) -> None:
    data = json.loads(trace.to_json())
    data["seconds_after"] = 10**400
    with pytest.raises(TraceError, match=r"seconds_after: expected float"):
        Trace.from_json(json.dumps(data))


@pytest.mark.parametrize("value", [1e300, -1.2])
def test_a_similarity_that_is_no_cosine_is_refused(trace: Trace, value: float) -> None:
    data = json.loads(trace.to_json())
    data["records"][0]["similarity"][0] = value
    with pytest.raises(TraceError, match="damaged: a similarity of"):
        Trace.from_json(json.dumps(data))
