"""The work of one process: models loaded once, people read once, one job after another."""

from __future__ import annotations

import gc
import logging
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import generate
from ..adapters import Adapter
from ..axes import AXES
from ..files import open_picture, save_picture
from ..generate import GenerateRequest
from ..guidance.notation import NONE
from ..measures import MEASURES, Measure, Reading, ReferenceData
from ..measures.agreement import Agreement, embedding
from ..measures.instruments import Instruments
from ..metrics import METRICS, Subject
from ..metrics.streams import StreamNorms
from ..probe import ProbeRecorder, Trace, vae_decoder
from ..probe.versions import library_versions
from ..speed.timing import timed
from .jobs import Job, SweepPlan
from .results import is_whole, picture_path
from .runner import Models

log = logging.getLogger(__name__)
_ABSENT = {
    "lpips": "no VGG16 weights were given (--lpips PATH)",
    "second": "no second recognizer was given (--second-recognizer DIR)",
    "nearest": "there is nobody else to compare the person with",
    "prompt_fit": "no CLIP was given (--clip DIR)",
}


@dataclass
class Worker:
    """Does jobs on one device. Of backbones, only the one in use is held."""

    plan: SweepPlan
    models: Models
    folder: Path
    device: str
    dtype: str | None = None
    offload: bool = False
    alone: bool = True  # nothing else of the sweep runs on the device, so that seconds mean something
    _loaded: tuple[str, str] | None = None  # role and adapter of the pipeline
    _pipeline: Any = None
    _adapters: dict[Any, Adapter] = field(default_factory=dict)
    _conditions: dict[Any, Any] = field(default_factory=dict)
    _references: dict[str, ReferenceData] = field(default_factory=dict)
    _group: Agreement = field(default_factory=Agreement)

    @cached_property
    def _instruments(self) -> Instruments:
        instruments = self.models.instruments(self.plan.spec, self.device)
        return replace(instruments, crowd={person.digest: person.pictures for person in self.plan.people})

    @cached_property
    def _judge(self) -> Measure:
        """What measures: not the network that conditions."""
        return self.models.load_measure(self.plan.spec, self.device)

    def do(self, job: Job) -> dict[str, Any]:
        """Make and measure one picture; the result is plain values, None where undefined with the reason beside it.

        Raises:
            Exception: whatever a model or a picture gives cause for; the caller keeps it as the job's result.
        """
        try:
            return self._do(job)
        except torch.cuda.OutOfMemoryError:
            if self.offload:
                raise
            log.warning(
                "The GPU ran out of memory. From now on, only the network in use is kept there, which is slower."
            )
        # Out of the except clause, whose error would keep what was on the GPU alive.
        self.offload, self._loaded, self._pipeline = True, None, None
        gc.collect()
        torch.cuda.empty_cache()
        return self._do(job)

    def _do(self, job: Job) -> dict[str, Any]:
        adapter, condition = self._conditioned(job)
        pipeline, request = self._load(job), _request(job)
        measure, reference = self._judge, self._reference(job)
        make = partial(generate.generate, pipeline, condition, request, adapter=adapter)
        trace = streams = None
        result, timing = timed(make)  # its warnings are of what was asked for on purpose
        if "trajectory" in job.metrics:  # once more, so that measuring does not count as time
            recorder = ProbeRecorder(measure, reference, vae_decoder(pipeline.vae), keep_latents="none")
            trace = make(recorder=recorder).trace
        if "streams" in job.metrics:
            with StreamNorms(pipeline.transformer) as norms:
                make()
            streams = [asdict(record) for record in norms.of_steps(request.steps or 1)]
        path = picture_path(self.folder, job)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_picture(result.picture, path, {"infusenet": {**result.made_with, "job": job.id}})
        (reading,) = measure.read([result.picture], reference)
        return {
            **self._metrics(job, result.picture, reading),
            **asdict(timing),
            "alone": self.alone and (self.device != "cpu" or timing.undisturbed(job.threads)),
            "trajectory": None if trace is None else _trajectory(trace),
            "streams": streams,
            "agreement": self._agreement(job, result.picture, reading),
            **_likeness(measure, reading),
            "device": self.device,
            "offload": self.offload,
            "versions": library_versions(),
        }

    def _metrics(self, job: Job, picture: Any, reading: Reading) -> dict[str, Any]:
        """METRICS of a picture: those that always are, those that were asked for, and why one of these is not."""
        asked = {name.split()[0] for name in job.metrics}
        pictures = self.plan.person(job.identity).pictures()
        resources = self._instruments.resources(asked, job.identity, pictures, job.prompt)
        resources |= {"reference": pictures[0], "vae": getattr(self._pipeline, "vae", None)}
        faces, why_not = self._faces(job, reading)
        subject = Subject(picture, resources | faces, {**_ABSENT, "face": why_not})
        values: dict[str, Any] = self._instruments.notes(asked)
        for name, metric in METRICS.items():
            if metric.always or name in asked:
                values[name], reason = metric.reading(subject)
                values |= {} if reason is None else {f"{name}_reason": reason}
        return values

    def _faces(self, job: Job, reading: Reading) -> tuple[dict[str, Any], str]:
        """The aligned faces of a picture and of its reference, RGB; or why there are none."""
        if self._judge.rule.subject != "face":
            return {}, f"{self._judge.name} does not align faces"
        if not reading.seen or reading.crop is None:
            return {}, reading.reason or "the face cannot be aligned"
        crops = {"face": reading.crop, "reference_face": self._reference(job).crops[0]}
        return {name: crop[..., ::-1] for name, crop in crops.items()}, ""

    def _agreement(self, job: Job, picture: Any, reading: Reading) -> dict[str, float | None] | None:
        """How alike a picture is to those of its group that are there; None where that was not asked for."""
        if "agreement" not in job.metrics:
            return None
        paths = {other.id: picture_path(self.folder, other) for other in self.plan.siblings(job)}
        others = {name: partial(self._row, path, job) for name, path in paths.items() if is_whole(path)}
        return self._group.of(job.group, job.id, embedding(self._judge, picture, reading), others)

    def _row(self, path: Path, job: Job) -> Tensor | None:
        """The embedding of a picture of a job's group, from its file."""
        picture = open_picture(path)
        return embedding(self._judge, picture, self._judge.read([picture], self._reference(job))[0])

    def _load(self, job: Job) -> Any:
        if self._pipeline is not None and self._loaded == (job.role, job.adapter):
            return self._pipeline
        self._pipeline = None  # before the next one is loaded: two do not fit
        gc.collect()
        adapter, condition = self._conditioned(job)
        options: dict[str, Any] = {"components": self.models.components} if self.models.components else {}
        options |= {"offload": "model"} if self.offload else {}
        files = self.models.files(job.role, job.adapter)
        self._pipeline = generate.load_pipeline(files, self.device, self.dtype, adapter=adapter, **options)
        self._loaded = job.role, job.adapter
        warming = GenerateRequest(job.prompt, steps=1, size=job.size)  # the first run is not timed
        generate.generate(self._pipeline, condition, warming, adapter=adapter)
        return self._pipeline

    def _reference(self, job: Job) -> ReferenceData:
        """What pictures of a job are compared with: the person, or the prompt where the measure reads texts."""
        of_prompt = MEASURES[self.plan.spec.measure].of == "prompt"
        key = job.prompt if of_prompt else job.identity
        if key not in self._references:
            shown: Any = [job.prompt] if of_prompt else self.plan.person(job.identity).pictures()
            self._references[key] = self._judge.reference(shown)
        return self._references[key]

    def _conditioned(self, job: Job) -> tuple[Adapter, Any]:
        """A job's adapter, and what it read off the person's pictures."""
        files = self.models.files(job.role, job.adapter)
        which = files.adapter, *files.parts.values(), files.face_pack
        if which not in self._adapters:
            self._adapters[which] = generate.load_adapter(files, self.device, self.dtype)
        if (which, job.identity) not in self._conditions:
            pictures = self.plan.person(job.identity).pictures()
            self._conditions[which, job.identity] = self._adapters[which].encode(pictures)
        return self._adapters[which], self._conditions[which, job.identity]


