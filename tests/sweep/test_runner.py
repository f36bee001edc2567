"""Running: one file a result, nothing half-written, nothing done twice, and failures that do not stop the rest."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from infusenet.errors import FaceError, InfuseNetError, SettingsError
from infusenet.files import locked_folder
from infusenet.sweep.jobs import Job, SweepPlan
from infusenet.sweep.report.table import TIME_COLUMNS, columns, make_tables
from infusenet.sweep.request import SweepRequest, estimate, order_of_reading, report, shipped, sweep
from infusenet.sweep.results import pending, read_result, read_results, result_path
from infusenet.sweep.runner import Do, Models, run

from .conftest import SMALL, save_tiny_picture  # type: ignore[import-not-found]

ROOT = Path(__file__).resolve().parents[2]
Write = Callable[..., Path]
PlanOf = Callable[[Path], SweepPlan]


class Maker:
    """Makes results without any model; fails where told."""

    def __init__(self, fails: Callable[[Job], Exception | None] = lambda job: None) -> None:
        self.fails, self.made = fails, []  # type: ignore[var-annotated]
        self.out = Path()

    def __call__(self, rank: Any, device: str) -> Do:
        assert (rank.rank, rank.world, device) == (0, 1, "cpu")
        return self.do

    def do(self, job: Job) -> dict[str, Any]:
        self.made.append(job.id)
        error = self.fails(job)
        if error is not None:
            raise error
        save_tiny_picture(self.out, job)
        return {"similarity": job.steps / 10, "seconds": 0.5 * job.steps, "alone": True}


def run_with(plan: SweepPlan, out: Path, maker: Maker, **options: Any) -> tuple[int, int]:
    maker.out = out
    return run(plan, out, maker, device="cpu", quiet=True, **options)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The table's rows, None where undefined."""
    points = make_tables(read_results(out)).points
    return points.astype(object).where(points.notna(), None).to_dict("records")


