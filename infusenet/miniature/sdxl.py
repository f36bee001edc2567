"""mini-sdxl's architectures: SDXL's UNet, autoencoder and two CLIPs in small; FaceID, and a LoRA for few steps.

The classes are diffusers' and transformers'; sizes are stated here. Two modules are our own: they exist to learn, and
their state dicts have the published keys: `FaceID` as h94's ip-adapter-faceid_sdxl (without its LoRA), `Lora` kohya's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from . import networks

CHANNELS = (64, 64, 64)  # multiples of 32, and of the first: ComfyUI's UNet takes no other
DEPTHS = (1, 3, 1)  # transformer layers of an attention block, by level; the first level has none
HEAD_DIM = 16
TEXT_WIDTH = 48  # of each text encoder
CONTEXT = 2 * TEXT_WIDTH
TEXT_TOKENS = 77
TIME_IDS = 32  # numbers that each of the six size conditions becomes
FACE_TOKENS = 4  # as in FaceID
LATENT_CHANNELS, SCALING = 4, 0.13025  # SDXL's own
SIDE = networks.SIZE // 8  # of the latents
RANK = 4  # of the few-step LoRA
TRAIN_TIMESTEPS = 1000
SIZE_CONDITION = (networks.SIZE, networks.SIZE, 0, 0, networks.SIZE, networks.SIZE)  # height, width, crop, target
_NOISE: dict[str, Any] = {  # SDXL's published scheduler settings
    "num_train_timesteps": TRAIN_TIMESTEPS,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
_OTHERS: dict[str, Any] = {"clip_sample": False, "set_alpha_to_one": False}  # what the same file tells other schedulers


def unet() -> Any:
    """A UNet2DConditionModel in SDXL's layout: 2.8 M parameters, 13 cross-attentions."""
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        transformer_layers_per_block=DEPTHS,
        attention_head_dim=tuple(width // HEAD_DIM for width in CHANNELS),  # diffusers' name for the number of heads
        cross_attention_dim=CONTEXT,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_IDS,
        projection_class_embeddings_input_dim=TEXT_WIDTH + 6 * TIME_IDS,
    )
    nn.init.zeros_(model.conv_out.weight)  # starts by predicting no noise
    nn.init.zeros_(model.conv_out.bias)
    return model


def autoencoder() -> Any:
    """An AutoencoderKL with SDXL's latent format: 4 channels, 1/8 of the size, its own scale."""
    return networks.autoencoder(latent_channels=LATENT_CHANNELS, scaling_factor=SCALING, shift_factor=None)


def text_encoders(vocabulary: int, ids: tuple[int, int]) -> tuple[Any, Any]:
    """A CLIPTextModel and a CLIPTextModelWithProjection of two layers each, by one tokenizer.

    Args:
        vocabulary: number of tokens.
        ids: (start, end) token; the pooled vector is read at the first end token.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=TEXT_WIDTH,
        intermediate_size=3 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=TEXT_TOKENS,
        bos_token_id=ids[0],
        eos_token_id=ids[1],
        pad_token_id=ids[1],
    )
    return CLIPTextModel(config), CLIPTextModelWithProjection(config)


def scheduler_config() -> dict[str, Any]:
    """SDXL's published scheduler, as its file has it: with what DDIM reads there and Euler does not."""
    from diffusers import EulerDiscreteScheduler

    config = EulerDiscreteScheduler(**_NOISE, timestep_spacing="leading").config
    return {name: value for name, value in config.items() if not name.startswith("_")} | _OTHERS


def few_step_scheduler() -> Any:
    """What the few-step LoRA is sampled with, as Hyper-SDXL: DDIM, trailing."""
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(scheduler_config(), timestep_spacing="trailing")


# ------------------------------------------------------------------------------------------ IP-Adapter FaceID


class _Projection(nn.Module):
    """FaceID's MLP: embeddings [N, 512] -> identity tokens [N, 4, CONTEXT]."""

    def __init__(self) -> None:
        super().__init__()
        width = networks.EMBEDDING
        self.proj = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, FACE_TOKENS * CONTEXT))
        self.norm = nn.LayerNorm(CONTEXT)
        first: Any = self.proj[0]
        with torch.no_grad():
            first.weight *= width**0.5  # embeddings have length 1, not 1 per entry

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(x).unflatten(1, (FACE_TOKENS, CONTEXT)))
        return out


