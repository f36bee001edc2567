"""The miniature's architectures: the real classes of diffusers and transformers, and four small face networks.

Everything is the real system's layout at a smaller size, so that the code which loads, adapts and samples the
published models runs unchanged. Sizes are stated once, here.
"""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 128  # pictures are SIZE x SIZE pixels
TOKENS = (SIZE // 16) ** 2  # packed latent tokens of one picture
TEXT_LENGTH = 40  # T5 tokens
IDENTITY_TOKENS, EMBEDDING = 8, 512  # as in InfiniteYou
WIDTH, HEADS, HEAD_DIM, AXES = 144, 6, 24, (4, 10, 10)
DOUBLE_BLOCKS, SINGLE_BLOCKS = 2, 5
ADAPTER_DOUBLE_BLOCKS, ADAPTER_SINGLE_BLOCKS = 1, 3  # fewer than the backbone's: the block mapping is exercised
T5_WIDTH, CLIP_WIDTH = 96, 64
VAE_CHANNELS = (32, 32, 64, 64)  # multiples of 32: ComfyUI's autoencoder has 32 groups in every normalisation
LATENT_CHANNELS, SCALING, SHIFT = 16, 0.3611, 0.1159  # FLUX's own
IRSE_WIDTHS = (16, 24, 32, 32)

_FLUX: dict[str, Any] = {
    "in_channels": 64,
    "attention_head_dim": HEAD_DIM,
    "num_attention_heads": HEADS,
    "joint_attention_dim": T5_WIDTH,
    "pooled_projection_dim": CLIP_WIDTH,
    "axes_dims_rope": AXES,
}


def flux_transformer(*, guidance_embeds: bool) -> Any:
    """A FluxTransformer2DModel of 3.3 M parameters; mini-dev embeds the guidance, mini-schnell does not."""
    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel(
        **_FLUX, num_layers=DOUBLE_BLOCKS, num_single_layers=SINGLE_BLOCKS, guidance_embeds=guidance_embeds
    )
    initialise(model)
    return model


def infusenet(backbone: Any | None = None) -> Any:
    """An InfuseNet: a FluxControlNetModel whose blocks start as copies of the backbone's, its output layers at zero."""
    from diffusers import FluxControlNetModel

    model = FluxControlNetModel(
        **_FLUX, num_layers=ADAPTER_DOUBLE_BLOCKS, num_single_layers=ADAPTER_SINGLE_BLOCKS, guidance_embeds=True
    )
    if backbone is not None:
        source = backbone.state_dict()
        model.load_state_dict({k: source.get(k, v) for k, v in model.state_dict().items()})
    return model


def autoencoder(**changes: Any) -> Any:
    """An AutoencoderKL with FLUX's latent format: 16 channels, 1/8 of the size, its own scale and shift.

    Args:
        changes: settings of the class that another latent format wants otherwise.
    """
    from diffusers import AutoencoderKL

    settings: dict[str, Any] = {
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": VAE_CHANNELS,
        "layers_per_block": 1,
        "latent_channels": LATENT_CHANNELS,
        "norm_num_groups": 32,
        "sample_size": SIZE,
        "scaling_factor": SCALING,
        "shift_factor": SHIFT,
        "force_upcast": False,
    }
    return AutoencoderKL(**settings | changes)


def text_encoders(clip_vocabulary: int, t5_vocabulary: int, clip_ids: tuple[int, int]) -> tuple[Any, Any]:
    """A CLIPTextModel and a T5EncoderModel of two layers each.

    Args:
        clip_vocabulary: number of CLIP tokens.
        t5_vocabulary: number of T5 tokens.
        clip_ids: (start, end) token of CLIP; the pooled vector is read at the first end token.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=clip_vocabulary,
            hidden_size=CLIP_WIDTH,
            intermediate_size=192,
            projection_dim=CLIP_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=77,
            bos_token_id=clip_ids[0],
            eos_token_id=clip_ids[1],
            pad_token_id=clip_ids[1],
        )
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=t5_vocabulary,
            d_model=T5_WIDTH,
            d_kv=24,
            d_ff=192,
            num_layers=2,
            num_heads=4,
            relative_attention_num_buckets=32,
            relative_attention_max_distance=64,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    return clip, t5


def schedulers() -> dict[str, Any]:
    """The published scheduler settings of FLUX.1 dev and schnell, by miniature backbone."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    common = {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
    return {
        "mini-dev": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True, **common),
        "mini-schnell": FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False, **common),
    }


def initialise(model: nn.Module) -> None:
    """Xavier everywhere; modulations and the output start at zero, so that each block starts as the identity."""
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if "norm" in name or name == "proj_out":  # adaptive norms and the last layer
            nn.init.zeros_(layer.weight)
        elif "time_text_embed" in name:
            nn.init.normal_(layer.weight, std=0.05)


