"""Weight files of the published models' names, shapes and sizes that take no room on disk: their data are a hole."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

Shapes = dict[str, tuple[int, ...]]

PUBLISHED = {
    "in_channels": 64,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
}
_VAE = {
    "double_z": True,
    "z_channels": 16,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}


def header_only(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> None:
    """A safetensors file of these tensors, all zeros."""
    size = {"BF16": 2, "F8_E4M3": 1}[dtype]
    entries, offset = {}, 0
    for name, shape in shapes.items():
        length = int(np.prod(shape)) * size
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + length]}
        offset += length
    text = json.dumps(entries).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + offset)


def flux_shapes(pack: Any, guidance: bool) -> tuple[Shapes, Shapes]:
    """Names and shapes of the published transformer in diffusers' and in the original layout."""
    config = PUBLISHED | {"num_layers": 19, "num_single_layers": 38, "guidance_embeds": guidance}
    shapes = pack.module("infusenet.flux.networks").expected_tensors(config, controlnet=False)
    original = pack.module("nodes.flux.layout").to_host_names(
        {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    )
    return shapes, {key: tuple(tensor.shape) for key, tensor in original.items()}


def clip_shapes() -> Shapes:
    """CLIP-L's text encoder, as in clip_l.safetensors and in a diffusers folder."""
    import comfy
    import comfy.clip_model
    import comfy.ops

    config = json.loads((_folder(comfy) / "sd1_clip_config.json").read_text())
    net = comfy.clip_model.CLIPTextModel(config, torch.float32, "meta", comfy.ops.disable_weight_init)
    return {key: shape for key, shape in _shapes(net).items() if not key.startswith("text_projection")}


def t5_shapes() -> Shapes:
    """T5-XXL's encoder, likewise."""
    import comfy
    import comfy.ops
    import comfy.text_encoders.t5

    config = json.loads((_folder(comfy) / "text_encoders" / "t5_config_xxl.json").read_text())
    return _shapes(comfy.text_encoders.t5.T5(config, torch.float32, "meta", comfy.ops.disable_weight_init))


def vae_shapes() -> Shapes:
    """FLUX's VAE in the original layout, as ae.safetensors."""
    from comfy.ldm.modules.diffusionmodules.model import Decoder, Encoder

    with torch.device("meta"):
        parts = {"encoder": Encoder(**_VAE), "decoder": Decoder(**_VAE)}
    return {f"{name}.{key}": shape for name, part in parts.items() for key, shape in _shapes(part).items()}


def vae_shapes_of_diffusers() -> Shapes:
    """FLUX's VAE as diffusers' AutoencoderKL names it."""
    shapes: Shapes = {}

    def layer(name: str, outputs: int, inputs: int, kernel: int | None = None) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs) if kernel is None else (outputs, inputs, kernel, kernel)
        shapes[f"{name}.bias"] = (outputs,)

    def norm(name: str, width: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    def block(name: str, inputs: int, outputs: int) -> None:
        norm(f"{name}.norm1", inputs)
        layer(f"{name}.conv1", outputs, inputs, 3)
        norm(f"{name}.norm2", outputs)
        layer(f"{name}.conv2", outputs, outputs, 3)
        if inputs != outputs:
            layer(f"{name}.conv_shortcut", outputs, inputs, 1)

    def middle(side: str) -> None:
        for index in range(2):
            block(f"{side}.mid_block.resnets.{index}", 512, 512)
        norm(f"{side}.mid_block.attentions.0.group_norm", 512)
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            layer(f"{side}.mid_block.attentions.0.{name}", 512, 512)

    def sides(side: str, stage: str, widths: list[int], blocks: int, sampler: str) -> None:
        before = widths[0]
        for level, width in enumerate(widths):
            for index in range(blocks):
                block(f"{side}.{stage}.{level}.resnets.{index}", before, width)
                before = width
            if level < len(widths) - 1:
                layer(f"{side}.{stage}.{level}.{sampler}.0.conv", width, width, 3)

    layer("encoder.conv_in", 128, 3, 3)
    sides("encoder", "down_blocks", [128, 256, 512, 512], 2, "downsamplers")
    middle("encoder")
    norm("encoder.conv_norm_out", 512)
    layer("encoder.conv_out", 32, 512, 3)
    layer("decoder.conv_in", 512, 16, 3)
    middle("decoder")
    sides("decoder", "up_blocks", [512, 512, 256, 128], 3, "upsamplers")
    norm("decoder.conv_norm_out", 128)
    layer("decoder.conv_out", 3, 128, 3)
    return shapes


def _shapes(net: Any) -> Shapes:
    return {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}


def _folder(module: Any) -> Path:
    return Path(next(iter(module.__path__)))
