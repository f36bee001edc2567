"""Runs of the miniature that can be cut, changed and finished anew: what every replay is made from.

One person, prompt and noise is a subject; a crowd of subjects has seeds of its own. Everything is sampled in float32, a
batch at a time, and what was read in it is kept in a cache folder, so that another rule is tried without sampling anew.
The recognizer that measures chooses; the one that judges has seen none of its training people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...measures import measure_of
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

    loaded = load_pipeline(backbone, device=DEVICE[0], dtype=torch.float32)
    loaded.set_progress_bar_config(disable=True)
    return loaded


DEVICE = ["cpu"]  # of the pipelines; set by Lab


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
