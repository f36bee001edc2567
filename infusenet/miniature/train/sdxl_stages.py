"""mini-sdxl's stages in order: `--only sdxl`. What reads faces is as released."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ...adapters.infusenet.arcface import IRSE
from ...weights import read_weights
from .. import ARCFACE, BACKBONES, FACEID, FEW_STEP_LORA, MINI_SDXL, WEIGHTS, networks, sdxl
from ..tokens import build_clip_tokenizer, encode
from . import bank as banks
from . import diffusion, perception
from .export import half, save_module
from .loop import Run
from .stages import SEED, SUNGLASSES, scaled, vocabularies

log = logging.getLogger(__name__)

STAGES = ("vae", "unet", "faceid", "lora")
Words = tuple[int, tuple[int, int]]  # number of CLIP tokens, (start, end)


def _warm_autoencoder() -> Any:
    """mini-sdxl's autoencoder, started as mini-dev's wherever shapes agree: all but what touches the latents."""
    vae = sdxl.autoencoder()
    released = read_weights(BACKBONES["mini-dev"] / "vae" / "diffusion_pytorch_model.safetensors")
    own = vae.state_dict()
    vae.load_state_dict({k: released[k].float() if released[k].shape == v.shape else v for k, v in own.items()})
    return vae


def arcface(run: Run) -> Any:
    """The released recognizer that conditions, on the run's device."""
    return IRSE.from_file(ARCFACE).to(run.device).requires_grad_(False).eval()


def words(run: Run) -> Words:
    """The captions' CLIP vocabulary."""
    sizes, ids = vocabularies(run.folder / "tokenizers")
    return sizes[0], ids


@torch.no_grad()
def gather(run: Run, vae: Any, people: int) -> diffusion.Material:
    """Everything that mini-sdxl learns from, computed once and kept in the run's folder."""
    empty = torch.from_numpy(encode([""])[0, 0]).to(run.device)
    cache = run.folder / "sdxl-material.pt"
    if cache.exists():
        kept = torch.load(cache, map_location=run.device, weights_only=True)
        if len(kept["latents"]) == people:
            return diffusion.Material(**kept, empty=empty)
    identities, scenes = banks.draw_parameters(people, SEED)
    texts = banks.write_captions(identities, scenes, max(1, (os.cpu_count() or 2) - 2))
    bank = banks.draw(identities, scenes, run.device)
    n, views = bank.images.shape[:2]
    latents = torch.empty(n, views, sdxl.LATENT_CHANNELS, sdxl.SIDE, sdxl.SIDE, dtype=torch.bfloat16, device=run.device)
    embeddings = torch.empty(n, views, networks.EMBEDDING, dtype=torch.bfloat16, device=run.device)
    recognizer = arcface(run)
    for view in range(views):
        for start in range(0, n, 1024):
            rows = slice(start, start + 1024)
            pictures = bank.images[rows, view]
            with run.autocast():
                latents[rows, view] = perception.encode(vae, pictures).to(torch.bfloat16)
                crops = banks.align(pictures.float() / 127.5 - 1, bank.landmarks[rows, view]).flip(1)
                embeddings[rows, view] = recognizer(crops).to(torch.bfloat16)
    made = {
        "latents": latents,
        "captions": texts[:, :, :, 0].contiguous().to(run.device),
        "embeddings": embeddings,
        "weights": banks.token_weights(bank.boxes, cell=8).unflatten(-1, (sdxl.SIDE, sdxl.SIDE)),
        "reference": (bank.attribute("style") == 0) & (bank.attribute("accessory") != SUNGLASSES),
    }
    torch.save(made, cache)
    log.info("latents: mean %.3f, deviation %.3f", latents.float().mean(), latents.float().std())
    return diffusion.Material(**made, empty=empty)


def _autoencoder(run: Run, people: int) -> Any:
    if not run.has("sdxl-vae"):
        bank = banks.draw(*banks.draw_parameters(people, SEED), run.device)
        plans = (diffusion.SDXL_CROPS, diffusion.SDXL_WHOLE)
        perception.train_autoencoder(run, bank, _warm_autoencoder(), "sdxl-vae", plans)
    return run.load("sdxl-vae", sdxl.autoencoder())


def train_sdxl(run: Run, people: int, scale: float, until: str, folder: Path | None) -> None:
    """Autoencoder, UNet with texts, FaceID, few-step LoRA; each finished part is a file and is not trained again.

    Raises:
        OutOfTimeError: the run's time is up.
    """
    with scaled(scale):
        vae = _autoencoder(run, people)
        if until == "vae":
            return
        material = gather(run, vae, people)
        text = diffusion.Text(*words(run))
        if not run.has("sdxl-text", "sdxl-unet"):
            diffusion.train_unet(run, material, sdxl.unet().to(run.device), text.to(run.device))
        text = run.load("sdxl-text", text)
        if until == "unet":
            return
        for cycle in range(len(diffusion.FACEID)):
            if run.has(diffusion.faceid_part(cycle)) or run.has("sdxl-faceid"):
                continue
            unet = run.load("sdxl-unet", sdxl.unet())
            faceid = sdxl.FaceID(unet).to(run.device)
            if cycle:
                faceid = run.load(diffusion.faceid_part(cycle - 1), faceid).requires_grad_(True)
            diffusion.train_faceid(run, material, unet, text, faceid, cycle)
        if until == "faceid":
            return
        if not run.has("sdxl-lora"):
            unet = run.load("sdxl-unet", sdxl.unet())
            diffusion.train_few_steps(run, material, unet, text, sdxl.Lora(unet).to(run.device))
    if folder is not None:
        export_sdxl(run, folder)
        log.info("wrote mini-sdxl, its FaceID and its LoRA to %s", folder)


def export_sdxl(run: Run, folder: Path) -> None:
    """Write mini-sdxl as a StableDiffusionXLPipeline's folder, and its two files beside it; bf16."""
    import diffusers

    home = folder / MINI_SDXL.relative_to(WEIGHTS)
    text = run.load("sdxl-text", diffusion.Text(*words(run)))
    unet = run.load("sdxl-unet", sdxl.unet())
    parts = {
        "unet": unet,
        "vae": run.load("sdxl-vae", sdxl.autoencoder()),
        "text_encoder": text.clip,
        "text_encoder_2": text.clip_2,
    }
    for name, part in parts.items():
        save_module(part, home / name)
    for name in ("tokenizer", "tokenizer_2"):
        build_clip_tokenizer(home / name)
    (home / "scheduler").mkdir(exist_ok=True)
    stated = {"_class_name": "EulerDiscreteScheduler", "_diffusers_version": diffusers.__version__}
    config = json.dumps(stated | sdxl.scheduler_config(), indent=2, sort_keys=True) + "\n"
    (home / "scheduler" / "scheduler_config.json").write_text(config)
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "force_zeros_for_empty_prompt": True,
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (home / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    save_file(half(run.load("sdxl-faceid", sdxl.FaceID(unet)).state_dict()), folder / FACEID.name)
    save_file(half(run.load("sdxl-lora", sdxl.Lora(unet)).state_dict()), folder / FEW_STEP_LORA.name)
