"""The work of one process: models loaded once, people read once, one job after another."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import generate
from ..metrics.quality import rms_contrast, sharpness
from ..probe.versions import library_versions
from .jobs import Job
from .people import Person
from .plan import Plan, picture_path
from .weights import Weights

if TYPE_CHECKING:
    from ..adapters import Adapter
    from ..adapters.infusenet.encoder import Identity
    from ..adapters.infusenet.pipeline import InfuseNetPipeline
    from ..faces import FaceRecognizer
    from ..probe import Reference, Trace

log = logging.getLogger(__name__)


@dataclass
class Worker:
    """Does jobs on one device. Of backbones, only the one in use is held.

    Attributes:
        alone: nothing else runs on the device, so that seconds mean something.
    """

    plan: Plan
    weights: Weights
    out: Path
    device: str
    dtype: str | None = None
    offload: bool = False
    alone: bool = True
    _pipeline: InfuseNetPipeline | None = None
    _role: str | None = None
    _encoder: Adapter | None = None
    _recognizer: FaceRecognizer | None = None
    _lpips: Any = None
    _identities: dict[str, tuple[Identity, Reference]] = field(default_factory=dict)

    def do(self, job: Job) -> dict[str, Any]:
        """Make and measure one picture.

        Args:
            job: what is asked for.

        Returns:
            The result: plain values, None where undefined with the reason beside it.

        Raises:
            Exception: whatever a model or a picture gives cause for; the caller keeps it as the job's result.
        """
        import torch

        try:
            return self._do(job)
        except torch.cuda.OutOfMemoryError:
            if self.offload:
                raise
            log.warning("Out of GPU memory: from here on only the network at work is kept there, which is slower.")
        # Out of the except clause, whose error would keep what was on the GPU alive.
        self.offload, self._role, self._pipeline = True, None, None
        gc.collect()
        torch.cuda.empty_cache()
        return self._do(job)

    def _do(self, job: Job) -> dict[str, Any]:
        from ..files import save_picture
        from ..measures import measure_of
        from ..probe import ProbeRecorder, vae_decoder

        pipeline = self._load(job)
        identity, reference = self._read(job)
        settings = generate.Settings(
            prompt=job.prompt,
            negative=job.negative if job.true_cfg != 1 else None,
            steps=job.steps,
            guidance=job.guidance,
            strength=job.strength,
            start=job.start,
            end=job.end,
            seed=job.seed,
            size=job.size,
            true_cfg=job.true_cfg,
        )
        with _no_notices():
            began = time.perf_counter()
            result = generate.generate(pipeline, identity, settings)
            seconds = time.perf_counter() - began
            trace = None
            if "trajectory" in job.metrics:  # once more, so that measuring does not count as time
                recorder = ProbeRecorder(self._judge(), reference, vae_decoder(pipeline.vae), keep_latents="none")
                trace = generate.generate(pipeline, identity, settings, recorder=recorder).trace
            streams = _streams(pipeline, identity, settings) if "streams" in job.metrics else None
        path = picture_path(self.out, job)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_picture(result.picture, path, {"infusenet": {**result.made_with, "job": job.id}})
        return {
            "seconds": seconds,
            "alone": self.alone,
            **self._measure(job, result.picture, reference),
            **self._perceptual(job, result.picture),
            "trajectory": None if trace is None else _trajectory(trace),
            "streams": streams,
            "recognizer": measure_of(self._judge()).name,
            "detector": measure_of(self._judge()).detector,
            "rule": str(measure_of(self._judge()).rule),
            "device": self.device,
            "offload": self.offload,
            "versions": library_versions(),
        }

    def _measure(self, job: Job, picture: Any, reference: Reference) -> dict[str, Any]:
        import torch

        from ..measures import measure_of

        pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        (reading,) = measure_of(self._judge()).read([picture], reference)
        return {
            "similarity": reading.similarity,
            "reason": reading.reason,
            "sharpness": _defined(sharpness(pixels)),
            "contrast": _defined(rms_contrast(pixels)),
            "latent_distance": self._distance(job, pixels) if "latent_distance" in job.metrics else None,
        }

    def _distance(self, job: Job, pixels: Any) -> float | None:
        """How far the picture is from the person's first reference in the backbone's own latent space."""
        import torch
        from PIL import Image

        from ..metrics.latent import latent_distance

        height, width = pixels.shape[-2:]
        photo = self.plan.person(job.identity).pictures()[0]
        fitted = Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS)
        other = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8).reshape(1, height, width, 3)
        assert self._pipeline is not None
        return _defined(latent_distance(pixels, other.permute(0, 3, 1, 2).float() / 255, self._pipeline.vae))

    def _perceptual(self, job: Job, picture: Any) -> dict[str, Any]:
        """LPIPS between the picture and the person's first reference, or why there is none."""
        asked = next((name for name in job.metrics if name.split()[0] == "lpips"), None)
        if asked is None:
            return {}
        if asked == "lpips" or self.weights.lpips is None:
            return {"lpips": None, "lpips_reason": "no VGG16 weights were given (--lpips PATH)"}
        from importlib.metadata import version

        from ..metrics.perceptual import SIZE, fitted, lpips_distance, lpips_network

        if self._lpips is None:
            self._lpips = lpips_network(self.weights.lpips, device=self.device)
        photo = self.plan.person(job.identity).pictures()[0]
        found = _defined(lpips_distance(fitted(picture), fitted(photo), self._lpips))
        with_what = f"{asked}: package {version('lpips')}, middle squares at {SIZE} pixels"
        return {"lpips": found, "lpips_reason": None, "lpips_with": with_what}

    def _load(self, job: Job) -> InfuseNetPipeline:
        if self._pipeline is not None and self._role == job.role:
            return self._pipeline
        self._pipeline = None  # before the next one is loaded: two do not fit
        gc.collect()
        options: dict[str, Any] = {"components": self.weights.components} if self.weights.components else {}
        if self.offload:
            options["offload"] = "model"
        self._pipeline = generate.load_pipeline(self.weights.files(job.role), self.device, self.dtype, **options)
        self._role = job.role
        identity, _ = self._read(job)
        with _no_notices():  # the first run warms up and is not timed
            generate.generate(self._pipeline, identity, generate.Settings(job.prompt, steps=1, size=job.size))
        return self._pipeline

    def _judge(self) -> FaceRecognizer:
        """The recognizer that measures: not the one that conditions."""
        from ..faces import FaceRecognizer

        if self._recognizer is None:
            pack = self.weights.files(self._any_role()).face_pack
            self._recognizer = FaceRecognizer.from_pack(pack, device=self.device)
        return self._recognizer

    def _read(self, job: Job) -> tuple[Identity, Reference]:
        from ..probe import Reference

        if job.identity not in self._identities:
            if self._encoder is None:
                self._encoder = generate.load_adapter(self.weights.files(self._any_role()), self.device, self.dtype)
            person: Person = self.plan.person(job.identity)
            pictures = person.pictures()
            reference = Reference.from_pictures(self._judge(), pictures)
            self._identities[job.identity] = self._encoder.encode(pictures), reference
        return self._identities[job.identity]

    def _any_role(self) -> Any:
        return self.plan.spec.methods[0].backbone