def test_every_job_is_done_once(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan, out, maker = plan_of(write()), tmp_path / "out", Maker()
    assert run_with(plan, out, maker) == (12, 0)
    assert sorted(maker.made) == sorted(job.id for job in plan.jobs)
    assert sorted(path.stem for path in (out / "results").iterdir()) == sorted(maker.made)  # no drafts left
    again = Maker()
    assert run_with(plan, out, again) == (0, 0)
    assert again.made == []


def test_a_changed_specification_reuses_results(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_with(plan_of(write()), out, Maker())
    maker, plan = Maker(), plan_of(write(("steps = [1, 2]", "steps = [2, 3]")))
    assert run_with(plan, out, maker) == (4, 0)
    assert {row["steps"] for row in rows_of(out) if row["method"] == "dev"} == {2, 3}


def test_failures_are_results_and_can_be_tried_again(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan, out = plan_of(write()), tmp_path / "out"
    no_face = Maker(lambda job: FaceError("no face in it") if job.role == "schnell" else None)
    assert run_with(plan, out, no_face) == (12, 4)
    table = rows_of(out)
    assert [row["status"] for row in table].count("failed") == 4
    assert {row["error"] for row in table if row["status"] == "failed"} == {"FaceError: no face in it"}
    assert {row["similarity"] for row in table if row["status"] == "failed"} == {None}
    assert "8 of 12 pictures made, 4 failed, 0 missing" in report(out)
    assert run_with(plan, out, Maker()) == (0, 0)
    assert run_with(plan, out, Maker(), retry=True) == (4, 0)
    assert {row["status"] for row in rows_of(out)} == {"done"}


def test_an_unforeseen_error_tells_where_it_was(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan, out = plan_of(write()), tmp_path / "out"
    run_with(plan, out, Maker(lambda job: ZeroDivisionError("oh")))
    result = read_result(out, plan.jobs[0])
    assert result.error == "ZeroDivisionError: oh"
    assert "in do" in (result.note("where") or "")


def test_a_value_that_no_file_can_hold_fails_its_job_alone(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    class Boundless(Maker):
        def do(self, job: Job) -> dict[str, Any]:
            return {**super().do(job), "redness": float("inf" if job.steps == 2 else "0.5")}

    plan, out = plan_of(write()), tmp_path / "out"
    assert run_with(plan, out, Boundless()) == (12, 4)
    assert "8 of 12 pictures made, 4 failed, 0 missing" in report(out)


def test_stopping_is_no_failure(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan, out = plan_of(write()), tmp_path / "out"

    class Stopped(Maker):
        def do(self, job: Job) -> dict[str, Any]:
            if len(self.made) == 3:
                raise KeyboardInterrupt
            return super().do(job)

    with pytest.raises(KeyboardInterrupt):
        run_with(plan, out, Stopped())
    assert len(pending(plan, out)) == 9
    assert "3 of 12 pictures made, 0 failed, 9 missing" in report(out)


def test_a_damaged_result_is_made_again(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan, out = plan_of(write()), tmp_path / "out"
    run_with(plan, out, Maker())
    whole = result_path(out, plan.jobs[0])
    whole.write_text(whole.read_text()[:50])
    result_path(out, plan.jobs[1]).write_text(result_path(out, plan.jobs[2]).read_text())  # another job's
    assert pending(plan, out) == plan.jobs[:2]


def test_what_a_killed_process_was_writing_is_cleared(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan, out = plan_of(write()), tmp_path / "out"
    run_with(plan, out, Maker())
    for folder in ("", "results", "people"):
        (out / folder / ".half.json.12.part").write_bytes(b"{")
    run_with(plan, out, Maker())
    assert not list(out.rglob("*.part"))
    assert len(list((out / "results").iterdir())) == 12


def test_the_table_is_typed_and_documented(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan, out = plan_of(write()), tmp_path / "out"
    run_with(plan, out, Maker())
    report(out)
    with (out / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for row in rows:
        assert list(row) == list(columns())
        for name, (kind, _) in columns().items():
            assert row[name] in ("", "true", "false") if kind is bool else kind(row[name] or 0) is not None
    assert (rows[0]["method"], rows[0]["steps"], rows[0]["similarity"], rows[0]["guidance"]) == ("dev", "1", "0.1", "")
    with (out / "columns.csv").open(newline="") as file:
        assert [row["column"] for row in csv.DictReader(file)] == list(columns())


def test_parquet_holds_the_same_table(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    plan, out = plan_of(write()), tmp_path / "out"
    run_with(plan, out, Maker(lambda job: FaceError("no") if job.role == "schnell" else None))
    report(out)
    read = parquet.read_table(out / "table.parquet")
    kinds = {str: "string", int: "int64", float: "double", bool: "bool"}
    assert {name: str(read.schema.field(name).type) for name in columns()} == {
        name: kinds[kind] for name, (kind, _) in columns().items()
    }
    assert read.to_pylist() == rows_of(out)
    assert not list(out.rglob("*.part"))


def test_estimates(write: Write, plan_of: PlanOf) -> None:
    jobs = plan_of(write()).jobs
    pace = [(jobs[0], 10 * jobs[0].cost)]
    one, words = estimate(jobs, pace, 1) or (0.0, "")
    assert one == pytest.approx(10 * sum(job.cost for job in jobs))
    assert "1 finished" in words
    assert (estimate(jobs, pace, 4) or (0.0, ""))[0] == pytest.approx(one / 4)
    assert estimate(jobs, [], 1) is not None


def test_the_story_tells_every_shipped_specification() -> None:
    assert sorted(order_of_reading()) == shipped()


def test_a_folder_without_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(InfuseNetError, match="not hold a readable sweep"):
        report(tmp_path)


def test_errors_of_the_command_leave_nothing_behind(write: Write, tmp_path: Path, command: Callable[..., Any]) -> None:
    spec = write(("steps = [1, 2]", "steps = [1, -2]"))
    done = command("sweep", spec, "--out", tmp_path / "out", "--quiet")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "infusenet sweep: small.toml: methods[0].steps: expected a list of different whole numbers from 1, got -2"
    ]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("steps = [1, 2]", "steps = 1\nwobble = 1", "small.toml: methods[0].wobble: "),
        ("steps = [1, 2]", "steps = []", "small.toml: methods[0].steps: "),
        ("steps = [1, 2]", "steps = [4, -1]", "small.toml: methods[0].steps: "),
        ("drawn = 2", 'folder = "missing"', "small.toml: people.folder: "),
        ("drawn = 2", 'folder = "empty"', "people.folder: "),
        ("drawn = 2", 'folder = "damaged"', "people.folder: "),
        ('title = "Small"', "title = ", "small.toml: cannot be read as TOML"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_writes_nothing(
    write: Write, tmp_path: Path, old: str, new: str, place: str
) -> None:
    for name in ("empty", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / "ann.jpg").write_bytes(b"\xff\xd8\xff no more of it")
    with pytest.raises(InfuseNetError) as error:
        sweep(SweepRequest(str(write((old, new))), tmp_path / "out", quiet=True))
    text = str(error.value)
    assert place in text, text
    assert "\n" not in text
    assert not (tmp_path / "out").exists()


def test_backbones_that_are_not_there_are_one_line(write: Write, tmp_path: Path) -> None:
    photos, models = tmp_path / "photos", Models({"dev": str(tmp_path / "nowhere"), "schnell": "mini-schnell"})
    photos.mkdir()
    Image.new("RGB", (64, 64)).save(photos / "ann.png")
    with pytest.raises(InfuseNetError) as error:
        sweep(SweepRequest(str(write()), tmp_path / "out", models, people=photos, quiet=True))
    assert "nowhere" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path, command: Callable[..., Any]) -> None:
    done = command("sweep", "main-table", "--out", tmp_path / "out", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "1260 jobs for 1260 rows: 28 people, 3 prompts, 5 seeds, 3 methods; 0 have a result." in done.stdout
    assert "About " in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_all(tmp_path: Path, command: Callable[..., Any]) -> None:
    done = command("sweep", "all", "--quick", "--out", tmp_path / "out", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" jobs for ") == done.stdout.count("About ") == len(shipped())
    assert done.stdout.startswith("Main table")
    assert not (tmp_path / "out").exists()


# -- one sweep at a time in a folder -------------------------------------------------------------------------------


def test_a_second_sweep_on_a_live_folder_is_refused(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan, out = plan_of(write()), tmp_path / "out"
    script = (
        "import sys, time; from pathlib import Path; from infusenet.files import locked_folder\n"
        "with locked_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", script, str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "held\n"
            draft = out / ".half.json.12.part"
            draft.write_bytes(b"{")
            with pytest.raises(SettingsError, match=f"Another run is using .* .process {other.pid} on ") as error:
                run_with(plan, out, Maker())
            assert str(out / ".lock") in str(error.value)
            assert draft.exists()  # it is the other's
            assert not (out / "sweep.json").exists()
        finally:
            other.kill()
    assert run_with(plan, out, Maker()) == (12, 0)  # its process is gone: nobody holds the lock
    assert not draft.exists()
    assert not (out / ".lock").exists()


@pytest.mark.parametrize(("age", "over"), [(10.0, False), (1000.0, True)])
@pytest.mark.parametrize("text", ['{"host": "elsewhere", "pid": 1, "since": "then"}', "", "null", "[]"])
def test_of_another_machines_lock_its_age_tells(tmp_path: Path, text: str, age: float, over: bool) -> None:
    path = tmp_path / ".lock"
    path.write_text(text)
    then = time.time() - age
    os.utime(path, (then, then))
    if over:
        with locked_folder(tmp_path):
            assert json.loads(path.read_text())["pid"] == os.getpid()
        assert list(tmp_path.iterdir()) == []
    else:
        with pytest.raises(SettingsError, match="Another run is using"), locked_folder(tmp_path):
            pass
        assert path.read_text() == text


def test_a_lock_shows_that_it_lives_and_goes_with_its_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infusenet.files._BEAT", 0.02)
    with pytest.raises(ZeroDivisionError), locked_folder(tmp_path):
        path = tmp_path / ".lock"
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert path.stat().st_mtime > 1
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_report_needs_no_lock(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan, out = plan_of(write()), tmp_path / "out"
    run_with(plan, out, Maker())
    with locked_folder(out):
        assert "12 of 12 pictures made" in report(out)


# -- on the miniature ----------------------------------------------------------------------------------------------


def started(spec: Path, out: Path, launcher: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    given = [*(launcher or (sys.executable,)), "-m", "infusenet", "sweep", str(spec), "--out", str(out), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(given, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finished(process: "subprocess.Popen[str]", jobs: int = 12) -> None:
    said, complained = process.communicate(timeout=500)
    assert process.returncode == 0, complained
    assert f"{jobs} of {jobs} pictures made, 0 failed" in said


def table(out: Path) -> list[dict[str, str]]:
    with (out / "table.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIME_COLUMNS} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A specification, and the folder of an uninterrupted sweep."""
    folder = tmp_path_factory.mktemp("whole")
    spec = folder / "small.toml"
    spec.write_text(SMALL)
    finished(started(spec, folder / "out"))
    return spec, folder / "out"


@pytest.mark.slow
def test_a_sweep_on_the_miniature(whole: tuple[Path, Path]) -> None:
    rows = table(whole[1])
    assert {row["status"] for row in rows} == {"done"}
    assert len({row["job"] for row in rows}) == 12
    values = [float(row["similarity"]) for row in rows if row["similarity"]]
    assert len(values) >= 6
    assert all(-1 <= value <= 1 for value in values)
    for row in rows:
        assert (whole[1] / "pictures" / f"{row['job']}.png").is_file()
        assert row["similarity"] or row["error"] == "no face was found in the picture"


LONG = """
title = "Long enough to be killed"
[people]
drawn = 2
[prompts]
portrait = "a portrait of a person"
beach = "a photo of a person at the beach"
[[methods]]
label = "dev"
backbone = "dev"
steps = [8, 10, 12, 14, 16]
[[methods]]
label = "schnell"
backbone = "schnell"
steps = [4, 6]
"""


def pictures(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "pictures").iterdir()}


@pytest.mark.slow
@pytest.mark.exact
def test_killed_ten_times_and_resumed_it_is_the_same_table(tmp_path: Path) -> None:
    """SIGKILL at random moments while a job is in flight: one result is there in this run, and more are to come."""
    spec, whole, out = tmp_path / "long.toml", tmp_path / "whole", tmp_path / "out"
    spec.write_text(LONG)
    finished(started(spec, whole), 28)
    rng, results = random.Random(5), out / "results"

    def count() -> int:
        return len(list(results.glob("*.json"))) if results.is_dir() else 0

    for kill in range(10):
        process, before = started(spec, out), count()
        while process.poll() is None and count() <= before:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.3)
        assert process.poll() is None, f"it ended before kill {kill + 1}"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert before < count() < 28
        for path in results.glob("*.json"):
            json.loads(path.read_text())
    finished(started(spec, out), 28)
    assert table(out) == table(whole)
    assert pictures(out) == pictures(whole)


@pytest.mark.slow
@pytest.mark.exact
@pytest.mark.parametrize("world", [1, 2, 4])
def test_several_processes_make_the_same_table(whole: tuple[Path, Path], tmp_path: Path, world: int) -> None:
    out = tmp_path / "out"
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world}")
    finished(started(whole[0], out, launcher))
    told = [json.loads(path.read_text()) for path in (out / "results").glob("*.json")]
    assert {result["world"] for result in told} == {world}
    assert {result["rank"] for result in told} == set(range(world))
    quiet = [result["cpu_seconds"] >= 0.9 * result["seconds"] for result in told]
    assert [result["alone"] for result in told] == [world == 1 and undisturbed for undisturbed in quiet]
    assert table(out) == table(whole[1])
    assert pictures(out) == pictures(whole[1])


MEASURED = """
title = "Measured in every way"
seeds = [0, 1, 2]
metrics = ["agreement", "second_similarity", "prompt_fit", "face_sharpness", "face_lpips"]
[people]
drawn = 3
[prompts]
suit = "a professional photo of a person wearing a blue suit in a studio"
[[methods]]
label = "schnell"
backbone = "schnell"
steps = 2
[[methods]]
label = "dev"
backbone = "dev"
steps = 2
"""


def pairs(out: Path) -> dict[frozenset[str], float | None]:
    """The agreement of all pairs, whichever of both knows it."""
    told = [json.loads(path.read_text()) for path in (out / "results").glob("*.json")]
    return {
        frozenset((result["id"], other)): None if value is None else round(value, 5)
        for result in told
        for other, value in result["agreement"].items()
    }


@pytest.mark.slow
@pytest.mark.exact
def test_what_is_measured_is_the_same_from_two_processes_and_after_a_resume(tmp_path: Path) -> None:
    spec, whole, out = tmp_path / "measured.toml", tmp_path / "whole", tmp_path / "out"
    spec.write_text(MEASURED)
    finished(started(spec, whole), 18)
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    finished(started(spec, out, launcher), 18)
    assert table(out) == table(whole) and pictures(out) == pictures(whole)
    levels = (whole / "levels.json").read_bytes()
    assert (out / "levels.json").read_bytes() == levels
    groups: dict[str, set[int]] = {}
    for point in read_results(out).points:
        result = read_result(out, point.job)
        groups.setdefault(point.job.group, set()).add((result.model_extra or {})["rank"])
        assert result.note("face_lpips_reason") and result.note("prompt_fit_with")
        assert result.cpu_seconds is not None and result.cpu_seconds > 0
    assert len(groups) == 6 and all(len(ranks) == 1 for ranks in groups.values())
    expected = pairs(whole)
    assert len(expected) == 6 * 3 and pairs(out) == expected
    for path in sorted((whole / "results").iterdir())[::3]:
        path.unlink()
    (whole / "levels.json").unlink()
    finished(started(spec, whole), 18)
    assert table(whole) == table(out) and pairs(whole) == expected
    assert (whole / "levels.json").read_bytes() == levels
