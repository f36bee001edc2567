"""A folder that a sweep of before wrote: it is reported to the last digit as then, and gone on with."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infusenet.sweep import request
from infusenet.sweep.request import SweepRequest, report, sweep

OLD = Path(__file__).parents[1] / "old" / "sweep"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy that a test may change, without what a report writes."""
    out = Path(shutil.copytree(OLD / "out", tmp_path / "out"))
    for path in out.rglob("*.csv"):
        path.unlink()
    return out


def test_it_is_reported_to_the_last_digit(folder: Path) -> None:
    assert "14 of 14 pictures made, 0 failed, 0 missing." in report(folder)
    expected = sorted(path.relative_to(OLD / "out") for path in (OLD / "out").rglob("*.csv"))
    assert len(expected) == 3 + 9
    expected.remove(Path("figures/04-pairs.csv"))  # of several settings it took the last one alone: no longer so
    drift = next(name for name in expected if "drift" in name.name)
    expected.remove(drift)  # from the peak alone, which lies above the end by chance: now it is one of three numbers
    for name in expected:
        old, new = read_csv(OLD / "out" / name), read_csv(folder / name)
        # metrics may be added, intervals are Student's, speed-ups are paired
        columns = [column for column in old[0] if not column.endswith(("low", "high", "speed-up"))]
        assert pick(new, columns) == pick(old, columns), name
    old, new = read_csv(OLD / "out" / drift), read_csv(folder / drift)
    same = {"peak": "peak", "peak at": "peak at", "end": "final", "peak less end": "drift", "people": "people"}
    assert pick(new, list(same)) == [{ours: row[theirs] for ours, theirs in same.items()} for row in old]


def pick(rows: list[dict[str, str]], columns: list[str]) -> list[dict[str, str]]:
    return [{column: row[column] for column in columns} for row in rows]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_gone_on_with_and_nothing_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a picture is made again")

    monkeypatch.setattr(request, "Worker", refuse)
    before = {path.name: path.read_bytes() for path in (folder / "results").iterdir()}
    summary = sweep(SweepRequest(str(OLD / "old.toml"), folder, quiet=True, device="cpu"))
    assert "14 of 14 pictures made, 0 failed, 0 missing." in summary
    assert {path.name: path.read_bytes() for path in (folder / "results").iterdir()} == before


def test_its_record_is_written_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the code of before reads what the code of today has gone on with, but for what figures were not asked."""
    old = json.loads((folder / "sweep.json").read_text())
    monkeypatch.setattr(request, "Worker", None)
    sweep(SweepRequest(str(OLD / "old.toml"), folder, quiet=True, device="cpu", command=old["command"]))
    new = json.loads((folder / "sweep.json").read_text())
    assert {key: new[key] for key in old if key != "figures"} == {key: old[key] for key in old if key != "figures"}


def test_the_meaning_of_every_column_is_told(folder: Path) -> None:
    report(folder)
    with (folder / "table.csv").open(newline="") as table, (folder / "columns.csv").open(newline="") as meanings:
        assert next(csv.reader(table)) == [row["column"] for row in csv.DictReader(meanings) if row["meaning"]]
