"""The work of one process: what it does when memory runs out, and with weights given by path."""

import csv
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infusenet import miniature
from infusenet.errors import SettingsError
from infusenet.measures.instruments import Instruments
from infusenet.miniature.people import drawn_reference
from infusenet.sweep.jobs import Job, SweepPlan
from infusenet.sweep.request import make_plan
from infusenet.sweep.results import picture_path
from infusenet.sweep.runner import Models
from infusenet.sweep.spec import read_spec
from infusenet.sweep.worker import Worker, _request

PlanOf = Callable[[Path], SweepPlan]
Write = Callable[..., Path]


class Full(Worker):
    """Runs out of memory as long as everything is kept on the GPU, or always."""

    always = False

    def _do(self, job: Job) -> dict[str, Any]:
        assert sys.exc_info()[0] is None  # an error being handled would keep the GPU's memory
        if self.always or not self.offload:
            self._pipeline, self._loaded = object(), (job.role, job.adapter)
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        assert self._pipeline is None
        return {"offload": self.offload}


def test_out_of_memory_it_goes_on_with_less_on_the_gpu(
    write: Write, plan_of: PlanOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_of(write())
    worker = Full(plan, Models(), tmp_path, "cpu")
    with caplog.at_level(logging.WARNING):
        assert worker.do(plan.jobs[0]) == {"offload": True}
        assert worker.do(plan.jobs[1]) == {"offload": True}
    assert [record.message.split(".")[0] for record in caplog.records] == ["The GPU ran out of memory"]  # told once


def test_out_of_memory_all_the_same_is_an_error(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of(write())
    worker = Full(plan, Models(), tmp_path, "cpu")
    worker.always = True
    with pytest.raises(torch.cuda.OutOfMemoryError):
        worker.do(plan.jobs[0])


def measured(plan: SweepPlan, folder: Path, picture: Any, models: Models | None = None) -> dict[str, Any]:
    """What a worker measures of a picture as the plan's first job."""
    worker, job = Worker(plan, models or Models(), folder, "cpu"), plan.jobs[0]
    (reading,) = worker._judge.read([picture], worker._reference(job))
    return worker._metrics(job, picture, reading)


def asking(write: Write, metrics: str) -> Path:
    return write(('title = "Small"', f'title = "Small"\nmetrics = {metrics}'))


def test_lpips_without_weights_is_undefined_with_its_reason(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    picture = drawn_reference(0)
    values = measured(plan_of(asking(write, '["lpips", "face_lpips"]')), tmp_path, picture)
    assert values["lpips"] is values["face_lpips"] is None
    assert "--lpips PATH" in values["lpips_reason"] and "--lpips PATH" in values["face_lpips_reason"]
    assert set(measured(plan_of(write()), tmp_path, picture)) == {"sharpness", "contrast"}


FURTHER = '["second_similarity", "prompt_fit", "face_sharpness"]'


def test_the_miniature_has_a_second_recognizer_and_a_judge(write: Write, tmp_path: Path) -> None:
    plan = make_plan(read_spec(asking(write, FURTHER)), Models(), "")
    values = measured(plan, tmp_path, drawn_reference(0))
    assert values["second_similarity"] == pytest.approx(1, abs=1e-5)
    assert (
        values["second_similarity_with"].startswith("rec_judge.onnx")
        and "; face 1 (" in values["second_similarity_with"]
    )
    assert values["prompt_fit"] == 1 and values["prompt_fit_with"].startswith("judge.safetensors ")
    assert values["face_sharpness"] > 0
    assert not [name for name in values if name.endswith("_reason")]
    assert [name.split()[0] for name in plan.jobs[0].metrics] == ["face_sharpness", "prompt_fit", "second_similarity"]
    assert [len(name.split()) for name in plan.jobs[0].metrics] == [1, 2, 2]  # with their weights' content


def test_the_faces_are_the_aligned_ones(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan, picture = plan_of(write()), drawn_reference(1)
    worker = Worker(plan, Models(), tmp_path, "cpu")
    measure, reference = worker._judge, worker._reference(plan.jobs[0])
    (reading,) = measure.read([picture], reference)
    faces, _ = worker._faces(plan.jobs[0], reading)
    recognizer = miniature_pack()
    for name, shown in (("face", picture), ("reference_face", drawn_reference(0))):
        (found,) = recognizer.detect(shown)
        assert np.array_equal(faces[name][..., ::-1], recognizer.crop(shown, found.kps))


def miniature_pack() -> Any:
    from infusenet import FaceRecognizer

    return FaceRecognizer.from_pack(miniature.FACE_PACK)


def test_without_a_face_the_faces_metrics_are_undefined_with_reasons(
    write: Write, plan_of: PlanOf, tmp_path: Path
) -> None:
    grey = np.full((128, 128, 3), 127, np.uint8)
    values = measured(plan_of(asking(write, FURTHER)), tmp_path, grey)
    for name in ("second_similarity", "face_sharpness"):
        assert values[name] is None and values[f"{name}_reason"] == "no face was found in the picture"
    nothing = plan_of(
        write(("a portrait of a person", "zebras"), ('title = "Small"', f'title = "Z"\nmetrics = {FURTHER}'))
    )
    values = measured(nothing, tmp_path, grey)
    assert (
        values["prompt_fit"] is None
        and values["prompt_fit_reason"] == "the prompt asks for nothing the judge can recognise"
    )


def test_real_weights_have_none_but_those_given(write: Write, tmp_path: Path) -> None:
    spec = read_spec(asking(write, FURTHER))
    real = Models({"dev": "flux-dev", "schnell": "mini-schnell"})
    instruments = real.instruments(spec)
    assert (instruments.second, instruments.prompt_fit) == (None, None)
    given = replace(real, second=tmp_path, clip=tmp_path / "clip").instruments(spec)
    assert (given.second, given.prompt_fit) == (tmp_path, tmp_path / "clip")


def test_without_them_the_reason_says_what_to_give(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    worker = Worker(plan_of(asking(write, FURTHER)), Models(), tmp_path, "cpu")
    worker._instruments = Instruments()
    picture = drawn_reference(0)
    (reading,) = worker._judge.read([picture], worker._reference(worker.plan.jobs[0]))
    values = worker._metrics(worker.plan.jobs[0], picture, reading)
    assert values["second_similarity"] is values["prompt_fit"] is None
    assert (
        "--second-recognizer DIR" in values["second_similarity_reason"] and "--clip DIR" in values["prompt_fit_reason"]
    )


def test_the_first_recognizer_is_no_second(write: Write) -> None:
    with pytest.raises(SettingsError, match="already the first recognizer.*--second-recognizer DIR"):
        make_plan(read_spec(asking(write, FURTHER)), Models(second=miniature.FACE_PACK), "")


def test_pictures_from_several_noises_are_compared(write: Write, tmp_path: Path) -> None:
    """Each with those that are there: from memory, and after a resume from their files."""
    spec = read_spec(write(('title = "Small"', 'title = "Small"\nmetrics = ["agreement"]\nseeds = [0, 1, 2, 3]')))
    plan = make_plan(spec, Models(), "")
    jobs = [plan.jobs[0], *plan.siblings(plan.jobs[0])]
    assert len(jobs) == 4 and len({job.group for job in jobs}) == 1
    pictures = [*map(drawn_reference, (0, 1)), np.full((128, 128, 3), 127, np.uint8)]

    def compared(worker: Worker, number: int) -> Any:
        (reading,) = worker._judge.read([pictures[number]], worker._reference(jobs[number]))
        return worker._agreement(jobs[number], pictures[number], reading)

    worker, said = Worker(plan, Models(), tmp_path, "cpu"), []
    for number, picture in enumerate(pictures):
        said.append(compared(worker, number))
        path = picture_path(tmp_path, jobs[number])
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    first, second, third, _ = (job.id for job in jobs)
    measure = worker._judge
    expected = measure.read([pictures[1]], measure.reference([pictures[0]]))[0].similarity
    assert said == [{}, {first: pytest.approx(expected, abs=1e-5)}, {first: None, second: None}]
    resumed = compared(Worker(plan, Models(), tmp_path, "cpu"), 1)
    assert resumed == {first: said[1][first], third: None}
    other = replace(jobs[1], metrics=())
    assert worker._agreement(other, pictures[1], measure.read([pictures[1]], worker._reference(other))[0]) is None


def test_a_request_names_the_branches(write: Write, plan_of: PlanOf) -> None:
    job = plan_of(write()).jobs[0]
    assert _request(job).branches == "positive"
    assert _request(replace(job, true_cfg=2.0, branches="both")).branches == "both"
    with pytest.raises(SettingsError, match="branches from positive, both"):
        _request(replace(job, branches="negative"))
    assert (_request(job).refresh, _request(replace(job, refresh="1,3")).refresh) == ("every step", "1,3")
    guided = _request(replace(job, decoupled="identity", attention="scale", negative="blur"))
    assert (guided.decoupled, guided.attention, guided.negative) == ("identity", "scale", "blur")
    assert _request(job).negative is None


def test_what_is_asked_for_on_purpose_is_not_warned_of(
    write: Write, plan_of: PlanOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = write(("steps = [1, 2]", "steps = 1\nstrength = 0"), ('"schnell"\nsteps', '"schnell"\nguidance = 3\nsteps'))
    plan = make_plan(read_spec(spec), Models(), "")
    worker = Worker(plan, Models(), tmp_path, "cpu")
    with caplog.at_level(logging.WARNING):
        made = [worker.do(job) for job in (plan.jobs[0], plan.jobs[-1])]
    assert len(made) == 2 and not caplog.records


@pytest.mark.slow
def test_backbones_by_folder_and_by_single_file(write: Write, tmp_path: Path, command: Callable[..., Any]) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(drawn_reference(0)).save(photos / "ann.png")
    spec = write(("steps = [1, 2]", "steps = 2"), ('title = "Small"', 'title = "Small"\nsize = 128'))
    dev, schnell = miniature.BACKBONES["mini-dev"], miniature.BACKBONES["mini-schnell"]
    parts = ["--image-proj", miniature.IMAGE_PROJ, "--arcface", miniature.ARCFACE, "--face-pack", miniature.FACE_PACK]
    file = "transformer/diffusion_pytorch_model.safetensors"
    given = {
        "names": [],
        "folders": ["--backbone-dev", dev, "--backbone-schnell", schnell, "--infusenet", miniature.INFUSENET],
        "files": [
            *("--backbone-dev", dev / file, "--backbone-schnell", schnell / file, "--components", dev),
            *("--infusenet", miniature.INFUSENET / "diffusion_pytorch_model.safetensors", *parts),
        ],
    }
    tables = {}
    for name, options in given.items():
        out = tmp_path / name
        done = command("sweep", spec, "--out", out, "--quiet", "--people", photos, *options)
        assert done.returncode == 0, done.stderr
        assert "4 of 4 pictures made, 0 failed" in done.stdout
        with (out / "table.csv").open(newline="") as table:
            tables[name] = [row["similarity"] for row in csv.DictReader(table)]
    assert tables["folders"] == tables["names"]
    assert tables["files"] != tables["names"]  # a single file is taken for FLUX itself, whose texts are longer


def test_the_judge_runs_where_the_sweep_does(
    write: Write, plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infusenet import FaceRecognizer

    monkeypatch.setattr("infusenet.measures.faces.measure_of", lambda recognizer: recognizer)
    monkeypatch.setattr(FaceRecognizer, "from_pack", lambda pack, *, device: (pack, device))
    worker = Worker(plan_of(write()), Models(), tmp_path, "cuda:1")
    assert worker._judge == (miniature.FACE_PACK, "cuda:1")  # type: ignore[comparison-overlap]
