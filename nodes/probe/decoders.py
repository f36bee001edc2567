"""What turns a denoised prediction into a picture that can be looked at: the VAE, or something small beside FLUX."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import torch
import torch.nn.functional as F
from comfy.taesd.taesd import TAESD
from torch import Tensor

from ...infusenet import miniature as shipped
from ...infusenet.errors import SettingsError
from ...infusenet.weights import catalogue
from ..flux import miniature
from ..shared import load_once

log = logging.getLogger(__name__)

TINY = 64 * 2**20  # bytes; a VAE up to this size may be kept beside FLUX
_SIDE = 8  # pixels of a side for one latent, where nothing tells


@dataclass(frozen=True)
class Decoder:
    """Latents [n, C, h, w] as the sampler's output has them -> pictures [n, 3, H, W], 0..1.

    Attributes:
        name: for the record.
        decode: does it.
        notice: what a reader must know of it.
    """

    name: str
    decode: Callable[[Tensor], Tensor]
    notice: str | None = None


def full_decoder(vae: Any) -> Decoder:
    """The VAE itself, under the host's memory management: not in mid-sampling, it may push FLUX out."""

    def decode(latents: Tensor) -> Tensor:
        volume = getattr(vae, "latent_dim", 2) == 3
        return _pictures(vae.decode(latents.unsqueeze(2) if volume else latents))

    return Decoder("tiny VAE" if is_tiny(vae) else "VAE", decode)


def small_decoder(vae: Any | None, base_model: Any, device: Any) -> Decoder:
    """The best decoder that fits beside the model.

    Args:
        vae: what the user has connected; used if it is tiny.
        base_model: what the MODEL holds as `.model`.
        device: where sampling goes on.

    Returns:
        The tiny VAE, the miniature's, the TAESD of the model's latent format, or a linear preview with a notice.
    """
    if vae is None and _is_miniature(base_model):
        vae = load_once(miniature.load_vae, "vae", "miniature")
    if vae is not None and is_tiny(vae):
        network = _private(vae)
        if network is not None:
            return Decoder("tiny VAE", _beside(network, vae, device))
    path = _taesd_file(base_model.latent_format)
    if path is None:
        return _linear(base_model, _remedy(base_model.latent_format))
    try:
        return _taesd(base_model, path, device)
    except Exception as error:
        log.warning("%s is not a TAESD decoder for this model: %s", path, error)
        return _linear(
            base_model, f"{path.name} in models/vae_approx is damaged or belongs to another model. Download it again"
        )


def is_tiny(vae: Any) -> bool:
    """Whether a VAE is small enough to be kept beside FLUX."""
    network = getattr(vae, "first_stage_model", None)
    return (
        network is not None
        and getattr(vae, "latent_dim", 2) == 2
        and comfy.model_management.module_size(network) <= TINY
    )


def _private(vae: Any) -> Any | None:
    """A tiny VAE's network once more, unknown to the host's memory management, so that it moves nothing for it.

    Returns:
        None where the host streams the weights (they cannot be copied) and was not told how to load them again.
    """
    patcher = getattr(vae, "patcher", None)
    if not getattr(patcher, "is_dynamic", lambda: False)():
        return copy.deepcopy(vae.first_stage_model)
    return None if patcher.cached_patcher_init is None else patcher.clone(disable_dynamic=True).model


def _beside(network: Any, vae: Any, device: Any) -> Callable[[Tensor], Tensor]:
    """What decodes by a VAE's own network, kept beside the model that samples."""
    network.to(device, vae.vae_dtype)

    def decode(latents: Tensor) -> Tensor:
        pixels = network.decode(latents.to(device, vae.vae_dtype)).float()
        return vae.process_output(pixels.clone())

    return decode


def _is_miniature(base_model: Any) -> bool:
    """Whether the model is one of the shipped miniatures, told by its width."""
    width = getattr(getattr(base_model, "diffusion_model", None), "hidden_size", None)
    file = shipped.BACKBONES["mini-dev"] / "transformer" / "config.json"
    if width is None or not file.is_file():
        return False
    config = json.loads(file.read_text(encoding="utf-8"))
    return bool(width == config["num_attention_heads"] * config["attention_head_dim"])


