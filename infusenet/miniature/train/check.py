"""A quick look after each run: held-out people through the networks on the device, figures in the log and sheets as PNG.

The figures of record come from `python -m infusenet.miniature.evaluate`, through the released files and the real code.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...identity.embed import IRSE
from .. import captions, faces, networks
from . import bank as banks
from . import generation, perception
from .loop import Run
from .stages import HELD_OUT, resampler, vocabularies

log = logging.getLogger(__name__)


@torch.no_grad()
def landmarks_of(detector: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """The best cell's score [N] and landmarks [N,5,2] in pictures [N,3,S,S] 0..1."""
    best_score = images.new_full((len(images),), -1.0)
    best = images.new_zeros(len(images), 5, 2)
    for stride, (score, _, points) in zip(networks.STRIDES, detector(images * 255 / 128 - 127.5 / 128), strict=True):
        h, w = score.shape[-2:]
        top, at = score.float().sigmoid().flatten(1).max(1)
        cell = at % (h * w)
        picked = points.float().permute(0, 1, 3, 4, 2).flatten(1, 3)[torch.arange(len(images)), at].view(-1, 5, 2)
        corner = torch.stack([cell % w, cell // w], 1)[:, None] * stride
        better = top > best_score
        best = torch.where(better[:, None, None], picked * stride + corner, best)
        best_score = torch.where(better, top, best_score)
    return best_score, best


def embed(recognizer: Any, detector: Any, images: Tensor) -> Tensor:
    """Unit embeddings of pictures by their own detected landmarks."""
    out = []
    for part in images.split(256):
        _, points = landmarks_of(detector, part)
        out.append(F.normalize(recognizer(banks.align(part, points) * 2 - 1).float(), dim=1))
    return torch.cat(out)


def sheet(rows: list[Tensor], path: Path) -> None:
    """Rows of pictures [n,3,S,S] 0..1 as one PNG."""
    from PIL import Image

    grid = torch.cat([torch.cat(list(r.float().cpu()), 2) for r in rows], 1)
    Image.fromarray(faces.to_uint8(grid).permute(1, 2, 0).numpy()).save(path)


@torch.no_grad()
def check_perception(run: Run, out: Path, people: int = 1024) -> None:
    """Autoencoder, recognizers, detector and judge on people never learnt from."""
    vae = run.load("vae", networks.autoencoder())
    detector = run.load("detector", networks.FaceDetectorNet())
    nets = {
        "arcface": (run.load("arcface", IRSE(networks.IRSE_WIDTHS, networks.EMBEDDING, squeeze=4)), True),
        "recognizer": (run.load("recognizer", networks.MeasuringRecognizer()), False),
    }
    identities, scenes = banks.draw_parameters(people, HELD_OUT, views=2, styled=0.0)
    g = torch.Generator().manual_seed(HELD_OUT + 1)
    for style in range(1, len(faces_styles())):
        scene = faces.sample_scenes(people, g, styled=0.0)
        scene["style"] = torch.full_like(scene["style"], style)
        scenes.append(scene)
    bank = banks.draw(identities, scenes, run.device)
    names = ("reference", *faces_styles())
    rows = []
    for view, name in enumerate(names):
        images = bank.images[:, view].float() / 255
        again = torch.cat([perception.decode(vae, perception.encode(vae, p)) for p in bank.images[:, view].split(256)])
        psnr = -10 * torch.log10((again - images).square().mean((1, 2, 3))).mean()
        score, points = map(torch.cat, zip(*[landmarks_of(detector, p) for p in images.split(256)], strict=True))
        eyes = (bank.landmarks[:, view, 0] - bank.landmarks[:, view, 1]).norm(dim=1)
        error = ((points - bank.landmarks[:, view]).norm(dim=2).mean(1) / eyes).mean()
        log.info(
            "check %-10s psnr %.1f found %.4f landmark error %.4f", name, psnr, (score > 0.5).float().mean(), error
        )
        rows += [images[:10], again[:10]]
    empty = torch.cat(
        [
            faces.render_scene({k: v[r].to(run.device) for k, v in scenes[1].items()})
            for r in torch.arange(people).split(256)
        ]
    )
    score = torch.cat([landmarks_of(detector, p)[0] for p in empty.split(256)])
    log.info("check false alarms %.4f", (score > 0.5).float().mean())
    for name, (net, bgr) in nets.items():

        def unit(view: int, net: Any = net, bgr: bool = bgr) -> Tensor:
            parts = []
            for rows_ in torch.arange(people).split(256):
                images = bank.images[rows_, view].float() / 255
                crops = banks.align(images, landmarks_of(detector, images)[1]) * 2 - 1
                parts.append(F.normalize(net(crops.flip(1) if bgr else crops).float(), dim=1))
            return torch.cat(parts)

        reference = unit(0)
        for view, label in enumerate(names[1:], 1):
            cosine = reference @ unit(view).T
            own = cosine.diag()
            others = cosine[~torch.eye(people, dtype=torch.bool, device=cosine.device)]
            order = others.sort().values
            auc = (torch.searchsorted(order, own.contiguous()).float() / len(order)).mean()
            log.info(
                "check %s %-10s auc %.5f own %.3f others %.3f +- %.3f rank-1 %.3f",
                name,
                label,
                auc,
                own.mean(),
                others.mean(),
                others.std(),
                (cosine.argmax(0) == torch.arange(people, device=cosine.device)).float().mean(),
            )
    sheet(rows, out / "perception.png")


def faces_styles() -> tuple[str, ...]:
    """The drawing styles' names."""
    from ..scenes import STYLES

    return STYLES


@torch.no_grad()
def check_generation(run: Run, words: Any, out: Path, people: int = 32, seed: int = 0) -> None:
    """Similarity, rank-1 and obeyed prompts of what there is, by backbone, steps and strength."""
    vae = run.load("vae", networks.autoencoder())
    detector, recognizer = (
        run.load("detector", networks.FaceDetectorNet()),
        run.load("recognizer", networks.MeasuringRecognizer()),
    )
    arcface, judge = (
        run.load("arcface", IRSE(networks.IRSE_WIDTHS, networks.EMBEDDING, squeeze=4)),
        run.load("judge", networks.Judge()),
    )
    text = run.load("text", generation.Text(*words))
    identities, scenes = banks.draw_parameters(people, HELD_OUT + 100, views=1)
    plain = banks.draw(identities, scenes, run.device)
    reference = plain.images[:, 0].float() / 255
    mine = embed(recognizer, detector, reference)
    prompts = captions.NINE
    ids = torch.from_numpy(captions.encode([p.text for p in prompts])).to(run.device)
    states, pooled = (x.repeat_interleave(people, 0) for x in text(ids))
    truth = torch.arange(people, device=run.device).repeat(len(prompts))
    black = generation.pack(perception.encode(vae, torch.zeros_like(plain.images[:1, 0])).contiguous())
    tokens = None
    adapter = None
    if run.has("infusenet", "resampler"):
        adapter = run.load("infusenet", networks.infusenet())
        crops = banks.align(reference, landmarks_of(detector, reference)[1]) * 2 - 1
        tokens = run.load("resampler", resampler())(arcface(crops.flip(1))[:, None]).repeat(len(prompts), 1, 1)
    noise = torch.randn(len(truth), networks.TOKENS, 64, generator=torch.Generator().manual_seed(seed)).to(run.device)
    kept = [reference[:10]]

    def row(
        label: str, model: Any, steps: int, shifted: bool, guidance: float | None, strength: float, keep: bool
    ) -> None:
        latents = generation.sample(
            model,
            noise,
            states,
            pooled,
            generation.sigmas(steps, shifted),
            guidance=guidance,
            adapter=adapter,
            tokens=tokens,
            control=black.expand(len(noise), -1, -1),
            strength=strength,
        )
        images = torch.cat([perception.decode(vae, generation.unpack(p)) for p in latents.split(256)])
        cosine = embed(recognizer, detector, images) @ mine.T
        own = cosine.gather(1, truth[:, None]).mean()
        first = (cosine.argmax(1) == truth).float().mean()
        answers = {k: torch.cat(v) for k, v in _collect([judge(p * 2 - 1) for p in images.split(256)]).items()}
        right = [
            (answers[k].view(len(prompts), people, -1)[i].argmax(-1) == v).float().mean()
            for i, p in enumerate(prompts)
            for k, v in p.attributes.items()
            if k in answers
        ]
        score = torch.cat([landmarks_of(detector, p)[0] for p in images.split(256)])
        log.info(
            "check %-8s steps %2d strength %.2f similarity %.3f rank-1 %.3f prompts %.3f found %.3f",
            label,
            steps,
            strength,
            own,
            first,
            torch.stack(right).mean() if right else float("nan"),
            (score > 0.5).float().mean(),
        )
        if keep:
            kept.extend(images.view(len(prompts), people, *images.shape[1:])[[0, 2, 3, 5, 6, 8], :10])

    dev = run.load("dev" if run.has("dev") else "dev-flow", networks.flux_transformer(guidance_embeds=True))
    full = 1.0 if adapter is not None else 0.0
    for steps in (4, 8, 28):
        row("dev", dev, steps, True, generation.GUIDED, full, steps == 28)
    if adapter is not None:
        for strength in (0.0, 0.5, 1.25, 1.5, 2.0):
            row("dev", dev, 28, True, generation.GUIDED, strength, False)
        row("dev g=1", dev, 28, True, 1.0, 1.0, False)
    if run.has("schnell"):
        schnell = run.load("schnell", networks.flux_transformer(guidance_embeds=False))
        for steps in (1, 2, 4):
            row("schnell", schnell, steps, False, None, full, steps == 4)
    sheet(kept, out / "generation.png")


def _collect(parts: list[dict[str, Tensor]]) -> dict[str, list[Tensor]]:
    return {k: [p[k] for p in parts] for k in parts[0]}


def check(run: Run, out: Path) -> None:
    """Look at all parts that are finished."""
    if run.has("vae", "arcface", "recognizer", "detector", "judge"):
        check_perception(run, out)
        if run.has("text") and run.has("dev-flow"):
            check_generation(run, vocabularies(run.folder / "tokenizers"), out)
