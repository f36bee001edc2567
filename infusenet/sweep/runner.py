"""Running a sweep: on which weights and processes; each result is written at once, and a failure is a result."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm

from .. import miniature
from ..backbones import BACKBONES
from ..errors import InfuseNetError, SettingsError
from ..files import locked_folder
from ..generate import Files, files_for, is_miniature
from ..measures import MEASURES, Measure
from ..measures.instruments import Instruments
from ..weights import catalogue
from ..weights.fingerprint import fingerprint
from .jobs import Job, SweepPlan, partition
from .results import prepare, write_result
from .spec import Spec

Do = Callable[[Job], dict[str, Any]]
"""Makes a job's result, such as `worker.Worker.do`."""
log = logging.getLogger(__name__)
_PATIENCE = timedelta(days=7)  # how long processes wait for the slowest one


@dataclass(frozen=True)
class Models:
    """What stands behind the names in a specification."""

    backbones: Mapping[str, str] = field(default_factory=lambda: {"dev": "mini-dev", "schnell": "mini-schnell"})
    """A name of BACKBONES or a path, by role. A role that is not here is a name of BACKBONES itself."""
    given: Mapping[str, Path | None] = field(default_factory=dict)  # face_pack and the adapters' parts
    folders: tuple[Path, ...] = ()  # where real weights are looked for
    components: Path | None = None  # a FLUX folder that lends VAE and text encoders to single files
    lpips: Path | None = None  # VGG16 weights, without which there is no LPIPS
    measure: Path | None = None  # folder of a measure that is not the face pack's
    second: Path | None = None  # a second face pack; by default the miniature's judging one where all backbones are its
    clip: Path | None = None  # a CLIP folder for the fit to the prompt; by default the miniature's judge, likewise

    def files(self, role: str, adapter: str = "infusenet") -> Files:
        """All files behind a role.

        Raises:
            SettingsError: an unknown name.
            WeightsError: a file was not found.
        """
        return files_for(self.backbones.get(role, role), self.folders, adapter=adapter, **self.given)

    def face_pack(self, spec: Spec) -> Path:
        """What finds and measures faces, by the first method."""
        return self.files(spec.methods[0].backbone, spec.methods[0].adapter).face_pack

    def check_people(self, spec: Spec) -> None:
        """Refuse to show drawn people to models that know photos only.

        Raises:
            SettingsError: real weights, and drawn people.
        """
        for role in dict.fromkeys(method.backbone for method in spec.methods):
            name = self.backbones.get(role, role)
            if spec.people.folder is None and (name in catalogue.KEYS or name not in BACKBONES):
                raise SettingsError(
                    f"people.drawn: only the miniature knows drawn people, but {role} is {name}. Name a folder of "
                    "photos with --people DIR."
                )

    def contents(self, spec: Spec) -> dict[tuple[str, str], str]:
        """Name and content of the weights behind each role and adapter that a sweep uses."""
        used = sorted({(method.backbone, method.adapter) for method in spec.methods})
        return {(role, adapter): self._content(self.files(role, adapter)) for role, adapter in used}

    def _content(self, files: Files) -> str:
        backbone = (miniature.BACKBONES | miniature.SDXL).get(str(files.backbone), Path(files.backbone))
        parts = [backbone, *files.options.values(), *files.parts.values(), files.face_pack]
        parts += [miniature.BACKBONES["mini-dev"]] if backbone in miniature.BACKBONES.values() else []
        parts += [self.components] if self.components else []
        known = [fingerprint(part) for part in parts if part.exists()]  # a backbone may be a name and no file
        return f"{backbone.name} {hashlib.sha256(''.join(known).encode()).hexdigest()[:16]}"

    def instruments(self, spec: Spec, device: str = "cpu") -> Instruments:
        """What the metrics of a sweep look with, the miniature's judges where all backbones are its; not yet loaded."""
        small = all(is_miniature(self.backbones.get(method.backbone, method.backbone)) for method in spec.methods)
        judges = (miniature.JUDGING_RECOGNIZER, miniature.JUDGE) if small else (None, None)
        return Instruments(self.lpips, self.second or judges[0], self.clip or judges[1], device)

    def metrics_of(self, spec: Spec) -> tuple[str, ...]:
        """What is measured beside the usual, with the content of weights that it depends on.

        Raises:
            SettingsError: the second recognizer is the first.
            InfuseNetError: weights are missing or of another kind, or a package is missing.
        """
        instruments = self.instruments(spec)
        instruments.check(spec.metrics)  # now, before any picture is made
        weights = {name: instruments.weights(name) for name in spec.metrics}
        second = weights.get("second_similarity")
        if second is not None and fingerprint(second) == fingerprint(self.face_pack(spec)):
            raise SettingsError(
                f"{second} is already the first recognizer, so it cannot give a second opinion. Name another face "
                "pack with --second-recognizer DIR."
            )
        return tuple(name if path is None else f"{name} {fingerprint(path)[:16]}" for name, path in weights.items())

    def load_measure(self, spec: Spec, device: str) -> Measure:
        """What measures likeness: not the network that conditions."""
        path = self.face_pack(spec) if spec.measure == "face" else self.measure
        return MEASURES[spec.measure].load(path or Path(), device)

    def measure_of(self, spec: Spec) -> str:
        """What likeness is measured with; its weights' content where that is not the face pack, which backbones name.

        Raises:
            SettingsError: its folder was not given.
        """
        if spec.measure == "face" or not MEASURES[spec.measure].needs_folder:
            return spec.measure
        if self.measure is None or not self.measure.exists():
            raise SettingsError(
                f"measure = {spec.measure!r} needs a folder of weights, got {self.measure or 'none'}. Name it with "
                "--measure-model DIR."
            )
        return f"{spec.measure} {fingerprint(self.measure)[:16]}"


