"""Runs of the miniature that can be cut, changed and finished anew: what every replay is made from.

One person, prompt and noise is a subject; a crowd of subjects has seeds of its own. Everything is sampled in float32, a
batch at a time, and what was read in it is kept in a cache folder, so that another rule is tried without sampling anew.
The recognizer that measures chooses; the one that judges has seen none of its training people.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...measures import Baseline, measure_of
from .. import captions, faces
from ..evaluation.subjects import NINE, as_pictures, recognizer, second_recognizer

Floats = NDArray[np.floating[Any]]
BATCH = 8
STRANGERS = 7_650_000  # the renderer's seed of the impostor line
OTHERS = tuple(k for k in range(len(captions.PROMPTS)) if k not in NINE)


@dataclass(frozen=True)
class Crowd:
    """Subjects: person k in the k-th of `prompts` (in turn), with a noise of its own.

    Attributes:
        name: for the record and the cache.
        seed: the renderer's, used by no training and no other evaluation; noises count from it.
        count: people drawn.
        prompts: indices of `captions.PROMPTS`.
    """

    name: str
    seed: int
    count: int
    prompts: tuple[int, ...]

    def prompt(self, k: int) -> str:
        """The text of subject k."""
        return captions.PROMPTS[self.prompts[k % len(self.prompts)]].text

    def noise_seed(self, k: int) -> int:
        """The noise of subject k."""
        return self.seed + 1000 + k


DESIGN = Crowd("design", 7_600_000, 48, NINE)
VALIDATION = Crowd("validation", 7_700_000, 100, OTHERS)


@dataclass(frozen=True)
class Setting:
    """How a run is made.

    Attributes:
        backbone: a miniature.
        steps: of the whole schedule.
        strength: InfuseNet's.
        end: last share of the run in which it acts.
        noise: which of a subject's noises.
        prompt: None = the subject's own, else an index of `captions.PROMPTS`.
        reference: the photo that gives the identity: "clear", or "unclear" (any pose, light, hat, glasses).
    """

    backbone: str = "mini-dev"
    steps: int = 28
    strength: float = 1.0
    end: float = 1.0
    noise: int = 0
    prompt: int | None = None
    reference: str = "clear"


@dataclass(frozen=True)
class Course:
    """Runs of a batch: latents before each step and at the end [n, N+1, L, C], and predictions [n, N, L, C]."""

    x: Floats
    x0: Floats


@dataclass(frozen=True)
class Readings:
    """What is read in pictures [n, ...]: whether a face is seen, its confidence, similarities, sharpness.

    `chosen` is the measuring recognizer's cosine, `judged` the judging one's; NaN where no face is seen.
    """

    seen: NDArray[np.bool_]
    score: Floats
    chosen: Floats
    judged: Floats
    sharpness: Floats

    @property
    def likeness(self) -> Floats:
        """The judge's word; NaN where no face is seen."""
        return np.where(self.seen, self.judged, np.nan)

    def at(self, places: Any) -> Readings:
        """One of each subject's readings [n, N] -> [n]; places [n]."""
        rows = np.arange(len(self.seen))
        return Readings(*(value[rows, places] for value in self.columns()))

    def of(self, who: Any) -> Readings:
        """Some subjects."""
        return Readings(*(value[who] for value in self.columns()))

    def columns(self) -> tuple[Any, ...]:
        """The arrays, in order."""
        return self.seen, self.score, self.chosen, self.judged, self.sharpness


def sigmas_of(setting: Setting) -> list[float]:
    """The schedule's noise levels, N + 1 of them."""
    from ...sampling import flux_sigmas
    from ..networks import TOKENS

    levels: list[float] = flux_sigmas(setting.steps, pipeline(setting.backbone).spec, image_seq_len=TOKENS).tolist()
    return levels


def unshifted(levels: Sequence[float], backbone: str) -> list[float]:
    """What the pipeline's scheduler must be given to run at these noise levels; it shifts them."""
    import math

    from ...sampling import flux_mu
    from ..networks import TOKENS

    spec = pipeline(backbone).spec
    if not spec.use_dynamic_shifting:
        return list(levels)
    exp_mu = math.exp(flux_mu(spec, TOKENS))
    return [1 / (1 + exp_mu * (1 / level - 1)) for level in levels]


