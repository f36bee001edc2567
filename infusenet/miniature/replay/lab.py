"""What is read in the runs of a crowd, kept in a cache folder, so that another rule is tried without sampling anew."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...measures import Baseline
from .. import faces
from ..evaluation.subjects import as_pictures, recognizer
from .runs import (
    BATCH,
    DEVICE,
    STRANGERS,
    Course,
    Crowd,
    Floats,
    Readings,
    Setting,
    pipeline,
    read,
    references,
    sample,
    sigmas_of,
)


class Lab:
    """Runs of a crowd's first `count` subjects.

    Args:
        crowd: whose.
        count: how many subjects.
        folder: the cache.
        device: where to sample and decode.
        workers: processes that find and read faces; 0 = this one.
        batch: runs or pictures at a time.
    """

    def __init__(
        self, crowd: Crowd, count: int, folder: Path, *, device: str = "cpu", workers: int = 0, batch: int = BATCH
    ) -> None:
        self.crowd, self.who, self.folder, self.batch = crowd, tuple(range(count)), folder, batch
        DEVICE[0] = device
        folder.mkdir(parents=True, exist_ok=True)
        self._pool = _pool(workers) if workers else None
        _, _, self._chosen, self._judged = self._faces(list(references(crowd)[:count]))
        self.blanks, self.strangers = self._lines()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown()

    # -- sampling ------------------------------------------------------------------------------------------------------

    def course(self, setting: Setting, who: Sequence[int] | None = None) -> Course:
        """Whole runs."""
        people = self.who if who is None else tuple(who)
        parts = [sample(self.crowd, people[k : k + self.batch], setting) for k in range(0, len(people), self.batch)]
        return Course(np.concatenate([part.x for part in parts]), np.concatenate([part.x0 for part in parts]))

    def finished(self, setting: Setting, who: Sequence[int] | None = None) -> Readings:
        """The finished pictures of whole runs; of other subjects than `who`, nothing."""
        people = self.who if who is None else tuple(who)
        return self._kept(("finished", setting, people), lambda: self.course(setting, people).x[:, -1], setting, people)

    def steps(self, setting: Setting, course: Course | None = None) -> Readings:
        """All predictions of whole runs."""
        return self._kept(("steps", setting, self.who), lambda: (course or self.course(setting)).x0, setting, self.who)

    def tails(self, setting: Setting, course: Course, stops: Sequence[int], steps: int) -> Readings:
        """The pictures of runs that are cut short after their own `stops`, with `steps` larger steps after it."""
        from ...sampling import tail

        levels = torch.tensor(sigmas_of(setting))
        total = len(levels) - 1
        where = tuple(total if stop + steps >= total else int(stop) for stop in stops)  # nothing would be saved

        def latents() -> Floats:
            ended = course.x[:, -1].copy()
            for stop in sorted({stop for stop in where if stop < total}):
                members = [k for k, own in enumerate(where) if own == stop]
                for part in (members[k : k + self.batch] for k in range(0, len(members), self.batch)):
                    who, x = [self.who[k] for k in part], course.x[part, stop]
                    run = sample(self.crowd, who, setting, x=x, levels=tail(levels, stop, steps).tolist())
                    ended[part] = run.x[:, -1]
            return ended

        return self._kept(("tails", setting, self.who, where, steps), latents, setting, self.who)

    # -- looking -------------------------------------------------------------------------------------------------------

    def look(self, latents: Floats, backbone: str, who: Sequence[int]) -> Readings:
        """Latents [n, ..., L, C] of n subjects, decoded and read."""
        shape = latents.shape[:-2]
        pictures, sharp = self._decoded(latents.reshape(-1, *latents.shape[-2:]), backbone)
        seen, score, chosen, judged = self._faces(pictures)
        owner = np.repeat(np.asarray(who, int), len(pictures) // len(who))
        own = [(rows * theirs[owner]).sum(1) for rows, theirs in ((chosen, self._chosen), (judged, self._judged))]
        return Readings(*(value.reshape(shape) for value in (seen, score, *own, sharp)))

    @torch.no_grad()
    def _decoded(self, latents: Floats, backbone: str) -> tuple[list[Any], Floats]:
        from ...measures.faces import pixels
        from ...metrics.quality import sharpness
        from ...probe.decode import vae_decoder
        from ...sampling import unpack_latents
        from ..networks import SIZE

        decode, pictures, sharp = vae_decoder(pipeline(backbone).vae), [], []
        for part in torch.as_tensor(latents).split(self.batch):
            decoded = decode(unpack_latents(part, SIZE, SIZE)).cpu()
            pictures += pixels(decoded)
            sharp.append(sharpness(decoded).numpy())
        return pictures, np.concatenate(sharp)

    def _faces(self, pictures: Sequence[Any]) -> tuple[Any, ...]:
        parts = [pictures[k : k + 64] for k in range(0, len(pictures), 64)]
        found = list(self._pool.map(read, parts) if self._pool else map(read, parts))
        return tuple(np.concatenate([part[k] for part in found]) for k in range(4))

    def _lines(self) -> tuple[list[Baseline | None], list[Baseline | None]]:
        """The blank and the strangers' line of each reference."""
        from ...measures.blank import blank_crops

        generator = torch.Generator().manual_seed(STRANGERS)
        scenes = faces.sample_scenes(16, generator, plain=True)
        others = self._faces(list(as_pictures(faces.render(faces.sample_identities(16, generator), scenes).images)))[2]
        blanks = recognizer().embed(np.stack(blank_crops()))
        return tuple([Baseline.of((rows @ own).tolist()) for own in self._chosen] for rows in (blanks, others))  # type: ignore[return-value]

    def _kept(self, key: tuple[Any, ...], latents: Any, setting: Setting, who: Sequence[int]) -> Readings:
        """The readings under a key, from the cache or made now; a file appears whole or not at all."""
        name = hashlib.sha256(repr((self.crowd, *key)).encode()).hexdigest()[:24]
        file = self.folder / f"{key[0]}-{name}.npz"
        if not file.is_file():
            readings = self.look(latents(), setting.backbone, who)
            draft = self.folder / f".{name}.{os.getpid()}.npz"
            np.savez(draft, *readings.columns())
            os.replace(draft, file)
        with np.load(file) as arrays:
            return Readings(*(arrays[f"arr_{k}"] for k in range(5)))


def _pool(workers: int) -> ProcessPoolExecutor:
    os.environ["OMP_NUM_THREADS"] = "1"  # threads of one process would wait for each other on a busy machine
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
