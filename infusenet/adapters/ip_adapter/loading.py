"""An SDXL pipeline from local files: a diffusers folder, a UNet's single file, a LoRA that makes it quick."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from ... import miniature
from ...backbones import BACKBONES, BackboneSpec, get_backbone
from ...errors import SettingsError, WeightsError
from ...weights import describe, load_module, read_header
from ...weights.lenders import part, texts
from ...weights.pretrained import config_of
from .lora import fuse, read_lora
from .pipeline import SDXLPipeline

_TEXT_TIME = "add_embedding.linear_1.weight"  # only SDXL's UNet has its size conditions


def load_sdxl(
    backbone: str | Path,
    *,
    components: str | Path | None = None,
    expected: str | None = None,
    text_encoders: bool = True,
    device: torch.device,
    dtype: torch.dtype,
    lora: str | Path | None = None,
) -> SDXLPipeline:
    """An SDXL pipeline that nothing conditions yet; arguments as `infusenet.loading.load_pipeline`'s.

    Args:
        backbone: a diffusers SDXL folder, a shipped miniature's name ("mini-sdxl", "mini-sdxl-4step"), or the single
            file of a UNet in diffusers' layout (as SDXL-Lightning's), which needs `components`.
        components: a diffusers SDXL folder that lends what `backbone` lacks.
        expected: the name of the spec that is meant; its scheduler is used.
        text_encoders: False leaves them out.
        device: where the networks go.
        dtype: of their weights.
        lora: fused into the UNet, as Hyper-SDXL's or LCM's.

    Raises:
        WeightsError: files are missing, damaged, or another model's.
        SettingsError: an unknown name, or a LoRA that the spec needs and nobody gave.
    """
    spec = get_backbone(expected or _name_of(backbone))
    if spec.name in miniature.SDXL and spec.needs:
        lora = lora or miniature.FEW_STEP_LORA
    if "lora" in dict(spec.needs) and lora is None:
        raise SettingsError(f"{spec.title} is SDXL with a LoRA. Give the LoRA too: {spec.source}.")
    path = miniature.SDXL.get(str(backbone), Path(backbone))
    if not path.exists():
        raise WeightsError(f"There are no weights at {path}. Get them from {spec.source}, and give the path.")
    lenders = [Path(folder) for folder in (path, components) if folder is not None and Path(folder).is_dir()]
    if not lenders:
        raise SettingsError(f"{path} is a single file. Give components=, a diffusers SDXL folder with the other parts.")
    config = part("unet", lenders, "SDXL")
    unet = _unet(path if path.is_file() else config, config, dtype, device)
    if lora is not None:
        fuse(unet, read_lora(Path(lora), unet))
    pipeline = SDXLPipeline(
        vae=_network(AutoencoderKL, part("vae", lenders, "SDXL"), "SDXL's VAE", dtype, device),
        unet=unet,
        scheduler=scheduler_of(spec, part("scheduler", lenders, "SDXL")),
        force_zeros_for_empty_prompt=_zeros_for_empty(lenders),
        add_watermarker=False,
        **texts("CLIPTextModelWithProjection", lenders, "SDXL", text_encoders, dtype, device),
    )
    side = unet.config.sample_size * pipeline.vae_scale_factor if not expected and spec.name == "sdxl" else None
    pipeline._spec = spec if side is None else replace(spec, width=side, height=side)
    return pipeline


def _name_of(backbone: str | Path) -> str:
    """The spec that a backbone has where none is asked for: its own, by name or folder, or SDXL base's."""
    if str(backbone) in BACKBONES:
        return str(backbone)
    return "mini-sdxl" if os.path.realpath(backbone) == os.path.realpath(miniature.MINI_SDXL) else "sdxl"


def scheduler_of(spec: BackboneSpec, folder: Path) -> Any:
    """The spec's scheduler over the folder's own settings (noise schedule, kind of prediction).

    Raises:
        WeightsError: the folder cannot be read, or what it describes is no noise prediction.
    """
    try:
        config = json.loads((folder / "scheduler_config.json").read_text(encoding="utf-8"))
        kind = getattr(diffusers, spec.scheduler or config["_class_name"])
        scheduler = kind.from_config(config, **dict(spec.scheduler_options))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder} holds no scheduler ({error}). Download the folder again.") from error
    if scheduler.config.get("prediction_type", "epsilon") != "epsilon":
        raise WeightsError(
            f"{folder} is for a network that predicts {scheduler.config.prediction_type}, not noise. Use SDXL base, or "
            "a model made from it."
        )
    return scheduler


def _unet(source: Path, config: Path, dtype: torch.dtype, device: torch.device) -> Any:
    keys = read_header(source)
    if _TEXT_TIME not in keys or "conv_in.weight" not in keys:
        raise WeightsError(
            f"Expected an SDXL UNet in diffusers' layout in {source}, but it seems to be {describe(source)}"
            f"{' of Stable Diffusion 1 or 2' if 'conv_in.weight' in keys else ''}. Choose an SDXL one."
        )
    return _network(UNet2DConditionModel, source, "SDXL's UNet", dtype, device, config)


def _network(kind: Any, path: Path, what: str, dtype: torch.dtype, device: Any, config: Path | None = None) -> Any:
    """A network of diffusers, once its weights are known to fit its config."""
    settings = config_of(config or path)

    def build(_: Any) -> Any:
        try:
            return kind.from_config(settings)
        except Exception as error:  # many kinds, all of them about the config
            raise WeightsError(f"{(config or path) / 'config.json'} is not the config of {what} ({error}).") from error

    return torch.nn.Module.to(load_module(build, path, what), device=device, dtype=dtype)


def _zeros_for_empty(lenders: Sequence[Path]) -> bool:
    """Whether no negative prompt means zeros, by the folder's index: so for SDXL base, not for Turbo."""
    for folder in lenders:
        try:
            index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return bool(index.get("force_zeros_for_empty_prompt", True))
    return True