# ------------------------------------------------------------------------------------------ the measuring recognizer


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project: MobileFaceNet's block."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int = 3) -> None:
        super().__init__()
        inner = inputs * expand
        self.body = nn.Sequential(
            _conv(inputs, inner, 1),
            nn.PReLU(inner),
            _conv(inner, inner, 3, stride, inner),
            nn.PReLU(inner),
            _conv(inner, outputs, 1),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class MeasuringRecognizer(nn.Module):
    """RGB crops [N,3,112,112] in -1..1 -> embeddings [N,256], not normalised. Architecture after MobileFaceNet."""

    dim = 256

    def __init__(self) -> None:
        super().__init__()
        plan = [(24, 32, 2), (32, 32, 1), (32, 48, 2), (48, 48, 1), (48, 48, 1), (48, 64, 2), (64, 64, 1), (64, 64, 1)]
        self.stem = nn.Sequential(_conv(3, 24, 5, 2), nn.PReLU(24))
        self.blocks = nn.Sequential(*[InvertedResidual(*step) for step in plan])
        self.spread = nn.Sequential(_conv(64, 128, 1), nn.PReLU(128))
        self.pool = nn.Sequential(nn.Conv2d(128, 128, 7, groups=128, bias=False), nn.BatchNorm2d(128))
        self.fc = nn.Linear(128, self.dim)
        self.norm = nn.BatchNorm1d(self.dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.fc(self.pool(self.spread(self.blocks(self.stem(x)))).flatten(1)))
        return y


# ------------------------------------------------------------------------------------------ the judging recognizer


class Residual(nn.Module):
    """Two full convolutions and a shortcut: ResNet's basic block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(inputs, outputs, 3, stride), nn.ReLU(), _conv(outputs, outputs))
        same = stride == 1 and inputs == outputs
        self.shortcut: nn.Module = nn.Identity() if same else _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class JudgingRecognizer(nn.Module):
    """RGB crops [N,3,112,112] in -1..1 -> embeddings [N,160], not normalised. A plain ResNet, read out place by place.

    Neither the conditioning recognizer's layout (IR-SE) nor the measuring one's (MobileFaceNet).
    """

    dim = 160

    def __init__(self) -> None:
        super().__init__()
        plan = [(16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 40, 1), (40, 48, 2), (48, 48, 1)]
        self.stem = nn.Sequential(_conv(3, 16, 3, 2), nn.ReLU())
        self.blocks = nn.Sequential(*[Residual(*step) for step in plan])
        self.narrow = _conv(48, 8, 1)
        self.fc = nn.Linear(8 * 7 * 7, self.dim)
        self.norm = nn.BatchNorm1d(self.dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.fc(self.narrow(self.blocks(self.stem(x))).flatten(1)))
        return y


# ------------------------------------------------------------------------------------------ the face detector

STRIDES, ANCHORS = (8, 16, 32), 2


class FaceDetectorNet(nn.Module):
    """Finds faces: RGB pictures [N,3,H,W], (x - 127.5) / 128 -> score logits, boxes and points, for each stride.

    [N,A,h,w], [N,A,4,h,w] and [N,A,10,h,w] for A anchors.
    Distances are in stride units from the cell's corner point (column * stride, row * stride), as in SCRFD.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        w = width
        act = nn.ReLU
        self.stem = nn.Sequential(_conv(3, 16, 3, 2), act(), _conv(16, w, 3, 2), act(), _conv(w, w, 3), act())
        self.down = nn.ModuleList(
            [
                nn.Sequential(_conv(w, 2 * w, 3, 2), act(), _conv(2 * w, 2 * w), act()),
                nn.Sequential(_conv(2 * w, 2 * w, 3, 2), act(), _conv(2 * w, 2 * w), act()),
                nn.Sequential(_conv(2 * w, 2 * w, 3, 2), act(), _conv(2 * w, 2 * w), act()),
            ]
        )
        self.up = nn.ModuleList([_conv(2 * w, 2 * w, 1), _conv(2 * w, 2 * w, 1)])
        self.heads = nn.ModuleList(
            [nn.Sequential(_conv(2 * w, 2 * w), act(), nn.Conv2d(2 * w, ANCHORS * 15, 1)) for _ in STRIDES]
        )

    def forward(self, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        x = self.stem(x)
        features = []
        for stage in self.down:
            x = stage(x)
            features.append(x)
        # the large view flows back into the finer ones
        for finer, lateral in ((1, self.up[1]), (0, self.up[0])):
            coarse = F.interpolate(lateral(features[finer + 1]), scale_factor=2.0, mode="nearest")
            features[finer] = features[finer] + coarse
        out = []
        for head, feature in zip(self.heads, features):
            y = head(feature).unflatten(1, (ANCHORS, 15))
            out.append((y[:, :, 0], F.softplus(y[:, :, 1:5]), y[:, :, 5:]))
        return out


# ------------------------------------------------------------------------------------------ the judge

JUDGED = {"background": 9, "style": 5, "expression": 5, "accessory": 5, "clothes": 4, "clothes_colour": 8, "light": 6}


class Judge(nn.Module):
    """Reads back from a picture [N,3,128,128] in -1..1 what a prompt may ask for: logits by attribute."""

    def __init__(self, attributes: dict[str, int] | None = None) -> None:
        super().__init__()
        attributes = attributes or JUDGED
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 48), (48, 64)):
            layers += [_conv(inputs, outputs, 3, 2), nn.ReLU(), _conv(outputs, outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({k: nn.Linear(64 * 16, n) for k, n in attributes.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = F.adaptive_avg_pool2d(self.body(x), 4).flatten(1)
        return {k: head(y) for k, head in self.heads.items()}


def parameters(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(math.prod(p.shape) for p in model.parameters())