def _taesd_name(latent_format: Any) -> str | None:
    """How the TAESD decoder of a latent format is called. Those of video kinds are other networks, not used here."""
    return None if _is_video(latent_format) else getattr(latent_format, "taesd_decoder_name", None)


def _taesd_file(latent_format: Any) -> Path | None:
    """The TAESD decoder for a latent format, where the user has one."""
    wanted = _taesd_name(latent_format)
    if wanted is None:
        return None
    name = next((name for name in folder_paths.get_filename_list("vae_approx") if name.startswith(wanted)), None)
    return None if name is None else Path(folder_paths.get_full_path("vae_approx", name))


def _taesd(base_model: Any, path: Path, device: Any) -> Decoder:
    """The host's TAESD from a file; in half precision on a GPU, where it is the dearest part of a measurement."""
    channels = base_model.latent_format.latent_channels
    dtype = torch.float16 if torch.device(device).type == "cuda" else torch.float32
    network = load_once(lambda: TAESD(None, str(path), latent_channels=channels), "taesd", path, dtype)
    network.to(device, dtype, memory_format=torch.channels_last)

    def decode(latents: Tensor) -> Tensor:
        inside = _inside(base_model, latents.to(device, torch.float32)).to(dtype, memory_format=torch.channels_last)
        return (network.decode(inside).float() / 2 + 0.5).clamp(0, 1)

    return Decoder(f"TAESD ({path.name})", decode)


def _remedy(latent_format: Any) -> str:
    """What would make the steps better seen."""
    wanted = _taesd_name(latent_format)
    known = catalogue.FILES.get(f"{wanted}.pth")
    whence = f" ({known.licence}; from {known.page})" if known else ""
    return f"Put {wanted} into models/vae_approx{whence}" if wanted else "Connect a tiny VAE"


def _is_video(latent_format: Any) -> bool:
    """Whether latents have a time axis, [B, C, frames, h, w]; image models may, with one frame."""
    return getattr(latent_format, "latent_dimensions", 2) == 3


def _inside(base_model: Any, latents: Tensor) -> Tensor:
    """Latents [n, C, h, w] of the sampler's output as the model has them."""
    if _is_video(base_model.latent_format):
        return base_model.process_latent_in(latents.unsqueeze(2))[:, :, 0]
    return base_model.process_latent_in(latents)


def _linear(base_model: Any, remedy: str) -> Decoder:
    """The host's linear preview, enlarged; `remedy` is what its notice advises."""
    form = base_model.latent_format
    factors, bias = getattr(form, "latent_rgb_factors", None), getattr(form, "latent_rgb_factors_bias", None)
    reshape = getattr(form, "latent_rgb_factors_reshape", None)

    def decode(latents: Tensor) -> Tensor:
        if factors is None:
            raise ValueError("there is no small decoder for this model. Connect a vae and set when to 'after the run'")
        inside = _inside(base_model, latents.float())
        inside = inside if reshape is None else reshape(inside)
        weights = torch.tensor(factors, device=inside.device).T
        shift = None if bias is None else torch.tensor(bias, device=inside.device)
        rgb = F.linear(inside.movedim(1, -1), weights, shift).movedim(-1, 1)
        return F.interpolate((rgb / 2 + 0.5).clamp(0, 1), scale_factor=_SIDE, mode="bilinear")

    return Decoder(
        "linear preview",
        decode,
        "No small decoder was found, so the steps were measured through a rough linear preview, which shows little "
        f"detail. {remedy}, or connect a VAE and set when to 'after the run'.",
    )


def _pictures(image: Tensor) -> Tensor:
    """An IMAGE, of video too, as [n, 3, H, W]."""
    return image.reshape(-1, *image.shape[-3:]).movedim(-1, 1)


def flat(latents: Tensor) -> Tensor:
    """Latents of pictures as [B, C, h, w]; some image models have them with one frame, [B, C, 1, h, w].

    Raises:
        SettingsError: they are of video, sound or something else.
    """
    if latents.ndim == 5 and latents.shape[2] == 1:
        return latents[:, :, 0]
    if latents.ndim != 4:
        raise SettingsError(f"the probe measures pictures, but this MODEL makes latents of shape {list(latents.shape)}")
    return latents
