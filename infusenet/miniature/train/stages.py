"""The stages in their order, and what passes between them."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...adapters.infusenet.arcface import IRSE
from ...adapters.infusenet.resampler import Resampler
from ...faces.align import draw_kps
from ...weights import read_weights
from .. import BACKBONES, JUDGING_RECOGNIZER, WEIGHTS, networks
from ..scenes import ACCESSORIES
from ..tokens import build_tokenizers, encode
from . import bank as banks
from . import detector, diffusion, generation, perception
from .export import export, export_recognizer
from .loop import Plan, Run

log = logging.getLogger(__name__)

PEOPLE = 40960
SEED = 1  # of the people and scenes learnt from; held-out ones are drawn with seeds from HELD_OUT on
JUDGING_SEED = 3  # of the people and scenes that the judging recognizer alone learns from
HELD_OUT = 9000
RECONSTRUCTED = (3, 6)  # views that recognizers, detector and judge see through the autoencoder
SUNGLASSES = ACCESSORIES.index("sunglasses")


def vocabularies(folder: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """(CLIP tokens, T5 tokens), (CLIP start, CLIP end), from tokenizers written into `folder`."""
    from transformers import AutoTokenizer

    build_tokenizers(folder)
    clip = AutoTokenizer.from_pretrained(folder / "tokenizer")
    t5 = AutoTokenizer.from_pretrained(folder / "tokenizer_2")
    return (len(clip), len(t5)), (clip.bos_token_id, clip.eos_token_id)


def resampler() -> Resampler:
    """The miniature's Resampler; its input layer starts larger since embeddings have length 1, not 1 per entry."""
    net = Resampler(
        dim=96, depth=2, dim_head=32, heads=3, num_queries=networks.IDENTITY_TOKENS,
        embedding_dim=networks.EMBEDDING, output_dim=networks.T5_WIDTH, ff_mult=2,
    )  # fmt: skip
    with torch.no_grad():
        net.proj_in.weight *= networks.EMBEDDING**0.5
    return net


@contextmanager
def scaled(scale: float) -> Iterator[None]:
    """All plans with their steps and batches scaled: 1 trains, 0.001 tries the code."""
    kept = {}
    for module in (perception, detector, generation, diffusion):
        for name, plan in vars(module).items():
            if isinstance(plan, Plan) or name in ("ADAPTER", "FACEID"):
                kept[module, name] = plan

    def shorter(plan: Plan) -> Plan:
        batch = plan.batch if scale >= 0.01 else 8
        return dataclasses.replace(plan, steps=max(2, round(plan.steps * scale)), batch=batch)

    try:
        for (module, name), plan in kept.items():
            setattr(module, name, shorter(plan) if isinstance(plan, Plan) else tuple(shorter(p) for p in plan))
        yield
    finally:
        for (module, name), plan in kept.items():
            setattr(module, name, plan)


def train_perception(run: Run, people: int) -> None:
    """Autoencoder, recognizers, detector and judge; skips what is finished."""
    parts = ("vae", "arcface", "recognizer", "detector", "judge")
    if run.has(*parts):
        return
    bank = banks.draw(*banks.draw_parameters(people, SEED), run.device)
    log.info("drew %d pictures", bank.images.shape[0] * bank.images.shape[1])
    if run.has("vae"):
        vae = run.load("vae", networks.autoencoder())
    else:
        vae = perception.train_autoencoder(run, bank)
    perception.reconstruct_views(run, vae, bank, RECONSTRUCTED)
    for part, stage in (
        ("arcface", perception.train_conditioning),
        ("recognizer", perception.train_measuring),
        ("detector", detector.train_detector),
        ("judge", perception.train_judge),
    ):
        if not run.has(part):
            stage(run, bank)


def _autoencoder(run: Run) -> Any:
    """The run's autoencoder; the released one in a run that has none, as when one part is trained alone."""
    vae = networks.autoencoder()
    if run.has("vae"):
        return run.load("vae", vae)
    state = read_weights(BACKBONES["mini-dev"] / "vae" / "diffusion_pytorch_model.safetensors")
    vae.load_state_dict({k: v.float() for k, v in state.items()})
    return vae.to(run.device).requires_grad_(False).eval()


