"""Backbones as data: every difference between them is a field of a spec.

Another family of models is a spec in `BACKBONES` and a loader in `infusenet.loading.LOADERS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
        raise SettingsError(f"Unknown backbone {name!r}. Known: {known}. Or give the path of a FLUX folder.") from None


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
        "Expected a FLUX transformer (a config with guidance_embeds, or weights with single_transformer_blocks "
        f"or single_blocks), but found {', '.join(sorted(keys)[:3]) or 'nothing'}{'...' if len(keys) > 3 else ''}. "
        "Choose a FLUX.1 dev or schnell model."
    )
