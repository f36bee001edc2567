"""IR-SE50, the recognizer whose embedding InfuseNet is conditioned on, and narrower nets of the same key layout.

Source: InsightFace's IR-SE networks as facexlib packs them (`recognition_arcface_ir_se50.pth`): 24 blocks, 43.8 M
parameters. The layout is read off a state dict: `input_layer.{0,1,2}`, `body.N.shortcut_layer.{0,1}` in the first block
of each later stage (N = 3, 7, 21), `body.N.res_layer.{0..4}`, `body.N.res_layer.5.fc1/.fc2`, `output_layer.{0,3,4}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import WeightsError
from ...weights import Shapes, depth_of, load_checked, load_module, misfit

if TYPE_CHECKING:
    from ...faces.align import Picture

WHAT = "an ArcFace IR-SE recognizer"
WIDTHS = (64, 128, 256, 512)
DEPTHS = (3, 4, 14, 3)
EMBEDDING = 512
_SIDE = 7  # of the last feature map of a 112 x 112 crop
_SQUEEZE = 16
_DROPOUT = 0.6
_UNREADABLE = (KeyError, IndexError, ValueError, RuntimeError, ZeroDivisionError)


class _SqueezeExcite(nn.Module):
    """Gates each channel by what the whole map holds."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1, bias=False)
        self.fc2 = nn.Conv2d(squeezed, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))
        return x * gate


class _Block(nn.Module):
    """One residual block; a later stage's first block projects its shortcut, the very first one only thins it."""

    def __init__(self, width_in: int, width: int, stride: int, *, projected: bool, squeezed: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if projected:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        else:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.Conv2d(width_in, width, 3, 1, 1, bias=False),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            _SqueezeExcite(width, squeezed),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


class IRSE(nn.Module):
    """An IR-SE recognizer. `IRSE()` has the published IR-SE50's 397 tensors.

    Args:
        widths: channels of the four stages; the first is the stem's too.
        embedding: length of the embedding.
        depths: blocks in each stage. Each stage starts with a stride of 2.
        squeeze: the gates' reduction.
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        embedding: int = EMBEDDING,
        depths: Sequence[int] = DEPTHS,
        squeeze: int = _SQUEEZE,
    ) -> None:
        super().__init__()
        stem, last = widths[0], widths[-1]
        self.input_layer = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem))
        blocks: list[nn.Module] = []
        before = stem
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for index in range(depth):
                first = index == 0
                projected = before != width or (first and stage > 0)
                squeezed = max(1, width // squeeze)
                blocks.append(_Block(before, width, 2 if first else 1, projected=projected, squeezed=squeezed))
                before = width
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last),
            nn.Dropout(_DROPOUT),
            nn.Flatten(),
            nn.Linear(last * _SIDE * _SIDE, embedding),
            nn.BatchNorm1d(embedding),
        )

    @property
    def embedding_dim(self) -> int:
        """Length of the embedding that comes out."""
        return cast("nn.Linear", self.output_layer[3]).out_features

    def features(self, x: Tensor) -> Tensor:
        """Embeddings before they are brought to unit length: [B, 3, 112, 112] -> [B, embedding]."""
        out: Tensor = self.output_layer(self.body(self.input_layer(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Unit embeddings of aligned faces.

        Args:
            x: BGR crops [B, 3, 112, 112] in -1..1 (see `crops_to_input`).

        Returns:
            [B, embedding], each row of length 1.
        """
        return F.normalize(self.features(x), dim=1)

    @classmethod
    def sized_like(cls, tensors: Shapes, path: object = "the file") -> IRSE:
        """An untrained net of the sizes that a state dict's or a file header's shapes show.

        Raises:
            WeightsError: the shapes are not an IR-SE recognizer's.
        """
        try:
            return cls(*_sizes(tensors))
        except _UNREADABLE as error:
            raise WeightsError(misfit(tensors, path, WHAT, error, "recognition_arcface_ir_se50.pth")) from error

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], path: object = "the file") -> IRSE:
        """The recognizer that a state dict holds, float32, in evaluation mode, with every key checked.

        Raises:
            WeightsError: keys or shapes do not fit, or a value is not finite.
        """
        return load_checked(lambda tensors: cls.sized_like(tensors, path), state, path, WHAT).float()

    @classmethod
    def from_file(cls, path: str | Path) -> IRSE:
        """As `from_state`, for a file; nothing is allocated before names and shapes are checked."""
        return load_module(lambda tensors: cls.sized_like(tensors, path), path, WHAT).float()


def _sizes(state: Shapes) -> tuple[list[int], int, list[int], int]:
    """Widths, embedding, depths and squeeze that a state dict's shapes show."""
    embedding = state["output_layer.3.weight"].shape[0]  # first, so that another network's file is told by its absence
    count = depth_of(state, "body.")
    starts = [n for n in range(count) if n == 0 or any(key.startswith(f"body.{n}.shortcut_layer.") for key in state)]
    widths = [state[f"body.{n}.res_layer.1.weight"].shape[0] for n in starts]
    depths = [end - start for start, end in zip(starts, [*starts[1:], count], strict=True)]
    squeezed, last = state[f"body.{count - 1}.res_layer.5.fc1.weight"].shape[:2]
    return widths, embedding, depths, last // squeezed


def crops_to_input(crops: Picture) -> Tensor:
    """Aligned BGR crops uint8 [N, 112, 112, 3] as the network's input [N, 3, 112, 112]: x / 255 * 2 - 1, still BGR."""
    pixels = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
    return pixels / 255 * 2 - 1


@torch.no_grad()
def embed_crops(network: nn.Module, crops: Picture) -> Tensor:
    """Unit embeddings of aligned BGR crops, on the network's device: uint8 [N, 112, 112, 3] -> float32 [N, d]."""
    device = next(network.parameters()).device
    out: Tensor = network(crops_to_input(crops).to(device))
    return out.float()
