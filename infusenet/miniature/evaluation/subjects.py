"""What the evaluation looks at and looks with: unseen people, the released files, one job at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...adapters.infusenet.encoder import IdentityEncoder
from ...faces import FaceRecognizer
from ...loading import load_pipeline
from ...probe.decode import vae_decoder
from .. import ARCFACE, FACE_PACK, IMAGE_PROJ, captions, faces, judging_recognizer, networks
from ..judging import judged
from ..scenes import STYLES
from .measure import landmark_error, overlap, psnr

Pictures = NDArray[np.uint8]  # [n, 128, 128, 3] RGB

PERCEIVED, IDENTIFIED, EMPTY = 9500, 9600, 9700  # renderer's seeds; training has 1 and 3, its checks 9000 and 9100
VIEWS = ("reference", "plain", *STYLES)
RENDERER, RECONSTRUCTED = "renderer", "renderer through the autoencoder"
_SAME_FACE = 0.5  # overlap of a found box with the drawn one


@dataclass(frozen=True)
class Setting:
    """How pictures are made: a backbone's name (or RENDERER, RECONSTRUCTED), steps, InfuseNet's strength."""

    backbone: str
    steps: int = 0
    strength: float = 1.0


DEV, SCHNELL = Setting("mini-dev", 28), Setting("mini-schnell", 4)
NINE = tuple(captions.PROMPTS.index(prompt) for prompt in captions.NINE)
LEVELS = tuple(
    next(k for k, prompt in enumerate(captions.PROMPTS) if prompt.level == level) for level in captions.LEVELS
)


def name_of(setting: Setting) -> str:
    """A setting in words, as the record has it."""
    if setting.backbone in (RENDERER, RECONSTRUCTED):
        return setting.backbone
    return f"{setting.backbone} {setting.steps} strength {setting.strength:g}"


@dataclass(frozen=True)
class Job:
    """One batch: these people in one prompt."""

    setting: Setting
    prompt: int  # index of captions.PROMPTS
    seed: int
    people: tuple[int, ...]
    crowd: int  # how many people there are


@dataclass(frozen=True)
class Seen:
    """A batch and what the instruments say of it: embeddings [n, d] (NaN without a face), boxes found [n], codes.

    `embeddings` are the measuring recognizer's, `second` the judging one's.
    """

    job: Job
    pictures: Pictures
    embeddings: NDArray[np.float32]
    boxes: NDArray[np.intp]
    read: dict[str, NDArray[np.intp]]
    second: NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """A batch of people drawn in one view; None or NaN where there is no such thing."""

    name: str
    pictures: Pictures
    again: Pictures | None  # through the autoencoder
    embeddings: NDArray[np.float32]
    boxes: NDArray[np.intp]
    found: NDArray[np.bool_]
    landmark_errors: NDArray[np.float64]
    psnr: NDArray[np.float64]
    second: NDArray[np.float32]  # embeddings by the judging recognizer


def as_pictures(images: Tensor) -> Pictures:
    """[n, 3, H, W] in 0..1 -> uint8 [n, H, W, 3]."""
    return np.ascontiguousarray(faces.to_uint8(images).permute(0, 2, 3, 1).numpy())


def rows(values: dict[str, Tensor], index: Sequence[int]) -> dict[str, Tensor]:
    """Some persons or scenes of many."""
    return {name: value[list(index)] for name, value in values.items()}


@cache
def recognizer() -> FaceRecognizer:
    """The measuring recognizer, through InsightFace."""
    return FaceRecognizer.from_pack(FACE_PACK)


@cache
def second_recognizer() -> FaceRecognizer:
    """The judging recognizer, through InsightFace."""
    return judging_recognizer()


@cache
def pipeline(backbone: str) -> Any:
    """InfuseNet on a miniature backbone, on the CPU in float32."""
    loaded = load_pipeline(backbone, device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


@torch.no_grad()
def reconstruct(images: Tensor) -> Tensor:
    """Pictures [n, 3, H, W] in 0..1 through the autoencoder."""
    vae = pipeline("mini-dev").vae
    latents = vae.encode(images * 2 - 1).latent_dist.mode()
    return vae_decoder(vae)((latents - vae.config.shift_factor) * vae.config.scaling_factor)


@cache
def people(seed: int, crowd: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Unseen persons, and a plain scene for each one's reference."""
    generator = torch.Generator().manual_seed(seed)
    return faces.sample_identities(crowd, generator), faces.sample_scenes(crowd, generator, plain=True)


@cache
def references(crowd: int) -> Pictures:
    """Their reference pictures."""
    return as_pictures(faces.render(*people(IDENTIFIED, crowd)).images)


@cache
def tokens(crowd: int) -> Tensor:
    """Their identity tokens [crowd, 8, dim]."""
    encoder = IdentityEncoder.from_files(IMAGE_PROJ, ARCFACE, FACE_PACK)
    return encoder.encode(list(references(crowd)), fuse=False).tokens