def _request(job: Job) -> GenerateRequest:
    """What a job asks of `generate`."""
    same: tuple[str, ...] = ("prompt", "steps", "guidance", "strength", "start", "end", "seed", "size")
    same += ("true_cfg", "branches", "refresh", "schedule", "decoupled", "attention")
    negative = job.negative if job.true_cfg != 1 else None
    if job.decoupled != NONE:
        negative = job.negative or None  # nothing written is the backbone's own: zeros on SDXL
    request = GenerateRequest(**{name: getattr(job, name) for name in same}, negative=negative)
    for name, value in job.axes:
        request = AXES[name].applied(request, value)
    return request


def _likeness(measure: Measure, reading: Reading) -> dict[str, Any]:
    """How alike a picture is to the reference, and what says so by which rule."""
    values = {"similarity": reading.similarity, "reason": reading.reason, "recognizer": measure.name}
    return {**values, "detector": getattr(measure, "detector", None), "rule": str(measure.rule)}


def _trajectory(trace: Trace) -> list[dict[str, Any]]:
    """What a probe saw of one run, step by step; a failed probe is an error of the job."""
    if trace.status != "complete":
        raise RuntimeError(f"the probe ended {trace.status}: {trace.reason}")
    return [
        {"step": record.step, "sigma": record.sigma, "similarity": trace.mean(record), "seen": record.found[0]}
        | {name: getattr(record, name)[0] for name in ("sharpness", "contrast")}
        for record in trace.records
    ]