@contextmanager
def _no_notices() -> Iterator[None]:
    """What a person would be told of is asked for on purpose: guidance on schnell, an adapter that acts in no step."""
    from ..adapters.infusenet.pipeline import log as of_the_pipeline

    levels = [(each, each.level) for each in (generate.log, of_the_pipeline)]
    try:
        for each, _ in levels:
            each.setLevel(logging.ERROR)
        yield
    finally:
        for each, level in levels:
            each.setLevel(level)


def _trajectory(trace: Trace) -> list[dict[str, Any]]:
    """What a probe saw of one run, step by step; a failed probe is an error of the job."""
    if trace.status != "complete":
        raise RuntimeError(f"the probe ended {trace.status}: {trace.reason}")
    return [
        {
            "step": record.step,
            "sigma": record.sigma,
            "similarity": trace.mean(record),
            "seen": record.found[0],
            "sharpness": record.sharpness[0],
            "contrast": record.contrast[0],
        }
        for record in trace.records
    ]


def _streams(pipeline: InfuseNetPipeline, identity: Identity, settings: generate.Settings) -> list[dict[str, Any]]:
    """Stream norms and residual ratios of each step, a value a block; with true CFG those of the positive branch."""
    from ..metrics.streams import StreamNorms

    with StreamNorms(pipeline.transformer) as norms:
        generate.generate(pipeline, identity, settings)
    records, steps = norms.records, settings.steps or 1
    return [asdict(record) for record in records[:: len(records) // steps]]


def _defined(value: Any) -> float | None:
    number = float(value[0])
    return number if number == number else None