@dataclass(frozen=True)
class Rank:
    """Where this process stands among the `world` that a launcher started, and among those on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1

    @classmethod
    def from_environment(cls) -> Rank:
        """As `accelerate launch` and `torchrun` tell it."""
        names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
        rank, world, local = (int(os.environ.get(name, default)) for name, default in names.items())
        return cls(rank, world, local, int(os.environ.get("LOCAL_WORLD_SIZE", world)))


Make = Callable[[Rank, str], Do]
"""Gives what does a job, for this process's rank and device; called only if there is something to do."""


def run(
    plan: SweepPlan, folder: Path, make: Make, *, device: str = "auto", retry: bool = False, quiet: bool = False
) -> tuple[int, int]:
    """Make all results that are missing in a sweep's folder, which is made if missing.

    Args:
        plan, folder, make: what to do, where, and what does a job.
        device: "auto", "cpu", "cuda", ...; with several processes each takes a GPU of its own.
        retry, quiet: failed jobs again too; no progress bar.

    Returns:
        How many jobs were done by this process, and how many of these failed.

    Raises:
        SettingsError: more processes on this machine than GPUs, or another sweep is at work in the folder.
    """
    torch.set_num_threads(plan.spec.threads)
    rank = Rank.from_environment()
    device = _device(device, rank)
    with locked_folder(folder) if rank.rank == 0 else nullcontext():
        parts = partition(prepare(plan, folder, retry=retry), rank.world) if rank.rank == 0 else []
        mine = _shared(parts, rank.world)[rank.rank]
        failed = _work(mine, folder, make, rank, device, None if quiet else plan.spec.title) if mine else 0
        if rank.world > 1:
            distributed.barrier()
    return len(mine), failed


def _work(jobs: Sequence[Job], folder: Path, make: Make, rank: Rank, device: str, title: str | None) -> int:
    """Do jobs one after the other, with a bar under a title if there is one; returns how many failed."""
    do, failed = make(rank, device), 0
    for job in tqdm(jobs, desc=title, unit="", disable=title is None or rank.rank > 0, leave=False):
        try:
            result = {"status": "done", "error": None, **do(job)}
            json.dumps(result, allow_nan=False)
        except Exception as error:  # whatever it is: it is this job's result, and the sweep goes on
            failed += 1
            log.warning("Job %s failed: %s", job.id, error)
            result = {
                "status": "failed",
                "error": f"{type(error).__name__}: {error}",
                "where": None if isinstance(error, InfuseNetError) else traceback.format_exc(limit=-3),
            }
        write_result(folder, job, {**result, "rank": rank.rank, "world": rank.world})
    return failed


# -- processes -----------------------------------------------------------------------------------------------------


def _device(device: str, rank: Rank) -> str:
    """The device of this process."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and rank.world > 1:
        if rank.local >= torch.cuda.device_count():
            raise SettingsError(
                f"Expected one GPU for each of the {rank.local_world} processes, found {torch.cuda.device_count()}. "
                "Start fewer processes."
            )
        torch.cuda.set_device(rank.local)
        return f"cuda:{rank.local}"
    return device


def _shared(value: Any, world: int) -> Any:
    """The first process's value, for all; no tensor is sent, so that the CPU's way is right for GPUs too."""
    if world == 1:
        return value
    if not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=_PATIENCE)
    boxed = [value]
    distributed.broadcast_object_list(boxed)
    return boxed[0]


def leave() -> None:
    """Part from the other processes, after the last sweep."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