class FaceID(nn.Module):
    """IP-Adapter FaceID; its state dict has the published keys.

    `image_proj.*` makes tokens of a face embedding; `ip_adapter.N.to_k_ip`, `.to_v_ip` give the cross-attentions keys
    and values of them, N = 1, 3, 5, ... in the order of the UNet's attention processors. The layers start as the UNet's
    own for text.
    """

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.image_proj = _Projection()
        self.ip_adapter = nn.ModuleDict()
        for number, (_, attention) in enumerate(cross_attentions(unet)):
            layers = nn.ModuleDict({name: _like(getattr(attention, name[:4])) for name in ("to_k_ip", "to_v_ip")})
            self.ip_adapter[str(2 * number + 1)] = layers

    def bind(self, unet: Any) -> None:
        """Let the UNet's cross-attentions use these very layers; its text input then is (text, [identity tokens])."""
        from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0

        for layers, (_, attention) in zip(self.ip_adapter.values(), cross_attentions(unet), strict=True):
            width = attention.to_q.out_features
            processor = IPAdapterAttnProcessor2_0(width, CONTEXT, num_tokens=(FACE_TOKENS,), scale=1.0)
            kept: Any = layers
            processor.to_k_ip = nn.ModuleList([kept["to_k_ip"]])
            processor.to_v_ip = nn.ModuleList([kept["to_v_ip"]])
            attention.set_processor(processor)


def cross_attentions(unet: Any) -> Iterator[tuple[str, Any]]:
    """Names and modules of the cross-attentions, in the order in which IP-Adapters count them."""
    for name in unet.attn_processors:
        module = name.removesuffix(".processor")
        if module.endswith("attn2"):
            yield module, unet.get_submodule(module)


def _like(layer: nn.Linear) -> nn.Linear:
    """A new layer of the same values."""
    new = nn.Linear(layer.in_features, layer.out_features, bias=False)
    with torch.no_grad():
        new.weight.copy_(layer.weight)
    return new


# ------------------------------------------------------------------------------------------ the few-step LoRA


class _Pair(nn.Module):
    """What is added to one layer's weight: up @ down * alpha / rank; nothing at the start."""

    alpha: Tensor

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        if isinstance(layer, nn.Conv2d):
            size: Any = layer.kernel_size
            self.lora_down: nn.Module = nn.Conv2d(layer.in_channels, RANK, size, bias=False)
            self.lora_up: nn.Module = nn.Conv2d(RANK, layer.out_channels, 1, bias=False)
        else:
            self.lora_down = nn.Linear(layer.in_features, RANK, bias=False)
            self.lora_up = nn.Linear(RANK, layer.out_features, bias=False)
        nn.init.zeros_(self.lora_up.weight)
        self.register_buffer("alpha", torch.tensor(float(RANK)))

    def delta(self) -> Tensor:
        """In the layer's shape."""
        down: Any = self.lora_down.weight
        up: Any = self.lora_up.weight
        product: Tensor = (up.flatten(1) @ down.flatten(1)) * (self.alpha / RANK)
        return product.view(up.shape[0], *down.shape[1:])


class Lora(nn.Module):
    """A LoRA of all layers inside the UNet's blocks, as LCM's: its state dict has kohya's keys."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.names = [
            name
            for name, layer in unet.named_modules()
            if "_block" in name and isinstance(layer, nn.Linear | nn.Conv2d) and "_ip" not in name
        ]
        for name in self.names:
            self.add_module(_kohya(name), _Pair(unet.get_submodule(name)))

    def merged(self, unet: Any) -> dict[str, Tensor]:
        """The UNet's weights with this LoRA at strength 1, for `torch.func.functional_call`."""
        pairs: Any = {name: self.get_submodule(_kohya(name)) for name in self.names}
        return {f"{n}.weight": unet.get_submodule(n).weight + pair.delta() for n, pair in pairs.items()}


def _kohya(name: str) -> str:
    return "lora_unet_" + name.replace(".", "_")
