"""The work of one process: what it does when memory runs out, and with weights given by path."""

import csv
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from infusenet import miniature
from infusenet.miniature.people import drawn_reference
from infusenet.sweep.jobs import Job, SweepPlan
from infusenet.sweep.runner import Models
from infusenet.sweep.worker import Worker, _no_notices

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
    assert [record.message.split(":")[0] for record in caplog.records] == ["Out of GPU memory"]  # told once


def test_out_of_memory_all_the_same_is_an_error(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of(write())
    worker = Full(plan, Models(), tmp_path, "cpu")
    worker.always = True
    with pytest.raises(torch.cuda.OutOfMemoryError):
        worker.do(plan.jobs[0])


def test_lpips_without_weights_is_undefined_with_its_reason(write: Write, plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of(write(('title = "Small"', 'title = "Small"\nmetrics = ["lpips"]')))
    picture = drawn_reference(0)
    values = Worker(plan, Models(), tmp_path, "cpu")._metrics(plan.jobs[0], picture)
    assert values["lpips"] is None
    assert "--lpips PATH" in values["lpips_reason"]
    plain = Worker(plan_of(write()), Models(), tmp_path, "cpu")._metrics(plan_of(write()).jobs[0], picture)
    assert set(plain) == {"sharpness", "contrast"}


def test_what_is_asked_for_on_purpose_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    from infusenet import generate
    from infusenet.adapters.infusenet import pipeline

    with caplog.at_level(logging.WARNING):
        for log in (generate.log, pipeline.log):
            with _no_notices():
                log.warning("no guidance")
            log.warning("told")
        with pytest.raises(ZeroDivisionError), _no_notices():
            raise ZeroDivisionError
        generate.log.warning("told")
    assert [record.message for record in caplog.records] == ["told"] * 3


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
    assert worker._judge() == (miniature.FACE_PACK, "cuda:1")  # type: ignore[comparison-overlap]
