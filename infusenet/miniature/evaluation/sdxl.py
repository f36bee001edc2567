"""mini-sdxl on people it never saw, `--only sdxl`: through the released files and the library's own pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from ...adapters import get_adapter
from ...adapters.ip_adapter.encoder import FaceCondition
from ...generate import GenerateRequest
from ...loading import load_pipeline
from ...probe.decode import vae_decoder
from .. import FACE_PACK, PARTS, captions, faces
from ..scenes import STYLES
from .measure import mean, psnr
from .sheets import SHOWN, sheet
from .subjects import (
    IDENTIFIED,
    NINE,
    RECONSTRUCTED,
    RENDERER,
    Job,
    Pictures,
    Seen,
    Setting,
    as_pictures,
    look,
    measured,
    name_of,
    people,
    references,
    rows,
    scene_of,
)
from .tables import by_both, summarise

BASE, FEW = Setting("mini-sdxl", 20), Setting("mini-sdxl-4step", 4)
WITHOUT = Setting("mini-sdxl-4step", 4, 0.0)
STRENGTHS = tuple(Setting("mini-sdxl-4step", 4, strength) for strength in (0.5, 0.8, 1.5, 2.0))
STEPS = (Setting("mini-sdxl-4step", 1), Setting("mini-sdxl-4step", 2))


@cache
def adapter() -> Any:
    """FaceID, and what reads faces for it."""
    return get_adapter("ip-adapter-faceid").load(PARTS, FACE_PACK, "cpu", None)


@cache
def pipeline(backbone: str) -> Any:
    """SDXL on the CPU in float32."""
    loaded = load_pipeline(backbone, device="cpu")
    loaded.set_progress_bar_config(disable=True)
    return loaded


@cache
def embeddings(crowd: int) -> torch.Tensor:
    """What FaceID's recognizer reads in the references: [crowd, 512]."""
    return torch.cat([adapter().encode([picture]).embedding for picture in references(crowd)])


@torch.no_grad()
def reconstruct(images: torch.Tensor) -> torch.Tensor:
    """Pictures [n, 3, H, W] in 0..1 through mini-sdxl's autoencoder."""
    vae = pipeline(BASE.backbone).vae
    latents = vae.encode(images * 2 - 1).latent_dist.mode()
    return vae_decoder(vae)(latents * vae.config.scaling_factor)


def make(job: Job) -> Pictures:
    """The pictures of one job; the same job gives the same pictures."""
    setting, index = job.setting, list(job.people)
    if setting.backbone in (RENDERER, RECONSTRUCTED):
        scene = rows(scene_of(job.prompt, job.seed, job.crowd), index)
        images = faces.render(rows(people(IDENTIFIED, job.crowd)[0], index), scene).images
        return as_pictures(reconstruct(images) if setting.backbone == RECONSTRUCTED else images)
    prompt = captions.PROMPTS[job.prompt].text
    run = pipeline(setting.backbone)
    seeds = [1_000_000 * (job.seed + 1) + 1000 * job.prompt + person for person in index]
    condition = FaceCondition(embeddings(job.crowd)[index])
    request = GenerateRequest(prompt, strength=setting.strength)
    with adapter().acting(run, condition, request) as more:
        images = run(
            prompt=[prompt] * len(index),
            num_inference_steps=setting.steps,
            guidance_scale=run.spec.guidance_scale,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="pt",
            **more,
        ).images
    return as_pictures(images)


def see(job: Job) -> Seen:
    """Make the pictures of one job and measure them."""
    return measured(job, make(job))


def jobs(crowd: int, seeds: int, part: int, batch: int, prompts: Sequence[int]) -> list[Job]:
    """All batches of pictures, the long ones first; strengths are tried on the first `part` people."""

    def of(setting: Setting, count: int, repeats: int = 1) -> list[Job]:
        parts = [tuple(range(k, min(k + batch, count))) for k in range(0, count, batch)]
        return [Job(setting, p, seed, some, crowd) for p in prompts for seed in range(repeats) for some in parts]

    every = [*of(BASE, crowd), *of(FEW, crowd, seeds), *of(WITHOUT, crowd)]
    for setting in STEPS:
        every += of(setting, crowd)
    for setting in STRENGTHS if part else ():
        every += of(setting, part)
    return [*every, *of(Setting(RENDERER), crowd, seeds), *of(Setting(RECONSTRUCTED), crowd)]


def table(seen: Sequence[Seen], crowd: int) -> dict[str, Any]:
    """Every setting by the measuring recognizer and the judge, then by the judging recognizer too."""
    reference = look(references(crowd))[0]
    groups: dict[Setting, list[Seen]] = {}
    for one in seen:
        groups.setdefault(one.job.setting, []).append(one)
    return {
        "nine_prompts": {name_of(setting): summarise(group, reference).figures for setting, group in groups.items()},
        "judging": {name_of(setting): by_both(group, crowd) for setting, group in groups.items()},
        "autoencoder_psnr_db": _psnr(groups),
    }


def _psnr(groups: dict[Setting, list[Seen]]) -> dict[str, float | None]:
    """By drawing style, of the same drawn pictures before and after."""
    drawn = {(s.job.prompt, s.job.people): s for s in groups[Setting(RENDERER)] if s.job.seed == 0}
    found: dict[str, list[float]] = {}
    for again in groups[Setting(RECONSTRUCTED)]:
        before = drawn[again.job.prompt, again.job.people]
        prompt = captions.PROMPTS[again.job.prompt]
        style = STYLES[prompt.attributes["style"]]
        pairs = zip(before.pictures, again.pictures, strict=True)
        found.setdefault(style, []).extend(psnr(a / 255, b / 255) for a, b in pairs)
    return {style: mean(np.array(values)) for style, values in found.items()}


def page(seen: Sequence[Seen], crowd: int) -> Pictures:
    """The first people, none chosen: a row each, references first, then the few-step LoRA at each level of prompts."""
    shown = NINE[::2] + NINE[-2:-1]
    first = {(s.job.prompt, person): picture for s in seen if s.job.setting == FEW and s.job.seed == 0
             for person, picture in zip(s.job.people, s.pictures, strict=True)}  # fmt: skip
    grid = [[references(crowd)[k], *(first[p, k] for p in shown)] for k in range(min(SHOWN, crowd))]
    return sheet(grid, ["reference", *(captions.PROMPTS[p].text for p in shown)])