def scene_of(prompt: int, seed: int, crowd: int) -> dict[str, Tensor]:
    """Scenes with the prompt's attributes, all else at random; where clothes are told, so is an accessory."""
    asked = dict(captions.PROMPTS[prompt].attributes)
    if "clothes" in asked:
        asked.setdefault("accessory", 0)
    scene = faces.sample_scenes(crowd, torch.Generator().manual_seed(IDENTIFIED + 1 + 100 * seed + prompt), styled=0.0)
    return {name: torch.full_like(value, asked[name]) if name in asked else value for name, value in scene.items()}


def look(pictures: Pictures) -> tuple[NDArray[np.float32], NDArray[np.intp], list[Any]]:
    """Embeddings of the largest faces [n, d], numbers of boxes [n], and the largest faces (None without)."""
    found = [recognizer().detect(picture) for picture in pictures]
    best = [some[0] if some else None for some in found]
    return embed(recognizer(), pictures, best), np.array([len(some) for some in found]), best


def embed(instrument: FaceRecognizer, pictures: Pictures, best: Sequence[Any]) -> NDArray[np.float32]:
    """Embeddings of found faces [n, d]; NaN where there is none."""
    crops = [instrument.crop(p, face.kps) for p, face in zip(pictures, best, strict=True) if face is not None]
    embedded = iter(instrument.embed(crops)) if crops else iter(())
    missing = np.full(instrument._width, np.nan, np.float32)
    return np.stack([missing if face is None else next(embedded) for face in best])


def blank_crops(size: int = 112) -> Pictures:
    """Crops that show nobody: black, grey, white, noise, and the middle of three empty scenes."""
    flat = [np.full((size, size, 3), level, np.uint8) for level in (0, 127, 255)]
    noise = np.random.default_rng(EMPTY).integers(0, 256, (size, size, 3), np.uint8)
    scene = faces.sample_scenes(3, torch.Generator().manual_seed(EMPTY), styled=0.0)
    edge = (networks.SIZE - size) // 2
    empty = as_pictures(faces.render_scene(scene))[:, edge : edge + size, edge : edge + size, ::-1]
    return np.stack([*flat, noise, *empty])


def make(job: Job) -> Pictures:
    """The pictures of one job; the same job gives the same pictures."""
    index, setting = job.people, job.setting
    if setting.backbone in (RENDERER, RECONSTRUCTED):
        scene = rows(scene_of(job.prompt, job.seed, job.crowd), index)
        images = faces.render(rows(people(IDENTIFIED, job.crowd)[0], index), scene).images
        return as_pictures(reconstruct(images) if setting.backbone == RECONSTRUCTED else images)
    seeds = [1_000_000 * (job.seed + 1) + 1000 * job.prompt + person for person in index]
    images = pipeline(setting.backbone)(
        [captions.PROMPTS[job.prompt].text] * len(index),
        identity=tokens(job.crowd)[list(index)],
        controlnet_conditioning_scale=setting.strength,
        num_inference_steps=setting.steps,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="pt",
    ).images
    return as_pictures(images)


def see(job: Job) -> Seen:
    """Make the pictures of one job and measure them."""
    return measured(job, make(job))


def measured(job: Job, pictures: Pictures) -> Seen:
    """What the instruments say of a job's pictures."""
    embeddings, boxes, best = look(pictures)
    return Seen(job, pictures, embeddings, boxes, judged(pictures), embed(second_recognizer(), pictures, best))


def perceive(task: tuple[int, tuple[int, ...], int, bool]) -> View:
    """Draw people in one of VIEWS and measure the instruments on them.

    Args:
        task: index of the view, which people, of how many, and whether the autoencoder is measured too.
    """
    view, index, crowd, reconstructed = task
    identities, scene = people(PERCEIVED, crowd)
    if view > 0:
        generator = torch.Generator().manual_seed(PERCEIVED + view)
        scene = faces.sample_scenes(crowd, generator, plain=VIEWS[view] == "plain", styled=0.0)
    if VIEWS[view] in STYLES:
        scene["style"] = torch.full_like(scene["style"], STYLES.index(VIEWS[view]))
    drawn = faces.render(rows(identities, index), rows(scene, index))
    pictures = as_pictures(drawn.images)
    embeddings, boxes, best = look(pictures)
    pairs = list(zip(best, drawn.boxes.numpy(), drawn.landmarks.numpy(), strict=True))
    found = np.array([face is not None and overlap(face.bbox, box) >= _SAME_FACE for face, box, _ in pairs])
    errors = [landmark_error(face.kps, points) if face is not None else np.nan for face, _, points in pairs]
    again = as_pictures(reconstruct(drawn.images)) if reconstructed else None
    unit = [] if again is None else [psnr(a / 255, b / 255) for a, b in zip(pictures, again, strict=True)]
    error = np.where(found, errors, np.nan)
    second = embed(second_recognizer(), pictures, best)
    return View(VIEWS[view], pictures, again, embeddings, boxes, found, error, np.array(unit), second)


def empty_scenes(count: int) -> tuple[int, Pictures]:
    """How many of `count` scenes without a person have a box, and some that have."""
    scene = faces.sample_scenes(count, torch.Generator().manual_seed(EMPTY), styled=0.5)
    pictures = as_pictures(faces.render_scene(scene))
    wrong = [k for k, picture in enumerate(pictures) if recognizer().detect(picture)]
    return len(wrong), pictures[wrong[:10]]
