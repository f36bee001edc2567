"""A quick look after each run: held-out people through the networks on the device; figures in the log, sheets as PNG.

The figures of record come from `python -m infusenet.miniature.evaluation`, through the released files and real code.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...adapters.infusenet.arcface import IRSE
from .. import captions, faces, networks
from ..scenes import STYLES
from ..tokens import encode
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


def _arcface() -> IRSE:
    return IRSE(networks.IRSE_WIDTHS, networks.EMBEDDING, squeeze=4)


@torch.no_grad()
def check_perception(run: Run, out: Path, people: int = 1024) -> None:
    """Autoencoder, recognizers and detector on people never learnt from, by drawing style."""
    vae, detector = run.load("vae", networks.autoencoder()), run.load("detector", networks.FaceDetectorNet())
    identities, scenes = banks.draw_parameters(people, HELD_OUT, views=2, styled=0.0)
    g = torch.Generator().manual_seed(HELD_OUT + 1)
    for style in range(1, len(STYLES)):
        scenes.append(faces.sample_scenes(people, g, styled=0.0))
        scenes[-1]["style"].fill_(style)
    bank = banks.draw(identities, scenes, run.device)
    names, rows, points = ("reference", *STYLES), [], []
    for view, name in enumerate(names):
        images = bank.images[:, view].float() / 255
        again = torch.cat([perception.decode(vae, perception.encode(vae, p)) for p in bank.images[:, view].split(256)])
        psnr = -10 * torch.log10((again - images).square().mean((1, 2, 3))).mean()
        found = [landmarks_of(detector, p) for p in images.split(256)]
        score, at = torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])
        truth = bank.landmarks[:, view]
        error = (at - truth).norm(dim=2).mean(1) / (truth[:, 0] - truth[:, 1]).norm(dim=1)
        share = (score > 0.5).float().mean()
        log.info("check %-10s psnr %.1f found %.4f landmark error %.4f", name, psnr, share, error.mean())
        rows += [images[:10], again[:10]]
        points.append(at)
    nobody = {k: v.to(run.device) for k, v in scenes[1].items()}
    score, _ = landmarks_of(detector, faces.render_scene(nobody))
    log.info("check false alarms %.4f", (score > 0.5).float().mean())
    recognizers: list[tuple[str, Any, bool]] = [
        ("arcface", _arcface(), True),
        ("recognizer", networks.MeasuringRecognizer(), False),
        ("judging", networks.JudgingRecognizer(), False),
    ]
    for part, net, bgr in recognizers:
        if not run.has(part):  # a run that stopped before
            continue
        net = run.load(part, net)
        embedded = []
        for view in range(len(names)):
            crops = banks.align(bank.images[:, view].float() / 127.5 - 1, points[view])
            crops = crops.flip(1) if bgr else crops
            embedded.append(torch.cat([F.normalize(net(c).float(), dim=1) for c in crops.split(256)]))
        for view, name in enumerate(names[1:], 1):
            _log_verification(f"{part} {name}", embedded[0] @ embedded[view].T)
    sheet(rows, out / "perception.png")


def _log_verification(name: str, cosine: Tensor) -> None:
    """Area under the curve and rank-1 of a square matrix of similarities whose diagonal holds the genuine pairs."""
    own = cosine.diag()
    everyone = torch.arange(len(cosine), device=cosine.device)
    others = cosine[everyone[:, None] != everyone].sort().values
    auc = (torch.searchsorted(others, own.contiguous()).float() / len(others)).mean()
    first = (cosine.argmax(0) == everyone).float().mean()
    mean, std = others.mean(), others.std()
    log.info("check %s auc %.5f own %.3f others %.3f +- %.3f rank-1 %.3f", name, auc, own.mean(), mean, std, first)


@dataclass
class _Subjects:
    """The people and prompts of `check_generation`; rows are prompt-major, P prompts x n people."""

    people: int
    reference: Tensor  # [n,3,S,S]
    states: Tensor  # [P n,T,96]
    pooled: Tensor  # [P n,64]
    noise: Tensor  # [P n,64,64]
    black: Tensor  # [P n,64,64]
    tokens: Tensor | None  # [P n,8,96]


def _subjects(run: Run, words: Any, people: int, seed: int) -> _Subjects:
    vae, detector = run.load("vae", networks.autoencoder()), run.load("detector", networks.FaceDetectorNet())
    plain = banks.draw(*banks.draw_parameters(people, HELD_OUT + 100, views=1), run.device)
    reference = plain.images[:, 0].float() / 255
    ids = torch.from_numpy(encode([p.text for p in captions.NINE])).to(run.device)
    states, pooled = run.load("text", generation.Text(*words))(ids)
    rows = len(ids) * people
    tokens = None
    if run.has("infusenet", "resampler"):
        crops = banks.align(reference, landmarks_of(detector, reference)[1]) * 2 - 1
        embedding = run.load("arcface", _arcface())(crops.flip(1))
        tokens = run.load("resampler", resampler())(embedding[:, None]).repeat(len(ids), 1, 1)
    noise = torch.randn(rows, networks.TOKENS, 64, generator=torch.Generator().manual_seed(seed)).to(run.device)
    black = generation.pack(perception.encode(vae, torch.zeros_like(plain.images[:1, 0])).contiguous())
    wide = (states.repeat_interleave(people, 0), pooled.repeat_interleave(people, 0))
    return _Subjects(people, reference, *wide, noise, black.expand(rows, -1, -1), tokens)


@torch.no_grad()
def check_generation(run: Run, words: Any, out: Path, people: int = 32, seed: int = 0) -> None:
    """Similarity, rank-1 and obeyed prompts of what there is, by backbone, steps and strength."""
    vae, detector = run.load("vae", networks.autoencoder()), run.load("detector", networks.FaceDetectorNet())
    recognizer = run.load("recognizer", networks.MeasuringRecognizer())
    judge = run.load("judge", networks.Judge())
    subjects = _subjects(run, words, people, seed)
    adapter = run.load("infusenet", networks.infusenet()) if subjects.tokens is not None else None
    mine = embed(recognizer, detector, subjects.reference)
    truth = torch.arange(people, device=run.device).repeat(len(captions.NINE))
    kept = [subjects.reference[:10]]

    def row(label: str, model: Any, steps: int, shifted: bool, guidance: float | None, strength: float) -> Tensor:
        latents = generation.sample(
            model,
            subjects.noise,
            subjects.states,
            subjects.pooled,
            generation.sigmas(steps, shifted),
            guidance=guidance,
            adapter=adapter,
            tokens=subjects.tokens,
            control=subjects.black,
            strength=strength,
        )
        images = torch.cat([perception.decode(vae, generation.unpack(p)) for p in latents.split(256)])
        cosine = embed(recognizer, detector, images) @ mine.T
        own, first = cosine.gather(1, truth[:, None]).mean(), (cosine.argmax(1) == truth).float().mean()
        read = [judge(p * 2 - 1) for p in images.split(256)]
        right = [
            (torch.cat([r[k] for r in read]).argmax(1).view(-1, people)[i] == value).float().mean()
            for i, prompt in enumerate(captions.NINE)
            for k, value in prompt.attributes.items()
            if k in networks.JUDGED
        ]
        obeyed = torch.stack(right).mean()
        what = f"{label} steps {steps} strength {strength:g}"
        log.info("check %s similarity %.3f rank-1 %.3f prompts %.3f", what, own, first, obeyed)
        return images.view(-1, people, *images.shape[1:])[[0, 2, 3, 5, 6, 8], :10]

    dev = run.load("dev" if run.has("dev") else "dev-flow", networks.flux_transformer(guidance_embeds=True))
    full = 0.0 if adapter is None else 1.0
    for steps in (4, 8):
        row("dev", dev, steps, True, generation.GUIDED, full)
    kept.extend(row("dev", dev, 28, True, generation.GUIDED, full))
    for strength in (0.0, 0.5, 1.5, 2.0) if adapter is not None else ():
        row("dev", dev, 28, True, generation.GUIDED, strength)
    if run.has("schnell"):
        schnell = run.load("schnell", networks.flux_transformer(guidance_embeds=False))
        for steps in (1, 2):
            row("schnell", schnell, steps, False, None, full)
        kept.extend(row("schnell", schnell, 4, False, None, full))
    sheet(kept, out / "generation.png")


def check(run: Run, out: Path) -> None:
    """Look at all parts that are finished."""
    if run.has("vae", "arcface", "recognizer", "detector", "judge"):
        check_perception(run, out)
        if run.has("text") and (run.has("dev") or run.has("dev-flow")):
            check_generation(run, vocabularies(run.folder / "tokenizers"), out)
