"""IP-Adapter's published files: what one holds, whether it fits a UNet, and its parts as diffusers' own modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from torch import Tensor, nn

from ...errors import WeightsError
from ...weights import check, describe, read_header, read_weights
from .lora import LowRank, check_lora

SDXL_FILE = "ip-adapter-faceid-plusv2_sdxl.bin from huggingface.co/h94/IP-Adapter-FaceID"
_BASES = {768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2", 2048: "SDXL", 4096: "FLUX"}
_FACE_KINDS = {"perceiver_resampler.proj_in.weight": "FaceID plus", "norm.weight": "FaceID"}
_PICTURE_KINDS = {"proj.weight": "for pictures", "proj.3.weight": "full face", "latents": "plus"}
TOKENS = 4
_LORA_PARTS = ("to_q", "to_k", "to_v", "to_out")


@dataclass(frozen=True, eq=False)
class FaceIdWeights:
    """An IP-Adapter FaceID, made ready for one UNet.

    Attributes:
        projection: embedding (and look) of a face to tokens.
        plus: whether it also takes the face's look, from CLIP.
        processors: diffusers' own processors of the UNet's cross-attention layers, by layer.
        lora: of the UNet's attention; empty where the file has none.
    """

    projection: nn.Module
    plus: bool
    processors: Mapping[str, Any]
    lora: Mapping[str, LowRank]


def kind_of(path: Path) -> str:
    """ "FaceID" or "FaceID plus", told from a file's header.

    Raises:
        WeightsError: no IP-Adapter, or one that reads no faces, or one for FLUX.
    """
    keys = read_header(path)
    if any("ip_adapter_double_stream" in key or key.startswith("ip_adapter_proj_model") for key in keys):
        raise WeightsError(f"{path} is an IP-Adapter for FLUX. On SDXL use {SDXL_FILE}.")
    for kinds, reads_faces in ((_FACE_KINDS, True), (_PICTURE_KINDS, False)):
        for mark, kind in kinds.items():
            if f"image_proj.{mark}" in keys:
                if reads_faces:
                    return kind
                raise WeightsError(f"{path} is an IP-Adapter {kind}, which reads no faces. Use {SDXL_FILE}.")
    raise WeightsError(
        f"Expected an IP-Adapter FaceID in {path}, but it seems to be {describe(path)}. Use {SDXL_FILE}."
    )


def load_faceid(path: Path, unet: Any) -> FaceIdWeights:
    """Read a published file for a UNet; names and shapes are compared before anything is built.

    Args:
        path: as h94's `ip-adapter-faceid-plusv2_sdxl.bin`, or the same as safetensors.
        unet: a UNet2DConditionModel; nothing of it is changed.

    Raises:
        WeightsError: not an IP-Adapter FaceID, damaged, or made for another backbone.
    """
    plus = kind_of(path) == "FaceID plus"
    names = [name for name in unet.attn_processors if not name.startswith("encoder_hid_proj")]  # slow: asked once
    _check_layers(path, unet, names)
    state = read_weights(path)
    parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in state.items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = value
    try:
        projection = unet._convert_ip_adapter_image_proj_to_diffusers(parts["image_proj"], low_cpu_mem_usage=False)
        processors = _processors(parts["ip_adapter"], names)
    except Exception as error:  # diffusers' own converters fail in many ways at a file that is not whole
        raise WeightsError(f"{path} is not a whole IP-Adapter FaceID ({error}). Download it again.") from error
    if plus:
        projection.shortcut = True  # of SDXL there is version 2 alone, whose tokens are the identity's plus the look's
    place = {"device": unet.device, "dtype": unet.dtype}  # slow in diffusers: asked once
    layers = {name: one.to(**place).requires_grad_(False) for name, one in processors.items()}
    lora = {name: LowRank(down, up).to(**place) for name, down, up in _lora(parts["ip_adapter"], names)}
    if lora:
        check_lora(lora, unet, path)
    return FaceIdWeights(projection.to(**place).eval().requires_grad_(False), plus, layers, lora)


def _processors(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Any]:
    """diffusers' processors of the cross-attention layers, by layer; the file's tensors are used as they are."""
    made: dict[str, Any] = {}
    for number, name in enumerate(names):
        if ".attn2." in name:
            halves = {f"to_{half}_ip.0.weight": state[f"{number}.to_{half}_ip.weight"] for half in "kv"}
            size = halves["to_k_ip.0.weight"].shape
            with torch.device("meta"):  # nothing is allocated that the next line replaces
                made[name] = IPAdapterAttnProcessor2_0(*size, num_tokens=[TOKENS], scale=[1.0])
            made[name].load_state_dict(halves, assign=True)
    return {name.removesuffix(".processor"): processor for name, processor in made.items()}


def _check_layers(path: Path, unet: Any, names: Sequence[str]) -> None:
    """Compare keys and values of every cross-attention layer with the UNet's."""
    header = read_header(path)
    found = {key: tensor for key, tensor in header.items() if key.endswith(("to_k_ip.weight", "to_v_ip.weight"))}
    wanted = {
        f"ip_adapter.{number}.{part}_ip.weight": tuple(
            unet.get_submodule(name.removesuffix("processor") + part).weight.shape
        )
        for number, name in enumerate(names)
        if ".attn2." in name
        for part in ("to_k", "to_v")
    }
    widths, ours = {tensor.shape[-1] for tensor in found.values()}, unet.config.cross_attention_dim
    if len(found) != len(wanted) or widths != {ours}:
        width = min(widths, default=0)
        base = _BASES.get(width, f"a backbone with text embeddings of width {width}")
        raise WeightsError(
            f"{path} is an IP-Adapter for {base}, with {len(found) // 2} layers; this backbone "
            f"({_BASES.get(ours, 'another one')}) has {len(wanted) // 2}, for text of width {ours}. "
            f"On SDXL use {SDXL_FILE}."
        )
    check(found, wanted, path, "an IP-Adapter's keys and values for this backbone")


def _lora(state: Mapping[str, Tensor], names: Sequence[str]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The LoRA that lies in a FaceID file under the numbers of the UNet's attention layers: (layer, down, up)."""
    for number, name in enumerate(names):
        for part in _LORA_PARTS:
            key = f"{number}.{part}_lora"
            if f"{key}.down.weight" in state:
                layer = f"{name.removesuffix('processor')}{part}" + ".0" * (part == "to_out")
                yield layer, state[f"{key}.down.weight"], state[f"{key}.up.weight"]
