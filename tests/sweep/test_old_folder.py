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
    for name in expected:
        old = read_csv(OLD / "out" / name)
        kept = [{column: row[column] for column in old[0]} for row in read_csv(folder / name)]  # metrics may be added
        assert kept == old, name


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
