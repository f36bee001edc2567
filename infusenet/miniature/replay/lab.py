"""Runs of the miniature that can be cut, changed and finished anew: what every replay is made from.

One person, prompt and noise is a subject; a crowd of subjects has seeds of its own. Everything is sampled on the CPU in
float32, a batch at a time, and kept in a cache folder, so that another rule is tried without sampling again.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import captions, faces
from ..subjects import NINE, as_pictures, pipeline, recognizer

Floats = NDArray[np.floating[Any]]
BATCH = 8
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
    """How a run is made; `steps` larger steps of a `cut` run come after `cut` of the schedule's.

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

    @classmethod
    def together(cls, parts: Sequence[Course]) -> Course:
        """One after the other."""
        return cls(np.concatenate([part.x for part in parts]), np.concatenate([part.x0 for part in parts]))


@dataclass(frozen=True)
class Looks:
    """What is seen in predictions: whether a face is [..], its aligned crop [.., 112, 112, 3], sharpness [..]."""

    seen: NDArray[np.bool_]
    crops: NDArray[np.uint8]
    sharpness: Floats


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
    from ...identity import IdentityEncoder
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


@torch.no_grad()
def pictures_of(latents: Floats, backbone: str = "mini-dev") -> torch.Tensor:
    """Latents [n, L, C] decoded: [n, 3, 128, 128] in 0..1."""
    from ...probe.decode import vae_decoder
    from ...sampling import unpack_latents
    from ..networks import SIZE

    decode = vae_decoder(pipeline(backbone).vae)
    return torch.cat([decode(unpack_latents(part, SIZE, SIZE)) for part in torch.as_tensor(latents).split(BATCH)])


def look(latents: Floats, backbone: str = "mini-dev") -> Looks:
    """Decode latents [n, L, C] and find the face in each picture."""
    from ...measures import measure_of
    from ...measures.faces import pixels
    from ...metrics.quality import sharpness

    pictures = pictures_of(latents, backbone)
    measure = measure_of(recognizer())
    sights = [(picture, measure.look(picture)) for picture in pixels(pictures) if picture is not None]
    crops = [
        recognizer().crop(picture, sight.face.kps) if sight.face is not None and sight.seen else _NOTHING
        for picture, sight in sights
    ]
    seen = np.array([sight.seen for _, sight in sights])
    return Looks(seen, np.stack(crops), sharpness(pictures).numpy())


_NOTHING = np.zeros((112, 112, 3), np.uint8)


# ------------------------------------------------------------------------------------------ many of them, kept


class Lab:
    """Runs of a crowd's first `count` subjects, sampled by some processes and kept in a folder.

    Args:
        crowd: whose.
        count: how many subjects.
        folder: the cache.
        workers: processes, each of one thread.
    """

    def __init__(self, crowd: Crowd, count: int, folder: Path, workers: int = 2) -> None:
        self.crowd, self.count, self.folder, self.workers = crowd, count, folder, workers
        folder.mkdir(parents=True, exist_ok=True)

    def courses(self, setting: Setting) -> Course:
        """Whole runs of all subjects."""
        parts = [tuple(range(k, min(k + BATCH, self.count))) for k in range(0, self.count, BATCH)]
        tasks = [(sample, (self.crowd, part, setting)) for part in parts]
        return Course.together([Course(*map(np.asarray, part)) for part in self._each("course", tasks, _as_arrays)])

    def looks(self, latents: Floats, backbone: str = "mini-dev") -> Looks:
        """Look at latents [..., L, C]."""
        shape, flat = latents.shape[:-2], latents.reshape(-1, *latents.shape[-2:])
        tasks = [(look, (flat[k : k + 4 * BATCH], backbone)) for k in range(0, len(flat), 4 * BATCH)]
        parts = list(self._each("look", tasks, _as_arrays))
        seen, crops, sharp = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return Looks(seen.reshape(shape), crops.reshape(*shape, 112, 112, 3), sharp.reshape(shape))

    def finished(self, setting: Setting, starts: Sequence[tuple[int, Floats, Sequence[float]]]) -> Floats:
        """The results [m, L, C] of runs from (subject, latents [L, C], noise levels to 0); those alike share a batch."""
        groups: dict[tuple[float, ...], list[int]] = {}
        for place, (_, _, levels) in enumerate(starts):
            groups.setdefault(tuple(levels), []).append(place)
        tasks, places = [], []
        for levels, members in groups.items():
            for k in range(0, len(members), BATCH):
                part = members[k : k + BATCH]
                who = tuple(starts[place][0] for place in part)
                x = np.stack([starts[place][1] for place in part])
                tasks.append((_finish, (self.crowd, who, setting, x, levels)))
                places.append(part)
        results: list[Any] = [None] * len(starts)
        for part, (ended,) in zip(places, self._each("finish", tasks, _as_arrays), strict=True):
            for place, latents in zip(part, ended, strict=True):
                results[place] = latents
        return np.stack(results)

    def _each(self, what: str, tasks: Sequence[tuple[Any, tuple[Any, ...]]], pack: Callable[[Any], Any]) -> list[Any]:
        """The results of all tasks as arrays, those not in the cache made now."""
        files = [self.folder / f"{what}-{_digest(task)}.npz" for task in tasks]
        missing = [(task, file) for task, file in zip(tasks, files, strict=True) if not file.is_file()]
        if missing and self.workers > 1 and len(missing) > 1:
            with _pool(min(self.workers, len(missing))) as pool:
                list(pool.map(_made, *zip(*[(*task, str(file)) for task, file in missing], strict=True)))
        else:
            for task, file in missing:
                _made(*task, str(file))
        return [_loaded(file) for file in files]


def _finish(crowd: Crowd, who: Sequence[int], setting: Setting, x: Floats, levels: Sequence[float]) -> tuple[Floats]:
    return (sample(crowd, who, setting, x=x, levels=levels).x[:, -1],)


def _as_arrays(result: Any) -> tuple[Any, ...]:
    return tuple(getattr(result, name) for name in result.__dataclass_fields__) if not isinstance(result, tuple) else result


def _made(work: Callable[..., Any], arguments: tuple[Any, ...], file: str) -> None:
    """Do one task and keep its arrays; a file appears whole or not at all."""
    torch.set_num_threads(1)
    draft = f"{file}.{os.getpid()}.part.npz"
    np.savez(draft, *_as_arrays(work(*arguments)))
    os.replace(draft, file)


def _loaded(file: Path) -> list[Any]:
    with np.load(file) as arrays:
        return [arrays[f"arr_{k}"] for k in range(len(arrays.files))]


def _digest(task: tuple[Any, tuple[Any, ...]]) -> str:
    """A name for what a task depends on."""
    work, arguments = task
    told = hashlib.sha256(work.__name__.encode())
    for argument in arguments:
        told.update(argument.tobytes() if isinstance(argument, np.ndarray) else repr(argument).encode())
    return told.hexdigest()[:24]


def _pool(workers: int) -> ProcessPoolExecutor:
    os.environ["OMP_NUM_THREADS"] = "1"
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


__all__ = ["DESIGN", "VALIDATION", "Course", "Crowd", "Lab", "Looks", "Setting", "look", "references", "replace", "sample", "sigmas_of"]
