"""What the host's MODEL object tells about a FLUX model, whoever loaded it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...infusenet.errors import SettingsError

LATENT_CHANNELS = 16


@dataclass(frozen=True)
class FluxSizes:
    """Block counts and width of a FLUX.1 backbone, and whether it embeds the guidance."""

    double_blocks: int
    single_blocks: int
    width: int
    guidance_embeds: bool


def flux_sizes(base_model: Any) -> FluxSizes:
    """Sizes of the FLUX.1 model in a host's BaseModel.

    Args:
        base_model: what a MODEL holds as `.model`.

    Raises:
        SettingsError: the model is not FLUX.1 dev, schnell or of their kind.
    """
    import comfy.model_base

    config = getattr(getattr(base_model, "model_config", None), "unet_config", None) or {}
    if not isinstance(base_model, comfy.model_base.Flux) or config.get("image_model", "flux") != "flux":
        kind = config.get("image_model") or type(base_model).__name__
        raise SettingsError(
            f"InfuseNet works with FLUX.1 models (dev, schnell and fine-tunes of them), but this MODEL is {kind}. "
            "Connect a FLUX.1 model, or remove Apply InfuseNet Identity."
        )
    network = getattr(base_model, "diffusion_model", None)
    params = getattr(network, "params", None)

    def read(key: str, otherwise: Any) -> Any:
        value = config.get(key)
        return getattr(params, key, otherwise) if value is None else value

    return FluxSizes(
        double_blocks=int(read("depth", 19)),
        single_blocks=int(read("depth_single_blocks", 38)),
        width=int(read("hidden_size", 3072)),
        guidance_embeds=bool(read("guidance_embed", False)),
    )


def variant_of_model(base_model: Any) -> str:
    """Whether a host's FLUX model is dev or schnell: only dev embeds the guidance.

    Raises:
        SettingsError: the model is not FLUX.
    """
    return "dev" if flux_sizes(base_model).guidance_embeds else "schnell"


def latent_tokens(samples: Tensor) -> int:
    """Image tokens of latents [B, C, H, W]: 2x2 patches, an odd side padded as the host's FLUX does.

    Raises:
        SettingsError: not FLUX's latents; an empty 4-channel latent is fine, the host converts it itself.
    """
    if samples.ndim != 4 or (samples.shape[1] != LATENT_CHANNELS and bool(samples.any())):
        raise SettingsError(
            f"Expected FLUX latents [batch, {LATENT_CHANNELS}, height/8, width/8], got {list(samples.shape)}. "
            "Use EmptySD3LatentImage, or encode the picture with FLUX's VAE."
        )
    return -(-samples.shape[-2] // 2) * -(-samples.shape[-1] // 2)
