"""Backbones as data: every difference between them is a field of a spec.

Another family of models is a spec in `BACKBONES` and a loader in `infusenet.loading.LOADERS`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SettingsError, WeightsError


@dataclass(frozen=True)
class BackboneSpec:
    """What a backbone wants from whoever samples with it.

    Sizes are in pixels, sequence lengths in tokens. `base_shift` to `max_image_seq_len` and `shift` are the scheduler's
    published settings: with `use_dynamic_shifting` mu follows the image's token count and `shift` is unused.

    Attributes:
        family: whose loader and pipeline it takes, a key of `infusenet.loading.LOADERS`; adapters name theirs too.
        variant: what tells it apart within its family, such as "dev" and "schnell".
        latent_channels: of the VAE's latents, before they are packed.
        width, height: the size to sample at where none is asked for; sizes are multiples of `size_multiple`.
        classifier_free: whether its guidance is a second branch, where it has one at all.
        scheduler, scheduler_options: diffusers' class by name, and what it has other than its folder says; empty for
            the folder's own.
        needs: further files of the backbone itself, by the loader's argument and the catalogue's key.
        folder: the catalogue's key of its weights, where that is not its name.
    """

    name: str
    title: str
    variant: str
    num_inference_steps: int
    guidance_scale: float
    guidance_embeds: bool
    max_sequence_length: int
    use_dynamic_shifting: bool
    shift: float
    width: int
    height: int
    license: str
    source: str
    base_shift: float = 0.5
    max_shift: float = 1.15
    base_image_seq_len: int = 256
    max_image_seq_len: int = 4096
    family: str = "flux"
    latent_channels: int = 16
    size_multiple: int = 16
    classifier_free: bool = False
    scheduler: str = ""
    scheduler_options: tuple[tuple[str, Any], ...] = ()
    needs: tuple[tuple[str, str], ...] = ()
    folder: str = ""


_DEV: dict[str, Any] = {
    "variant": "dev",
    "num_inference_steps": 28,
    "guidance_scale": 3.5,
    "guidance_embeds": True,
    "use_dynamic_shifting": True,
    "shift": 3.0,
}
_SCHNELL: dict[str, Any] = {
    "variant": "schnell",
    "num_inference_steps": 4,
    "guidance_scale": 0.0,
    "guidance_embeds": False,
    "use_dynamic_shifting": False,
    "shift": 1.0,
}
_MINI: dict[str, Any] = {
    "max_sequence_length": 40,
    "width": 128,
    "height": 128,
    "license": "Apache-2.0",
    "source": "shipped with this package",
}

_SDXL: dict[str, Any] = {
    "family": "sdxl",
    "classifier_free": True,
    "num_inference_steps": 4,
    "guidance_scale": 1.0,
    "guidance_embeds": False,
    "max_sequence_length": 77,
    "use_dynamic_shifting": False,
    "shift": 1.0,
    "width": 1024,
    "height": 1024,
    "latent_channels": 4,
    "size_multiple": 8,
    "license": "CreativeML Open RAIL++-M",
    "source": "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0",
}
_TRAILING = (("timestep_spacing", "trailing"),)
_SDXL_SPECS = (
    BackboneSpec("sdxl", "SDXL base", "base", **_SDXL | {"num_inference_steps": 30, "guidance_scale": 5.0}),
    BackboneSpec(
        "sdxl-lcm",
        "SDXL with the LCM LoRA",
        "lcm",
        **_SDXL | {"source": "https://huggingface.co/latent-consistency/lcm-lora-sdxl"},
        scheduler="LCMScheduler",
        needs=(("lora", "lcm-lora-sdxl"),),
        folder="sdxl",
    ),
    BackboneSpec(
        "sdxl-hyper",
        "SDXL with the 4-step Hyper-SDXL LoRA",
        "hyper",
        **_SDXL | {"source": "https://huggingface.co/ByteDance/Hyper-SD", "license": "terms unstated"},
        scheduler="DDIMScheduler",
        scheduler_options=_TRAILING,
        needs=(("lora", "hyper-sdxl-lora"),),
        folder="sdxl",
    ),
    BackboneSpec(
        "sdxl-lightning",
        "4-step SDXL-Lightning",
        "lightning",
        **_SDXL | {"source": "https://huggingface.co/ByteDance/SDXL-Lightning"},
        scheduler="EulerDiscreteScheduler",
        scheduler_options=_TRAILING,
        needs=(("components", "sdxl"),),
    ),
    BackboneSpec(
        "sdxl-turbo",
        "SDXL-Turbo",
        "turbo",
        **_SDXL
        | {
            "source": "https://huggingface.co/stabilityai/sdxl-turbo",
            "width": 512,
            "height": 512,
            "license": "Stability AI Community License: no commercial use beyond its terms",
        },
        scheduler="EulerAncestralDiscreteScheduler",
        scheduler_options=_TRAILING,
    ),
)

_MINI_SDXL: dict[str, Any] = _SDXL | _MINI | {"max_sequence_length": 77}

BACKBONES: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        BackboneSpec(
            name="flux-dev",
            title="FLUX.1 dev",
            max_sequence_length=512,
            width=864,
            height=1152,
            license="FLUX.1 [dev] Non-Commercial License",
            source="https://huggingface.co/black-forest-labs/FLUX.1-dev",
            **_DEV,
        ),
        BackboneSpec(
            name="flux-schnell",
            title="FLUX.1 schnell",
            max_sequence_length=256,
            width=864,
            height=1152,
            license="Apache-2.0",
            source="https://huggingface.co/black-forest-labs/FLUX.1-schnell",
            **_SCHNELL,
        ),
        BackboneSpec(name="mini-dev", title="Miniature dev", **_DEV, **_MINI),
        BackboneSpec(name="mini-schnell", title="Miniature schnell", **_SCHNELL, **_MINI),
        *_SDXL_SPECS,
        BackboneSpec(
            "mini-sdxl",
            "Miniature SDXL",
            "base",
            **_MINI_SDXL | {"num_inference_steps": 20, "guidance_scale": 2.0},
        ),
        BackboneSpec(
            "mini-sdxl-4step",
            "Miniature SDXL with its 4-step LoRA",
            "hyper",
            **_MINI_SDXL,
            scheduler="DDIMScheduler",
            scheduler_options=_TRAILING,
            needs=(("lora", "mini_sdxl_lora"),),
        ),
    )
}

_PUBLISHED: dict[str, str] = {"dev": "flux-dev", "schnell": "flux-schnell"}
_CONFIG_KEYS = ("guidance_embeds", "guidance_embed")  # diffusers', ComfyUI's
_GUIDANCE_KEYS = ("time_text_embed.guidance_embedder.", "guidance_in.")  # diffusers', the original layout
_FLUX_KEYS = ("single_transformer_blocks.", "single_blocks.")


def get_backbone(name: str) -> BackboneSpec:
    """Look a backbone up by name.

    Args:
        name: a key of `BACKBONES`.

    Returns:
        Its spec.

    Raises:
        SettingsError: the name is unknown; the message lists the known ones.
    """
    try:
        return BACKBONES[name]
    except KeyError:
        known = ", ".join(BACKBONES)
        raise SettingsError(
            f"Unknown backbone {name!r}. Known: {known}. The path of a FLUX folder works too."
        ) from None


def family_of(backbone: str | Path) -> str:
    """Whose loader a backbone takes: a name's spec tells, a folder's parts do; by default FLUX's."""
    if str(backbone) in BACKBONES:
        return BACKBONES[str(backbone)].family
    return "sdxl" if os.path.isdir(os.path.join(backbone, "unet")) else "flux"