@cache
def references(crowd: Crowd, kind: str = "clear") -> NDArray[np.uint8]:
    """Each person's reference picture of a kind: see `Setting.reference`."""
    generator = torch.Generator().manual_seed(crowd.seed)
    who = faces.sample_identities(crowd.count, generator)
    scenes = {"clear": faces.sample_scenes(crowd.count, generator, plain=True)}
    scenes["unclear"] = faces.sample_scenes(crowd.count, generator, styled=0.0)
    return as_pictures(faces.render(who, scenes[kind]).images)


@cache
def tokens(crowd: Crowd, kind: str = "clear") -> torch.Tensor:
    """Each person's identity tokens [count, 8, dim] from a kind of reference."""
    from ...adapters.infusenet.encoder import IdentityEncoder
    from .. import ARCFACE, FACE_PACK, IMAGE_PROJ

    encoder = IdentityEncoder.from_files(IMAGE_PROJ, ARCFACE, FACE_PACK)
    return encoder.encode(list(references(crowd, kind)), fuse=False).tokens


def sample(
    crowd: Crowd, who: Sequence[int], setting: Setting, *, x: Any = None, levels: Sequence[float] | None = None
) -> Course:
    """Run these subjects as one batch.

    Args:
        crowd: whose.
        who: their numbers.
        setting: how.
        x: latents [n, L, C] to start from, at levels[0], instead of noise.
        levels: noise levels, the last one 0, instead of the schedule's.
    """
    states: list[Any] = []
    predictions: list[Any] = []

    def keep(pipe: Any, i: int, t: Any, given: dict[str, Any]) -> dict[str, Any]:
        states.append(given["latents"])
        predictions.append(given["denoised"])
        return {}

    texts = [crowd.prompt(k) if setting.prompt is None else captions.PROMPTS[setting.prompt].text for k in who]
    options: dict[str, Any] = {"num_inference_steps": setting.steps}
    if levels is not None:
        options = {"sigmas": unshifted(levels[:-1], setting.backbone)}
    start = _noise(crowd, who, setting.noise) if x is None else torch.as_tensor(x)
    pipeline(setting.backbone)(
        texts,
        identity=tokens(crowd, setting.reference)[list(who)],
        controlnet_conditioning_scale=setting.strength,
        control_guidance_end=setting.end,
        latents=start,
        output_type="latent",
        callback_on_step_end=keep,
        callback_on_step_end_tensor_inputs=["latents", "denoised"],
        **options,
    )
    stack = lambda parts: torch.stack([part.cpu() for part in parts], 1).numpy()  # noqa: E731
    return Course(stack([start, *states]), stack(predictions))


def _noise(crowd: Crowd, who: Sequence[int], number: int) -> torch.Tensor:
    from ..networks import LATENT_CHANNELS, TOKENS

    seeds = [crowd.noise_seed(k) + 500 * number for k in who]
    draws = [torch.randn(1, TOKENS, 4 * LATENT_CHANNELS, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return torch.cat(draws)


@cache
def pipeline(backbone: str) -> Any:
    """InfuseNet on a miniature, in float32."""
    from ...loading import load_pipeline

    loaded = load_pipeline(backbone, device=_DEVICE[0], dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


_DEVICE = ["cpu"]  # of the pipelines; set by Lab


def read(pictures: Sequence[NDArray[np.uint8]]) -> tuple[Any, ...]:
    """Whether a face is seen [n], its confidence [n], and its embeddings [n, d] by both recognizers, else NaN."""
    measure = measure_of(recognizer())
    sights = [measure.look(picture) for picture in pictures]
    seen = np.array([sight.seen for sight in sights])
    score = np.array([0.0 if sight.face is None else float(sight.face.score) for sight in sights])
    crops = [
        recognizer().crop(picture, sight.face.kps)
        for picture, sight in zip(pictures, sights, strict=True)
        if sight.face is not None and sight.seen
    ]
    embedded = []
    for one in (recognizer(), second_recognizer()):
        width = one.embed(np.zeros((1, one.crop_size, one.crop_size, 3), np.uint8)).shape[1]
        rows = np.full((len(seen), width), np.nan, np.float32)
        if crops:
            rows[seen] = one.embed(crops)
        embedded.append(rows)
    return seen, score, *embedded


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
        _DEVICE[0] = device
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
