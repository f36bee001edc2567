"""A sweep's folder when it is damaged: what is broken is set aside and told, and only its job is made again."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infusenet.errors import InfuseNetError
from infusenet.sweep.jobs import Job, SweepPlan
from infusenet.sweep.request import report
from infusenet.sweep.results import JobResult, is_whole, pending, picture_path, read_results, result_path
from infusenet.sweep.runner import Do, run

from .conftest import save_tiny_picture  # type: ignore[import-not-found]

Write = Callable[..., Path]
PlanOf = Callable[[Path], SweepPlan]


class Maker:
    """Makes results without any model."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.made: list[str] = []

    def __call__(self, rank: Any, device: str) -> Do:
        return self.do

    def do(self, job: Job) -> dict[str, Any]:
        self.made.append(job.id)
        save_tiny_picture(self.out, job)
        return {"similarity": job.steps / 10, "seconds": 0.5 * job.steps, "alone": True}


@pytest.fixture
def swept(write: Write, plan_of: PlanOf, tmp_path: Path) -> tuple[SweepPlan, Path]:
    """A plan of twelve jobs, all done, and its folder."""
    plan, out = plan_of(write()), tmp_path / "out"
    run(plan, out, Maker(out), device="cpu", quiet=True)
    return plan, out


def resumed(plan: SweepPlan, out: Path) -> list[str]:
    """The jobs that a further run does."""
    maker = Maker(out)
    run(plan, out, maker, device="cpu", quiet=True)
    return maker.made


def damage(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


BROKEN = {
    "cut off": '{"id": ',
    "no status": '{"id": "ID"}',
    "another status": '{"id": "ID", "status": "fine"}',
    "another job's": '{"id": "0", "status": "done"}',
    "null": "null",
    "a list": "[1]",
    "nested": "[" * 100_000,
    "a text for a number": '{"id": "ID", "status": "done", "similarity": "high"}',
    "not a number": '{"id": "ID", "status": "done", "similarity": NaN}',
    "streams of another shape": '{"id": "ID", "status": "done", "streams": [{"double": 3}]}',
    "a trajectory of another shape": '{"id": "ID", "status": "done", "trajectory": {"step": 1}}',
    "versions of another shape": '{"id": "ID", "status": "done", "versions": [1]}',
    "no text at all": "\x00\x00",
    "a number of many digits": '{"id": "ID", "status": "done", "similarity": ' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_result_is_set_aside_told_and_made_again(
    swept: tuple[SweepPlan, Path], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan, out = swept
    job = plan.jobs[0]
    damage(result_path(out, job), BROKEN[name].replace("ID", job.id))
    summary = report(out)
    assert "11 of 12 pictures made, 0 failed, 1 missing." in summary
    assert f"results/{job.id}.json" in summary
    assert result_path(out, job).exists()  # a report moves nothing
    assert pending(plan, out) == [job]
    with caplog.at_level(logging.WARNING):
        assert resumed(plan, out) == [job.id]
    assert [f"{job.id}.json.broken" in record.message for record in caplog.records] == [True]
    assert result_path(out, job).with_name(f"{job.id}.json.broken").exists()
    assert "12 of 12 pictures made, 0 failed, 0 missing." in report(out)


@pytest.mark.parametrize("name", ["deleted", "cut off", "empty", "no picture"])
def test_a_picture_that_is_gone_or_cut_off_is_made_again(swept: tuple[SweepPlan, Path], name: str) -> None:
    plan, out = swept
    path = picture_path(out, plan.jobs[3])
    whole = path.read_bytes()
    content = {"deleted": b"", "cut off": whole[:-5], "empty": b"", "no picture": b"x" * len(whole)}[name]
    path.unlink() if name == "deleted" else path.write_bytes(content)
    assert not is_whole(path)
    summary = report(out)
    assert "11 of 12 pictures made, 0 failed, 1 missing." in summary
    assert "1 measured, but the picture is missing or damaged" in summary
    assert "11 of 12 pictures were made" in (out / "report.html").read_text()
    assert resumed(plan, out) == [plan.jobs[3].id]
    assert path.read_bytes() == whole
    assert "12 of 12 pictures made, 0 failed, 0 missing." in report(out)


@pytest.mark.parametrize(
    "text",
    [
        "null", "[]", "{", "[" * 100_000, '{"rows": []}', '{"rows": null}', "3", '"rows"',
        *('{"title": 1}', '{"title": "a", "about": "b", "figures": 3}'),
    ],
)  # fmt: skip
def test_a_broken_record_is_one_line_and_written_anew(swept: tuple[SweepPlan, Path], text: str) -> None:
    plan, out = swept
    whole = (out / "sweep.json").read_text()
    damage(out / "sweep.json", text)
    with pytest.raises(InfuseNetError, match=r"does not hold a readable sweep \(sweep.json: ") as error:
        report(out)
    assert "\n" not in str(error.value)
    assert resumed(plan, out) == []
    assert (out / "sweep.json").read_text() == whole
    assert "12 of 12 pictures made" in report(out)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("rows", 0, "job", "steps"), "many"),
        (("rows", 0, "job"), None),
        (("rows", 0), []),
        (("people",), {"a": 1}),
        (("prompts",), [["portrait"]]),
        (("figures",), [{"kind": "pie", "title": "x"}]),
        (("seeds",), [None]),
    ],
)
def test_a_record_of_another_shape_names_its_place(swept: tuple[SweepPlan, Path], place: Any, value: Any) -> None:
    _, out = swept
    record = json.loads((out / "sweep.json").read_text())
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    damage(out / "sweep.json", json.dumps(record))
    with pytest.raises(InfuseNetError, match="does not hold a readable sweep") as error:
        report(out)
    assert "\n" not in str(error.value)


def test_each_result_is_read_once_for_a_report(swept: tuple[SweepPlan, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _, out = swept
    opened: list[str] = []
    original = Path.read_bytes

    def counted(path: Path) -> bytes:
        opened.append(path.name)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    report(out)
    results = [name for name in opened if name.endswith(".json") and name not in ("sweep.json", "levels.json")]
    assert len(results) == len(set(results)) == 12


def test_a_key_of_later_days_is_kept_from_harm(swept: tuple[SweepPlan, Path]) -> None:
    plan, out = swept
    path = result_path(out, plan.jobs[0])
    path.write_text(json.dumps({**json.loads(path.read_text()), "mood": {"of": ["later"]}}))
    assert read_results(out).of[plan.jobs[0].id].similarity == 0.1
    assert pending(plan, out) == []


STREAM = {"double": [1.0, 1.0], "single": [1.0], "residual_double": [0.5, 0.5], "residual_single": None}
SEEN = {"step": 1, "similarity": 0.5, "sharpness": 0.1, "contrast": 0.1}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"streams": [{**STREAM, "residual_double": [0.5]}]}, "residuals of different lengths"),
        ({"streams": [STREAM, STREAM], "trajectory": [SEEN]}, "trajectory, streams"),
    ],
)
def test_what_belongs_together_is_of_one_length(changes: dict[str, Any], told: str) -> None:
    usual = {"id": "x", "status": "done"}
    JobResult.model_validate({**usual, "streams": [STREAM], "trajectory": [SEEN]})
    with pytest.raises(ValueError, match=told):
        JobResult.model_validate({**usual, **changes})