def published(variant: str) -> BackboneSpec:
    """The spec of the published FLUX.1 model of this variant."""
    return BACKBONES[_PUBLISHED[variant]]


def variant_of(config_or_keys: Mapping[str, Any] | Iterable[str]) -> str:
    """Read off the weights themselves whether they are dev or schnell: only dev embeds the guidance.

    Args:
        config_or_keys: a transformer's config (with `guidance_embeds`), or the keys of its state dict, in diffusers' or
            the original layout, with or without a prefix such as `model.diffusion_model.`.

    Returns:
        "dev" or "schnell".

    Raises:
        WeightsError: neither a FLUX config nor the keys of a FLUX transformer.
    """
    if isinstance(config_or_keys, Mapping):
        for key in _CONFIG_KEYS:
            if key in config_or_keys:
                return "dev" if config_or_keys[key] else "schnell"
    keys = list(config_or_keys)
    if any(part in key for key in keys for part in _GUIDANCE_KEYS):
        return "dev"
    if any(part in key for key in keys for part in _FLUX_KEYS):
        return "schnell"
    raise WeightsError(
        "Expected a FLUX transformer (a config with guidance_embeds, or weights with single_transformer_blocks or "
        f"single_blocks), found {', '.join(sorted(keys)[:3]) or 'nothing'}{'...' if len(keys) > 3 else ''}. Choose "
        "a FLUX.1 dev or schnell model."
    )