def train_judging(run: Run, people: int) -> None:
    """The judging recognizer, on half as many people, drawn for it alone; skips it if it is finished."""
    if run.has("judging"):
        return
    bank = banks.draw(*banks.draw_parameters(people // 2, JUDGING_SEED), run.device)
    log.info("drew %d pictures", bank.images.shape[0] * bank.images.shape[1])
    perception.reconstruct_views(run, _autoencoder(run), bank, RECONSTRUCTED)
    perception.train_judging(run, bank)


def _keypoints(job: Any) -> Any:
    return np.stack([draw_kps(points, networks.SIZE, networks.SIZE) for points in job])


def control_images(run: Run, landmarks: Tensor, vae: Any, workers: int) -> Tensor:
    """Latents of the keypoint pictures of landmarks [n, V, 5, 2], jittered by a pixel or two: [n, V, 64, 64] bf16."""
    from concurrent.futures import ProcessPoolExecutor

    g = torch.Generator().manual_seed(SEED + 1)
    points = landmarks.cpu() + 1.2 * torch.randn(landmarks.shape, generator=g)
    flat = points.flatten(0, 1).numpy()
    out = torch.empty(len(flat), networks.TOKENS, 64, dtype=torch.bfloat16, device=run.device)
    jobs = [flat[i : i + 2048] for i in range(0, len(flat), 2048)]
    with ProcessPoolExecutor(workers) as pool:
        for k, drawn in enumerate(pool.map(_keypoints, jobs)):
            pictures = torch.from_numpy(drawn).to(run.device).permute(0, 3, 1, 2)
            with run.autocast():
                latents = torch.cat([perception.encode(vae, p) for p in pictures.split(512)])
            out[k * 2048 : k * 2048 + len(drawn)] = generation.pack(latents.contiguous()).to(torch.bfloat16)
    return out.view(*landmarks.shape[:2], networks.TOKENS, 64)


@torch.no_grad()
def gather(run: Run, people: int) -> tuple[generation.Material, tuple[tuple[int, int], tuple[int, int]]]:
    """Everything that generation learns from, computed once and kept in the run's folder."""
    words = vocabularies(run.folder / "tokenizers")
    cache = run.folder / "material.pt"
    vae = run.load("vae", networks.autoencoder())
    black = torch.zeros(1, 3, networks.SIZE, networks.SIZE, dtype=torch.uint8, device=run.device)
    extra: dict[str, Any] = {
        "black": generation.pack(perception.encode(vae, black).contiguous()),
        "empty": torch.from_numpy(encode([""])[0]).to(run.device),
        "clip_end": words[1][1],
    }
    if cache.exists():
        kept = torch.load(cache, map_location=run.device, weights_only=True)
        if len(kept["latents"]) == people:
            return generation.Material(**kept, **extra), words
    workers = max(1, (os.cpu_count() or 2) - 2)
    identities, scenes = banks.draw_parameters(people, SEED)
    texts = banks.write_captions(identities, scenes, workers)
    bank = banks.draw(identities, scenes, run.device)
    n, views = bank.images.shape[:2]
    latents = torch.empty(n, views, networks.TOKENS, 64, dtype=torch.bfloat16, device=run.device)
    embeddings = torch.empty(n, views, networks.EMBEDDING, dtype=torch.bfloat16, device=run.device)
    arcface = run.load("arcface", IRSE(networks.IRSE_WIDTHS, networks.EMBEDDING, squeeze=4))
    for view in range(views):
        for start in range(0, n, 1024):
            rows = slice(start, start + 1024)
            pictures = bank.images[rows, view]
            with run.autocast():
                latents[rows, view] = generation.pack(perception.encode(vae, pictures).contiguous()).to(torch.bfloat16)
                crops = banks.align(pictures.float() / 127.5 - 1, bank.landmarks[rows, view]).flip(1)
                embeddings[rows, view] = arcface(crops).to(torch.bfloat16)
    style, accessory = bank.attribute("style"), bank.attribute("accessory")
    made: dict[str, Any] = {
        "latents": latents,
        "control": control_images(run, bank.landmarks, vae, workers),
        "captions": texts.to(run.device),
        "embeddings": embeddings,
        "weights": banks.token_weights(bank.boxes),
        "reference": (style == 0) & (accessory != SUNGLASSES),
    }
    torch.save(made, cache)
    log.info("latents: mean %.3f, deviation %.3f", latents.float().mean(), latents.float().std())
    return generation.Material(**made, **extra), words


def _frozen_copy(run: Run, part: str, guidance: bool) -> Any:
    return run.load(part, networks.flux_transformer(guidance_embeds=guidance))


def train_alone(run: Run, people: int, scale: float, folder: Path | None) -> None:
    """Only the judging recognizer, which needs no other part but an autoencoder; and its file.

    Raises:
        OutOfTimeError: the run's time is up.
    """
    with scaled(scale):
        train_judging(run, people)
    if folder is not None:
        path = folder / JUDGING_RECOGNIZER.relative_to(WEIGHTS)
        export_recognizer(run.load("judging", networks.JudgingRecognizer()), path, halved=True)
        log.info("wrote %d bytes to %s", path.stat().st_size, path)


def train_all(run: Run, people: int, scale: float, until: str, folder: Path | None) -> None:
    """All stages in order; each finished part is a file in the run's folder and is not trained again.

    Raises:
        OutOfTimeError: the run's time is up.
    """
    import torch._dynamo

    torch._dynamo.config.recompile_limit = 64
    with scaled(scale):
        train_perception(run, people)
        train_judging(run, people)
        if until == "perception":
            return
        material, words = gather(run, people)
        text = generation.Text(*words)
        if not run.has("dev-flow"):
            dev = networks.flux_transformer(guidance_embeds=True).to(run.device)
            generation.train_dev(run, material, dev, text.to(run.device))
        text = run.load("text", text)
        if not run.has("dev"):
            dev = networks.flux_transformer(guidance_embeds=True).to(run.device)
            dev.load_state_dict(_frozen_copy(run, "dev-flow", True).state_dict())
            generation.train_guidance(run, material, dev, _frozen_copy(run, "dev-flow", True), text)
        if until == "dev":
            return
        dev = _frozen_copy(run, "dev", True)
        cache = generation.TextCache.of(run, material, text)
        for cycle in range(len(generation.ADAPTER)):
            if run.has(*generation.adapter_parts(cycle)) or run.has("infusenet", "resampler"):
                continue
            adapter, projector = networks.infusenet(dev).to(run.device), resampler().to(run.device)
            if cycle:
                before = generation.adapter_parts(cycle - 1)
                adapter = run.load(before[0], adapter).requires_grad_(True)
                projector = run.load(before[1], projector).requires_grad_(True)
            generation.train_adapter(run, material, cache, dev, adapter, projector, cycle)
        if until == "adapter":
            return
        if not run.has("schnell"):
            schnell = networks.flux_transformer(guidance_embeds=False).to(run.device)
            generation.train_schnell(run, material, cache, _frozen_copy(run, "dev", True), schnell)
    if folder is not None:
        size = export(finished(run, words), folder)
        log.info("wrote %d bytes to %s", size, folder)


def finished(run: Run, words: tuple[tuple[int, int], tuple[int, int]]) -> dict[str, Any]:
    """All finished parts as modules, for `export`."""
    text = run.load("text", generation.Text(*words))
    return {
        "dev": _frozen_copy(run, "dev", True),
        "schnell": _frozen_copy(run, "schnell", False),
        "infusenet": run.load("infusenet", networks.infusenet()),
        "resampler": run.load("resampler", resampler()),
        "vae": run.load("vae", networks.autoencoder()),
        "clip": text.clip,
        "t5": text.t5,
        "arcface": run.load("arcface", IRSE(networks.IRSE_WIDTHS, networks.EMBEDDING, squeeze=4)),
        "recognizer": run.load("recognizer", networks.MeasuringRecognizer()),
        "judging": run.load("judging", networks.JudgingRecognizer()),
        "detector": run.load("detector", networks.FaceDetectorNet()),
        "judge": run.load("judge", networks.Judge()),
    }
