"""A quick look at mini-sdxl after each run: held-out people, by the released instruments; figures in the log, a sheet.

The figures of record come from `python -m infusenet.miniature.evaluation --only sdxl`, through the released files.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import captions, faces, sdxl
from ..evaluation.measure import obeyed, similarities
from ..evaluation.subjects import as_pictures, embed, look, second_recognizer
from ..judging import judged
from ..scenes import STYLES
from ..tokens import encode
from . import bank as banks
from . import diffusion, perception
from .check import sheet
from .loop import Run
from .sdxl_stages import arcface, words
from .stages import HELD_OUT

log = logging.getLogger(__name__)


def check_sdxl(run: Run, out: Path, people: int = 32) -> None:
    """Look at what is finished: the autoencoder, then pictures of held-out people."""
    if not run.has("sdxl-vae"):
        return
    vae = run.load("sdxl-vae", sdxl.autoencoder())
    _check_autoencoder(run, vae, out)
    if run.has("sdxl-unet"):
        _check_pictures(run, vae, out, people)


@torch.no_grad()
def _check_autoencoder(run: Run, vae: Any, out: Path, people: int = 128) -> None:
    identities, scenes = banks.draw_parameters(people, HELD_OUT, views=1, styled=0.0)
    g = torch.Generator().manual_seed(HELD_OUT + 1)
    for style in range(len(STYLES)):
        scenes.append(faces.sample_scenes(people, g, styled=0.0))
        scenes[-1]["style"].fill_(style)
    bank = banks.draw(identities, scenes, run.device)
    mine = look(as_pictures(bank.images[:, 0].cpu().float() / 255))[0]
    rows = []
    for view, name in enumerate(("plain", *STYLES)):
        images = bank.images[:, view].float() / 255
        again = perception.decode(vae, perception.encode(vae, bank.images[:, view]))
        psnr = -10 * torch.log10((again - images).square().mean((1, 2, 3))).mean()
        own = [
            np.nanmean(similarities(look(as_pictures(p.cpu()))[0], mine, np.arange(people))[0]) for p in (images, again)
        ]
        log.info("check autoencoder %-10s psnr %.1f similarity %.3f, through it %.3f", name, psnr, *own)
        rows += [images[:10], again[:10]]
    sheet(rows, out / "sdxl-vae.png")


@dataclass
class _Subjects:
    """Rows are prompt-major, prompts x people."""

    texts: diffusion.Texts
    noise: Tensor
    tokens: tuple[Tensor, Tensor] | None  # of the identity, of none
    people: np.ndarray[Any, Any]
    references: tuple[Any, Any]  # embeddings by the measuring and the judging recognizer


def _subjects(run: Run, reference: Tensor, landmarks: Tensor, text: Any, faceid: Any) -> _Subjects:
    people, prompts = len(reference), len(captions.NINE)
    ids = torch.from_numpy(encode([p.text for p in captions.NINE])[:, 0]).to(run.device)
    states, pooled = (t.repeat_interleave(people, 0) for t in text(ids))
    tokens = None
    if faceid is not None:
        embeddings = arcface(run)(banks.align(reference * 2 - 1, landmarks).flip(1)).repeat(prompts, 1)
        tokens = (faceid.image_proj(embeddings), faceid.image_proj(torch.zeros_like(embeddings)))
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(prompts * people, sdxl.LATENT_CHANNELS, sdxl.SIDE, sdxl.SIDE, generator=g).to(run.device)
    pictures = as_pictures(reference.cpu())
    measured, _, best = look(pictures)
    both = (measured, embed(second_recognizer(), pictures, best))
    return _Subjects((states, pooled), noise, tokens, np.tile(np.arange(people), prompts), both)


@torch.no_grad()
def _check_pictures(run: Run, vae: Any, out: Path, people: int) -> None:
    text = run.load("sdxl-text", diffusion.Text(*words(run)))
    unet = run.load("sdxl-unet", sdxl.unet())
    weights = run.load("sdxl-lora", sdxl.Lora(unet)).merged(unet) if run.has("sdxl-lora") else None
    faceid = None
    if run.has("sdxl-faceid"):
        faceid = run.load("sdxl-faceid", sdxl.FaceID(unet))
        faceid.bind(unet)
    plain = banks.draw(*banks.draw_parameters(people, HELD_OUT + 100, views=1), run.device)
    reference = plain.images[:, 0].float() / 255
    who = _subjects(run, reference, plain.landmarks[:, 0], text, faceid)
    kept = [reference[:10]]

    def row(label: str, steps: int, guidance: float, scale: float, fast: bool) -> Tensor:
        for _, attention in sdxl.cross_attentions(unet) if faceid is not None else ():
            attention.processor.scale = [scale]
        grid = diffusion.trailing(steps)
        made: dict[str, Any] = {"guidance": guidance, "tokens": who.tokens, "weights": weights if fast else None}
        with run.autocast():
            latents = diffusion.sample(unet, who.noise, who.texts, grid, **made)
        images = torch.cat([perception.decode(vae, part) for part in latents.split(256)])
        pictures = as_pictures(images.cpu())
        measured, _, best = look(pictures)
        values = [*similarities(measured, who.references[0], who.people)]
        second = similarities(embed(second_recognizer(), pictures, best), who.references[1], who.people)
        asked = [p.attributes for p in captions.NINE for _ in range(people)]
        right, wanted = obeyed(judged(pictures), asked)
        log.info(
            "check %s steps %d guidance %g scale %g: similarity %.3f strangers %.3f rank-1 %.3f; judging %.3f, rank-1 "
            "%.3f; prompts %.3f; no face %d",
            *(label, steps, guidance, scale, np.nanmean(values[0]), np.nanmean(values[1]), values[2].mean()),
            *(np.nanmean(second[0]), second[2].mean(), right.sum() / wanted.sum(), np.isnan(values[0]).sum()),
        )
        return images.view(-1, people, *images.shape[1:])[[0, 2, 3, 5, 6, 8], :10]

    full = 0.0 if faceid is None else 1.0
    for guidance in (1.0, 2.0, 5.0):
        row("sdxl", 20, guidance, full, False)
    kept.extend(row("sdxl", 20, diffusion.GUIDED, full, False))
    row("sdxl", 4, diffusion.GUIDED, full, False)
    if weights is not None:
        for steps in (1, 2):
            row("few-step", steps, 1.0, full, True)
        for scale in (0.5, 0.8, 1.3, 1.6, 2.0) if faceid is not None else ():
            row("few-step", 4, 1.0, scale, True)
        kept.extend(row("few-step", 4, 1.0, full, True))
    sheet(kept, out / "sdxl.png")
